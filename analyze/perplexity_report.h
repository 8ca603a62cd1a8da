/* Test D's figures as JSON, from the NLL of tokens and from positions of two models. */
#ifndef QINS_ANALYZE_PERPLEXITY_REPORT_H
#define QINS_ANALYZE_PERPLEXITY_REPORT_H

#include "analyze/position_report.h"

/* N tokens' NLL of a model, as many in each of WINDOWS; errors are by windows as
 * analyze/estimate.h has it: WINDOWS 1 takes tokens as independent. Adds to *J. */
void qn_put_perplexity(json_t **j, const double *nll, uint64_t n, uint64_t windows);
/* The candidate less the model, paired. */
json_t *qn_perplexity_difference(const double *model, const double *candidate, uint64_t n,
                                 uint64_t windows);

/* "model", "candidate", "difference", "kl", "delta_p_percent" and "errors_by" of test D; *OUT is
 * the caller's. */
enum qins_status qn_perplexity_report(const struct qn_positions *p, json_t **out,
                                      struct qins_error *err);

#endif
