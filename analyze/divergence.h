/* How far a model's predictions are from another's on the same tokens. */
#ifndef QINS_ANALYZE_DIVERGENCE_H
#define QINS_ANALYZE_DIVERGENCE_H

#include "model/ids.h"
#include "model/session.h"

/* Log of the sum of exp(x), N >= 1, in float64: the kernels' log_sum_exp, whose exponentials are
 * float32, is too coarse for the KL of models that are nearly equal. */
double qn_log_sum_exp(const float *x, size_t n);
/* KL(softmax(model) || softmax(candidate)) >= 0 of logits [n], 0 for equal ones; MODEL_LSE is
 * qn_log_sum_exp() of the first. */
double qn_kl_of_logits(const float *model, double model_lse, const float *candidate, size_t n);

/* The number among ALL of item I of N that are spread evenly over them: floor((i + 1/2) all / n).
 * N is below 2^31. */
static inline uint64_t qn_spread_evenly(uint64_t i, uint64_t n, uint64_t all)
{
    const uint64_t halves = (2 * i + 1) * (all / n);
    return halves / 2 + (halves % 2 * n + (2 * i + 1) * (all % n)) / (2 * n);
}

#endif
