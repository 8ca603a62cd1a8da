/* The lower convex hull of all that a tensor could be coded as. */
#include "analyze/report_figures.h"

#include <math.h>
#include <stdlib.h>

struct point {
    double bytes, error;
    const struct qn_candidate *candidate;
    enum qn_codec_id codec;
    size_t place; /* before sorting: of points that are alike, the first is shown */
};

static size_t collect(const struct qn_candidate_list *list, bool coded, struct point *to)
{
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct qn_candidate *c = &list->items[i];
        const enum qn_codec_id codec = coded ? qn_candidate_best_coder(c) : QN_CODEC_BITPACK;
        const uint64_t bytes = qn_candidate_bytes(c, codec);
        if (bytes > 0 && isfinite(c->error))
            to[n++] = (struct point){(double)bytes, c->error, c, codec, 0};
    }
    return n;
}

static int by_bytes(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    if (x->error != y->error)
        return x->error < y->error ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static json_t *describe(const struct point *p, uint64_t n)
{
    const struct qn_candidate *c = p->candidate;
    json_t *j = json_object();
    qn_json_put(&j, "bits", qn_json_real(8.0 * p->bytes / (double)n));
    qn_json_put(&j, "sqnr_db", qn_json_real(c->sqnr_db));
    qn_json_put(&j, "granularity", json_string(qn_granularity_name(c->granularity)));
    qn_json_put(&j, "levels", json_integer(c->levels));
    qn_json_put(&j, "kappa", qn_json_real((double)c->kappa));
    qn_json_put(&j, "clip", qn_json_real((double)c->clip));
    qn_json_put(&j, "codec", json_string(qn_codec_name(p->codec)));
    return j;
}

enum qins_status qn_report_hull(const struct qn_candidate_list *fixed,
                                const struct qn_candidate_list *coded, uint64_t n, json_t **out,
                                struct qins_error *err)
{
    const size_t room = 2 * fixed->count + coded->count + 1;
    struct point *points = calloc(room, sizeof *points);
    double *x = calloc(room, sizeof *x), *y = calloc(room, sizeof *y);
    size_t *hull = calloc(room, sizeof *hull);
    json_t *j = json_array();
    enum qins_status st = QINS_OK;
    if (!points || !x || !y || !hull || !j) {
        st = qn_fail_memory(err);
    } else {
        size_t count = collect(fixed, false, points);
        count += collect(fixed, true, points + count);
        count += collect(coded, true, points + count);
        for (size_t i = 0; i < count; i++)
            points[i].place = i;
        qsort(points, count, sizeof *points, by_bytes);
        for (size_t i = 0; i < count; i++) {
            x[i] = points[i].bytes;
            y[i] = points[i].error;
        }
        size_t n_hull = qn_convex_hull(x, y, count, hull);
        for (size_t i = 0; i < n_hull && st == QINS_OK; i++)
            if (json_array_append_new(j, describe(&points[hull[i]], n)) != 0)
                st = qn_fail_memory(err);
    }
    free(points);
    free(x);
    free(y);
    free(hull);
    if (st != QINS_OK) {
        json_decref(j);
        j = NULL;
    }
    *out = j;
    return st;
}
