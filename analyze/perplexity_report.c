#include "analyze/perplexity_report.h"

#include <stdlib.h>

enum { MODEL, CANDIDATE, BOTH };

void qn_put_perplexity(json_t **j, const double *nll, uint64_t n, uint64_t windows)
{
    qn_json_put_estimate(j, "perplexity", qn_estimate_perplexity(nll, n, windows));
    qn_json_put_estimate(j, "mean_nll", qn_estimate_mean(nll, n, windows));
    qn_json_put(j, "tokens", json_integer((json_int_t)n));
}

json_t *qn_perplexity_difference(const double *model, const double *candidate, uint64_t n,
                                 uint64_t windows)
{
    const struct qn_estimate mean = qn_estimate_difference(model, candidate, n, windows);
    json_t *j = json_object();
    qn_json_put(&j, "mean_nll", qn_json_real(mean.value));
    qn_json_put(&j, "standard_error", qn_json_real(mean.standard_error));
    qn_json_put_estimate(&j, "perplexity_ratio",
                         qn_estimate_perplexity_ratio(model, candidate, n, windows));
    qn_json_put_estimate(&j, "perplexity",
                         qn_estimate_perplexity_difference(model, candidate, n, windows));
    qn_json_put_estimate(&j, "correlation", qn_estimate_correlation(model, candidate, n, windows));
    return j;
}

/* Of a text's positions; WORK is [count]. */
struct sums {
    const struct qn_positions *p;
    uint64_t n;
    double *work;
};

/* Mean, error, maximum and quantiles of what is in WORK, and its minimum; WORK is sorted then. */
static json_t *distribution(const struct sums *s)
{
    json_t *j = qn_json_distribution(s->work, s->n, s->p->windows);
    qn_json_put(&j, "min", qn_json_real(s->work[0]));
    return j;
}

/* Of positions where the byte at OFFSET is 1. */
static void put_share(const struct sums *s, json_t **j, const char *name, size_t offset)
{
    for (uint64_t i = 0; i < s->n; i++)
        s->work[i] = *((const uint8_t *)qn_position_at(s->p, i) + offset);
    qn_json_put_estimate(j, name, qn_estimate_mean(s->work, s->n, s->p->windows));
}

static json_t *kl_figures(const struct sums *s)
{
    qn_position_column(s->p, offsetof(struct qn_position, kl[0]), s->work);
    json_t *j = distribution(s);
    put_share(s, &j, "same_top1", offsetof(struct qn_position, same_top1));
    qn_json_put(&j, "tokens", json_integer((json_int_t)s->n));
    return j;
}

/* What the candidate gives the token that follows, less what the model gives it. */
static json_t *delta_p_figures(const struct sums *s)
{
    for (uint64_t i = 0; i < s->n; i++) {
        const struct qn_position *p = qn_position_at(s->p, i);
        s->work[i] = 100.0 * (p->p[CANDIDATE] - p->p[MODEL]);
    }
    const struct qn_estimate rms = qn_estimate_rms(s->work, s->n, s->p->windows);
    json_t *j = distribution(s);
    qn_json_put_estimate(&j, "rms", rms);
    return j;
}

static json_t *model_figures(const struct sums *s, int which, const double *nll)
{
    json_t *j = json_object();
    qn_put_perplexity(&j, nll, s->n, s->p->windows);
    put_share(s, &j, "right", offsetof(struct qn_position, right) + (size_t)which);
    qn_json_put(&j, "windows", json_integer((json_int_t)s->p->windows));
    return j;
}

enum qins_status qn_perplexity_report(const struct qn_positions *p, json_t **out,
                                      struct qins_error *err)
{
    const uint64_t n = qn_positions_count(p);
    double *nll[BOTH];
    struct sums s = {.p = p, .n = n, .work = malloc(3 * (size_t)n * sizeof *s.work)};
    json_t *j = json_object();
    *out = NULL;
    if (!s.work) {
        json_decref(j);
        return qn_fail_memory(err);
    }
    for (int i = 0; i < BOTH; i++) {
        nll[i] = s.work + (size_t)(i + 1) * n;
        qn_position_column(p, offsetof(struct qn_position, nll) + (size_t)i * sizeof(double),
                           nll[i]);
    }
    qn_json_put(&j, "model", model_figures(&s, MODEL, nll[MODEL]));
    qn_json_put(&j, "candidate", model_figures(&s, CANDIDATE, nll[CANDIDATE]));
    qn_json_put(&j, "difference",
                qn_perplexity_difference(nll[MODEL], nll[CANDIDATE], n, p->windows));
    qn_json_put(&j, "kl", kl_figures(&s));
    qn_json_put(&j, "delta_p_percent", delta_p_figures(&s));
    qn_json_put(&j, "errors_by", qn_json_batches(p->windows));
    free(s.work);
    *out = j;
    return j ? QINS_OK : qn_fail_memory(err);
}
