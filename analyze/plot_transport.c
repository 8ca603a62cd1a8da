/* Pictures of layers on coded inputs: errors by shape and by layer, coefficients, decodes. */
#include "analyze/plot_assets.h"
#include "analyze/plot_model.h"
#include "analyze/report_curves.h"
#include "analyze/report_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_KAPPAS = 64,
    MAX_ORDER = 4,
    MAX_ROWS = 40,    /* of a picture */
    MAX_COLUMNS = 96, /* of a map; more channels share them */
    MAX_PROJECTIONS = 8
};

/* Larger errors are left out of pictures: an output of that error is worth nothing. */
#define MOST_SHOWN 3.0

/* Curves in their order in the data, as assets/transport-error.gp has it. */
enum series {
    SERIES_DECODE,
    SERIES_SPLIT,                             /* one an order */
    SERIES_SIGN = SERIES_SPLIT + MAX_ORDER,   /* with a plane of signs */
    SERIES_LITERAL = SERIES_SIGN + MAX_ORDER, /* its output decoded */
    SERIES_LITERAL_PLAIN,
    SERIES_TANGENT,
    SERIES
};

/* Sums of logarithms: what is shown of several layers is their geometric mean. */
struct log_mean {
    double sum;
    size_t n;
};

struct curves {
    size_t layers, kappas;
    double kappa[MAX_KAPPAS];
    struct log_mean error[SERIES][MAX_KAPPAS], absmax, clip, ridge[MAX_ORDER],
        ridge_kappa[MAX_ORDER];
};

static void add_log(struct log_mean *m, double value)
{
    if (value > 0.0 && isfinite(value)) {
        m->sum += log(value);
        m->n++;
    }
}

/* NaN unless all of N have it. */
static double mean_of(const struct log_mean *m, size_t n)
{
    return m->n == n && n > 0 ? exp(m->sum / (double)n) : (double)NAN;
}

