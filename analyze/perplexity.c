#include "analyze/perplexity.h"

#include "analyze/prediction.h"
#include "core/clock.h"
#include "model/kernels.h"
#include "model/native.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What came out of a window, of each model. */
struct sums {
    double sum[QN_PREDICTORS], squares[QN_PREDICTORS];
};

struct job {
    struct qn_window_run run;
    const struct qn_ids *ids;
    const struct qn_perplexity_options *options;
    const char *what;
    const struct qn_kernels *kernels;
    uint64_t text_windows;       /* that the text has */
    struct sums *slots, total;   /* [threads] */
    double *each[QN_PREDICTORS]; /* of all windows, or NULL */
    double *kl;                  /* [scored], or NULL */
    uint8_t *same;               /* [scored]: same likeliest token */
};

static bool adds_bos(const struct qn_perplexity_options *o)
{
    return o->style == QN_PPL_LLAMA_CPP && o->bos >= 0;
}

enum qins_status qn_perplexity_windows(const struct qn_ids *ids,
                                       const struct qn_perplexity_options *o, uint64_t *windows,
                                       struct qins_error *err)
{
    bool qins = o->style == QN_PPL_QINS;
    size_t least = qins ? 1 : 3, need = o->context + qins;
    size_t have = ids->count + adds_bos(o);
    *windows = 0;
    if (o->context < least)
        return qn_fail(err, QINS_ERR_USAGE, "a window needs %zu tokens at least, not %zu", least,
                       o->context);
    if (have < need)
        return qn_fail(err, QINS_ERR_FORMAT, "the text has %zu tokens, one window of %zu needs %zu",
                       have, o->context, need);
    *windows = (have - qins) / o->context;
    return QINS_OK;
}

/* The text's window that is the ITEM-th of those that are run. */
static uint64_t window_of(const struct job *j, uint64_t item)
{
    return qn_spread_evenly(item, j->run.windows, j->text_windows);
}

/* Ids of a window and the target behind it, where the text has one. */
static size_t fill(void *ctx, uint64_t item, uint32_t *out)
{
    const struct job *j = ctx;
    const uint64_t window = window_of(j, item);
    size_t context = j->options->context, bos = adds_bos(j->options), skip = window == 0 ? bos : 0;
    size_t from = (size_t)window * context + skip - bos, left = j->ids->count - from;
    size_t n = context + 1 - skip < left ? context + 1 - skip : left;
    memcpy(out + skip, j->ids->data + from, n * sizeof *out);
    if (bos)
        out[0] = (uint32_t)j->options->bos;
    return context;
}

static void score(const struct job *j, const struct qn_predicted *p, int model, uint64_t at)
{
    const size_t vocab = j->run.models[model]->config.vocab;
    struct sums *s = &j->slots[p->slot];
    for (size_t i = 0; i < p->count; i++) {
        const float *row = p->logits[model] + i * vocab;
        double nll = j->kernels->log_sum_exp(row, vocab) - (double)row[p->ids[p->first + i + 1]];
        s->sum[model] += nll;
        s->squares[model] += nll * nll;
        if (j->each[model])
            j->each[model][at + i] = nll;
    }
}

static void use(void *ctx, const struct qn_predicted *p)
{
    const struct job *j = ctx;
    const size_t vocab = j->run.models[0]->config.vocab, each = j->run.end - j->run.first;
    const uint64_t at = p->window * each + p->first - j->run.first;
    for (int i = 0; i < QN_PREDICTORS && j->run.models[i]; i++)
        score(j, p, i, at);
    if (!j->kl)
        return;
    for (size_t i = 0; i < p->count; i++) {
        const float *model = p->logits[0] + i * vocab, *candidate = p->logits[1] + i * vocab;
        j->same[at + i] = j->kernels->argmax(model, vocab) == j->kernels->argmax(candidate, vocab);
        j->kl[at + i] = qn_kl_of_logits(model, qn_log_sum_exp(model, vocab), candidate, vocab);
    }
}

static enum qins_status emit(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct job *j = ctx;
    struct sums *s = &j->slots[slot];
    for (int i = 0; i < QN_PREDICTORS && j->run.models[i]; i++) {
        if (!isfinite(s->sum[i])) {
            char where[64];
            snprintf(where, sizeof where, "in window %" PRIu64, window_of(j, item));
            return qn_model_not_finite(j->run.models[i], where, err);
        }
        j->total.sum[i] += s->sum[i];
        j->total.squares[i] += s->squares[i];
    }
    *s = (struct sums){{0}};
    qn_progress_of(j->run.monitor, j->what, "tokens", (item + 1) * j->options->context,
                   j->run.windows * j->options->context);
    return QINS_OK;
}

