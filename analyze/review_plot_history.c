/* The picture of earlier reviews: how far criteria were from their thresholds. */
#include "analyze/plot_assets.h"
#include "analyze/report_json.h"
#include "analyze/review_parts.h"

#include <math.h>
#include <string.h>

enum { MAX_REVIEWS = 64, MAX_ROWS = 64 };

/* How far a criterion was beyond its threshold, oldest review first, this one last. */
struct margins {
    double values[MAX_REVIEWS + 1], numbers[MAX_REVIEWS + 1]; /* of the reviews */
    size_t n;
};

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

static void find_margins(const json_t *history, const json_t *gate, const json_t *criterion,
                         struct margins *m)
{
    const char *comparison = qn_report_text(criterion, "comparison");
    const double threshold = qn_report_number(criterion, "threshold");
    const size_t n = json_array_size(history);
    m->n = 0;
    for (size_t i = n > MAX_REVIEWS ? n - MAX_REVIEWS : 0; i <= n; i++) {
        const json_t *c = i < n
                              ? criterion_of(json_array_get(history, i), qn_report_text(gate, "id"),
                                             qn_report_text(criterion, "id"))
                              : criterion;
        const double margin = margin_of(c, comparison, threshold),
                     number = qn_report_number(json_array_get(history, i), "number");
        if (isnan(margin) && i == n) {
            m->n = 0; /* it has no figure now */
        } else if (!isnan(margin)) {
            m->numbers[m->n] = isnan(number) ? (double)i + 1.0 : number;
            m->values[m->n++] = fmin(fmax(margin, -100.0), 100.0);
        }
    }
}

/* NAME in so many COLUMNS, each of which a plot shows whole; what is too long for its width is cut
 * at a word. */
static void put_name(struct qn_plotter *p, const char *name, int columns)
{
    enum { COLUMN = 60 };
    for (int i = 0; i < columns; i++) {
        size_t n = strlen(name);
        char part[COLUMN + sizeof "\xe2\x80\xa6"];
        const bool cut = n > COLUMN;
        if (cut) {
            n = COLUMN;
            while (n > 1 && name[n] != ' ')
                n--;
            n = n > 1 ? n : COLUMN;
            while (n > 1 && ((unsigned char)name[n] & 0xc0) == 0x80) /* not inside a character */
                n--;
        }
        snprintf(part, sizeof part, "%.*s%s", (int)n, name,
                 cut && i + 1 == columns ? "\xe2\x80\xa6" : "");
        qn_plot_text(p, part);
        name += n;
    }
}

/* As the picture stretches it (assets/review-history.gp). */
static double place_of(double margin)
{
    return margin < 0.0 ? -sqrt(-margin) : sqrt(margin);
}

/* The number of review I, where no later one's stands in its place. */
static void put_number(struct qn_plotter *p, const struct margins *m, size_t i)
{
    static const double apart = 0.7;
    char text[32] = "";
    bool alone = true;
    for (size_t k = i + 1; k < m->n; k++)
        alone = alone && fabs(place_of(m->values[k]) - place_of(m->values[i])) >= apart;
    if (alone)
        snprintf(text, sizeof text, "%.0f", m->numbers[i]);
    qn_plot_text(p, text);
}

/* What is in a block of the data. */
enum block {
    BLOCK_NAMES,
    BLOCK_EARLIER,
    BLOCK_ARROWS,
    BLOCK_MET,
    BLOCK_MISSED,
    BLOCK_GATES,
    BLOCKS
};

/* Row ROW of BLOCK; how many lines. */
static size_t put_row(struct qn_plotter *p, enum block block, size_t row, const json_t *criterion,
                      const struct margins *m)
{
    const bool met = strcmp(qn_report_text(criterion, "status"), "pass") == 0;
    const double now = m->values[m->n - 1];
    const size_t first = block == BLOCK_EARLIER ? 0 : m->n - 1,
                 end = block == BLOCK_EARLIER ? m->n - 1 : m->n;
    if ((block == BLOCK_MET && !met) || (block == BLOCK_MISSED && met) || block == BLOCK_GATES)
        return 0;
    for (size_t i = first; i < end; i++) {
        qn_plot_number(p, (double)row);
        if (block == BLOCK_NAMES) {
            put_name(p, qn_report_text(criterion, "name"), 2);
        } else {
            qn_plot_number(p, block == BLOCK_ARROWS ? m->values[m->n - 2] : m->values[i]);
            qn_plot_number(p, now);
        }
        if (block == BLOCK_EARLIER)
            put_number(p, m, i);
        qn_plot_end_row(p);
    }
    return end - first;
}

/* The gate's name, in a row of its own. */
static size_t put_gate(struct qn_plotter *p, enum block block, size_t row, const json_t *gate)
{
    if (block != BLOCK_GATES)
        return 0;
    qn_plot_number(p, (double)row);
    put_name(p, qn_report_text(gate, "title"), 1);
    qn_plot_end_row(p);
    return 1;
}

/* A figure may be there, and yet not be enough to judge. */
static bool is_judged(const json_t *criterion)
{
    const char *status = qn_report_text(criterion, "status");
    return !json_is_false(json_object_get(criterion, "decides")) &&
           (strcmp(status, "pass") == 0 || strcmp(status, "fail") == 0);
}

/* All rows of BLOCK; how many there are in the picture. */
static size_t put_block(struct qn_plotter *p, const json_t *review, enum block block)
{
    const json_t *history = json_object_get(review, "history"), *gate, *criterion;
    size_t i, k, rows = 0, lines = 0;
    json_array_foreach(json_object_get(review, "gates"), i, gate)
    {
        bool headed = false;
        json_array_foreach(json_object_get(gate, "criteria"), k, criterion)
        {
            struct margins m;
            if (rows + 1 >= MAX_ROWS || !is_judged(criterion))
                continue;
            find_margins(history, gate, criterion, &m);
            if (m.n < 2)
                continue;
            if (!headed)
                lines += put_gate(p, block, rows++, gate);
            headed = true;
            lines += put_row(p, block, rows++, criterion, &m);
        }
    }
    qn_plot_end_block(p, lines, block == BLOCK_EARLIER ? 4 : 3);
    return rows;
}

enum qins_status qn_review_plot_history(struct qn_plotter *p, const struct qn_review *r,
                                        struct qins_error *err)
{
    struct qn_plot plot = {
        .caption =
            "How far each deciding criterion is beyond its threshold, in per cent of it, cut "
            "off at 100 and drawn wider near 0: right of the line it is met. Filled: this "
            "review (square: not met); hollow: earlier ones, with their numbers where they are "
            "apart; the arrow comes from the review before.",
        .alt = "criteria relative to their thresholds, now and in earlier reviews",
        .tensor = -1};
    size_t rows = 0;
    if (json_array_size(json_object_get(r->json, "history")) == 0)
        return QINS_OK;
    qn_review_plot_name(QN_REVIEW_HISTORY, 0, plot.name, sizeof plot.name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    for (int block = 0; block < BLOCKS; block++)
        rows = put_block(p, r->json, (enum block)block);
    return qn_plot_end(p, &plot, rows, qn_asset_review_history_gp, err, "rows = %zu\n", rows);
}
