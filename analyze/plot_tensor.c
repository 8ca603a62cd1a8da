#include "analyze/plot_assets.h"
#include "analyze/plot_model.h"
#include "analyze/report_curves.h"
#include "analyze/report_json.h"
#include "analyze/report_tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_LEVELS = 1 << 16,
    BINS_PER_BIT = 4, /* of candidates; the best of a bin is shown */
    MAX_SHOWN_BITS = 14,
    N_BINS = BINS_PER_BIT * MAX_SHOWN_BITS,
};

/* The column of GRANULARITY in the table of histograms; of a name that is none, the first. */
static size_t histogram_column(const struct qn_table *t, const char *granularity)
{
    static const char *const names[] = {"tensor", "row", "128", "32"};
    for (size_t i = 0; i < sizeof names / sizeof *names && i + 1 < t->columns; i++)
        if (strcmp(names[i], granularity) == 0)
            return i + 1;
    return 1;
}

/* Returns the smallest share above 0, or 0 where there is nothing to see. */
static double put_histogram(struct qn_plotter *p, const struct qn_table *t, const json_t *chosen)
{
    size_t column = histogram_column(t, qn_report_text(chosen, "granularity"));
    double sum = 0.0, least = 0.0;
    for (size_t i = 0; i < t->rows; i++)
        sum += t->data[i * t->columns + column];
    for (size_t i = 0; i < t->rows; i++) {
        double share = t->data[i * t->columns + column] / sum;
        if (share > 0.0 && (least == 0.0 || share < least))
            least = share;
        /* a step: both edges of the cell */
        for (int edge = -1; edge <= 1; edge += 2) {
            qn_plot_number(p, t->data[i * t->columns] + edge / (double)t->rows);
            qn_plot_number(p, share);
            qn_plot_end_row(p);
        }
    }
    qn_plot_end_block(p, t->rows, 2);
    return isfinite(sum) ? least : 0.0;
}

/* Of the range from -1 to 1; closer ticks run into each other. */
static const double least_gap = 1.0 / 80.0;

/* Level l of N stands for clip * t / (1 + kappa (1 - t)), t = l / N (docs/analysis.md). */
static void put_levels(struct qn_plotter *p, const json_t *chosen)
{
    double n = qn_report_number(chosen, "levels"), kappa = qn_report_number(chosen, "kappa"),
           clip = qn_report_number(chosen, "clip");
    bool good = n >= 1.0 && n <= MAX_LEVELS && kappa >= 0.0 && clip > 0.0;
    const long last = good ? (long)n : -1;         /* n may be NaN, or too large */
    const double gap = clip / (n * (1.0 + kappa)); /* around 0, where it is least */
    long step = 1;
    char title[32] = "levels";
    while (step < last && (double)step * gap < least_gap)
        step *= 2;
    if (step > 1)
        snprintf(title, sizeof title, "1 level in %ld", step);
    qn_plot_text(p, title);
    qn_plot_end_row(p);
    for (long l = -(last / step) * step; l <= last; l += step) {
        double t = (double)labs(l) / n;
        double value = (l < 0 ? -clip : clip) * t / (1.0 + kappa * (1.0 - t));
        fprintf(p->data, "%.6g\t0\n%.6g\t1\n%.6g\t0\n", value, value, value);
    }
    qn_plot_end_block(p, good, 2);
}

/* Under the better coder; older tables have one. */
static double coded_bits(const struct qn_table *t, const double *row)
{
    const double huffman = row[QN_COLUMN_HUFFMAN_BITS];
    return t->columns > QN_COLUMN_TANS_BITS ? fmin(huffman, row[QN_COLUMN_TANS_BITS]) : huffman;
}

/* Of the candidates of set CODED, the best of each quarter bit and granularity. */
static size_t put_candidates(struct qn_plotter *p, const struct qn_table *t, bool coded)
{
    double best[N_BINS][2] = {0};
    size_t rows = 0;
    for (int i = 0; i < N_BINS; i++)
        best[i][1] = NAN;
    for (size_t i = 0; i < t->rows; i++) {
        const double *row = t->data + i * t->columns;
        const double bits = coded ? coded_bits(t, row) : row[QN_COLUMN_PACKED_BITS];
        const double db = row[QN_COLUMN_SQNR_DB];
        if ((row[QN_COLUMN_SET] != 0.0) != coded || !(bits >= 0.0 && bits < MAX_SHOWN_BITS) ||
            !isfinite(db))
            continue;
        double *b = best[(int)(bits * BINS_PER_BIT)];
        if (isnan(b[1]) || db > b[1]) {
            b[0] = bits;
            b[1] = db;
        }
    }
    for (int i = 0; i < N_BINS; i++) {
        if (isnan(best[i][1]))
            continue;
        qn_plot_number(p, best[i][0]);
        qn_plot_number(p, best[i][1]);
        qn_plot_end_row(p);
        rows++;
    }
    qn_plot_end_block(p, rows, 2);
    return rows;
}

