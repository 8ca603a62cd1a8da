/* Figures of a text from its positions, with standard errors. X and Y are of the same N positions,
 * as many in each of WINDOWS, window after window. The formulae are in docs/validation.md.
 *
 * Positions of a window are not independent of each other, windows nearly are: from
 * QN_LEAST_WINDOWS windows on a standard error is that of the mean of window means (batch means),
 * else that of the mean of positions taken as independent, which is too small. NaN where there are
 * less than two positions. Those of functions of means are to first order (the delta method): of
 * the mean of the linearised values, so that what X and Y have in common cancels. */
#ifndef QINS_ANALYZE_ESTIMATE_H
#define QINS_ANALYZE_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

enum { QN_LEAST_WINDOWS = 10, QN_QUANTILES = 9 };

struct qn_estimate {
    double value, standard_error;
};

static inline bool qn_errors_by_windows(uint64_t windows)
{
    return windows >= QN_LEAST_WINDOWS;
}

double qn_mean(const double *x, uint64_t n);
struct qn_estimate qn_estimate_mean(const double *x, uint64_t n, uint64_t windows);
/* Root of the mean square; error 0 where all are 0. */
struct qn_estimate qn_estimate_rms(const double *x, uint64_t n, uint64_t windows);
/* Mean of Y - X, paired. */
struct qn_estimate qn_estimate_difference(const double *x, const double *y, uint64_t n,
                                          uint64_t windows);
/* Pearson's; NaN where X or Y does not vary. */
struct qn_estimate qn_estimate_correlation(const double *x, const double *y, uint64_t n,
                                           uint64_t windows);

/* X and Y are negative log-likelihoods: exp(mean), and for two of them, paired, difference and
 * ratio. Exactly 0 and 1 where X and Y are equal. */
struct qn_estimate qn_estimate_perplexity(const double *x, uint64_t n, uint64_t windows);
struct qn_estimate qn_estimate_perplexity_difference(const double *x, const double *y, uint64_t n,
                                                     uint64_t windows);
struct qn_estimate qn_estimate_perplexity_ratio(const double *x, const double *y, uint64_t n,
                                                uint64_t windows);

/* 0.001 0.01 0.05 0.1 0.5 0.9 0.95 0.99 0.999, and their names in reports: p0_1 … p99_9. */
extern const double qn_quantiles[QN_QUANTILES];
extern const char *const qn_quantile_names[QN_QUANTILES];

struct qn_quantile_figures {
    double min, max;
    double quantiles[QN_QUANTILES]; /* between the two values next to the rank q (n - 1), linearly
                                     */
};

/* Sorts X, N >= 1. */
void qn_quantiles_of(double *x, uint64_t n, struct qn_quantile_figures *out);

#endif
