/* Where the weights of a tensor lie, finely enough to predict what any quantiser makes of them:
 * for one granularity of scales, counts of u = |x| / s by sign over fine cells, with the sums that
 * weight a squared error. From cumulative figures at two bounds follows everything that a level of
 * a grid covers, a cut cell taken as evenly filled (docs/analysis.md). Sums are made in
 * a fixed order: results do not depend on threads. */
#ifndef QINS_ANALYZE_DENSITY_H
#define QINS_ANALYZE_DENSITY_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

/* What has a scale of its own. */
enum qn_granularity {
    QN_PER_TENSOR,
    QN_PER_ROW,
    QN_PER_BLOCK_128, /* elements, within a row */
    QN_PER_BLOCK_32,
    QN_GRANULARITIES,
};
const char *qn_granularity_name(enum qn_granularity g); /* "tensor", "row", "128", "32" */
/* Elements that share a scale in a tensor of rows of ROW_LENGTH; 0: all of them. */
uint64_t qn_granularity_group(enum qn_granularity g, uint64_t row_length);

/* All that lies at or below a bound of u, exact zeros apart. */
struct qn_cumulative {
    double count[2];    /* elements above 0, below 0 */
    double error[3];    /* sums of s^2 u^k, k = 0, 1, 2 */
    double weighted[3]; /* sums of h s^2 u^k, h the calibration weight of the input channel */
};

struct qn_density; /* analyze/density_internal.h; large */

/* *OUT at U >= 0; U above 1 is 1. Cheap: one look-up and a few operations. */
void qn_density_at(const struct qn_density *d, double u, struct qn_cumulative *out);
/* Width in u of the cell that U lies in: what lies there is taken as evenly filled. 0 where every
 * value is known. */
double qn_density_resolution(const struct qn_density *d, double u);
uint64_t qn_density_zeros(const struct qn_density *d);
uint64_t qn_density_count(const struct qn_density *d);  /* elements, zeros included */
uint64_t qn_density_groups(const struct qn_density *d); /* scales; those of all-zero groups too */

/* For plots: the counts rebinned to CELLS equal cells of signed u from -1 to 1, zeros in
 * the middle one. CELLS is odd. */
void qn_density_histogram(const struct qn_density *d, size_t cells, double *out);

#endif
