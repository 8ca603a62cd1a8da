/* Figures of one tensor's study as JSON. NULL results mean out of memory, unless said otherwise. */
#ifndef QINS_ANALYZE_REPORT_FIGURES_H
#define QINS_ANALYZE_REPORT_FIGURES_H

#include "analyze/block_formats.h"
#include "analyze/compare.h"
#include "analyze/encode_check.h"
#include "analyze/extra.h"
#include "core/json.h"

json_t *qn_report_statistics(const struct qn_statistics *s);
/* Sentences on what is odd about a tensor. */
json_t *qn_report_remarks(const struct qn_tensor_study *s);

/* The granularity that figures "by bits" are of: rows, else the whole tensor. */
enum qn_granularity qn_report_granularity(const struct qn_tensor_study *s);
/* The comparison of that granularity and width, or NULL. */
const struct qn_fixed_comparison *qn_report_fixed(const struct qn_comparison *c,
                                                  enum qn_granularity g, unsigned bits);

/* A candidate of a tensor of N elements: its shape, figures and bits a weight. */
json_t *qn_report_candidate(const struct qn_candidate *c, uint64_t n);
/* {"2": entropy, ...} of the QINS candidates. */
json_t *qn_report_entropy_bits(const struct qn_comparison *c, enum qn_granularity g);
/* {"2": {"bitpack": ..., "huffman": ...}, ...} of them; at 8 bits what TRUE_SIZES (may be NULL)
 * has of other coders. */
json_t *qn_report_coded_bits(const struct qn_comparison *c, enum qn_granularity g, uint64_t n,
                             const struct qn_true_sizes *true_sizes);
/* [{bits, qins, int_absmax, int_clip}] */
json_t *qn_report_fixed_rates(const struct qn_comparison *c, enum qn_granularity g, uint64_t n);

/* The lower hull of all candidates, packed and coded: [{bits, sqnr_db, ...}] by bits. */
enum qins_status qn_report_hull(const struct qn_candidate_list *fixed,
                                const struct qn_candidate_list *coded, uint64_t n, json_t **out,
                                struct qins_error *err);

json_t *qn_report_references(const struct qn_reference_line lines[QN_BLOCK_FORMATS]);
json_t *qn_report_extra(const struct qn_extra_table *t);
json_t *qn_report_true_sizes(const struct qn_true_sizes *s);

#endif
