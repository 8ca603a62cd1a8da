#include "analyze/validate_report.h"

enum { MODEL, CANDIDATE };

static json_t *perplexity_figures(const struct qn_perplexity *p)
{
    json_t *j = json_object();
    qn_json_put(&j, "perplexity", qn_json_real(p->perplexity));
    qn_json_put(&j, "mean_nll", qn_json_real(p->mean_nll));
    qn_json_put(&j, "mean_nll_standard_error", qn_json_real(p->standard_error));
    qn_json_put(&j, "tokens", json_integer((json_int_t)p->tokens));
    qn_json_put(&j, "windows", json_integer((json_int_t)p->windows));
    qn_json_put(&j, "seconds", qn_json_real(p->seconds));
    qn_json_put(&j, "tokens_per_s", qn_json_real(p->tokens_per_s));
    qn_json_put(&j, "compute", qn_compute_figures(&p->compute));
    return j;
}

static json_t *perplexity_difference(const struct qn_perplexity *model,
                                     const struct qn_perplexity *candidate)
{
    struct qn_perplexity_difference d;
    json_t *j = json_object();
    qn_perplexity_compare(model, candidate, &d);
    qn_json_put(&j, "mean_nll", qn_json_real(d.mean_nll));
    qn_json_put(&j, "standard_error", qn_json_real(d.standard_error));
    qn_json_put(&j, "perplexity_ratio", qn_json_real(d.ratio));
    return j;
}

static json_t *divergence_figures(const struct qn_divergence *d)
{
    static const char *const names[QN_DIVERGENCE_QUANTILES] = {"p0_1", "p1",  "p5",  "p10",  "p50",
                                                               "p90",  "p95", "p99", "p99_9"};
    json_t *j = json_object(), *quantiles = json_object();
    for (int i = 0; i < QN_DIVERGENCE_QUANTILES; i++)
        qn_json_put(&quantiles, names[i], qn_json_real(d->quantiles[i]));
    qn_json_put(&j, "mean", qn_json_real(d->mean_kl));
    qn_json_put(&j, "standard_error", qn_json_real(d->standard_error));
    qn_json_put(&j, "max", qn_json_real(d->max_kl));
    qn_json_put(&j, "quantiles", quantiles);
    qn_json_put(&j, "same_top1", qn_json_real(d->same_top1));
    qn_json_put(&j, "tokens", json_integer((json_int_t)d->tokens));
    return j;
}

static enum qins_status run(struct qn_validation *v, json_t **result, struct qins_error *err)
{
    static const char *const styles[] = {"qins", "llama.cpp"};
    const bool both = v->models[CANDIDATE] != NULL;
    struct qn_perplexity_options o = {.context = v->context,
                                      .style = v->options->style,
                                      .bos = v->corpus.bos,
                                      .threads = v->options->threads,
                                      .each = both};
    struct qn_perplexity p[QN_PREDICTORS] = {0};
    struct qn_divergence d;
    json_t *j = json_object();
    qn_json_put(&j, "passed", json_null()); /* nothing is asked of it yet */
    qn_json_put(&j, "style", json_string(styles[o.style]));
    qn_json_put(&j, "context", json_integer((json_int_t)o.context));
    enum qins_status st =
        qn_perplexity_pair(v->models[MODEL], v->models[CANDIDATE], &v->corpus.ids, &o, "perplexity",
                           v->monitor, p, both ? &d : NULL, err);
    for (int i = 0; i < QN_PREDICTORS && st == QINS_OK; i++)
        if (v->models[i])
            qn_json_put(&j, qn_validation_keys[i], perplexity_figures(&p[i]));
    if (st == QINS_OK && both) {
        qn_json_put(&j, "difference", perplexity_difference(&p[MODEL], &p[CANDIDATE]));
        qn_json_put(&j, "kl", divergence_figures(&d));
    }
    for (int i = 0; i < QN_PREDICTORS; i++)
        qn_perplexity_finish(&p[i]);
    if (st != QINS_OK) {
        json_decref(j);
        j = NULL;
    }
    *result = j;
    return st;
}

const struct qn_validate_test qn_test_perplexity = {"perplexity", run};
