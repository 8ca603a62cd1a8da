#include "analyze/perplexity_report.h"
#include "analyze/validate_report.h"

#include <math.h>
#include <stdlib.h>

/* Test D. */

enum { MODEL, CANDIDATE };

static const char *const styles[] = {"qins", "llama.cpp"};
static const char *const source = "implementation-roadmap.md, Phase 1, test D: either is enough";
/* Either is enough: the seeds' |dPPL| <= 0.1 or |relative| <= 0.5 %. */
static const double max_difference = 0.1, max_relative_difference = 0.005;

/* NLL of the tokens of a text, a row for each model. */
struct losses {
    double *of[QN_PREDICTORS];
    uint64_t n, windows;
};

static void losses_finish(struct losses *l)
{
    for (int i = 0; i < QN_PREDICTORS; i++)
        free(l->of[i]);
}

static enum qins_status losses_init(struct losses *l, uint64_t n, uint64_t windows,
                                    struct qins_error *err)
{
    *l = (struct losses){.n = n, .windows = windows};
    for (int i = 0; i < QN_PREDICTORS; i++)
        if (!(l->of[i] = calloc((size_t)n, sizeof(double))))
            return qn_fail_memory(err);
    return QINS_OK;
}

/* What running a model over the windows took. */
static void put_cost(json_t **j, const struct qn_validation *v, const struct qn_pass_cost *cost,
                     double seconds, int which)
{
    const double tokens = (double)cost->run * (double)v->windows.context;
    qn_json_put(j, "seconds", qn_json_real(seconds));
    qn_json_put(j, "tokens_per_s", qn_json_real(tokens / seconds));
    qn_json_put(j, "compute", qn_compute_figures(&cost->compute[which]));
    if (cost->resumed > 0)
        qn_json_put(j, "partial", json_true());
}

/* The I-th of windows of SCORED positions each. */
static const struct qn_nll *nll_at(const void *const *windows, size_t scored, uint64_t i)
{
    return (const struct qn_nll *)windows[i / scored] + i % scored;
}

/* The model's own figures. */
static enum qins_status run_alone(struct qn_validation *v, struct losses *l, json_t **out,
                                  struct qins_error *err)
{
    const size_t scored = qn_text_windows_scored(&v->windows);
    struct qn_pass_cost cost;
    const void **nll = NULL;
    enum qins_status st = qn_validation_nll(v, "nll", &v->windows, 0, &nll, &cost, err);
    for (uint64_t i = 0; i < l->n && st == QINS_OK; i++)
        l->of[MODEL][i] = nll_at(nll, scored, i)->of[MODEL];
    free(nll);
    if (st != QINS_OK)
        return st;
    json_t *j = json_object(), *model = json_object();
    qn_put_perplexity(&model, l->of[MODEL], l->n, l->windows);
    qn_json_put(&model, "windows", json_integer((json_int_t)l->windows));
    put_cost(&model, v, &cost, cost.seconds, MODEL);
    qn_json_put(&j, qn_validation_keys[MODEL], model);
    qn_json_put(&j, "errors_by", qn_json_batches(l->windows));
    *out = j;
    return QINS_OK;
}

static enum qins_status run_both(struct qn_validation *v, struct losses *l, json_t **out,
                                 struct qins_error *err)
{
    struct qn_positions p;
    enum qins_status st = qn_validation_positions(v, &p, err);
    if (st == QINS_OK)
        st = qn_perplexity_report(&p, out, err);
    if (st != QINS_OK)
        return st;
    for (int i = 0; i < QN_PREDICTORS; i++) {
        json_t *figures = json_incref(json_object_get(*out, qn_validation_keys[i]));
        put_cost(&figures, v, &v->positions_cost, v->positions_cost.model_seconds[i], i);
        if (!figures)
            return qn_fail_memory(err);
        json_decref(figures);
        qn_position_column(&p, offsetof(struct qn_position, nll) + (size_t)i * sizeof(double),
                           l->of[i]);
    }
    return QINS_OK;
}

uint64_t qn_perplexity_shared(const struct qn_text_windows *text, const struct qn_text_windows *w)
{
    return w->style == text->style || w->bos < 0 ? text->count : 0;
}

/* What llama-perplexity would score. Without a BOS to put in, its windows are ours but for one at
 * the end that has no token behind it, and the tokens that it scores are among ours. */