static uint64_t scored(const struct job *j)
{
    return j->run.windows * (j->run.end - j->run.first);
}

static void sum_up(const struct job *j, int model, double seconds, struct qn_perplexity *out)
{
    uint64_t tokens = scored(j);
    double n = (double)tokens, mean = j->total.sum[model] / n;
    double variance = j->total.squares[model] / n - mean * mean;
    *out = (struct qn_perplexity){
        .mean_nll = mean,
        .standard_error = tokens < 2 ? NAN : sqrt(variance > 0.0 ? variance / (n - 1.0) : 0.0),
        .perplexity = exp(mean),
        .windows = j->run.windows,
        .tokens = tokens,
        .seconds = seconds,
        .tokens_per_s = (double)(j->run.windows * j->options->context) / seconds,
        .compute = j->run.counts[model],
        .each = j->each[model],
    };
}

static enum qins_status allocate(struct job *j, struct qins_error *err)
{
    const size_t n = (size_t)scored(j) + 1;
    bool good = (j->slots = calloc(j->run.threads, sizeof *j->slots)) != NULL;
    for (int i = 0; i < QN_PREDICTORS && j->run.models[i] && j->options->each; i++)
        good = good && (j->each[i] = calloc(n, sizeof *j->each[i])) != NULL;
    if (j->run.models[1]) {
        good = good && (j->kl = calloc(n, sizeof *j->kl)) != NULL;
        good = good && (j->same = calloc(n, sizeof *j->same)) != NULL;
    }
    return good ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status run(struct job *j, struct qn_perplexity *out,
                            struct qn_divergence *divergence, struct qins_error *err)
{
    const struct qn_perplexity_options *o = j->options;
    const double begun = qn_seconds();
    enum qins_status st = qn_perplexity_windows(j->ids, o, &j->text_windows, err);
    j->run.windows = j->text_windows;
    if (o->max_windows && o->max_windows < j->run.windows)
        j->run.windows = o->max_windows;
    if (st == QINS_OK)
        st = allocate(j, err);
    if (st == QINS_OK)
        st = qn_predict_windows(&j->run, err);
    if (st == QINS_OK && divergence)
        qn_divergence_sum_up(j->kl, j->same, scored(j), j->run.windows, divergence);
    for (int i = 0; i < QN_PREDICTORS && j->run.models[i]; i++) {
        if (st == QINS_OK)
            sum_up(j, i, divergence ? j->run.seconds[i] : qn_seconds() - begun, &out[i]);
        else
            free(j->each[i]);
    }
    free(j->slots);
    free(j->kl);
    free(j->same);
    return st;
}

enum qins_status qn_perplexity_pair(const struct qn_model *model, const struct qn_model *candidate,
                                    const struct qn_ids *ids,
                                    const struct qn_perplexity_options *options, const char *what,
                                    const struct qn_monitor *monitor, struct qn_perplexity out[2],
                                    struct qn_divergence *divergence, struct qins_error *err)
{
    const bool qins = options->style == QN_PPL_QINS;
    const size_t n = options->context;
    struct job j = {
        .run = {.models = {model, candidate},
                .context = n,
                .first = qins ? 0 : n / 2,
                .end = qins ? n : n - 1,
                .threads = options->threads,
                .fill = fill,
                .use = use,
                .emit = emit,
                .ctx = &j,
                .monitor = monitor},
        .ids = ids,
        .options = options,
        .what = what,
        .kernels = qn_kernels(),
    };
    return run(&j, out, divergence, err);
}

enum qins_status qn_perplexity(const struct qn_model *m, const struct qn_ids *ids,
                               const struct qn_perplexity_options *options, const char *what,
                               const struct qn_monitor *monitor, struct qn_perplexity *out,
                               struct qins_error *err)
{
    return qn_perplexity_pair(m, NULL, ids, options, what, monitor, out, NULL, err);
}

void qn_perplexity_finish(struct qn_perplexity *p)
{
    free(p->each);
    p->each = NULL;
}

void qn_perplexity_compare(const struct qn_perplexity *first, const struct qn_perplexity *second,
                           struct qn_perplexity_difference *out)
{
    double n = (double)first->tokens, mean = 0.0, squares = 0.0;
    for (uint64_t i = 0; i < first->tokens; i++)
        mean += second->each[i] - first->each[i];
    mean /= n;
    for (uint64_t i = 0; i < first->tokens; i++) {
        double d = second->each[i] - first->each[i] - mean;
        squares += d * d;
    }
    *out = (struct qn_perplexity_difference){
        .mean_nll = mean,
        .standard_error = first->tokens < 2 ? NAN : sqrt(squares / n / (n - 1.0)),
        .ratio = exp(mean),
    };
}
