#include "analyze/perplexity.h"

#include "core/clock.h"
#include "core/linalg.h"
#include "model/kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of logits at a time: 64 rows of 150 000 entries take 38 MB. */
enum { LOGIT_ROWS = 64 };
static const size_t MAX_BATCH = 512;

/* What one thread runs a window with, and what came out of it. */
struct slot {
    struct qn_session *session;
    uint32_t *ids; /* [context + 1], with the last target */
    float *logits; /* [LOGIT_ROWS][vocab] */
    double *each;  /* of this window, or NULL */
    double sum, squares;
};

struct job {
    const struct qn_model *model;
    const struct qn_ids *ids;
    const struct qn_perplexity_options *options;
    const struct qn_monitor *monitor;
    const char *what;
    const struct qn_kernels *kernels;
    struct qn_pool *pool;
    struct slot *slots;
    unsigned n_slots;
    size_t batch, first, end; /* positions first … end-1 of a window are scored */
    uint64_t windows;
    double sum, squares;
    double *each; /* of all windows, or NULL */
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

/* Ids of window ITEM and the target behind it, where the text has one. */
static void fill_window(const struct job *j, uint64_t item, uint32_t *out)
{
    size_t context = j->options->context, bos = adds_bos(j->options), skip = item == 0 ? bos : 0;
    size_t from = (size_t)item * context + skip - bos, left = j->ids->count - from;
    size_t n = context + 1 - skip < left ? context + 1 - skip : left;
    memcpy(out + skip, j->ids->data + from, n * sizeof *out);
    if (bos)
        out[0] = (uint32_t)j->options->bos;
}

/* Scores those of the COUNT positions just run, the first of them AT in its window, that count. */
static void score(const struct job *j, struct slot *s, size_t at, size_t count)
{
    size_t vocab = j->model->config.vocab;
    size_t begin = j->first > at ? j->first : at;
    size_t end = j->end < at + count ? j->end : at + count;
    while (begin < end) {
        size_t rows = end - begin < LOGIT_ROWS ? end - begin : LOGIT_ROWS;
        qn_session_logits(s->session, begin - at, rows, s->logits);
        for (size_t i = 0; i < rows; i++) {
            const float *row = s->logits + i * vocab;
            double nll = j->kernels->log_sum_exp(row, vocab) - (double)row[s->ids[begin + i + 1]];
            s->sum += nll;
            s->squares += nll * nll;
            if (s->each)
                s->each[begin + i - j->first] = nll;
        }
        begin += rows;
    }
}

static enum qins_status run_window(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct job *j = ctx;
    struct slot *s = &j->slots[slot];
    enum qins_status st = QINS_OK;
    fill_window(j, item, s->ids);
    s->sum = s->squares = 0.0;
    s->each = j->each ? j->each + item * (j->end - j->first) : NULL;
    qn_session_reset(s->session);
    for (size_t at = 0; at < j->end && st == QINS_OK; at += j->batch) {
        size_t count = j->options->context - at < j->batch ? j->options->context - at : j->batch;
        st = qn_session_forward(s->session, s->ids + at, count, j->monitor, err);
        if (st == QINS_OK)
            score(j, s, at, count);
    }
    return st;
}

static enum qins_status add_window(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct job *j = ctx;
    if (!isfinite(j->slots[slot].sum))
        return qn_fail_at(err, QINS_ERR_FORMAT, j->model->path, NULL, QN_NO_OFFSET,
                          "the model's logits are not finite in window %" PRIu64, item);
    j->sum += j->slots[slot].sum;
    j->squares += j->slots[slot].squares;
    qn_progress_of(j->monitor, j->what, "tokens", (item + 1) * j->options->context,
                   j->windows * j->options->context);
    return QINS_OK;
}

/* A session a thread; where there are fewer windows than threads, one on all threads. */
static enum qins_status create_slots(struct job *j, struct qins_error *err)
{
    unsigned threads = j->options->threads;
    enum qins_status st = QINS_OK;
    j->n_slots = threads > 1 && j->windows >= threads ? threads : 1;
    j->slots = calloc(j->n_slots, sizeof *j->slots);
    if (!j->slots)
        return qn_fail_memory(err);
    if (j->n_slots < threads)
        st = qn_pool_create(&j->pool, threads, err);
    for (unsigned i = 0; i < j->n_slots && st == QINS_OK; i++) {
        struct qn_session_options o = {
            .positions = j->options->context, .batch = j->batch, .pool = j->pool};
        struct slot *s = &j->slots[i];
        s->ids = calloc(j->options->context + 1, sizeof *s->ids);
        s->logits = malloc(LOGIT_ROWS * sizeof *s->logits * j->model->config.vocab);
        st = s->ids && s->logits ? qn_session_create(&s->session, j->model, &o, err)
                                 : qn_fail_memory(err);
    }
    return st;
}

static void destroy_slots(struct job *j)
{
    for (unsigned i = 0; j->slots && i < j->n_slots; i++) {
        qn_session_destroy(j->slots[i].session);
        free(j->slots[i].ids);
        free(j->slots[i].logits);
    }
    free(j->slots);
    qn_pool_destroy(j->pool);
}

static uint64_t scored(const struct job *j)
{
    return j->windows * (j->end - j->first);
}

static void sum_up(const struct job *j, double seconds, struct qn_perplexity *out)
{
    uint64_t tokens = scored(j);
    double n = (double)tokens, mean = j->sum / n, variance = j->squares / n - mean * mean;
    *out = (struct qn_perplexity){
        .mean_nll = mean,
        .standard_error = tokens < 2 ? NAN : sqrt(variance > 0.0 ? variance / (n - 1.0) : 0.0),
        .perplexity = exp(mean),
        .windows = j->windows,
        .tokens = tokens,
        .seconds = seconds,
        .tokens_per_s = (double)(j->windows * j->options->context) / seconds,
    };
}

enum qins_status qn_perplexity(const struct qn_model *m, const struct qn_ids *ids,
                               const struct qn_perplexity_options *options, const char *what,
                               const struct qn_monitor *monitor, struct qn_perplexity *out,
                               struct qins_error *err)
{
    size_t n = options->context;
    bool qins = options->style == QN_PPL_QINS;
    struct job j = {
        .model = m,
        .ids = ids,
        .options = options,
        .monitor = monitor,
        .what = what,
        .kernels = qn_kernels(),
        .batch = n < MAX_BATCH ? n : MAX_BATCH,
        .first = qins ? 0 : n / 2,
        .end = qins ? n : n - 1,
    };
    double begun = qn_seconds();
    enum qins_status st = qn_perplexity_windows(ids, options, &j.windows, err);
    if (st == QINS_OK && options->each) {
        j.each = calloc((size_t)scored(&j) + 1, sizeof *j.each);
        st = j.each ? QINS_OK : qn_fail_memory(err);
    }
    if (st == QINS_OK)
        st = qn_linalg_init(err); /* before there are threads */
    if (st == QINS_OK)
        st = create_slots(&j, err);
    struct qn_ordered order = {run_window, add_window, &j,        j.n_slots,
                               j.n_slots,  0,          j.windows, monitor};
    if (st == QINS_OK)
        st = qn_run_ordered(&order, err);
    if (st == QINS_OK) {
        sum_up(&j, qn_seconds() - begun, out);
        out->each = j.each;
    } else {
        free(j.each);
    }
    destroy_slots(&j);
    return st;
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
