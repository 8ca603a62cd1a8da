#include "analyze/long_windows.h"

#include "analyze/divergence.h"
#include "model/kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL, CANDIDATE };

/* What a position has; a journal item is those of a window. */
struct point {
    double match;          /* 1: the same likeliest token; else 0 */
    double kl;             /* KL(model || candidate), nats */
    double nll_difference; /* of the token that follows: candidate's less model's, nats */
};

struct work {
    struct qn_validation *v;
    const struct qn_long_windows *w;
    struct point *points; /* [slots][context] */
    int *not_finite;      /* [slots]: number of a model, or -1 */
};

/* Where the text's window begins that is the ITEM-th of those that are run. */
static uint64_t begin_of(const struct qn_long_windows *w, uint64_t item)
{
    return qn_spread_evenly(item, w->windows, w->of) * w->context;
}

static size_t fill(void *ctx, uint64_t item, uint32_t *ids)
{
    const struct work *k = ctx;
    memcpy(ids, k->v->corpus.ids.data + begin_of(k->w, item), (k->w->context + 1) * sizeof *ids);
    return k->w->context;
}

static void use(void *ctx, const struct qn_predicted *p)
{
    const struct work *k = ctx;
    const struct qn_kernels *kernels = qn_kernels();
    const size_t vocab = k->v->models[MODEL]->config.vocab;
    struct point *points = k->points + p->slot * k->w->context + p->first;
    for (size_t i = 0; i < p->count; i++) {
        const float *rows[QN_PREDICTORS] = {p->logits[MODEL] + i * vocab,
                                            p->logits[CANDIDATE] + i * vocab};
        const uint32_t next = p->ids[p->first + i + 1];
        double sums[QN_PREDICTORS], nll[QN_PREDICTORS];
        for (int m = 0; m < QN_PREDICTORS; m++) {
            sums[m] = qn_log_sum_exp(rows[m], vocab);
            nll[m] = sums[m] - (double)rows[m][next];
            if (!isfinite(sums[m]))
                k->not_finite[p->slot] = m;
        }
        points[i] = (struct point){
            .match = kernels->argmax(rows[MODEL], vocab) == kernels->argmax(rows[CANDIDATE], vocab),
            .kl = qn_kl_of_logits(rows[MODEL], sums[MODEL], rows[CANDIDATE], vocab),
            .nll_difference = nll[CANDIDATE] - nll[MODEL],
        };
    }
}

static enum qins_status emit(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    const struct work *k = ctx;
    const size_t n = k->w->context;
    if (k->not_finite[slot] >= 0) {
        char where[96];
        snprintf(where, sizeof where, "in the window of %zu tokens at token %" PRIu64, n,
                 begin_of(k->w, item));
        return qn_model_not_finite(k->v->models[k->not_finite[slot]], where, err);
    }
    enum qins_status st =
        qn_journal_add(k->v->journal, k->w->test, k->points + slot * n, n * sizeof *k->points, err);
    qn_progress_of(k->v->monitor, "long context", "tokens", (item + 1) * n, k->w->windows * n);
    return st;
}

enum qins_status qn_long_windows_run(struct qn_validation *v, const struct qn_long_windows *w,
                                     struct qins_error *err)
{
    const unsigned slots = v->options->threads > 1 ? v->options->threads : 1;
    struct work k = {.v = v, .w = w};
    struct qn_window_run run = {
        .models = {v->models[MODEL], v->models[CANDIDATE]},
        .kv = {v->kv[MODEL], v->kv[CANDIDATE]},
        .context = w->context,
        .end = w->context,
        .skip = qn_journal_count(v->journal, w->test),
        .windows = w->windows,
        .threads = slots,
        .fill = fill,
        .use = use,
        .emit = emit,
        .ctx = &k,
        .monitor = v->monitor,
    };
    if (run.skip >= run.windows)
        return QINS_OK;
    k.points = calloc(slots * w->context, sizeof *k.points);
    k.not_finite = calloc(slots, sizeof *k.not_finite);
    for (unsigned i = 0; k.not_finite && i < slots; i++)
        k.not_finite[i] = -1;
    enum qins_status st =
        k.points && k.not_finite ? qn_predict_windows(&run, err) : qn_fail_memory(err);
    for (int i = 0; i < QN_PREDICTORS && st == QINS_OK; i++)
        qn_compute_counts_add(&v->compute[i], &run.counts[i]);
    if (st == QINS_OK)
        qn_kv_counts_add(&v->kv_counts, &run.kv_counts[CANDIDATE]);
    free(k.points);
    free(k.not_finite);
    return st;
}

