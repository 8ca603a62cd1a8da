/* Coders whose sizes a histogram does not tell: what they make of a tensor is found by encoding. */
#ifndef QINS_CONVERT_PLAN_TRIAL_H
#define QINS_CONVERT_PLAN_TRIAL_H

#include "convert/plan_work.h"

/* Adds run-length and zstd codings to *item, which has the others, where the statistics S of its
 * values show repetition (rows, neighbours, zeros) or its codes take so few bits that one of
 * Huffman's is too many. LAYOUT is that of the whole tensor. Items of more than 2^23 elements are
 * sampled by chunks. */
enum qins_status qn_plan_try_coders(const struct qn_plan_work *w, struct qn_planned *item,
                                    const struct qn_layout *layout, const struct qn_statistics *s,
                                    struct qins_error *err);

/* Bytes of the payloads of *item as it was chosen, rounded with feedback, which its tensor has no
 * obstacle to; without the item's extra bytes. Large items are sampled by chunks. */
enum qins_status qn_plan_measure(const struct qn_plan_work *w, const struct qn_planned *item,
                                 double *bytes, struct qins_error *err);

#endif
