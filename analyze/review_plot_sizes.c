/* Pictures of what coding costs and saves: error by layer, the V cache, sizes against decoding. */
#include "analyze/plot_assets.h"
#include "analyze/plot_model.h"
#include "analyze/report_build.h"
#include "analyze/report_json.h"
#include "analyze/review_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 1000, MAX_OTHERS = 6, COMPONENT = 64 };

/* What stands in a tensor's place in a model. */
struct place {
    long layer;
    char component[COMPONENT];
    double sqnr_db, p99;
};

struct layers {
    struct place *places;
    size_t n, exact;
    long last;
    char kinds[QN_REVIEW_SERIES][COMPONENT];
    int n_kinds;
};

static int find_kind(const struct layers *l, const char *component)
{
    int k = 0;
    while (k < l->n_kinds && strcmp(l->kinds[k], component) != 0)
        k++;
    return k;
}

static void add_place(struct layers *l, const json_t *tensor)
{
    struct place *p = &l->places[l->n];
    qn_report_component(qn_report_text(tensor, "name"), &p->layer, p->component, COMPONENT);
    p->sqnr_db = qn_report_number(tensor, "sqnr_db");
    p->p99 = qn_report_number(tensor, "p99_rel_error");
    if (isnan(p->sqnr_db)) {
        l->exact++;
        return;
    }
    if (p->layer > MAX_LAYERS)
        return;
    const int kind = find_kind(l, p->component);
    if (p->layer >= 0 && kind == l->n_kinds) {
        if (kind == QN_REVIEW_SERIES)
            return;
        memcpy(l->kinds[l->n_kinds++], p->component, COMPONENT);
    }
    l->last = p->layer > l->last ? p->layer : l->last;
    l->n++;
}

/* Least SQNR and largest error of KIND's tensors in LAYER (experts share both). */
static void worst_of(const struct layers *l, const char *kind, long layer, double *sqnr_db,
                     double *p99)
{
    *sqnr_db = NAN;
    *p99 = NAN;
    for (size_t i = 0; i < l->n; i++) {
        const struct place *p = &l->places[i];
        if (p->layer != layer || strcmp(p->component, kind) != 0)
            continue;
        *sqnr_db = fmin(*sqnr_db, p->sqnr_db); /* of a number and NaN: the number */
        *p99 = fmax(*p99, p->p99);
    }
}

/* A row a layer: its number, then SQNR and error in per cent of each kind. */
static void put_layers(struct qn_plotter *p, const struct layers *l)
{
    size_t rows = 0;
    if (l->n_kinds > 0) {
        qn_plot_text(p, "layer");
        for (int k = 0; k < l->n_kinds; k++)
            for (int column = 0; column < 2; column++)
                qn_plot_name(p, l->kinds[k]);
        qn_plot_end_row(p);
        for (long layer = 0; layer <= l->last; layer++, rows++) {
            qn_plot_number(p, (double)layer);
            for (int k = 0; k < l->n_kinds; k++) {
                double sqnr_db, p99;
                worst_of(l, l->kinds[k], layer, &sqnr_db, &p99);
                qn_plot_number(p, sqnr_db);
                qn_plot_number(p, 100.0 * p99);
            }
            qn_plot_end_row(p);
        }
    }
    qn_plot_end_block(p, rows, 3);
}

/* Tensors that belong to no layer, and their names. */
static size_t put_others(struct qn_plotter *p, const struct layers *l)
{
    size_t rows = 0;
    for (size_t i = 0; i < l->n && rows < MAX_OTHERS; i++) {
        const struct place *t = &l->places[i];
        if (t->layer >= 0)
            continue;
        qn_plot_number(p, (double)(l->last + 1) + (double)rows);
        qn_plot_number(p, t->sqnr_db);
        qn_plot_number(p, 100.0 * t->p99);
        qn_plot_name(p, t->component);
        qn_plot_end_row(p);
        rows++;
    }
    qn_plot_end_block(p, rows, 4);
    return rows;
}

