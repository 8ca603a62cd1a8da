#include "analyze/validate.h"

#include "formats/transport.h"

#include <stdio.h>
#include <string.h>

enum { MODEL, CANDIDATE, N_MODELS };

struct validation {
    const struct qn_validate_options *options;
    const struct qn_monitor *monitor;
    struct qn_model *models[N_MODELS]; /* the candidate may be NULL */
    struct qn_transport transport;     /* of the candidate; no layers where there is none */
    struct qn_corpus corpus;
    uint32_t context;
};

static const char *const model_keys[N_MODELS] = {"model", "candidate"};

static json_t *compute_figures(const struct qn_compute_counts *c)
{
    const struct {
        const char *name;
        uint64_t count;
        bool per_forward;
    } counts[] = {
        {"forwards", c->forwards, false},
        {"products", c->products, true},
        {"encodes", c->encodes, true},
        {"decodes", c->decodes, true},
        {"plane_products", c->plane_products, true},
        {"coded_values", c->values, false},
        {"clipped_values", c->clipped, false},
        {"clamped_outputs", c->clamped, false},
    };
    json_t *j = json_object(), *each = json_object();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        qn_json_put(&j, counts[i].name, json_integer((json_int_t)counts[i].count));
        if (counts[i].per_forward)
            qn_json_put(&each, counts[i].name,
                        qn_json_real((double)counts[i].count / (double)c->forwards));
    }
    qn_json_put(&j, "per_forward", each);
    return j;
}

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
    qn_json_put(&j, "compute", compute_figures(&p->compute));
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

static enum qins_status test_perplexity(struct validation *v, json_t **result,
                                        struct qins_error *err)
{
    static const char *const styles[] = {"qins", "llama.cpp"};
    const bool both = v->models[CANDIDATE] != NULL;
    struct qn_perplexity_options o = {.context = v->context,
                                      .style = v->options->style,
                                      .bos = v->corpus.bos,
                                      .threads = v->options->threads,
                                      .each = both};
    struct qn_perplexity p[N_MODELS] = {0};
    struct qn_divergence d;
    json_t *j = json_object();
    qn_json_put(&j, "passed", json_null()); /* nothing is asked of it yet */
    qn_json_put(&j, "style", json_string(styles[o.style]));
    qn_json_put(&j, "context", json_integer((json_int_t)o.context));
    enum qins_status st =
        qn_perplexity_pair(v->models[MODEL], v->models[CANDIDATE], &v->corpus.ids, &o, "perplexity",
                           v->monitor, p, both ? &d : NULL, err);
    for (int i = 0; i < N_MODELS && st == QINS_OK; i++)
        if (v->models[i])
            qn_json_put(&j, model_keys[i], perplexity_figures(&p[i]));
    if (st == QINS_OK && both) {
        qn_json_put(&j, "difference", perplexity_difference(&p[MODEL], &p[CANDIDATE]));
        qn_json_put(&j, "kl", divergence_figures(&d));
    }
    for (int i = 0; i < N_MODELS; i++)
        qn_perplexity_finish(&p[i]);
    if (st != QINS_OK) {
        json_decref(j);
        j = NULL;
    }
    *result = j;
    return st;
}

static const struct test {
    const char *name;
    /* On success *result is the test's part of the report, NULL when out of memory. */
    enum qins_status (*run)(struct validation *v, json_t **result, struct qins_error *err);
} tests[] = {{"perplexity", test_perplexity}};
enum { N_TESTS = sizeof tests / sizeof *tests };

/* Marks the tests that LIST names. */
static enum qins_status choose_tests(const char *list, bool chosen[N_TESTS], struct qins_error *err)
{
    for (int i = 0; i < N_TESTS; i++)
        chosen[i] = !list;
    while (list) {
        size_t n = strcspn(list, ",");
        int i = 0;
        while (i < N_TESTS && (strlen(tests[i].name) != n || memcmp(tests[i].name, list, n) != 0))
            i++;
        if (i == N_TESTS) {
            char known[256] = "";
            for (int k = 0; k < N_TESTS; k++)
                snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", k ? ", " : "",
                         tests[k].name);
            return qn_fail(err, QINS_ERR_USAGE, "unknown test '%.*s'; there are: %s", (int)n, list,
                           known);
        }
        chosen[i] = true;
        list = list[n] ? list + n + 1 : NULL;
    }
    return QINS_OK;
}

static enum qins_status open_models(struct validation *v, struct qins_error *err)
{
    const struct qn_validate_options *o = v->options;
    const char *candidate = o->candidate || !o->transport ? o->candidate : o->model;
    enum qins_status st = QINS_OK;
    if (o->transport)
        st = qn_transport_read(&v->transport, o->transport, v->monitor, err);
    /* A model is compared with itself as it is, whatever its archive carries. */
    if (st == QINS_OK)
        st = (candidate == o->model ? qn_model_open_plain : qn_model_open)(
            &v->models[MODEL], o->model, o->threads, v->monitor, err);
    if (st == QINS_OK && candidate)
        st = (o->transport ? qn_model_open_plain : qn_model_open)(&v->models[CANDIDATE], candidate,
                                                                  o->threads, v->monitor, err);
    if (st == QINS_OK && o->transport)
        st = qn_model_go_native(v->models[CANDIDATE], &v->transport, o->transport, err);
    if (st != QINS_OK || !candidate)
        return st;
    const struct qn_model *m = v->models[MODEL], *c = v->models[CANDIDATE];
    if (c->config.vocab != m->config.vocab)
        return qn_fail_at(err, QINS_ERR_FORMAT, candidate, NULL, QN_NO_OFFSET,
                          "it has %u tokens, the model %s has %u", c->config.vocab, o->model,
                          m->config.vocab);
    if (memcmp(&c->fingerprint, &m->fingerprint, sizeof m->fingerprint) != 0)
        qn_notice(v->monitor, "%s was not made from %s: fingerprints differ", candidate, o->model);
    return QINS_OK;
}

