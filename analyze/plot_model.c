#include "analyze/plot_model.h"
#include "analyze/plot_assets.h"
#include "analyze/report_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const qn_plot_names[QN_PLOT_NAMES] = {
    "int-vs-qins",      "rate-distortion", "waterfall",  "coded-size",
    "entropy-by-layer", "entropy-by-kind", "access-map", "access-frequency"};

enum { MAX_SERIES = 8, MAX_KINDS = 20 };

/* KEYS of the items of ARRAY as columns; rows without the first two are left out. */
static void put_rows(struct qn_plotter *p, const json_t *array, const char *const *keys, int n)
{
    const json_t *item;
    size_t i, rows = 0;
    json_array_foreach(array, i, item)
    {
        if (isnan(qn_report_number(item, keys[0])) || isnan(qn_report_number(item, keys[1])))
            continue;
        for (int k = 0; k < n; k++)
            qn_plot_number(p, qn_report_number(item, keys[k]));
        qn_plot_end_row(p);
        rows++;
    }
    qn_plot_end_block(p, rows, n);
}

/* Bits and the spread under KEY. */
static void put_spread(struct qn_plotter *p, const json_t *array, const char *key)
{
    const json_t *item;
    size_t i, rows = 0;
    json_array_foreach(array, i, item)
    {
        const json_t *spread = json_object_get(item, key);
        if (isnan(qn_report_number(spread, "mean")))
            continue;
        qn_plot_number(p, qn_report_number(item, "bits"));
        qn_plot_number(p, qn_report_number(spread, "mean"));
        qn_plot_number(p, qn_report_number(spread, "min"));
        qn_plot_number(p, qn_report_number(spread, "max"));
        qn_plot_end_row(p);
        rows++;
    }
    qn_plot_end_block(p, rows, 4);
}

static enum qins_status plot_int_vs_qins(struct qn_plotter *p, const json_t *comparison,
                                         struct qins_error *err)
{
    struct qn_plot plot = {
        .name = "int-vs-qins",
        .caption =
            "Gain of QINS over INT at every rate. Above zero QINS is better. Lines are means "
            "over the matrices, bands reach from the least to the largest.",
        .alt = "SQNR gain of QINS over INT against bits a weight",
        .tensor = -1};
    const json_t *fixed = json_object_get(comparison, "fixed");
    if (json_array_size(fixed) == 0)
        return QINS_OK;
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    put_spread(p, fixed, "gain_over_absmax_db");
    put_spread(p, fixed, "gain_over_clip_db");
    put_spread(p, json_object_get(comparison, "coded"), "gain_db");
    return qn_plot_end(p, &plot, 1, qn_asset_int_vs_qins_gp, err, "%s", "");
}

/* A block each, its name on top. Returns how many. */
static size_t put_references(struct qn_plotter *p, const json_t *array)
{
    const json_t *item;
    size_t i, blocks = 0;
    json_array_foreach(array, i, item)
    {
        if (isnan(qn_report_number(item, "sqnr_db")) || blocks == MAX_SERIES)
            continue;
        qn_plot_text(p, qn_report_text(item, "name"));
        qn_plot_end_row(p);
        qn_plot_number(p, qn_report_number(item, "bits_per_weight"));
        qn_plot_number(p, qn_report_number(item, "sqnr_db"));
        qn_plot_end_row(p);
        qn_plot_end_block(p, 1, 2);
        blocks++;
    }
    return blocks;
}

/* Returns how many there are. */
static size_t put_chosen(struct qn_plotter *p, const json_t *report)
{
    static const char *const keys[] = {"bits_per_weight", "sqnr_db"};
    const json_t *tensor;
    size_t i, rows = 0;
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        const json_t *chosen = json_object_get(tensor, "chosen");
        if (strcmp(qn_report_text(chosen, "from"), "plan") != 0 ||
            isnan(qn_report_number(chosen, "sqnr_db")))
            continue;
        for (int k = 0; k < 2; k++)
            qn_plot_number(p, qn_report_number(chosen, keys[k]));
        qn_plot_end_row(p);
        rows++;
    }
    qn_plot_end_block(p, rows, 2);
    return rows;
}

