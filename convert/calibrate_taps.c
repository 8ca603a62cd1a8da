#include "convert/calibrate_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)QN_CALIBRATION_CELLS == (int)QN_ABS_CELLS, "the file's cells are the kernel's");

static void clear_extremes(struct qn_partial *p, size_t channels)
{
    for (size_t i = 0; i < channels; i++) {
        p->sums.min[i] = INFINITY;
        p->sums.max[i] = -INFINITY;
    }
}

void qn_partial_place(struct qn_partial *p, size_t channels, double *sums, float *extremes,
                      uint64_t *histogram)
{
    *p = (struct qn_partial){.sums = {
                                 .sum = sums,
                                 .sum_abs = sums + channels,
                                 .sum_squares = sums + 2 * channels,
                                 .min = extremes,
                                 .max = extremes + channels,
                                 .histogram = histogram,
                             }};
    clear_extremes(p, channels);
}

enum qins_status qn_tap_slot_init(struct qn_tap_slot *s, const struct qn_calibrating *job,
                                  struct qins_error *err)
{
    const struct qn_tap_list *taps = &job->taps;
    const struct qn_model_config *c = &job->m->config;
    size_t channels = 0, at = 0;
    for (size_t i = 0; i < taps->n; i++)
        channels += taps->points[i].channels;
    s->points = calloc(taps->n + 1, sizeof *s->points);
    s->sums = calloc(channels + 1, 3 * sizeof *s->sums);
    s->extremes = calloc(channels + 1, 2 * sizeof *s->extremes);
    s->histograms = calloc(taps->n + 1, QN_PARTIAL_CELLS * sizeof *s->histograms);
    s->experts = calloc((size_t)c->n_layers * c->n_experts + 1, sizeof *s->experts);
    if (!s->points || !s->sums || !s->extremes || !s->histograms || !s->experts)
        return qn_fail_memory(err);
    for (size_t i = 0; i < taps->n; i++) {
        const size_t n = taps->points[i].channels;
        qn_partial_place(&s->points[i], n, s->sums + 3 * at, s->extremes + 2 * at,
                         s->histograms + i * QN_PARTIAL_CELLS);
        at += n;
    }
    return QINS_OK;
}

void qn_tap_slot_finish(struct qn_tap_slot *s)
{
    free(s->points);
    free(s->sums);
    free(s->extremes);
    free(s->histograms);
    free(s->experts);
}

/* The row of the batch that POSITION is, counted among those that go to EXPERT; false if it goes
 * elsewhere. */
static bool routed_row(const struct qn_tap_worker *w, uint64_t base, uint64_t position,
                       uint32_t expert, size_t *row)
{
    const size_t k = w->job->m->config.experts_per_token, at = (size_t)(position - base);
    size_t before = 0;
    for (size_t i = 0; i <= at; i++)
        for (size_t e = 0; e < k; e++)
            if (w->chosen[i * k + e] == expert) {
                *row = before++;
                if (i == at)
                    return true;
            }
    return false;
}

/* Copies those of the rows that are to be kept. */
static void keep_rows(const struct qn_tap_worker *w, size_t point, const float *x, size_t rows,
                      size_t stride)
{
    const struct qn_windows *windows = &w->job->windows;
    const struct qn_large_store *store = &w->job->store;
    const struct qn_tap_point *tap = &w->job->taps.points[point];
    const bool expert =
        w->job->m->config.n_experts > 0 && (tap->kind == QN_TAP_MLP || tap->kind == QN_TAP_DOWN);
    const uint64_t base = expert ? w->routed[tap->layer] - w->chosen_rows : w->seen[point];
    const uint64_t end = base + (expert ? w->chosen_rows : rows);
    float *kept = store->rows[point - store->begin];
    for (size_t i = windows->first[w->window]; i < windows->first[w->window + 1]; i++) {
        const uint32_t k = windows->order[i], position = windows->kept[k].position;
        size_t row = (size_t)(position - base);
        if (position < base || position >= end)
            continue;
        if (expert && !routed_row(w, base, position, tap->expert, &row))
            continue;
        memcpy(kept + (size_t)k * tap->channels, x + row * stride, tap->channels * sizeof *x);
        store->have[point - store->begin][k] = true;
    }
}

static void on_rows(void *ctx, size_t point, const float *x, size_t rows, size_t stride)
{
    struct qn_tap_worker *w = ctx;
    struct qn_calibrating *job = w->job;
    struct qn_large_store *store = &job->store;
    const uint32_t channels = job->taps.points[point].channels;
    if (job->pass == 0) {
        struct qn_partial *p = &w->slot->points[point];
        qn_kernels()->moments(&p->sums, x, rows, channels, stride);
        p->rows += rows;
    }
    if (point >= store->begin && point < store->end) {
        if (store->rows)
            keep_rows(w, point, x, rows, stride);
        if (store->gram) {
            job->torn = true;
            if (!qn_gram_add(&store->gram[point - store->begin], job->pool, &store->scratch, x,
                             rows, stride))
                w->out_of_memory = true;
        }
    }
    w->seen[point] += rows;
}

