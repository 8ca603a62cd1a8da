#include "analyze/plot_assets.h"
#include "analyze/plot_model.h"
#include "analyze/report_curves.h"
#include "analyze/report_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Most rows and columns of the map; further kinds are left out, layers are binned. */
enum { MAX_KINDS = 16, MAX_COLUMNS = 64 };

struct cell {
    double touches;
    size_t known, classes[3], tensors;
};

static int class_number(const char *name)
{
    return strcmp(name, "hot") == 0 ? 2 : strcmp(name, "cold") == 0 ? 1 : 0;
}

static int find_kind(const char *const *kinds, int n, const char *name)
{
    int k = 0;
    while (k < n && strcmp(kinds[k], name) != 0)
        k++;
    return k;
}

struct map {
    const char *kinds[MAX_KINDS];
    int n_kinds, columns, per_column; /* the last column is of tensors without a layer */
    struct cell cells[MAX_KINDS][MAX_COLUMNS + 1];
};

static void fill_map(struct map *m, const json_t *report)
{
    const json_t *tensor;
    size_t i;
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        int kind = find_kind(m->kinds, m->n_kinds, qn_report_text(tensor, "component"));
        double layer = qn_report_number(tensor, "layer"),
               touches = qn_report_number(tensor, "access_frequency");
        int column = layer >= 0.0 && layer < (double)m->columns * m->per_column
                         ? (int)layer / m->per_column
                         : m->columns;
        if (kind == m->n_kinds || strcmp(qn_report_text(tensor, "kind"), "weight") != 0)
            continue;
        struct cell *c = &m->cells[kind][column];
        c->tensors++;
        c->classes[class_number(qn_report_text(tensor, "class"))]++;
        if (isfinite(touches)) {
            c->touches += touches;
            c->known++;
        }
    }
}

static bool any_known(const struct map *m)
{
    for (int k = 0; k < m->n_kinds; k++)
        for (int l = 0; l <= m->columns; l++) {
            const struct cell *c = &m->cells[k][l];
            if (c->known > 0 || c->classes[1] + c->classes[2] > 0)
                return true;
        }
    return false;
}

static void put_map(struct qn_plotter *p, const struct map *m)
{
    for (int k = 0; k < m->n_kinds; k++)
        for (int l = 0; l <= m->columns; l++) {
            const struct cell *c = &m->cells[k][l];
            char label[24] = "none";
            int class = c->classes[2] >= c->classes[1] ? 2 : 1;
            if (c->tensors == 0)
                continue;
            if (c->classes[class] == 0)
                class = 0;
            if (l < m->columns)
                snprintf(label, sizeof label, "%d", l * m->per_column);
            qn_plot_number(p, l);
            qn_plot_number(p, k);
            qn_plot_number(p, class);
            qn_plot_number(p, c->known ? c->touches / (double)c->known : NAN);
            qn_plot_text(p, label);
            qn_plot_name(p, m->kinds[k]);
            qn_plot_end_row(p);
        }
}

