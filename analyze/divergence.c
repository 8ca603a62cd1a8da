#include "analyze/divergence.h"

#include <math.h>
#include <string.h>

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

void qn_divergence_sum_up(double *kl, const uint8_t *same, uint64_t tokens, uint64_t windows,
                          struct qn_divergence *out)
{
    const struct qn_estimate mean = qn_estimate_mean(kl, tokens, windows);
    uint64_t agree = 0;
    *out = (struct qn_divergence){.mean_kl = mean.value,
                                  .standard_error = mean.standard_error,
                                  .same_top1 = NAN,
                                  .windows = windows,
                                  .tokens = tokens};
    for (uint64_t i = 0; same && i < tokens; i++)
        agree += same[i];
    if (same)
        out->same_top1 = (double)agree / (double)tokens;
    struct qn_quantile_figures order;
    qn_quantiles_of(kl, tokens, &order);
    memcpy(out->quantiles, order.quantiles, sizeof out->quantiles);
    out->max_kl = order.max;
}