static enum qins_status plot_layers(struct qn_plotter *p, const struct qn_review *r, size_t file,
                                    const json_t *tensors, struct qins_error *err)
{
    struct qn_plot plot = {
        .caption = "Error of each quantised tensor by layer and kind: signal to noise, and the "
                   "99th percentile of the relative error, each with the seeds' bar (a cosine of "
                   "0.9999 is about 37 dB). The worst where several share a place; exact tensors "
                   "are left out.",
        .alt = "error by layer and kind of tensor",
        .tensor = -1};
    struct layers l = {.last = -1};
    const json_t *tensor;
    size_t i, others;
    l.places = calloc(json_array_size(tensors) + 1, sizeof *l.places);
    if (!l.places)
        return qn_fail_memory(err);
    json_array_foreach(tensors, i, tensor)
    {
        add_place(&l, tensor);
    }
    enum qins_status st = QINS_OK;
    if (l.n > 0) {
        qn_review_plot_name(QN_REVIEW_LAYERS, file, plot.name, sizeof plot.name);
        st = qn_plot_begin(p, plot.name, err);
        if (st == QINS_OK) {
            qn_review_plot_label(p, r, &r->evidence->files[file]);
            qn_plot_end_row(p);
            qn_plot_end_block(p, 1, 1);
            put_layers(p, &l);
            others = put_others(p, &l);
            st = qn_plot_end(p, &plot, 1, qn_asset_review_layers_gp, err,
                             "kinds = %d\nlast = %ld\nothers = %zu\n", l.n_kinds, l.last, others);
        }
    }
    free(l.places);
    return st;
}

/* Whether a validation has compared the tensors of the archive that F, a report of verify, is of.
 */
static bool is_validated(const struct qn_evidence *e, const struct qn_evidence_file *f)
{
    const char *hash = qn_report_text(f->report, "archive_hash");
    for (size_t i = 0; i < e->n; i++)
        if (qn_review_test(&e->files[i], "consistency") &&
            strcmp(hash, qn_report_text(json_object_get(e->files[i].report, "candidate"),
                                        "archive_hash")) == 0)
            return true;
    return false;
}

/* What criteria allow of the errors in F, or 0. */
static double bar_of_layers(const struct qn_review *r, const struct qn_evidence_file *f)
{
    const json_t *gate, *criterion;
    size_t i, k;
    json_array_foreach(json_object_get(r->json, "gates"), i, gate)
    {
        json_array_foreach(json_object_get(gate, "criteria"), k, criterion)
        {
            const double bar = qn_report_number(criterion, "threshold");
            if (qn_review_kind(qn_report_text(criterion, "plot")) == QN_REVIEW_LAYERS &&
                strcmp(qn_report_text(criterion, "evidence"), f->path) == 0 &&
                *qn_report_text(criterion, "comparison") == '<' && bar > 0.0)
                return bar;
        }
    }
    return 0.0;
}

static enum qins_status plot_all_layers(struct qn_plotter *p, const struct qn_review *r,
                                        struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    size_t drawn = 0;
    for (size_t i = 0; i < r->evidence->n && st == QINS_OK; i++) {
        const struct qn_evidence_file *f = &r->evidence->files[i];
        const bool native = strcmp(f->schema, QN_TRANSPORT_REPORT) == 0;
        const json_t *test = qn_review_test(f, "consistency");
        if (!test && strcmp(f->schema, QN_VERIFY_SCHEMA) == 0 && !is_validated(r->evidence, f))
            test = f->report;
        const json_t *tensors = json_object_get(test, "tensors");
        if ((!native && json_array_size(tensors) == 0) || !qn_review_draws(r, i, drawn++))
            continue;
        char name[sizeof((struct qn_plot *)0)->name];
        qn_review_plot_name(QN_REVIEW_LAYERS, i, name, sizeof name);
        st = native ? qn_plot_native_layers(p, name, f->report, bar_of_layers(r, f), err)
                    : plot_layers(p, r, i, tensors, err);
    }
    return st;
}

