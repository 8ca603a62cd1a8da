/* Pictures of next-token predictions: divergence, overlap of likeliest tokens, perplexity. */
#include "analyze/plot_assets.h"
#include "analyze/report_json.h"
#include "analyze/review_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A divergence below is drawn there: logarithms have no zero. */
#define LEAST_KL 1e-9

static const json_t *divergence_of(const struct qn_evidence_file *f)
{
    const json_t *kl = json_object_get(qn_review_test(f, "perplexity"), "kl");
    return json_is_object(kl)
               ? kl
               : json_object_get(json_object_get(qn_review_test(f, "sampling"), "kl"),
                                 "model_candidate");
}

/* "p99_9" is 99.9 %; NaN for another key. */
static double quantile_of(const char *key)
{
    char text[16], *end;
    const int n = snprintf(text, sizeof text, "%s", *key ? key + 1 : "");
    if (key[0] != 'p' || n < 1 || n >= (int)sizeof text)
        return NAN;
    for (char *c = text; *c; c++)
        if (*c == '_')
            *c = '.';
    const double value = strtod(text, &end);
    return *end == '\0' && value > 0.0 && value < 100.0 ? value : (double)NAN;
}

/* Quantiles, then the mean and its standard error. *LEAST: of the positive ones. */
static void put_divergence(struct qn_plotter *p, const json_t *kl, double *least, double *most)
{
    const char *key;
    json_t *value;
    size_t rows = 0;
    json_object_foreach((json_t *)(uintptr_t)json_object_get(kl, "quantiles"), key, value)
    {
        const double at = quantile_of(key), nats = json_number_value(value);
        if (isnan(at) || !json_is_number(value) || !(nats > 0.0))
            continue;
        qn_plot_number(p, at / 100.0);
        qn_plot_number(p, fmax(nats, LEAST_KL));
        qn_plot_end_row(p);
        *least = fmin(*least, nats);
        *most = fmax(*most, nats);
        rows++;
    }
    qn_plot_end_block(p, rows, 2);
    const double mean = qn_report_number(kl, "mean");
    if (mean > 0.0) {
        qn_plot_number(p, fmax(mean, LEAST_KL));
        qn_plot_number(p, fmax(qn_report_number(kl, "standard_error"), 0.0));
        qn_plot_end_row(p);
        *least = fmin(*least, mean);
        *most = fmax(*most, mean);
    }
    qn_plot_end_block(p, mean > 0.0, 2);
}

static enum qins_status plot_kl(struct qn_plotter *p, const struct qn_review *r,
                                struct qins_error *err)
{
    struct qn_plot plot = {
        .caption = "Divergence of the next token's distribution, KL(FP32 || candidate): the share "
                   "of positions that stay below a value, and on the right the mean with one "
                   "standard error beside its bar of 0.1. An exact candidate, KL 0 everywhere, "
                   "is named but has no curve.",
        .alt = "quantiles of the divergence",
        .tensor = -1};
    size_t curves = 0;
    double least = 0.1, most = 0.1;
    qn_review_plot_name(QN_REVIEW_KL, 0, plot.name, sizeof plot.name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < r->evidence->n && curves < QN_REVIEW_SERIES; i++) {
        const json_t *kl = divergence_of(&r->evidence->files[i]);
        if (!json_is_object(kl))
            continue;
        put_divergence(p, kl, &least, &most);
        curves++;
    }
    for (size_t i = 0, n = 0; i < r->evidence->n && n < curves; i++) {
        const json_t *kl = divergence_of(&r->evidence->files[i]);
        if (!json_is_object(kl))
            continue;
        char *label = qn_review_label(r, &r->evidence->files[i], NULL);
        const double context =
            qn_report_number(qn_review_test(&r->evidence->files[i], "perplexity"), "context");
        char windows[32] = "";
        if (context > 0.0 && context < 1e9)
            snprintf(windows, sizeof windows, ", windows of %.0f", context);
        char *title = label ? qn_format(NULL, "%s%s%s", label, windows,
                                        qn_report_number(kl, "max") == 0.0 ? ", exactly 0" : "")
                            : NULL;
        qn_plot_text(p, title);
        qn_plot_end_row(p);
        qn_plot_end_block(p, 1, 1);
        free(title);
        free(label);
        n++;
    }
    return qn_plot_end(p, &plot, curves, qn_asset_review_kl_gp, err,
                       "curves = %zu\nlow = %.3g\nhigh = %.3g\n", curves,
                       fmax(least, LEAST_KL) / 2.0, most * 2.0);
}

static enum qins_status plot_top_k(struct qn_plotter *p, const struct qn_review *r,
                                   struct qins_error *err)
{
    struct qn_plot plot = {
        .caption = "How many of the k likeliest next tokens both models share, mean over "
                   "positions with one standard error. The bar, 97 %, is for k = 10.",
        .alt = "overlap of the likeliest tokens",
        .tensor = -1};
    size_t curves = 0;
    qn_review_plot_name(QN_REVIEW_TOP_K, 0, plot.name, sizeof plot.name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < r->evidence->n && curves < QN_REVIEW_SERIES; i++) {
        const struct qn_evidence_file *f = &r->evidence->files[i];
        const json_t *rows = json_object_get(qn_review_test(f, "sampling"), "top_k"), *row;
        size_t k;
        if (json_array_size(rows) == 0)
            continue;
        qn_review_plot_label(p, r, f);
        qn_plot_end_row(p);
        json_array_foreach(rows, k, row)
        {
            qn_plot_number(p, qn_report_number(row, "k"));
            qn_plot_number(p, 100.0 * qn_report_number(row, "overlap"));
            qn_plot_number(p, 100.0 * fmax(qn_report_number(row, "standard_error"), 0.0));
            qn_plot_end_row(p);
        }
        qn_plot_end_block(p, k, 3);
        curves++;
    }
    return qn_plot_end(p, &plot, curves, qn_asset_review_top_k_gp, err, "curves = %zu\n", curves);
}

