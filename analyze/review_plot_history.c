/* The picture of earlier reviews: how far criteria were from their thresholds. */
#include "analyze/plot_assets.h"
#include "analyze/report_json.h"
#include "analyze/review_parts.h"

#include <math.h>
#include <string.h>

enum { MAX_REVIEWS = 64, MAX_CURVES = 48 };

static const json_t *criterion_of(const json_t *review, const char *gate, const char *criterion)
{
    const json_t *g, *c;
    size_t i, k;
    json_array_foreach(json_object_get(review, "gates"), i, g)
    {
        if (strcmp(qn_report_text(g, "id"), gate) != 0)
            continue;
        json_array_foreach(json_object_get(g, "criteria"), k, c)
        {
            if (strcmp(qn_report_text(c, "id"), criterion) == 0)
                return c;
        }
    }
    return NULL;
}

static double margin_of(const json_t *criterion, const char *comparison, double threshold)
{
    const double value = qn_report_number(criterion, "value"),
                 bar = qn_report_number(criterion, "threshold"),
                 base = isnan(bar) ? threshold : bar;
    const double margin = 100.0 * (value - base) / fabs(base);
    if (!isfinite(margin) || !strchr("<>", comparison[0]) || !comparison[0])
        return NAN;
    return comparison[0] == '<' ? -margin : margin;
}

/* CRITERION through the reviews in HISTORY and this one: number of the review, margin. How many. */
static size_t put_curve(struct qn_plotter *p, const json_t *history, const json_t *gate,
                        const json_t *criterion, bool write)
{
    const char *comparison = qn_report_text(criterion, "comparison");
    const double threshold = qn_report_number(criterion, "threshold");
    const size_t n = json_array_size(history);
    size_t rows = 0;
    for (size_t i = n > MAX_REVIEWS ? n - MAX_REVIEWS : 0; i <= n; i++) {
        const json_t *review = json_array_get(history, i);
        const json_t *c = i < n ? criterion_of(review, qn_report_text(gate, "id"),
                                               qn_report_text(criterion, "id"))
                                : criterion;
        const double margin = margin_of(c, comparison, threshold),
                     number = qn_report_number(review, "number");
        if (isnan(margin))
            continue;
        if (write) {
            qn_plot_number(p, isnan(number) ? (double)i + 1.0 : number);
            qn_plot_number(p, fmin(fmax(margin, -100.0), 100.0));
            qn_plot_end_row(p);
        }
        rows++;
    }
    return rows;
}

enum qins_status qn_review_plot_history(struct qn_plotter *p, const struct qn_review *r,
                                        struct qins_error *err)
{
    struct qn_plot plot = {
        .caption = "Each criterion through the reviews: how far its figure was beyond the "
                   "threshold (above the line: met), in per cent of the threshold, cut off at 100.",
        .alt = "criteria relative to their thresholds by review",
        .tensor = -1};
    const json_t *history = json_object_get(r->json, "history"), *gate, *criterion;
    size_t i, k, curves = 0;
    char head[96];
    if (json_array_size(history) == 0)
        return QINS_OK;
    qn_review_plot_name(QN_REVIEW_HISTORY, 0, plot.name, sizeof plot.name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    json_array_foreach(json_object_get(r->json, "gates"), i, gate)
    {
        json_array_foreach(json_object_get(gate, "criteria"), k, criterion)
        {
            if (curves == MAX_CURVES || put_curve(p, history, gate, criterion, false) < 2)
                continue;
            qn_plot_text(p, qn_report_text(criterion, "name"));
            qn_plot_end_row(p);
            qn_plot_end_block(p, put_curve(p, history, gate, criterion, true), 2);
            curves++;
        }
    }
    if (curves == 0)
        return qn_plot_drop(p, plot.name, err);
    snprintf(head, sizeof head, "curves = %zu\nlast = %zu\n", curves, json_array_size(history) + 1);
    return qn_plot_end(p, &plot, head, qn_asset_review_history_gp, err);
}
