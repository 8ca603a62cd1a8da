/* Mean and central moments up to the fourth, in pieces that are merged. */
#ifndef QINS_ANALYZE_MOMENTS_H
#define QINS_ANALYZE_MOMENTS_H

#include <stddef.h>
#include <stdint.h>

/* Zero-initialised is empty. m2 … m4 are sums of powers of x - mean. */
struct qn_central_moments {
    uint64_t n;
    double mean, m2, m3, m4;
    double sum_abs, min, max; /* the latter two undefined for n = 0 */
};

enum { QN_MOMENTS_TILE = 1024 }; /* elements that are added at once, at most */

/* Adds N <= QN_MOMENTS_TILE finite values. */
void qn_central_moments_add(struct qn_central_moments *m, const double *x, size_t n);
/* Adds OTHER. The result depends on the order of calls. */
void qn_central_moments_merge(struct qn_central_moments *m, const struct qn_central_moments *other);

#endif