/* Figures of positions BEGIN … END - 1 of all windows, window after window. */
static void gather(const void *const *points, const struct qn_long_windows *w, size_t begin,
                   size_t end, size_t field, double *out)
{
    for (uint64_t i = 0; i < w->windows; i++)
        for (size_t at = begin; at < end; at++)
            memcpy(out++, (const char *)((const struct point *)points[i] + at) + field,
                   sizeof *out);
}

static const struct {
    const char *name;
    size_t field;
} figures[] = {
    {"match", offsetof(struct point, match)},
    {"kl", offsetof(struct point, kl)},
    {"nll_difference", offsetof(struct point, nll_difference)},
};

static void put_figures(const void *const *points, const struct qn_long_windows *w, size_t begin,
                        size_t end, double *scratch, json_t **j)
{
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        gather(points, w, begin, end, figures[i].field, scratch);
        qn_json_put_estimate(j, figures[i].name,
                             qn_estimate_mean(scratch, w->windows * (end - begin), w->windows));
    }
}

static json_t *eighths(const void *const *points, const struct qn_long_windows *w, double *scratch)
{
    json_t *all = json_array();
    for (size_t i = 0; i < QN_EIGHTHS; i++) {
        const size_t begin = i * w->context / QN_EIGHTHS, end = (i + 1) * w->context / QN_EIGHTHS;
        json_t *j = json_object();
        qn_json_put(&j, "begin", json_integer((json_int_t)begin));
        qn_json_put(&j, "end", json_integer((json_int_t)end));
        put_figures(points, w, begin, end, scratch, &j);
        qn_json_append(&all, j);
    }
    return all;
}

static json_t *report(const void *const *points, const struct qn_long_windows *w, double *scratch,
                      struct qn_stability *found)
{
    const size_t quarter = w->context / 4;
    const uint64_t n = w->windows * quarter;
    double *late = scratch + n;
    json_t *j = json_object();
    gather(points, w, 0, w->context, offsetof(struct point, match), scratch);
    found->match = qn_mean(scratch, w->windows * w->context);
    put_figures(points, w, 0, w->context, scratch, &j);
    gather(points, w, 0, quarter, offsetof(struct point, match), scratch);
    gather(points, w, w->context - quarter, w->context, offsetof(struct point, match), late);
    const struct qn_estimate drift = qn_estimate_difference(scratch, late, n, w->windows);
    found->late = qn_mean(late, n);
    found->drift = drift.value;
    qn_json_put(&j, "early", qn_json_real(qn_mean(scratch, n)));
    qn_json_put(&j, "late", qn_json_real(found->late));
    qn_json_put_estimate(&j, "drift", drift);
    qn_json_put(&j, "errors_by", qn_json_batches(w->windows));
    qn_json_put(&j, "eighths", eighths(points, w, scratch));
    return j;
}

enum qins_status qn_long_windows_report(const struct qn_validation *v,
                                        const struct qn_long_windows *w, struct qn_stability *found,
                                        json_t **out, struct qins_error *err)
{
    const void **points;
    double *scratch = NULL;
    enum qins_status st = qn_validation_items(v, w->test, w->windows,
                                              w->context * sizeof(struct point), &points, err);
    *out = NULL;
    if (st == QINS_OK)
        scratch = calloc((size_t)w->windows, w->context * sizeof *scratch);
    if (scratch)
        *out = report(points, w, scratch, found);
    else if (st == QINS_OK)
        st = qn_fail_memory(err);
    free(points);
    free(scratch);
    return st;
}