static void on_experts(void *ctx, uint32_t layer, const uint32_t *chosen, size_t rows)
{
    struct qn_tap_worker *w = ctx;
    const struct qn_model_config *c = &w->job->m->config;
    const size_t n = rows * c->experts_per_token;
    for (size_t i = 0; i < n && w->job->pass == 0; i++)
        w->slot->experts[(size_t)layer * c->n_experts + chosen[i]]++;
    memcpy(w->chosen, chosen, n * sizeof *chosen);
    w->chosen_rows = rows;
    w->routed[layer] += rows;
}

enum qins_status qn_tap_worker_init(struct qn_tap_worker *w, struct qn_calibrating *job,
                                    struct qins_error *err)
{
    const struct qn_model_config *c = &job->m->config;
    const struct qn_tap_point *last = &job->taps.points[job->taps.n - 1];
    const size_t context = job->c.options.context;
    if (job->pass > 0) /* only what is looked at closely */
        last = &job->taps.points[job->store.end - 1];
    const bool all = last->kind == QN_TAP_HEAD;
    *w = (struct qn_tap_worker){.job = job};
    w->listener = (struct qn_listener){.ctx = w,
                                       .rows = on_rows,
                                       .experts = c->n_experts ? on_experts : NULL,
                                       .last_layer = all ? UINT32_MAX : last->layer};
    w->seen = calloc(job->taps.n, sizeof *w->seen);
    w->routed = calloc(c->n_layers, sizeof *w->routed);
    w->chosen = calloc(context * c->experts_per_token + 1, sizeof *w->chosen);
    if (!w->seen || !w->routed || !w->chosen)
        return qn_fail_memory(err);
    const struct qn_session_options options = {
        .positions = context, .pool = job->pool, .listener = &w->listener};
    return qn_session_create(&w->session, job->m, &options, err);
}

void qn_tap_worker_finish(struct qn_tap_worker *w)
{
    qn_session_destroy(w->session);
    free(w->seen);
    free(w->routed);
    free(w->chosen);
}

void qn_tap_worker_begin(struct qn_tap_worker *w, struct qn_tap_slot *slot, size_t window)
{
    w->slot = slot;
    w->window = window;
    memset(w->seen, 0, w->job->taps.n * sizeof *w->seen);
    memset(w->routed, 0, w->job->m->config.n_layers * sizeof *w->routed);
    qn_session_reset(w->session);
}

/* Most cells of a window are empty: groups of them are looked at together. */
static void add_histogram(uint64_t *into, uint64_t *from)
{
    enum { GROUP = 16 };
    for (size_t i = 0; i < QN_ABS_CELLS; i += GROUP) {
        uint64_t any = 0;
        for (size_t k = 0; k < GROUP; k++)
            any |= from[i + k];
        for (size_t k = 0; k < GROUP && any; k++) {
            into[i + k] += from[i + k];
            from[i + k] = 0;
        }
    }
}

static void add_extremes(struct qn_calibration_point *into, const struct qn_partial *p)
{
    for (size_t i = 0; i < into->channels; i++) {
        const float low = p->sums.min[i], high = p->sums.max[i];
        if (into->rows == 0 || low < into->min[i])
            into->min[i] = low;
        if (into->rows == 0 || high > into->max[i])
            into->max[i] = high;
    }
}

static bool add_sums(struct qn_calibration_point *into, const struct qn_partial *p)
{
    const double *const sums[QN_SUM_COUNT] = {p->sums.sum, p->sums.sum_abs, p->sums.sum_squares};
    double check = 0.0;
    for (enum qn_sum k = QN_SUM; k < QN_SUM_COUNT; k++) {
        double *sum = qn_point_sum(into, k), *low = qn_point_sum_low(into, k);
        for (size_t i = 0; i < into->channels; i++) {
            qn_sum_add(&sum[i], &low[i], sums[k][i], 0.0);
            check += fabs(sums[k][i]);
        }
    }
    return isfinite(check);
}

enum qins_status qn_partial_emit(struct qn_calibration_point *into, struct qn_partial *p,
                                 struct qins_error *err)
{
    if (p->rows == 0)
        return QINS_OK;
    if (!add_sums(into, p))
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, into->name, QN_NO_OFFSET,
                          "its activations are not finite");
    add_extremes(into, p);
    add_histogram(into->histogram, p->sums.histogram);
    for (int i = 0; i < 3; i++) {
        into->signs[i] += p->sums.counts[i];
        p->sums.counts[i] = 0;
    }
    into->rows += p->rows;
    p->rows = 0;
    memset(p->sums.sum, 0, 3 * (size_t)into->channels * sizeof *p->sums.sum);
    clear_extremes(p, into->channels);
    return QINS_OK;
}

enum qins_status qn_tap_slot_emit(struct qn_calibrating *job, struct qn_tap_slot *s, size_t window,
                                  struct qins_error *err)
{
    const struct qn_window *item = &job->windows.items[window];
    struct qn_access *a = &job->c.access;
    const size_t experts = (size_t)a->n_layers * a->n_experts;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < job->c.n_points && st == QINS_OK; i++)
        st = qn_partial_emit(&job->c.points[i], &s->points[i], err);
    for (size_t i = 0; i < experts; i++) {
        a->experts[i] += s->experts[i];
        s->experts[i] = 0;
    }
    for (size_t i = 0; i < item->n; i++)
        a->embedding[job->corpus->ids.data[item->first + i]]++;
    return st == QINS_OK ? st : qn_error_in_file(err, st, job->m->path);
}