/* A figure and its standard error: an object of both, or a number and, under ERROR_KEY beside it,
 * the other. */
static void figure_of(const json_t *object, const char *key, const char *error_key, double *value,
                      double *error)
{
    const json_t *figure = json_object_get(object, key);
    *value =
        json_is_object(figure) ? qn_report_number(figure, "value") : qn_report_number(object, key);
    *error = json_is_object(figure) ? qn_report_number(figure, "standard_error")
                                    : qn_report_number(object, error_key);
}

/* Perplexity and its standard error; of the mean NLL where the report has no other (d exp(x) =
 * exp(x) dx). */
static void perplexity_of(const json_t *side, double *value, double *error)
{
    figure_of(side, "perplexity", "perplexity_standard_error", value, error);
    if (isnan(*error))
        *error = *value * qn_report_number(side, "mean_nll_standard_error");
}

/* By how much of the model's perplexity the candidate's differs, in per cent. */
static void change_of(const json_t *test, double *value, double *error)
{
    const json_t *difference = json_object_get(test, "difference");
    double ratio, ratio_error;
    figure_of(difference, "perplexity_ratio", "perplexity_ratio_standard_error", &ratio,
              &ratio_error);
    if (isnan(ratio_error))
        ratio_error = ratio * qn_report_number(difference, "standard_error");
    *value = 100.0 * (ratio - 1.0);
    *error = 100.0 * ratio_error;
}

/* Whether both were measured on the same text in the same windows, beside the same model. */
static bool same_setting(const struct qn_evidence_file *a, const struct qn_evidence_file *b)
{
    static const char *const keys[] = {"model", "text"};
    for (int i = 0; i < 2; i++)
        if (strcmp(qn_report_text(json_object_get(a->report, keys[i]), "fingerprint"),
                   qn_report_text(json_object_get(b->report, keys[i]), "fingerprint")) != 0)
            return false;
    return qn_review_same_windows(qn_review_test(a, "perplexity"), qn_review_test(b, "perplexity"));
}

/* The first of the largest set of reports that can be laid side by side; NULL. */
static const struct qn_evidence_file *common_setting(const struct qn_evidence *e)
{
    const struct qn_evidence_file *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < e->n; i++) {
        size_t n = 0;
        if (!qn_review_test(&e->files[i], "perplexity"))
            continue;
        for (size_t k = 0; k < e->n; k++)
            n += qn_review_test(&e->files[k], "perplexity") &&
                 same_setting(&e->files[i], &e->files[k]);
        if (n > most) {
            most = n;
            best = &e->files[i];
        }
    }
    return best;
}

static void put_perplexity(struct qn_plotter *p, const json_t *side, const json_t *test)
{
    double value, error, change = NAN, change_error = NAN;
    perplexity_of(side, &value, &error);
    if (test)
        change_of(test, &change, &change_error);
    qn_plot_number(p, value);
    qn_plot_number(p, fmax(error, 0.0));
    qn_plot_number(p, change);
    qn_plot_number(p, fmax(change_error, 0.0));
    qn_plot_end_row(p);
}

static enum qins_status plot_perplexity(struct qn_plotter *p, const struct qn_review *r,
                                        struct qins_error *err)
{
    enum { MAX_ROWS = 24 };
    struct qn_plot plot = {
        .caption = "Perplexity on the same text, with one standard error: above of each model, "
                   "below each candidate's change from FP32, paired token by token, so that its "
                   "error is far smaller. The band is the seeds' bar, 0.5 % up or down.",
        .alt = "perplexity of the model and its candidates",
        .tensor = -1};
    const struct qn_evidence_file *common = common_setting(r->evidence);
    size_t rows = 1, longest = 0, left_out = 0;
    if (!common)
        return QINS_OK;
    qn_review_plot_name(QN_REVIEW_PERPLEXITY, 0, plot.name, sizeof plot.name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    qn_plot_text(p, "FP32 model");
    put_perplexity(p, json_object_get(qn_review_test(common, "perplexity"), "model"), NULL);
    for (size_t i = 0; i < r->evidence->n && rows < MAX_ROWS; i++) {
        const struct qn_evidence_file *f = &r->evidence->files[i];
        const json_t *test = qn_review_test(f, "perplexity");
        if (!test || !same_setting(common, f)) {
            left_out += test != NULL;
            continue;
        }
        char *label = qn_review_label(r, f, NULL);
        const size_t length = label ? strlen(label) : 0;
        longest = length > longest ? length : longest;
        qn_plot_text(p, label);
        free(label);
        put_perplexity(p, json_object_get(test, "candidate"), test);
        rows++;
    }
    return qn_plot_end(p, &plot, 1, qn_asset_review_perplexity_gp, err,
                       "rows = %zu\nlongest = %zu\nleft = %zu\n", rows, longest, left_out);
}

enum qins_status qn_review_plot_prediction(struct qn_plotter *p, const struct qn_review *r,
                                           struct qins_error *err)
{
    enum qins_status st = plot_kl(p, r, err);
    if (st == QINS_OK)
        st = plot_top_k(p, r, err);
    return st == QINS_OK ? plot_perplexity(p, r, err) : st;
}