static double number_at(const json_t *array, size_t i)
{
    const json_t *v = json_array_get(array, i);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

static bool is_text(const json_t *object, const char *key, const char *text)
{
    return strcmp(qn_report_text(object, key), text) == 0;
}

/* SERIES for a curve that is not shown. */
static int series_of(const json_t *curve)
{
    const double order = qn_report_number(curve, "order");
    const bool best = is_text(curve, "clip", "best");
    if (is_text(curve, "method", "decode"))
        return best ? SERIES_DECODE : SERIES;
    if (is_text(curve, "method", "split") && best && order >= 1.0 && order <= MAX_ORDER)
        return (json_is_true(json_object_get(curve, "sign_plane")) ? SERIES_SIGN : SERIES_SPLIT) +
               (int)order - 1;
    if (is_text(curve, "method", "jacobian-literal"))
        return json_is_true(json_object_get(curve, "output_decoded")) ? SERIES_LITERAL
                                                                      : SERIES_LITERAL_PLAIN;
    return is_text(curve, "method", "jacobian-tangent") ? SERIES_TANGENT : SERIES;
}

static void add_curve(struct curves *c, const json_t *curve)
{
    const json_t *kappas = json_object_get(curve, "kappa"),
                 *errors = json_object_get(curve, "relative_error_test");
    const int series = series_of(curve);
    for (size_t i = 0; i < json_array_size(kappas) && i < MAX_KAPPAS; i++) {
        const double kappa = number_at(kappas, i), error = number_at(errors, i);
        if (i >= c->kappas)
            c->kappa[c->kappas++] = kappa;
        if (c->kappa[i] != kappa)
            continue; /* not of the same study */
        if (series < SERIES)
            add_log(&c->error[series][i], error);
        if (is_text(curve, "method", "decode") && kappa == 0.0)
            add_log(is_text(curve, "clip", "best") ? &c->clip : &c->absmax, error);
    }
}

static void add_layer(struct curves *c, const json_t *layer)
{
    const json_t *curve, *m;
    size_t i;
    json_array_foreach(json_object_get(layer, "curves"), i, curve)
    {
        add_curve(c, curve);
    }
    json_array_foreach(json_object_get(layer, "methods"), i, m)
    {
        const double order = qn_report_number(m, "order");
        if (!is_text(m, "method", "ridge") || !is_text(m, "choice", "order") ||
            !(order >= 1.0 && order <= MAX_ORDER))
            continue;
        add_log(&c->ridge[(int)order - 1], qn_report_number(m, "relative_error_test"));
        add_log(&c->ridge_kappa[(int)order - 1], 1.0 + qn_report_number(m, "kappa"));
    }
    c->layers++;
}

/* *LEAST and *MOST: of the errors shown. */
static void put_curves(struct qn_plotter *p, const struct curves *c, const char *title, char *known,
                       double *least, double *most)
{
    qn_plot_text(p, title);
    qn_plot_end_row(p);
    qn_plot_end_block(p, 1, 1);
    for (int s = 0; s < SERIES; s++) {
        size_t rows = 0;
        for (size_t i = 0; i < c->kappas; i++) {
            const double error = mean_of(&c->error[s][i], c->layers);
            if (isnan(error))
                continue;
            qn_plot_number(p, c->kappa[i]);
            qn_plot_number(p, error);
            *least = fmin(*least, error);
            *most = fmax(*most, error);
            qn_plot_end_row(p);
            rows++;
        }
        known[s] = rows ? '1' : '0';
        qn_plot_end_block(p, rows, 2);
    }
    size_t rows = 0;
    for (int k = 0; k < MAX_ORDER; k++) {
        const double error = mean_of(&c->ridge[k], c->layers);
        if (isnan(error))
            continue;
        qn_plot_number(p, mean_of(&c->ridge_kappa[k], c->layers) - 1.0);
        qn_plot_number(p, error);
        *least = fmin(*least, error);
        qn_plot_number(p, k + 1);
        qn_plot_end_row(p);
        rows++;
    }
    known[SERIES] = rows ? '1' : '0';
    known[SERIES + 1] = '\0';
    qn_plot_end_block(p, rows, 3);
}

static enum qins_status plot_curves(struct qn_plotter *p, const struct curves *c,
                                    const struct qn_plot *plot, const char *title, double bits,
                                    struct qins_error *err)
{
    char known[SERIES + 2];
    double least = 1.0, most = 0.1;
    if (c->layers == 0 || c->kappas == 0)
        return QINS_OK;
    enum qins_status st = qn_plot_begin(p, plot->name, err);
    if (st != QINS_OK)
        return st;
    put_curves(p, c, title, known, &least, &most);
    const double absmax = mean_of(&c->absmax, c->layers), clip = mean_of(&c->clip, c->layers);
    return qn_plot_end(
        p, plot, 1, qn_asset_transport_error_gp, err,
        "absmax = %.9g\nclip = %.9g\nbits = %.0f\nlow = %.3g\nhigh = %.3g\nknown = \"%s\"\n",
        isnan(absmax) ? 0.0 : absmax, isnan(clip) ? 0.0 : clip, bits, 0.7 * least,
        fmin(1.3 * most, MOST_SHOWN), known);
}

/* The line of a layer's METHODS that is so. */
static const json_t *find_method(const json_t *layer, const char *method, const char *choice,
                                 bool uniform)
{
    const json_t *m;
    size_t i;
    json_array_foreach(json_object_get(layer, "methods"), i, m)
    {
        if (is_text(m, "method", method) && is_text(m, "choice", choice) &&
            (!uniform || qn_report_number(m, "kappa") == 0.0))
            return m;
    }
    return NULL;
}

void qn_native_errors(const json_t *layer, struct qn_native_errors *out)
{
    static const char key[] = "relative_error_test";
    const double chosen = qn_report_number(layer, "chosen");
    out->line = chosen >= 0.0 && chosen < 1e6
                    ? json_array_get(json_object_get(layer, "methods"), (size_t)chosen)
                    : NULL;
    out->decode_line = find_method(layer, "decode", "best", false);
    out->clip_line = find_method(layer, "decode", "order", true);
    out->chosen = qn_report_number(out->line, key);
    out->decode = qn_report_number(out->decode_line, key);
    out->clip = qn_report_number(out->clip_line, key);
    out->absmax = qn_report_number(find_method(layer, "decode", "fixed", true), key);
}

/* The layer whose chosen error is in the middle. */
static const json_t *median_layer(const json_t *layers)
{
    const json_t *layer, *best = NULL;
    size_t i, least = SIZE_MAX;
    json_array_foreach(layers, i, layer)
    {
        struct qn_native_errors e, other;
        size_t k, below = 0, above = 0;
        const json_t *l;
        qn_native_errors(layer, &e);
        json_array_foreach(layers, k, l)
        {
            qn_native_errors(l, &other);
            below += other.chosen < e.chosen;
            above += other.chosen > e.chosen;
        }
        const size_t off = below > above ? below - above : above - below;
        if (!isnan(e.chosen) && off < least) {
            least = off;
            best = layer;
        }
    }
    return best;
}

/* The roles that the study has, in its order. */
static size_t projections_of(const json_t *layers, const char *names[MAX_PROJECTIONS])
{
    const json_t *layer;
    size_t i, n = 0;
    json_array_foreach(layers, i, layer)
    {
        const char *name = qn_report_text(layer, "projection");
        size_t k = 0;
        while (k < n && strcmp(names[k], name) != 0)
            k++;
        if (k == n && n < MAX_PROJECTIONS && *name)
            names[n++] = name;
    }
    return n;
}

static double bits_of(const json_t *study)
{
    const double bits = qn_report_number(json_object_get(study, "settings"), "bits");
    return bits > 0.0 ? bits : 8.0;
}

static enum qins_status plot_one_layer(struct qn_plotter *p, const json_t *study,
                                       struct qins_error *err)
{
    const struct qn_plot plot = {
        .name = "transport-error",
        .caption = "Error of one layer (the one in the middle by its error) against kappa, best "
                   "scale each, on test rows. Split comes down to about what decoding before the "
                   "product leaves on the same grid; ridge, which mixes channels, may go below. "
                   "Dotted: split with a plane of signs besides. Errors above 3 are left out.",
        .alt = "error of a native layer against kappa",
        .tensor = -1};
    const json_t *layer = median_layer(json_object_get(study, "layers"));
    struct curves *c = calloc(1, sizeof *c);
    if (!c)
        return qn_fail_memory(err);
    if (layer)
        add_layer(c, layer);
    enum qins_status st =
        plot_curves(p, c, &plot, qn_report_text(layer, "name"), bits_of(study), err);
    free(c);
    return st;
}

static enum qins_status plot_projections(struct qn_plotter *p, const json_t *study,
                                         struct qins_error *err)
{
    struct qn_plot plot = {.caption = "Error against kappa, the geometric mean of all native "
                                      "layers of a kind.",
                           .alt = "error of native layers of a kind against kappa",
                           .tensor = -1};
    const json_t *layers = json_object_get(study, "layers"), *layer;
    const char *names[MAX_PROJECTIONS];
    const size_t n = projections_of(layers, names);
    struct curves *c = malloc(sizeof *c);
    enum qins_status st = QINS_OK;
    size_t i;
    char title[96];
    if (!c)
        return qn_fail_memory(err);
    for (size_t k = 0; k < n && st == QINS_OK; k++) {
        *c = (struct curves){0};
        json_array_foreach(layers, i, layer)
        {
            if (is_text(layer, "projection", names[k]))
                add_layer(c, layer);
        }
        snprintf(plot.name, sizeof plot.name, "transport-error-%zu", k + 1);
        snprintf(title, sizeof title, "%.40s, mean of %zu", names[k], c->layers);
        st = plot_curves(p, c, &plot, title, bits_of(study), err);
    }
    free(c);
    return st;
}

static void put_layer(struct qn_plotter *p, const json_t *layer, const struct qn_native_errors *e)
{
    const double expert = qn_report_number(layer, "expert");
    char label[96];
    int used = snprintf(label, sizeof label, "%.40s %.0f", qn_report_text(layer, "projection"),
                        qn_report_number(layer, "layer"));
    if (expert >= 0.0 && used > 0 && (size_t)used < sizeof label)
        snprintf(label + used, sizeof label - (size_t)used, ".%.0f", expert);
    qn_plot_text(p, label);
    qn_plot_number(p, e->chosen);
    qn_plot_number(p, e->decode);
    qn_plot_number(p, e->clip);
    qn_plot_end_row(p);
}

enum qins_status qn_plot_native_layers(struct qn_plotter *p, const char *name, const json_t *study,
                                       double bar, struct qins_error *err)
{
    struct qn_plot plot = {.caption = "Error of each native layer on test rows, mean |difference| "
                                      "over mean |output|, beside decoding its input "
                                      "and the clipped uniform grid. Of many layers some, evenly "
                                      "spread.",
                           .alt = "error of each native layer",
                           .tensor = -1};
    const json_t *layers = json_object_get(study, "layers"), *layer;
    const char *names[MAX_PROJECTIONS];
    const size_t n = projections_of(layers, names), step = json_array_size(layers) / MAX_ROWS + 1;
    size_t i, seen = 0, rows = 0;
    snprintf(plot.name, sizeof plot.name, "%s", name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    for (size_t k = 0; k < n; k++)
        json_array_foreach(layers, i, layer)
        {
            struct qn_native_errors e;
            qn_native_errors(layer, &e);
            if (!is_text(layer, "projection", names[k]) || isnan(e.chosen) || seen++ % step != 0)
                continue;
            put_layer(p, layer, &e);
            rows++;
        }
    return qn_plot_end(p, &plot, rows, qn_asset_transport_layers_gp, err,
                       "rows = %zu\nbits = %.0f\nbar = %.9g\n", rows, bits_of(study), bar);
}

static enum qins_status plot_decodes(struct qn_plotter *p, const json_t *transport,
                                     struct qins_error *err)
{
    struct qn_plot plot = {.name = "transport-decodes",
                           .caption =
                               "Counted in one forward pass, as more layers become native: tensors "
                               "decoded when each product decodes its input (pattern A) and as the "
                               "transport has it (B), and the products of planes that B makes "
                               "instead.",
                           .alt = "decodes of a forward pass by stage",
                           .tensor = -1};
    const json_t *stages = json_object_get(transport, "stages"), *stage;
    double largest = 1.0;
    size_t i, rows = 0;
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    json_array_foreach(stages, i, stage)
    {
        const json_t *a = json_object_get(stage, "pattern_a"),
                     *b = json_object_get(stage, "pattern_b");
        const double values[] = {qn_report_number(a, "decodes"), qn_report_number(b, "decodes"),
                                 qn_report_number(b, "plane_products")};
        qn_plot_text(p, qn_report_text(stage, "stage"));
        for (int k = 0; k < 3; k++) {
            qn_plot_number(p, values[k]);
            largest = fmax(largest, isfinite(values[k]) ? values[k] : 0.0);
        }
        qn_plot_end_row(p);
        rows++;
    }
    return qn_plot_end(p, &plot, rows, qn_asset_transport_decodes_gp, err,
                       "rows = %zu\nlargest = %.9g\n", rows, largest);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* A plane's coefficients as cells of row ROW: how far from the plane's median. */
static void put_plane(struct qn_plotter *p, const struct qn_table *t, size_t plane, size_t row,
                      const char *label, double scale, double *sorted)
{
    const size_t columns = t->rows < MAX_COLUMNS ? t->rows : MAX_COLUMNS;
    char text[96];
    for (size_t i = 0; i < t->rows; i++)
        sorted[i] = t->data[i * t->columns + plane];
    qsort(sorted, t->rows, sizeof *sorted, ascending);
    const double median = sorted[t->rows / 2];
    snprintf(text, sizeof text, "%s c%zu %+.3f", label, plane + 1, median / scale);
    for (size_t c = 0; c < columns; c++) {
        const size_t first = c * t->rows / columns, end = (c + 1) * t->rows / columns;
        double sum = 0.0;
        for (size_t i = first; i < end; i++)
            sum += t->data[i * t->columns + plane];
        const double deviation =
            median != 0.0 ? sum / (double)(end - first) / median - 1.0 : (double)NAN;
        qn_plot_number(p, (double)first);
        qn_plot_number(p, (double)end);
        qn_plot_number(p, (double)row);
        qn_plot_number(p, fmin(fmax(deviation, -1.0), 1.0));
        qn_plot_text(p, text);
        qn_plot_end_row(p);
    }
}

struct map {
    const json_t *transport;
    const char *projection;
    struct qn_checkpoint *curves;
    size_t rows, channels;
};

/* INPUT's planes, where its first layer is of the map's projection. */
static enum qins_status put_input(struct qn_plotter *p, struct map *m, size_t number,
                                  const json_t *input, struct qins_error *err)
{
    const json_t *layer =
        qn_report_find(json_object_get(m->transport, "layers"), "input", (double)number);
    const char *group = qn_report_text(input, "curves");
    struct qn_table t;
    char label[32];
    if (!*group || !is_text(layer, "projection", m->projection))
        return QINS_OK;
    enum qins_status st = qn_table_read(m->curves, group, "coefficients", 1, &t, err);
    if (st != QINS_OK)
        return st;
    const double scale = qn_report_number(input, "scale");
    double *sorted = calloc(t.rows + 1, sizeof *sorted);
    snprintf(label, sizeof label, "%.0f", qn_report_number(layer, "layer"));
    if (sorted && t.rows > 0 && scale > 0.0 && (m->rows == 0 || m->channels == t.rows)) {
        m->channels = t.rows;
        for (size_t k = 0; k < t.columns && m->rows < MAX_ROWS; k++)
            put_plane(p, &t, k, m->rows++, label, scale, sorted);
    }
    st = sorted ? QINS_OK : qn_fail_memory(err);
    free(sorted);
    qn_table_finish(&t);
    return st;
}

static enum qins_status plot_maps(struct qn_plotter *p, const struct qn_plot_input *in,
                                  const json_t *transport, struct qins_error *err)
{
    struct qn_plot plot = {.caption =
                               "Coefficients of each input of a kind, channels across, a "
                               "row a plane: \"2 c3 +0.1\" is layer 2, the plane of t\xc2\xb3, "
                               "whose median is 0.1 scales. Colour: how far from it.",
                           .alt = "map of coefficients by channel and plane",
                           .tensor = -1};
    const char *names[MAX_PROJECTIONS];
    const size_t n = projections_of(json_object_get(transport, "layers"), names);
    enum qins_status st = QINS_OK;
    for (size_t k = 0; k < n && st == QINS_OK; k++) {
        struct map m = {.transport = transport, .projection = names[k], .curves = in->curves};
        const json_t *input;
        size_t i;
        snprintf(plot.name, sizeof plot.name, "transport-map-%zu", k + 1);
        st = qn_plot_begin(p, plot.name, err);
        json_array_foreach(json_object_get(transport, "inputs"), i, input)
        {
            if (st == QINS_OK)
                st = put_input(p, &m, i, input, err);
        }
        if (st == QINS_OK)
            st = qn_plot_end(p, &plot, m.rows, qn_asset_transport_map_gp, err,
                             "rows = %zu\nchannels = %zu\n", m.rows, m.channels);
    }
    return st;
}

enum qins_status qn_plot_transport(struct qn_plotter *p, const struct qn_plot_input *in,
                                   struct qins_error *err)
{
    const json_t *transport = json_object_get(in->report, "transport"),
                 *study = json_object_get(transport, "study");
    if (!json_is_object(transport))
        return QINS_OK;
    enum qins_status st = plot_one_layer(p, study, err);
    if (st == QINS_OK)
        st = qn_plot_native_layers(p, "transport-layers", study, 0.0, err);
    if (st == QINS_OK)
        st = plot_decodes(p, transport, err);
    if (st == QINS_OK)
        st = plot_projections(p, study, err);
    return st == QINS_OK ? plot_maps(p, in, transport, err) : st;
}