static enum qins_status plot_map(struct qn_plotter *p, const json_t *report, struct qins_error *err)
{
    struct qn_plot plot = {.name = "access-map",
                           .caption = "Hot and cold: each kind of tensor in each layer, with its "
                                      "touches a token. Where several share a place (experts), the "
                                      "mean and the class of most.",
                           .alt = "map of hot and cold tensors",
                           .tensor = -1};
    const json_t *kind;
    size_t i;
    double layers = qn_report_number(json_object_get(report, "model"), "layers");
    struct map *m = calloc(1, sizeof *m);
    if (!m)
        return qn_fail_memory(err);
    m->columns = layers >= 1.0 ? (int)fmin(layers, MAX_COLUMNS) : 0;
    m->per_column = layers > MAX_COLUMNS ? (int)ceil(fmin(layers, 1e6) / MAX_COLUMNS) : 1;
    json_array_foreach(json_object_get(report, "kinds"), i, kind)
    {
        if (m->n_kinds < MAX_KINDS && !json_is_true(json_object_get(kind, "activation")) &&
            !json_is_true(json_object_get(kind, "transport")))
            m->kinds[m->n_kinds++] = qn_report_text(kind, "kind");
    }
    fill_map(m, report);
    if (!any_known(m))
        m->n_kinds = 0; /* a map of what is not known shows nothing */
    enum qins_status st = m->n_kinds ? qn_plot_begin(p, plot.name, err) : QINS_OK;
    if (st == QINS_OK && m->n_kinds) {
        put_map(p, m);
        st = qn_plot_end(p, &plot, 1, qn_asset_access_map_gp, err, "columns = %d\nrows = %d\n",
                         m->columns + 1, m->n_kinds);
    }
    free(m);
    return st;
}

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Ranks and values of N figures, those above 0, in descending order; of many only some ranks. */
static void put_ranked(struct qn_plotter *p, double *values, size_t n)
{
    double next = 1.0;
    size_t rows = 0;
    if (n > 0)
        qsort(values, n, sizeof *values, descending);
    for (size_t i = 0; i < n && values[i] > 0.0; i++) {
        if ((double)(i + 1) < next && i + 1 < n && values[i + 1] > 0.0)
            continue;
        qn_plot_number(p, (double)(i + 1));
        qn_plot_number(p, values[i]);
        qn_plot_end_row(p);
        rows++;
        next = fmax(next + 1.0, (double)(i + 1) * 1.02); /* 1 % of a decade a step */
    }
    qn_plot_end_block(p, rows, 2);
}

static enum qins_status put_table(struct qn_plotter *p, struct qn_checkpoint *curves,
                                  const char *name, double tokens, bool *any,
                                  struct qins_error *err)
{
    struct qn_table t;
    enum qins_status st = qn_table_read(curves, "/access", name, 1, &t, err);
    size_t n = t.rows * t.columns;
    for (size_t i = 0; i < n; i++) {
        t.data[i] = isfinite(t.data[i]) ? t.data[i] / tokens : 0.0;
        *any = *any || t.data[i] > 0.0;
    }
    if (st == QINS_OK)
        put_ranked(p, t.data, n);
    qn_table_finish(&t);
    return st;
}

static enum qins_status put_tensors(struct qn_plotter *p, const json_t *report, bool *any,
                                    struct qins_error *err)
{
    const json_t *tensors = json_object_get(report, "tensors"), *tensor;
    double *values = calloc(json_array_size(tensors) + 1, sizeof *values);
    size_t i, n = 0;
    if (!values)
        return qn_fail_memory(err);
    json_array_foreach(tensors, i, tensor)
    {
        double touches = qn_report_number(tensor, "access_frequency");
        if (touches > 0.0 && isfinite(touches) &&
            strcmp(qn_report_text(tensor, "kind"), "weight") == 0)
            values[n++] = touches;
    }
    *any = *any || n > 0;
    put_ranked(p, values, n);
    free(values);
    return QINS_OK;
}

static enum qins_status plot_frequency(struct qn_plotter *p, const struct qn_plot_input *in,
                                       struct qins_error *err)
{
    struct qn_plot plot = {.name = "access-frequency",
                           .caption =
                               "How often weights are used, most used first: measured on the "
                               "calibration text. What was never used is left out.",
                           .alt = "touches a token by rank",
                           .tensor = -1};
    const json_t *access = json_object_get(in->report, "access");
    double tokens = qn_report_number(access, "tokens"),
           hot = qn_report_number(access, "hot_touches"),
           cold = qn_report_number(access, "cold_touches");
    bool any = false;
    if (!(tokens > 0.0))
        return QINS_OK;
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st == QINS_OK)
        st = put_table(p, in->curves, "embedding_rows", tokens, &any, err);
    if (st == QINS_OK)
        st = put_table(p, in->curves, "experts", tokens, &any, err);
    if (st == QINS_OK)
        st = put_tensors(p, in->report, &any, err);
    if (st != QINS_OK)
        return st;
    return qn_plot_end(p, &plot, any, qn_asset_access_frequency_gp, err,
                       "hot = %.9g\ncold = %.9g\n", hot > 0.0 ? hot : 1.0, cold > 0.0 ? cold : 1.0);
}

enum qins_status qn_plot_access(struct qn_plotter *p, const struct qn_plot_input *in,
                                struct qins_error *err)
{
    enum qins_status st = plot_map(p, in->report, err);
    return st == QINS_OK ? plot_frequency(p, in, err) : st;
}
