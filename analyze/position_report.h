/* Figures of positions as JSON. */
#ifndef QINS_ANALYZE_POSITION_REPORT_H
#define QINS_ANALYZE_POSITION_REPORT_H

#include "analyze/estimate.h"
#include "analyze/position.h"
#include "core/json.h"

#include <stddef.h>

/* Positions of a text, EACH of them in every one of WINDOWS >= 1: a window's are OF[window], a
 * struct qn_position[EACH] that belongs to somebody else. */
struct qn_positions {
    const void *const *of;
    uint64_t windows;
    size_t each;
};

static inline uint64_t qn_positions_count(const struct qn_positions *p)
{
    return p->windows * p->each;
}

/* The I-th of them all, window after window. */
static inline const struct qn_position *qn_position_at(const struct qn_positions *p, uint64_t i)
{
    return (const struct qn_position *)p->of[i / p->each] + i % p->each;
}

/* The double at OFFSET (offsetof(struct qn_position, kl[1]) …) of each position, into
 * OUT[qn_positions_count()]. */
void qn_position_column(const struct qn_positions *p, size_t offset, double *out);

/* NAME and NAME_standard_error of *J. */
void qn_json_put_estimate(json_t **j, const char *name, struct qn_estimate e);
/* {"value", "standard_error"} */
json_t *qn_json_estimate(struct qn_estimate e);
/* {"mean", "standard_error", "max", "quantiles": {"p0_1" … "p99_9"}}; sorts X. */
json_t *qn_json_distribution(double *x, uint64_t n, uint64_t windows);
/* "windows" or "tokens": what standard errors are of. */
json_t *qn_json_batches(uint64_t windows);

#endif