static enum qins_status plot_rate_distortion(struct qn_plotter *p, const json_t *report,
                                             struct qins_error *err)
{
    static const char *const keys[][2] = {{"qins_packed_bits", "qins_sqnr_db"},
                                          {"int_packed_bits", "int_clip_sqnr_db"},
                                          {"int_packed_bits", "int_absmax_sqnr_db"},
                                          {"qins_coded_bits", "qins_sqnr_db"}};
    static const char *const coded[] = {"bits", "int_sqnr_db"}, *const hull[] = {"bits", "sqnr_db"};
    struct qn_plot plot = {
        .name = "rate-distortion",
        .caption =
            "All matrices together: signal to quantisation noise against bits a weight, with "
            "the convex hull of every candidate and, where there is a plan, its choices, one a "
            "tensor. Packed INT is at its best clip or, dashed, with absmax scales; Q4_0 and the "
            "like are llama.cpp's formats.",
        .alt = "SQNR against bits a weight of QINS, INT and llama.cpp's formats",
        .tensor = -1};
    const json_t *comparison = json_object_get(report, "comparison");
    const json_t *fixed = json_object_get(comparison, "fixed");
    if (json_array_size(fixed) == 0)
        return QINS_OK;
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        put_rows(p, fixed, keys[i], 2);
    put_rows(p, json_object_get(comparison, "coded"), coded, 2);
    put_rows(p, json_object_get(comparison, "hull"), hull, 2);
    size_t chosen = put_chosen(p, report);
    size_t formats = put_references(p, json_object_get(comparison, "reference"));
    return qn_plot_end(p, &plot, 1, qn_asset_rate_distortion_gp, err,
                       "chosen = %zu\nformats = %zu\n", chosen, formats);
}

static void size_label(double bytes, double fp32, char *buf, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double shown = bytes;
    int unit = 0;
    while (shown >= 1024.0 && unit < 4) {
        shown /= 1024.0;
        unit++;
    }
    snprintf(buf, size, "%.*f %s, %.2f\xc3\x97 smaller", !unit || shown >= 100.0 ? 0 : 2, shown,
             units[unit], fp32 / bytes);
    if (bytes == fp32)
        *strchr(buf, ',') = '\0';
}

static enum qins_status plot_waterfall(struct qn_plotter *p, const json_t *report,
                                       struct qins_error *err)
{
    /* Blue; what was really written, green. */
    enum { PREDICTED = 0x0072b2, WRITTEN = 0x009e73 };
    struct qn_plot plot = {.name = "waterfall",
                           .caption = "What the whole model takes: as 32-bit floats, as stored, "
                                      "quantised, coded, planned, archived. Green is measured, "
                                      "blue predicted.",
                           .alt = "bytes of the model at each stage",
                           .tensor = -1};
    const json_t *stages = json_object_get(report, "sizes"), *stage;
    double fp32 = qn_report_number(json_array_get(stages, 0), "bytes");
    double largest = 0.0;
    char text[64];
    size_t i, rows = 0;
    if (json_array_size(stages) == 0 || !(fp32 > 0.0))
        return QINS_OK;
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    json_array_foreach(stages, i, stage)
    {
        double bytes = qn_report_number(stage, "bytes");
        if (!(bytes > 0.0))
            continue;
        size_label(bytes, fp32, text, sizeof text);
        qn_plot_text(p, qn_report_text(stage, "stage"));
        qn_plot_number(p, bytes);
        qn_plot_text(p, text);
        fprintf(p->data, "%d\n",
                json_is_true(json_object_get(stage, "measured")) ? WRITTEN : PREDICTED);
        largest = fmax(largest, bytes);
        rows++;
    }
    return qn_plot_end(p, &plot, 1, qn_asset_waterfall_gp, err, "rows = %zu\nlargest = %.9g\n",
                       rows, largest);
}

/* How each kind's codes are stored: a column a coder that any kind has a figure of. */
static enum qins_status plot_coded_size(struct qn_plotter *p, const json_t *report,
                                        struct qins_error *err)
{
    struct qn_plot plot = {.name = "coded-size",
                           .caption =
                               "Bits a weight of 8-bit QINS codes by coder, for each kind of "
                               "tensor, scales and headers included.",
                           .alt = "bits a weight by coder and kind of tensor",
                           .tensor = -1};
    const json_t *kinds = json_object_get(report, "kinds"), *kind, *figure;
    const char *coders[MAX_SERIES], *key;
    size_t i, rows = 0;
    int n = 0;
    json_array_foreach(kinds, i, kind)
    {
        if (json_is_true(json_object_get(kind, "activation")))
            continue; /* no coder has encoded them */
        json_object_foreach((json_t *)(uintptr_t)json_object_get(kind, "coded_bits"), key, figure)
        {
            int k = 0;
            while (k < n && strcmp(coders[k], key) != 0)
                k++;
            if (k == n && n < MAX_SERIES && json_is_number(figure))
                coders[n++] = key;
        }
    }
    if (n == 0)
        return QINS_OK;
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    qn_plot_text(p, "kind");
    for (int k = 0; k < n; k++)
        qn_plot_text(p, coders[k]);
    qn_plot_end_row(p);
    json_array_foreach(kinds, i, kind)
    {
        const json_t *bits = json_object_get(kind, "coded_bits");
        if (json_object_size(bits) == 0 || rows == MAX_KINDS ||
            json_is_true(json_object_get(kind, "activation")))
            continue;
        qn_plot_name(p, qn_report_text(kind, "kind"));
        for (int k = 0; k < n; k++)
            qn_plot_number(p, qn_report_number(bits, coders[k]));
        qn_plot_end_row(p);
        rows++;
    }
    return qn_plot_end(p, &plot, 1, qn_asset_coded_size_gp, err, "columns = %d\nrows = %zu\n", n,
                       rows);
}