static enum qins_status open_corpus(struct validation *v, struct qins_error *err)
{
    const struct qn_validate_options *o = v->options;
    struct qn_corpus_options c = {
        .texts = &o->text, .n_texts = o->text != NULL, .tokenizer = o->tokenizer, .ids = o->ids};
    struct qn_perplexity_options p = {.context = v->context, .style = o->style};
    uint64_t windows;
    enum qins_status st = qn_corpus_open(&v->corpus, v->models[MODEL], &c, err);
    if (st != QINS_OK)
        return st;
    p.bos = v->corpus.bos;
    st = qn_perplexity_windows(&v->corpus.ids, &p, &windows, err);
    return st == QINS_ERR_FORMAT ? qn_error_in_file(err, st, o->ids ? o->ids : o->text) : st;
}

static json_t *describe_model(const struct qn_model *m)
{
    json_t *j = json_object();
    qn_json_put(&j, "path", qn_json_text(m->path));
    qn_json_put(&j, "fingerprint", qn_json_digest(&m->fingerprint));
    qn_json_put(&j, "model_type", json_string(m->config.arch->model_type));
    qn_json_put(&j, "parameters", json_integer((json_int_t)m->n_parameters));
    if (m->archive.bytes > 0) {
        qn_json_put(&j, "archive_hash", qn_json_digest(&m->archive.hash));
        qn_json_put(&j, "archive_bytes", json_integer((json_int_t)m->archive.bytes));
        qn_json_put(&j, "bits_per_weight", qn_json_real(m->archive.bits_per_weight));
    }
    if (m->native)
        qn_json_put(&j, "native", json_true());
    return j;
}

static json_t *describe_text(const struct validation *v)
{
    const struct qn_validate_options *o = v->options;
    json_t *j = json_object();
    qn_json_put(&j, "path", qn_json_text(o->ids ? o->ids : o->text));
    qn_json_put(&j, "fingerprint", qn_json_digest(&v->corpus.text_digest));
    qn_json_put(&j, "tokenizer_fingerprint",
                o->ids ? json_null() : qn_json_digest(&v->corpus.tokenizer_digest));
    qn_json_put(&j, "tokens", json_integer((json_int_t)v->corpus.ids.count));
    return j;
}

/* Adds one to the number under NAME. */
static void count_name(json_t **counts, const char *name)
{
    qn_json_put(counts, name, json_integer(json_integer_value(json_object_get(*counts, name)) + 1));
}

static json_t *describe_transport(const struct validation *v)
{
    const struct qn_transport *t = &v->transport;
    json_t *j = json_object(), *projections = json_object(), *methods = json_object();
    for (size_t i = 0; i < t->n_layers; i++) {
        count_name(&projections, qn_projection_name(t->layers[i].projection));
        count_name(&methods, qn_transport_method_name(t->inputs[t->layers[i].input].method));
    }
    qn_json_put(&j, "path", qn_json_text(v->options->transport));
    qn_json_put(&j, "calibration_fingerprint", qn_json_digest(&t->calibration));
    qn_json_put(&j, "layers", json_integer((json_int_t)t->n_layers));
    qn_json_put(&j, "projections", projections);
    qn_json_put(&j, "methods", methods);
    return j;
}

static json_t *begin_report(const struct validation *v)
{
    json_t *j = qn_report_begin("qins/validation/1");
    for (int i = 0; i < N_MODELS; i++)
        if (v->models[i])
            qn_json_put(&j, model_keys[i], describe_model(v->models[i]));
    if (v->options->transport)
        qn_json_put(&j, "transport", describe_transport(v));
    qn_json_put(&j, "text", describe_text(v));
    return j;
}

enum qins_status qn_validate(const struct qn_validate_options *options,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err)
{
    struct validation v = {.options = options, .monitor = monitor};
    bool chosen[N_TESTS];
    json_t *results = json_object();
    *report = NULL;
    enum qins_status st = choose_tests(options->tests, chosen, err);
    if (st == QINS_OK)
        st = open_models(&v, err);
    if (st == QINS_OK) {
        v.context = qn_window_size(&v.models[MODEL]->config, options->context, monitor);
        st = open_corpus(&v, err);
    }
    for (int i = 0; i < N_TESTS && st == QINS_OK; i++) {
        json_t *result = NULL;
        if (!chosen[i])
            continue;
        st = tests[i].run(&v, &result, err);
        if (st == QINS_OK)
            qn_json_put(&results, tests[i].name, result);
    }
    if (st == QINS_OK) {
        *report = begin_report(&v);
        qn_json_put(report, "tests", results);
        results = NULL;
        if (!*report)
            st = qn_fail_memory(err);
    }
    json_decref(results);
    qn_corpus_finish(&v.corpus);
    qn_transport_finish(&v.transport);
    for (int i = 0; i < N_MODELS; i++)
        qn_model_destroy(v.models[i]);
    return st;
}
