/* How far decoded values are from their source: figures that stream. An accumulator is filled
 * for each chunk and merged in chunk order, so that figures do not depend on threads.
 *
 * The relative error is |x - y| / (|x| + 1e-8), as the project's seed documents define it.
 * Quantiles come from a histogram over the upper 16 bits of the error as a binary32, 128 cells
 * an octave: within 0.8 %; the largest is exact to binary32. */
#ifndef QINS_ANALYZE_QUALITY_H
#define QINS_ANALYZE_QUALITY_H

#include <stddef.h>
#include <stdint.h>

enum { QN_QUALITY_CELLS = 1 << 15 }; /* non-negative binary32 by its upper 16 bits */

/* Zero-initialised is empty. Large (256 KiB): heap or static. */
struct qn_quality {
    uint64_t n;         /* elements, undefined ones included */
    uint64_t undefined; /* a NaN or infinity on one side and something else on the other */
    uint64_t changed;   /* elements whose bits are not the source's, a lost sign of zero included */
    uint32_t max_rel_bits; /* largest relative error, a binary32 */
    double max_abs_error, sum_error2, sum_source2, sum_decoded2, sum_product;
    uint64_t relative[QN_QUALITY_CELLS];
};

/* What is reported. NaN where a figure is undefined; sqnr_db is infinite for exact values. */
struct qn_quality_figures {
    uint64_t n, changed;
    double max_abs_error, mse;
    double p50_rel_error, p99_rel_error, max_rel_error;
    double cosine, sqnr_db;
};

/* Adds N pairs. Bit-equal non-finite pairs count as exact and stay out of the sums. */
void qn_quality_add(struct qn_quality *q, const float *source, const float *decoded, size_t n);
/* Adds N elements known to be exact without looking at them: only n and the histogram. */
void qn_quality_add_exact(struct qn_quality *q, uint64_t n);
/* Adds OTHER to q. Sums in floating point: always merge in a fixed order. */
void qn_quality_merge(struct qn_quality *q, const struct qn_quality *other);
void qn_quality_figures(const struct qn_quality *q, struct qn_quality_figures *out);

#endif