/* Bits a value, as the waterfall has bytes. */
static bool put_bits(struct qn_plotter *p, const char *what, double bits, int colour,
                     double *largest)
{
    static const double float16_bits = 16.0;
    char text[64];
    if (!(bits > 0.0))
        return false;
    if (bits == float16_bits)
        snprintf(text, sizeof text, "16 bits");
    else
        snprintf(text, sizeof text, "%.2f bits, %.2f\xc3\x97", bits, float16_bits / bits);
    qn_plot_text(p, what);
    qn_plot_number(p, bits);
    qn_plot_text(p, text);
    fprintf(p->data, "%d\n", colour);
    *largest = fmax(*largest, bits);
    return true;
}

static enum qins_status plot_kv(struct qn_plotter *p, const struct qn_review *r,
                                struct qins_error *err)
{
    enum { PLAIN = 0x6e7781, PACKED = 0x0072b2, OLD = 0x56b4e9, HELD = 0x009e73 };
    static const struct {
        const char *what, *bytes, *values;
        int colour;
    } lines[] = {{"full pages", "packed_bytes", "packed_values", PACKED},
                 {"old pages, coded", "old_bytes", "old_values", OLD},
                 {"all, mean over lengths", NULL, NULL, HELD}};
    struct qn_plot plot = {
        .caption =
            "What the V cache takes, bits a value with headers and scales, against "
            "float16: full pages as packed, the old ones entropy-coded, and the whole cache, "
            "with the float32 page that is being filled, over all lengths that windows had "
            "while they grew. Counted during validation.",
        .alt = "size of the V cache",
        .tensor = -1};
    double largest = 0.0;
    size_t rows = 0;
    qn_review_plot_name(QN_REVIEW_KV_CACHE, 0, plot.name, sizeof plot.name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < r->evidence->n; i++) {
        const struct qn_evidence_file *f = &r->evidence->files[i];
        const json_t *kv = json_object_get(f->report, "kv_cache");
        if (strcmp(f->schema, QN_VALIDATION_SCHEMA) != 0 || !json_is_object(kv))
            continue;
        if (rows == 0)
            rows += put_bits(p, "float16", 16.0, PLAIN, &largest);
        for (size_t k = 0; k < sizeof lines / sizeof *lines; k++) {
            char what[64];
            snprintf(what, sizeof what, "%.0f bit, %s [%zu]", qn_report_number(kv, "bits"),
                     lines[k].what, qn_review_number(r, f->path));
            const double bits = lines[k].bytes ? 8.0 * qn_report_number(kv, lines[k].bytes) /
                                                     qn_report_number(kv, lines[k].values)
                                               : 16.0 / qn_report_number(kv, "mean_held_ratio_f16");
            rows += put_bits(p, what, bits, lines[k].colour, &largest);
        }
    }
    return qn_plot_end(p, &plot, rows > 1, qn_asset_waterfall_gp, err,
                       "rows = %zu\nlargest = %.9g\n", rows, largest);
}

/* Coders as curves of points, and what they lie within. */
struct points {
    size_t coders, n;
    double fastest, slowest, least, most; /* nanoseconds and bits an element */
};

/* Nanoseconds, least and most, bits, values that are coded together (0: unknown). */
static void put_point(struct qn_plotter *p, struct points *points, double ns, double low,
                      double high, double bits, double page)
{
    low = low > 0.0 ? low : ns;
    high = high > 0.0 ? high : ns;
    qn_plot_number(p, ns);
    qn_plot_number(p, low);
    qn_plot_number(p, high);
    qn_plot_number(p, bits);
    qn_plot_number(p, page > 0.0 ? page : 0.0);
    qn_plot_end_row(p);
    if (points->n++ == 0)
        *points = (struct points){points->coders, 1, low, high, bits, bits};
    points->fastest = fmin(points->fastest, low);
    points->slowest = fmax(points->slowest, high);
    points->least = fmin(points->least, bits);
    points->most = fmax(points->most, bits);
}

enum { POINT_COLUMNS = 5, MAX_CODERS = 2 * QN_REVIEW_SERIES };

