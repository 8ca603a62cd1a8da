/* Counts of codes, and what they tell of coders: entropies. */
#ifndef QINS_ANALYZE_CODE_COUNTS_H
#define QINS_ANALYZE_CODE_COUNTS_H

#include "core/error.h"

struct qn_code_counts;

struct qn_code_figures {
    uint64_t codes;
    double entropy_bits; /* order 0, of a code */
    double order1_bits;  /* of a code, given the one before it in its row */
    double run_bits;     /* of a code, runs of zero codes as one symbol and a length */
    double zero_share;   /* of codes */
};

/* For codes 0 … 2 LEVELS, about ELEMENTS of them: pairs of codes are counted by so many leading
 * bits as those can fill. */
enum qins_status qn_code_counts_create(struct qn_code_counts **out, unsigned levels,
                                       uint64_t elements, struct qins_error *err);
void qn_code_counts_destroy(struct qn_code_counts *c); /* accepts NULL */
/* Codes that follow each other, none of them above 2 LEVELS. */
void qn_code_counts_add(struct qn_code_counts *c, const uint16_t *codes, size_t n);
/* All 0 where there are none. */
void qn_code_counts_sum_up(const struct qn_code_counts *c, struct qn_code_figures *out);

#endif
