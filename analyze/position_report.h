/* Figures of positions as JSON. */
#ifndef QINS_ANALYZE_POSITION_REPORT_H
#define QINS_ANALYZE_POSITION_REPORT_H

#include "analyze/estimate.h"
#include "analyze/position.h"
#include "core/json.h"

#include <stddef.h>

/* The double at OFFSET (offsetof(struct qn_position, kl[1]) …) of each position, into OUT[n]. */
void qn_position_column(const struct qn_position *p, uint64_t n, size_t offset, double *out);

/* {"value", "standard_error"} */
json_t *qn_json_estimate(struct qn_estimate e);
/* {"mean", "standard_error", "max", "quantiles": {"p0_1" … "p99_9"}}; sorts X. */
json_t *qn_json_distribution(double *x, uint64_t n, uint64_t windows);
/* "windows" or "tokens": what standard errors are of. */
json_t *qn_json_batches(uint64_t windows);

#endif
