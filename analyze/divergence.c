#include "analyze/divergence.h"

#include <math.h>
#include <stdlib.h>

/* Windows that a standard error from windows takes at least. */
enum { LEAST_WINDOWS = 10 };

const double qn_divergence_quantiles[QN_DIVERGENCE_QUANTILES] = {0.001, 0.01, 0.05, 0.1,  0.5,
                                                                 0.9,   0.95, 0.99, 0.999};

double qn_log_sum_exp(const float *x, size_t n)
{
    float top = x[0];
    double sum = 0.0;
    for (size_t i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)top);
    return (double)top + log(sum);
}

double qn_kl_of_logits(const float *model, double model_lse, const float *candidate, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)model[i] - model_lse) * ((double)model[i] - (double)candidate[i]);
    sum += qn_log_sum_exp(candidate, n) - model_lse;
    return sum > 0.0 || isnan(sum) ? sum : 0.0;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Standard error of the mean of N values. */
static double error_of_mean(const double *x, uint64_t n, double mean)
{
    double squares = 0.0;
    for (uint64_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    return n < 2 ? NAN : sqrt(squares / (double)n / (double)(n - 1));
}

static double quantile(const double *sorted, uint64_t n, double q)
{
    const double rank = q * (double)(n - 1);
    const uint64_t low = (uint64_t)rank, high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (rank - (double)low) * (sorted[high] - sorted[low]);
}

enum qins_status qn_divergence_sum_up(double *kl, const uint8_t *same, uint64_t tokens,
                                      uint64_t windows, struct qn_divergence *out,
                                      struct qins_error *err)
{
    const uint64_t each = tokens / windows;
    double *means = calloc((size_t)windows, sizeof *means);
    uint64_t agree = 0;
    *out = (struct qn_divergence){.windows = windows, .tokens = tokens, .same_top1 = NAN};
    if (!means)
        return qn_fail_memory(err);
    for (uint64_t w = 0; w < windows; w++) {
        for (uint64_t i = w * each; i < (w + 1) * each; i++)
            means[w] += kl[i] / (double)each;
        out->mean_kl += means[w] / (double)windows;
    }
    out->standard_error = windows >= LEAST_WINDOWS ? error_of_mean(means, windows, out->mean_kl)
                                                   : error_of_mean(kl, tokens, out->mean_kl);
    free(means);
    for (uint64_t i = 0; same && i < tokens; i++)
        agree += same[i];
    if (same)
        out->same_top1 = (double)agree / (double)tokens;
    qsort(kl, (size_t)tokens, sizeof *kl, compare_doubles);
    for (int i = 0; i < QN_DIVERGENCE_QUANTILES; i++)
        out->quantiles[i] = quantile(kl, tokens, qn_divergence_quantiles[i]);
    out->max_kl = kl[tokens - 1];
    return QINS_OK;
}
