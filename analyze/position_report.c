#include "analyze/position_report.h"

#include <stdio.h>
#include <string.h>

void qn_position_column(const struct qn_positions *p, size_t offset, double *out)
{
    for (uint64_t i = 0; i < qn_positions_count(p); i++)
        memcpy(&out[i], (const uint8_t *)qn_position_at(p, i) + offset, sizeof out[i]);
}

void qn_json_put_estimate(json_t **j, const char *name, struct qn_estimate e)
{
    char key[64];
    snprintf(key, sizeof key, "%s_standard_error", name);
    qn_json_put(j, name, qn_json_real(e.value));
    qn_json_put(j, key, qn_json_real(e.standard_error));
}

json_t *qn_json_estimate(struct qn_estimate e)
{
    json_t *j = json_object();
    qn_json_put(&j, "value", qn_json_real(e.value));
    qn_json_put(&j, "standard_error", qn_json_real(e.standard_error));
    return j;
}

json_t *qn_json_distribution(double *x, uint64_t n, uint64_t windows)
{
    const struct qn_estimate mean = qn_estimate_mean(x, n, windows);
    struct qn_quantile_figures tails;
    json_t *j = json_object(), *quantiles = json_object();
    qn_quantiles_of(x, n, &tails);
    for (int i = 0; i < QN_QUANTILES; i++)
        qn_json_put(&quantiles, qn_quantile_names[i], qn_json_real(tails.quantiles[i]));
    qn_json_put(&j, "mean", qn_json_real(mean.value));
    qn_json_put(&j, "standard_error", qn_json_real(mean.standard_error));
    qn_json_put(&j, "max", qn_json_real(tails.max));
    qn_json_put(&j, "quantiles", quantiles);
    return j;
}

json_t *qn_json_batches(uint64_t windows)
{
    return json_string(qn_errors_by_windows(windows) ? "windows" : "tokens");
}
