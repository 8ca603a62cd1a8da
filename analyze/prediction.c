#include "analyze/prediction.h"

#include "core/clock.h"
#include "core/linalg.h"

#include <stdlib.h>
#include <string.h>

/* Rows of logits at a time: 64 rows of 150 000 entries take 38 MB. */
enum { LOGIT_ROWS = 64 };
static const size_t max_batch = 512;

/* What one thread runs a window with. */
struct slot {
    struct qn_session *sessions[QN_PREDICTORS];
    float *logits[QN_PREDICTORS]; /* [LOGIT_ROWS][vocab] */
    uint32_t *ids;                /* [context + 1] */
    double seconds[QN_PREDICTORS];
};

struct job {
    struct qn_window_run *p;
    struct qn_pool *pool;
    struct slot *slots;
    unsigned n_slots;
    size_t batch;
};

/* Hands out those of the positions AT ... AT + COUNT - 1, just run, that are asked for. */
static void hand_out(const struct job *j, unsigned slot, uint64_t window, size_t at, size_t count)
{
    const struct qn_window_run *p = j->p;
    struct slot *s = &j->slots[slot];
    size_t begin = p->first > at ? p->first : at;
    const size_t end = p->end < at + count ? p->end : at + count;
    while (begin < end) {
        const size_t rows = end - begin < LOGIT_ROWS ? end - begin : LOGIT_ROWS;
        struct qn_predicted out = {
            .slot = slot, .window = window, .first = begin, .count = rows, .ids = s->ids};
        for (int i = 0; i < QN_PREDICTORS && p->models[i]; i++) {
            const double begun = qn_seconds();
            qn_session_logits(s->sessions[i], begin - at, rows, s->logits[i]);
            s->seconds[i] += qn_seconds() - begun;
            out.logits[i] = s->logits[i];
        }
        p->use(p->ctx, &out);
        begin += rows;
    }
}

static enum qins_status run_window(void *ctx, unsigned slot, uint64_t window,
                                   struct qins_error *err)
{
    struct job *j = ctx;
    const struct qn_window_run *p = j->p;
    struct slot *s = &j->slots[slot];
    enum qins_status st = QINS_OK;
    memset(s->ids, 0, (p->context + 1) * sizeof *s->ids);
    const size_t n = p->fill(p->ctx, window, s->ids), end = p->end < n ? p->end : n;
    for (int i = 0; i < QN_PREDICTORS && p->models[i]; i++)
        qn_session_reset(s->sessions[i]);
    for (size_t at = 0; at < end && st == QINS_OK; at += j->batch) {
        const size_t count = n - at < j->batch ? n - at : j->batch;
        for (int i = 0; i < QN_PREDICTORS && p->models[i] && st == QINS_OK; i++) {
            const double begun = qn_seconds();
            st = qn_session_forward(s->sessions[i], s->ids + at, count, p->monitor, err);
            s->seconds[i] += qn_seconds() - begun;
        }
        if (st == QINS_OK)
            hand_out(j, slot, window, at, count);
    }
    return st;
}

static enum qins_status emit_window(void *ctx, unsigned slot, uint64_t window,
                                    struct qins_error *err)
{
    const struct job *j = ctx;
    return j->p->emit ? j->p->emit(j->p->ctx, slot, window, err) : QINS_OK;
}

/* A session a thread; where there are fewer windows than threads, one on all threads. */
static enum qins_status create_slots(struct job *j, struct qins_error *err)
{
    const struct qn_window_run *p = j->p;
    const unsigned threads = p->threads;
    enum qins_status st = QINS_OK;
    j->n_slots = threads > 1 && p->windows >= p->skip + threads ? threads : 1;
    j->slots = calloc(j->n_slots, sizeof *j->slots);
    if (!j->slots)
        return qn_fail_memory(err);
    if (j->n_slots < threads)
        st = qn_pool_create(&j->pool, threads, err);
    for (unsigned i = 0; i < j->n_slots && st == QINS_OK; i++) {
        struct qn_session_options o = {.positions = p->context, .batch = j->batch, .pool = j->pool};
        struct slot *s = &j->slots[i];
        s->ids = calloc(p->context + 1, sizeof *s->ids);
        st = s->ids ? QINS_OK : qn_fail_memory(err);
        for (int k = 0; k < QN_PREDICTORS && p->models[k] && st == QINS_OK; k++) {
            o.kv = &p->kv[k];
            s->logits[k] = malloc(LOGIT_ROWS * sizeof(float) * p->models[k]->config.vocab);
            st = s->logits[k] ? qn_session_create(&s->sessions[k], p->models[k], &o, err)
                              : qn_fail_memory(err);
        }
    }
    return st;
}

static void destroy_slots(struct job *j)
{
    for (unsigned i = 0; j->slots && i < j->n_slots; i++) {
        for (int k = 0; k < QN_PREDICTORS; k++) {
            qn_session_destroy(j->slots[i].sessions[k]);
            free(j->slots[i].logits[k]);
        }
        free(j->slots[i].ids);
    }
    free(j->slots);
    qn_pool_destroy(j->pool);
}

/* What the slots' sessions did, if all went WELL. */
static void sum_up(const struct job *j, bool well)
{
    for (int k = 0; k < QN_PREDICTORS; k++) {
        j->p->seconds[k] = 0.0;
        j->p->counts[k] = (struct qn_compute_counts){0};
        j->p->kv_counts[k] = (struct qn_kv_counts){0};
        for (unsigned i = 0; well && i < j->n_slots && j->p->models[k]; i++) {
            struct qn_compute_counts counts;
            struct qn_kv_counts kv;
            qn_session_counts(j->slots[i].sessions[k], &counts);
            qn_compute_counts_add(&j->p->counts[k], &counts);
            qn_session_kv_counts(j->slots[i].sessions[k], &kv);
            qn_kv_counts_add(&j->p->kv_counts[k], &kv);
            j->p->seconds[k] += j->slots[i].seconds[k] / j->n_slots;
        }
    }
}

enum qins_status qn_predict_windows(struct qn_window_run *p, struct qins_error *err)
{
    struct job j = {.p = p, .batch = p->context < max_batch ? p->context : max_batch};
    enum qins_status st = qn_linalg_init(err); /* before there are threads */
    if (st == QINS_OK)
        st = create_slots(&j, err);
    struct qn_ordered order = {run_window, emit_window, &j,         j.n_slots,
                               j.n_slots,  p->skip,     p->windows, p->monitor};
    if (st == QINS_OK)
        st = qn_run_ordered(&order, err);
    sum_up(&j, st == QINS_OK);
    destroy_slots(&j);
    return st;
}
