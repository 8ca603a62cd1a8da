/* What a validation's report says of its models, texts and caches; the tests' own parts are
 * theirs. */
#ifndef QINS_ANALYZE_VALIDATE_REPORT_H
#define QINS_ANALYZE_VALIDATE_REPORT_H

#include "analyze/validate_job.h"

/* Keys of the two models, in reports and in words. */
extern const char *const qn_validation_keys[QN_PREDICTORS];

/* The report without its tests; NULL when out of memory. */
json_t *qn_validation_describe(const struct qn_validation *v);
/* What the candidate's V cache took; NOTE may be "", PARTIAL is whether what was done before a run
 * was resumed is not counted. */
json_t *qn_validation_kv(const struct qn_model_config *config, const struct qn_kv_options *kv,
                         const struct qn_kv_counts *counts, const char *note, bool partial);
/* Adds one to the number under NAME of *COUNTS. */
void qn_count_name(json_t **counts, const char *name);
/* What forward passes did. */
json_t *qn_compute_figures(const struct qn_compute_counts *c);

#endif