/* Of a table of costs, docs/schemas/costs.schema.json. */
static void put_costs(struct qn_plotter *p, struct points *points, const json_t *report)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json_object_get(report, "decode_ns"), key, value)
    {
        const double ns = json_is_number(value) ? json_number_value(value) : (double)NAN,
                     bits = qn_report_number(json_object_get(report, "bits_per_element"), key);
        if (!(bits > 0.0 && ns > 0.0) || points->coders == MAX_CODERS)
            continue;
        qn_plot_name(p, key);
        qn_plot_end_row(p);
        put_point(p, points, ns, qn_report_number(json_object_get(report, "decode_ns_low"), key),
                  qn_report_number(json_object_get(report, "decode_ns_high"), key), bits, 0.0);
        qn_plot_end_block(p, 1, POINT_COLUMNS);
        points->coders++;
    }
}

/* The lines of CODER in a benchmark of an archive's coders: a point a page size. */
static void put_coder(struct qn_plotter *p, struct points *points, const json_t *lines,
                      const char *coder)
{
    const json_t *line;
    size_t i, before = points->n;
    json_array_foreach(lines, i, line)
    {
        const json_t *cost = json_object_get(line, "decode_ns");
        const double ns = qn_report_number(cost, "value"),
                     bits = qn_report_number(line, "bits_per_weight");
        if (strcmp(qn_report_text(line, "coder"), coder) != 0 || !(ns > 0.0 && bits > 0.0))
            continue;
        if (points->n == before) {
            qn_plot_name(p, coder);
            qn_plot_end_row(p);
        }
        put_point(p, points, ns, qn_report_number(cost, "low"), qn_report_number(cost, "high"),
                  bits, qn_report_number(line, "page_values"));
    }
    if (points->n > before) {
        qn_plot_end_block(p, 1, POINT_COLUMNS);
        points->coders++;
    }
}

/* Each coder once, in the order of the lines. */
static void put_coders(struct qn_plotter *p, struct points *points, const json_t *report)
{
    const json_t *lines = json_object_get(report, "coders"), *line;
    const char *seen[MAX_CODERS];
    size_t i, n = 0;
    json_array_foreach(lines, i, line)
    {
        const char *coder = qn_report_text(line, "coder");
        size_t k = 0;
        while (k < n && strcmp(seen[k], coder) != 0)
            k++;
        if (k < n || n == MAX_CODERS)
            continue;
        seen[n++] = coder;
        put_coder(p, points, lines, coder);
    }
}

/* The first report of SCHEMA that has points. */
static void put_first(struct qn_plotter *p, struct points *points, const struct qn_evidence *e,
                      const char *schema,
                      void (*put)(struct qn_plotter *, struct points *, const json_t *))
{
    for (size_t i = 0; i < e->n && points->n == 0; i++)
        if (strcmp(e->files[i].schema, schema) == 0)
            put(p, points, e->files[i].report);
}

static enum qins_status plot_trade_off(struct qn_plotter *p, const struct qn_review *r,
                                       struct qins_error *err)
{
    struct qn_plot plot = {
        .caption = "Size against decoding time of each coder on one thread: median, fastest and "
                   "slowest round. Better is lower and further left. Bits are those of the coded "
                   "values alone; those of a whole archive, given elsewhere, also count its "
                   "scales, exact tensors, index and headers. Where pages of several sizes "
                   "were measured, a line joins them and larger pages have larger marks.",
        .alt = "size against decoding time by coder",
        .tensor = -1};
    struct points points = {0};
    qn_review_plot_name(QN_REVIEW_TRADE_OFF, 0, plot.name, sizeof plot.name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    put_first(p, &points, r->evidence, QN_BENCH_SCHEMA, put_coders);
    put_first(p, &points, r->evidence, QN_COSTS_SCHEMA, put_costs);
    return qn_plot_end(p, &plot, points.n, qn_asset_review_trade_off_gp, err,
                       "coders = %zu\nfastest = %.6g\nslowest = %.6g\nleast = %.6g\nmost = %.6g\n",
                       points.coders, points.fastest, points.slowest, points.least, points.most);
}

enum qins_status qn_review_plot_sizes(struct qn_plotter *p, const struct qn_review *r,
                                      struct qins_error *err)
{
    enum qins_status st = plot_all_layers(p, r, err);
    if (st == QINS_OK)
        st = plot_kv(p, r, err);
    return st == QINS_OK ? plot_trade_off(p, r, err) : st;
}
