#include "analyze/perplexity_report.h"

#include <stdlib.h>

enum { MODEL, CANDIDATE, BOTH };

static void put_estimate(json_t **j, const char *name, const char *error_name, struct qn_estimate e)
{
    qn_json_put(j, name, qn_json_real(e.value));
    qn_json_put(j, error_name, qn_json_real(e.standard_error));
}

void qn_put_perplexity(json_t **j, const double *nll, uint64_t n, uint64_t windows)
{
    put_estimate(j, "perplexity", "perplexity_standard_error",
                 qn_estimate_perplexity(nll, n, windows));
    put_estimate(j, "mean_nll", "mean_nll_standard_error", qn_estimate_mean(nll, n, windows));
    qn_json_put(j, "tokens", json_integer((json_int_t)n));
}

json_t *qn_perplexity_difference(const double *model, const double *candidate, uint64_t n,
                                 uint64_t windows)
{
    json_t *j = json_object();
    put_estimate(&j, "mean_nll", "standard_error",
                 qn_estimate_difference(model, candidate, n, windows));
    put_estimate(&j, "perplexity_ratio", "perplexity_ratio_standard_error",
                 qn_estimate_perplexity_ratio(model, candidate, n, windows));
    put_estimate(&j, "perplexity", "perplexity_standard_error",
                 qn_estimate_perplexity_difference(model, candidate, n, windows));
    put_estimate(&j, "correlation", "correlation_standard_error",
                 qn_estimate_correlation(model, candidate, n, windows));
    return j;
}

/* Mean, error, maximum and quantiles of X, and its minimum; X is sorted then. */
static json_t *distribution(double *x, uint64_t n, uint64_t windows)
{
    json_t *j = qn_json_distribution(x, n, windows);
    qn_json_put(&j, "min", qn_json_real(x[0]));
    return j;
}

/* Shares of positions. */
static void put_share(json_t **j, const char *name, const char *error_name,
                      const struct qn_position *p, const uint8_t *flag, uint64_t n,
                      uint64_t windows, double *work)
{
    const size_t offset = (size_t)(flag - (const uint8_t *)p);
    for (uint64_t i = 0; i < n; i++)
        work[i] = *((const uint8_t *)(p + i) + offset);
    put_estimate(j, name, error_name, qn_estimate_mean(work, n, windows));
}

static json_t *kl_figures(const struct qn_position *p, uint64_t n, uint64_t windows, double *work)
{
    qn_position_column(p, n, offsetof(struct qn_position, kl[0]), work);
    json_t *j = distribution(work, n, windows);
    put_share(&j, "same_top1", "same_top1_standard_error", p, &p->same_top1, n, windows, work);
    qn_json_put(&j, "tokens", json_integer((json_int_t)n));
    return j;
}

/* What the candidate gives the token that follows, less what the model gives it. */
static json_t *delta_p_figures(const struct qn_position *p, uint64_t n, uint64_t windows,
                               double *work)
{
    for (uint64_t i = 0; i < n; i++)
        work[i] = 100.0 * (p[i].p[CANDIDATE] - p[i].p[MODEL]);
    const struct qn_estimate rms = qn_estimate_rms(work, n, windows);
    json_t *j = distribution(work, n, windows);
    put_estimate(&j, "rms", "rms_standard_error", rms);
    return j;
}

static json_t *model_figures(const struct qn_position *p, int which, const double *nll, uint64_t n,
                             uint64_t windows, double *work)
{
    json_t *j = json_object();
    qn_put_perplexity(&j, nll, n, windows);
    put_share(&j, "right", "right_standard_error", p, &p->right[which], n, windows, work);
    qn_json_put(&j, "windows", json_integer((json_int_t)windows));
    return j;
}

enum qins_status qn_perplexity_report(const struct qn_position *p, uint64_t n, uint64_t windows,
                                      json_t **out, struct qins_error *err)
{
    double *nll[BOTH], *work = malloc(3 * (size_t)n * sizeof *work);
    json_t *j = json_object();
    *out = NULL;
    if (!work) {
        json_decref(j);
        return qn_fail_memory(err);
    }
    for (int i = 0; i < BOTH; i++) {
        nll[i] = work + (size_t)(i + 1) * n;
        qn_position_column(p, n, offsetof(struct qn_position, nll) + (size_t)i * sizeof(double),
                           nll[i]);
    }
    qn_json_put(&j, "model", model_figures(p, MODEL, nll[MODEL], n, windows, work));
    qn_json_put(&j, "candidate", model_figures(p, CANDIDATE, nll[CANDIDATE], n, windows, work));
    qn_json_put(&j, "difference", qn_perplexity_difference(nll[MODEL], nll[CANDIDATE], n, windows));
    qn_json_put(&j, "kl", kl_figures(p, n, windows, work));
    qn_json_put(&j, "delta_p_percent", delta_p_figures(p, n, windows, work));
    qn_json_put(&j, "errors_by", qn_json_batches(windows));
    free(work);
    *out = j;
    return j ? QINS_OK : qn_fail_memory(err);
}
