#include "analyze/divergence.h"

#include <math.h>

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