static enum qins_status llama_losses(struct qn_validation *v, const struct qn_text_windows *w,
                                     const struct losses *ours, struct losses *l,
                                     struct qins_error *err)
{
    const size_t scored = qn_text_windows_scored(w);
    const uint64_t shared = qn_perplexity_shared(&v->windows, w);
    const size_t all = qn_text_windows_scored(&v->windows), first = w->first - v->windows.first;
    struct qn_pass_cost cost;
    const void **nll = NULL;
    enum qins_status st = losses_init(l, w->count * scored, w->count, err);
    if (st == QINS_OK)
        st = qn_validation_nll(v, "llama.cpp", w, shared, &nll, &cost, err);
    for (int k = 0; k < QN_PREDICTORS && st == QINS_OK; k++) {
        for (uint64_t i = 0; i < shared * scored; i++)
            l->of[k][i] = ours->of[k][i / scored * all + first + i % scored];
        for (uint64_t i = shared * scored; i < l->n; i++)
            l->of[k][i] = nll_at(nll, scored, i - shared * scored)->of[k];
    }
    free(nll);
    return st;
}

/* Errors as llama-perplexity has them: tokens are taken as independent. */
static json_t *llama_figures(const struct qn_validation *v, const struct losses *l)
{
    json_t *j = json_object();
    qn_json_put(&j, "context", json_integer((json_int_t)v->context));
    qn_json_put(&j, "windows", json_integer((json_int_t)l->windows));
    for (int i = 0; i <= CANDIDATE && (i == MODEL || v->compares); i++) {
        json_t *figures = json_object();
        qn_put_perplexity(&figures, l->of[i], l->n, 1);
        qn_json_put(&j, qn_validation_keys[i], figures);
    }
    if (v->compares)
        qn_json_put(&j, "difference",
                    qn_perplexity_difference(l->of[MODEL], l->of[CANDIDATE], l->n, 1));
    return j;
}

/* Left out where its windows score nothing. */
static enum qins_status put_llama(struct qn_validation *v, const struct losses *ours, json_t **j,
                                  struct qins_error *err)
{
    struct qn_text_windows w;
    struct losses l = {0};
    if (qn_text_windows_init(&w, &v->corpus.ids, v->context, QN_PPL_LLAMA_CPP, v->corpus.bos,
                             NULL) != QINS_OK)
        return QINS_OK;
    enum qins_status st = llama_losses(v, &w, ours, &l, err);
    if (st == QINS_OK)
        qn_json_put(j, "llama_cpp", llama_figures(v, &l));
    losses_finish(&l);
    return st;
}

/* The number under NAME, NaN where it is null: what was not finite. */
static double figure(const json_t *j, const char *name)
{
    const json_t *value = json_object_get(j, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void judge(json_t **j)
{
    const json_t *d = json_object_get(*j, "difference");
    json_t *thresholds = json_object();
    const double ratio = figure(d, "perplexity_ratio");
    const double difference = figure(d, "perplexity");
    bool passed = qn_validation_bar(&thresholds, "perplexity_difference", fabs(difference),
                                    "<=", max_difference, source);
    passed |= qn_validation_bar(&thresholds, "perplexity_relative_difference", fabs(ratio - 1.0),
                                "<=", max_relative_difference, source);
    qn_json_put(j, "passed", json_boolean(passed));
    qn_json_put(j, "thresholds", thresholds);
}

static enum qins_status run(struct qn_validation *v, json_t **result, struct qins_error *err)
{
    const uint64_t windows = v->windows.count;
    struct losses l;
    json_t *figures = NULL, *j = json_object();
    enum qins_status st =
        losses_init(&l, windows * qn_text_windows_scored(&v->windows), windows, err);
    if (st == QINS_OK)
        st = (v->compares ? run_both : run_alone)(v, &l, &figures, err);
    if (st == QINS_OK && v->compares)
        judge(&figures);
    else if (st == QINS_OK)
        qn_json_put(&figures, "passed", json_null());
    if (st == QINS_OK)
        st = put_llama(v, &l, &figures, err);
    qn_json_put(&j, "style", json_string(styles[v->windows.style]));
    qn_json_put(&j, "context", json_integer((json_int_t)v->context));
    if (st == QINS_OK && (!j || !figures || json_object_update(j, figures) != 0))
        st = qn_fail_memory(err);
    json_decref(figures);
    losses_finish(&l);
    return qn_validation_end(st, j, result, err);
}

static enum qins_status collect(struct qn_validation *v, struct qins_error *err)
{
    struct qn_text_windows w;
    struct qn_pass_cost cost;
    enum qins_status st =
        v->compares ? qn_validation_collect(v, err)
                    : qn_validation_collect_nll(v, "nll", &v->windows, 0, &v->positions_cost, err);
    if (st == QINS_OK && qn_text_windows_init(&w, &v->corpus.ids, v->context, QN_PPL_LLAMA_CPP,
                                              v->corpus.bos, NULL) == QINS_OK)
        st = qn_validation_collect_nll(v, "llama.cpp", &w, qn_perplexity_shared(&v->windows, &w),
                                       &cost, err);
    return st;
}

const struct qn_validate_test qn_test_perplexity = {
    .name = "perplexity", .run = run, .collect = collect};
