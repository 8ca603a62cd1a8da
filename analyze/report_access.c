/* How often weights are used: what a calibration counted. */
#include "analyze/report_build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Shares of the embedding's rows whose part in all look-ups is told. */
static const double shares[] = {0.01, 0.1};

double qn_report_touches(const struct qn_report_builder *b, const char *name)
{
    const struct qn_calibration *c = &b->calibration.c;
    uint64_t touches;
    if (!b->has_calibration || c->tokens == 0 || !qn_calibration_touches(c, name, &touches))
        return NAN;
    return (double)touches / (double)c->tokens;
}

static int descending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* SORTED counts of the rows, most used first. */
static json_t *embedding_to_json(const uint64_t *sorted, uint32_t n, double tokens)
{
    json_t *j = json_object();
    double all = 0.0, top[2] = {0.0, 0.0};
    uint32_t touched = 0, cold = 0;
    for (uint32_t i = 0; i < n; i++) {
        double x = (double)sorted[i];
        all += x;
        touched += sorted[i] > 0;
        cold += x <= QN_COLD_TOUCHES * tokens;
        for (int k = 0; k < 2; k++)
            if ((double)i < shares[k] * n)
                top[k] += x;
    }
    qn_json_put(&j, "rows", json_integer(n));
    qn_json_put(&j, "touched_rows", json_integer(touched));
    qn_json_put(&j, "cold_rows", json_integer(cold));
    qn_json_put(&j, "share_of_top_1_percent", qn_json_real(top[0] / all));
    qn_json_put(&j, "share_of_top_10_percent", qn_json_real(top[1] / all));
    return j;
}

static enum qins_status add_counts(struct qn_report_builder *b, const char *name, const char *heads,
                                   const uint64_t *counts, size_t rows, size_t columns,
                                   struct qins_error *err)
{
    const size_t n = rows * columns;
    float *table = calloc(n + 1, sizeof *table);
    if (!table)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        table[i] = (float)counts[i];
    enum qins_status st =
        qn_curves_add(&b->curves, "/access", name, heads, rows, columns, table, err);
    free(table);
    return st;
}

static enum qins_status put_embedding(struct qn_report_builder *b, json_t **j,
                                      struct qins_error *err)
{
    const struct qn_calibration *c = &b->calibration.c;
    const uint32_t n = c->access.vocab;
    uint64_t *sorted = calloc((size_t)n + 1, sizeof *sorted);
    if (!sorted)
        return qn_fail_memory(err);
    memcpy(sorted, c->access.embedding, n * sizeof *sorted);
    enum qins_status st = add_counts(b, "embedding_rows", "touches", sorted, n, 1, err);
    qsort(sorted, n, sizeof *sorted, descending);
    qn_json_put(j, "embedding", embedding_to_json(sorted, n, (double)c->tokens));
    free(sorted);
    return st;
}

static enum qins_status put_experts(struct qn_report_builder *b, json_t **j, struct qins_error *err)
{
    const struct qn_calibration *c = &b->calibration.c;
    const struct qn_access *a = &c->access;
    const size_t n = (size_t)a->n_layers * a->n_experts;
    uint64_t least = n ? a->experts[0] : 0, most = least;
    size_t cold = 0;
    for (size_t i = 0; i < n; i++) {
        least = a->experts[i] < least ? a->experts[i] : least;
        most = a->experts[i] > most ? a->experts[i] : most;
        cold += (double)a->experts[i] <= QN_COLD_TOUCHES * (double)c->tokens;
    }
    json_t *e = json_object();
    qn_json_put(&e, "layers", json_integer(a->n_layers));
    qn_json_put(&e, "experts", json_integer(a->n_experts));
    qn_json_put(&e, "cold_experts", json_integer((json_int_t)cold));
    qn_json_put(&e, "least_touches", qn_json_real((double)least / (double)c->tokens));
    qn_json_put(&e, "most_touches", qn_json_real((double)most / (double)c->tokens));
    qn_json_put(j, "experts", e);
    return add_counts(b, "experts", "tokens of each expert; a row a layer", a->experts, a->n_layers,
                      a->n_experts, err);
}

enum qins_status qn_report_access(struct qn_report_builder *b, json_t **out, struct qins_error *err)
{
    const struct qn_calibration *c = &b->calibration.c;
    enum qins_status st = QINS_OK;
    *out = json_null();
    if (!b->has_calibration || !c->has_access || c->tokens == 0)
        return QINS_OK;
    json_t *j = json_object();
    qn_json_put(&j, "tokens", json_integer((json_int_t)c->tokens));
    qn_json_put(&j, "hot_touches", qn_json_real(QN_HOT_TOUCHES));
    qn_json_put(&j, "cold_touches", qn_json_real(QN_COLD_TOUCHES));
    if (c->access.vocab > 0)
        st = put_embedding(b, &j, err);
    if (st == QINS_OK && c->access.n_experts > 0)
        st = put_experts(b, &j, err);
    *out = j;
    return st;
}