static enum qins_status plot_entropy_by_kind(struct qn_plotter *p, const json_t *report,
                                             struct qins_error *err)
{
    struct qn_plot plot = {.name = "entropy-by-kind",
                           .caption =
                               "Entropy of an 8-bit QINS code by kind of tensor: mean, least "
                               "and largest, of at most 20 kinds. Low entropy is what a coder can "
                               "save.",
                           .alt = "entropy of codes by kind of tensor",
                           .tensor = -1};
    const json_t *kind;
    size_t i, rows = 0;
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    json_array_foreach(json_object_get(report, "kinds"), i, kind)
    {
        const json_t *spread = json_object_get(kind, "entropy_bits");
        if (isnan(qn_report_number(spread, "mean")) || rows == MAX_KINDS)
            continue;
        qn_plot_name(p, qn_report_text(kind, "kind"));
        qn_plot_number(p, qn_report_number(spread, "mean"));
        qn_plot_number(p, qn_report_number(spread, "min"));
        qn_plot_number(p, qn_report_number(spread, "max"));
        qn_plot_end_row(p);
        rows++;
    }
    return qn_plot_end(p, &plot, rows, qn_asset_entropy_by_kind_gp, err, "rows = %zu\n", rows);
}

/* The largest kinds of matrices that layers have. */
static int layered_kinds(const json_t *report, const char *kinds[MAX_SERIES])
{
    const json_t *kind;
    size_t i;
    int n = 0;
    json_array_foreach(json_object_get(report, "kinds"), i, kind)
    {
        if (n < MAX_SERIES && json_is_true(json_object_get(kind, "layered")) &&
            json_object_size(json_object_get(kind, "coded_bits")) > 0 &&
            !json_is_true(json_object_get(kind, "activation")))
            kinds[n++] = qn_report_text(kind, "kind");
    }
    return n;
}

/* Mean of the entropies of the tensors of KIND in LAYER (experts share both). */
static double layer_entropy(const json_t *report, const char *kind, long layer)
{
    const json_t *tensor;
    double sum = 0.0;
    size_t i, n = 0;
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        double bits = qn_report_number(json_object_get(tensor, "entropy_bits"), "8");
        if (qn_report_number(tensor, "layer") != (double)layer || isnan(bits) ||
            strcmp(qn_report_text(tensor, "component"), kind) != 0)
            continue;
        sum += bits;
        n++;
    }
    return n ? sum / (double)n : NAN;
}

static enum qins_status plot_entropy_by_layer(struct qn_plotter *p, const json_t *report,
                                              struct qins_error *err)
{
    enum { MAX_LAYERS = 1000 };
    struct qn_plot plot = {.name = "entropy-by-layer",
                           .caption = "Entropy of an 8-bit QINS code by layer and kind of tensor.",
                           .alt = "entropy of codes by layer",
                           .tensor = -1};
    const char *kinds[MAX_SERIES];
    const int n = layered_kinds(report, kinds);
    const double layers = qn_report_number(json_object_get(report, "model"), "layers");
    if (n == 0 || !(layers >= 2.0 && layers <= MAX_LAYERS))
        return QINS_OK;
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    qn_plot_text(p, "layer");
    for (int k = 0; k < n; k++)
        qn_plot_name(p, kinds[k]);
    qn_plot_end_row(p);
    for (long layer = 0; layer < (long)layers; layer++) {
        qn_plot_number(p, (double)layer);
        for (int k = 0; k < n; k++)
            qn_plot_number(p, layer_entropy(report, kinds[k], layer));
        qn_plot_end_row(p);
    }
    return qn_plot_end(p, &plot, 1, qn_asset_entropy_by_layer_gp, err, "columns = %d\nlast = %ld\n",
                       n, (long)layers - 1);
}

enum qins_status qn_plot_model(struct qn_plotter *p, const struct qn_plot_input *in,
                               struct qins_error *err)
{
    enum qins_status st = plot_int_vs_qins(p, json_object_get(in->report, "comparison"), err);
    if (st == QINS_OK)
        st = plot_rate_distortion(p, in->report, err);
    if (st == QINS_OK)
        st = plot_waterfall(p, in->report, err);
    if (st == QINS_OK)
        st = plot_coded_size(p, in->report, err);
    if (st == QINS_OK)
        st = plot_entropy_by_layer(p, in->report, err);
    return st == QINS_OK ? plot_entropy_by_kind(p, in->report, err) : st;
}