static size_t put_hull(struct qn_plotter *p, const json_t *hull)
{
    const json_t *item;
    size_t i, rows = 0;
    json_array_foreach(hull, i, item)
    {
        double bits = qn_report_number(item, "bits"), db = qn_report_number(item, "sqnr_db");
        if (!isfinite(bits) || !isfinite(db))
            continue;
        qn_plot_number(p, bits);
        qn_plot_number(p, db);
        qn_plot_end_row(p);
        rows++;
    }
    qn_plot_end_block(p, rows, 2);
    return rows;
}

/* On top what chose it. */
static void put_chosen(struct qn_plotter *p, const json_t *chosen)
{
    double bits = qn_report_number(chosen, "bits_per_weight");
    bool good = isfinite(bits) && isfinite(qn_report_number(chosen, "sqnr_db"));
    qn_plot_text(p, json_array_size(json_object_get(chosen, "blocks"))    ? "plan, by rows"
                    : strcmp(qn_report_text(chosen, "from"), "plan") == 0 ? "plan"
                                                                          : "8 bits, no plan");
    qn_plot_end_row(p);
    if (good) {
        qn_plot_number(p, bits);
        qn_plot_number(p, qn_report_number(chosen, "sqnr_db"));
        qn_plot_end_row(p);
    }
    qn_plot_end_block(p, good, 2);
}

static enum qins_status plot_tensor(struct qn_plotter *p, const struct qn_plot_input *in,
                                    size_t index, struct qins_error *err)
{
    const json_t *tensor = json_array_get(json_object_get(in->report, "tensors"), index);
    const json_t *chosen = json_object_get(tensor, "chosen");
    const char *group = qn_report_text(tensor, "curves");
    struct qn_plot plot = {
        .caption = "", .alt = "histogram and rate-distortion curve", .tensor = (long)index};
    struct qn_table histogram = {0}, candidates = {0};
    enum qins_status st = qn_table_read(in->curves, group, "histogram", 2, &histogram, err);
    if (st == QINS_OK && histogram.rows)
        st = qn_table_read(in->curves, group, "candidates", QN_COLUMN_TANS_BITS, &candidates, err);
    snprintf(plot.name, sizeof plot.name, "tensor-%04zu", index);
    if (st == QINS_OK && histogram.rows) {
        st = qn_plot_begin(p, plot.name, err);
        if (st == QINS_OK) {
            qn_plot_text(p, qn_report_text(tensor, "name"));
            fputs("\n\n\n", p->data);
            double least = put_histogram(p, &histogram, chosen);
            put_levels(p, chosen);
            size_t shown = put_candidates(p, &candidates, false);
            shown += put_candidates(p, &candidates, true);
            size_t points = put_hull(p, json_object_get(tensor, "hull"));
            put_chosen(p, chosen);
            st = qn_plot_end(p, &plot, least > 0.0, qn_asset_tensor_gp, err,
                             "sides = %d\nlow = %.9g\n", points > 1 && shown > 1 ? 2 : 1,
                             least / 8.0);
        }
    }
    qn_table_finish(&histogram);
    qn_table_finish(&candidates);
    return st;
}

struct sized {
    double elements;
    size_t index;
};

static int larger_first(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->elements != y->elements)
        return x->elements < y->elements ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_index(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

enum qins_status qn_plot_tensors(struct qn_plotter *p, const struct qn_plot_input *in,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    const json_t *tensors = json_object_get(in->report, "tensors"), *tensor;
    struct sized *order = calloc(json_array_size(tensors) + 1, sizeof *order);
    size_t i, n = 0;
    enum qins_status st = QINS_OK;
    if (!order)
        return qn_fail_memory(err);
    json_array_foreach(tensors, i, tensor)
    {
        double elements = qn_report_number(tensor, "numel");
        if (*qn_report_text(tensor, "curves"))
            order[n++] = (struct sized){isnan(elements) ? 0.0 : elements, i};
    }
    if (n > QN_PLOT_TENSORS) {
        qsort(order, n, sizeof *order, larger_first);
        n = QN_PLOT_LARGEST;
        qsort(order, n, sizeof *order, by_index);
    }
    for (i = 0; i < n && st == QINS_OK; i++) {
        st = qn_check_stop(monitor, err);
        if (st == QINS_OK)
            st = plot_tensor(p, in, order[i].index, err);
    }
    free(order);
    return st;
}
