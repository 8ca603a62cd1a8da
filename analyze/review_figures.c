/* What the parts of a review's folder share: which pictures there are, and names of things. */
#include "analyze/report_json.h"
#include "analyze/review_parts.h"

#include "core/file.h"
#include "core/text_writer.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[QN_REVIEW_KINDS] = {
    "autoregressive", "long-context", "layers",    "kl",     "top-k",
    "perplexity",     "kv-cache",     "trade-off", "history"};

enum qn_review_kind qn_review_kind(const char *name)
{
    int k = 0;
    while (k < QN_REVIEW_KINDS && strcmp(name, kinds[k]) != 0)
        k++;
    return (enum qn_review_kind)k;
}

void qn_review_plot_name(enum qn_review_kind kind, size_t file, char *name, size_t size)
{
    if (kind < QN_REVIEW_ALL_FILES)
        snprintf(name, size, "review-%s-%zu", kinds[kind], file + 1);
    else
        snprintf(name, size, "review-%s", kinds[kind]);
}

const json_t *qn_review_test(const struct qn_evidence_file *f, const char *test)
{
    const json_t *t = NULL;
    if (!f)
        return NULL;
    if (strcmp(f->schema, QN_VALIDATION_SCHEMA) == 0)
        t = json_object_get(json_object_get(f->report, "tests"), test);
    return json_is_object(json_object_get(f->report, "candidate")) && json_is_object(t) &&
                   !json_object_get(t, "skipped")
               ? t
               : NULL;
}

bool qn_review_same_windows(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"style", "context"};
    for (int i = 0; i < 2; i++)
        if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
            return false;
    return json_equal(json_object_get(json_object_get(a, "model"), "tokens"),
                      json_object_get(json_object_get(b, "model"), "tokens"));
}

size_t qn_review_number(const struct qn_review *r, const char *path)
{
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(r->json, "evidence"), i, item)
    {
        if (strcmp(qn_report_text(item, "path"), path) == 0)
            return i + 1;
    }
    return 0;
}

bool qn_review_draws(const struct qn_review *r, size_t file, size_t drawn)
{
    const size_t number = qn_review_number(r, r->evidence->files[file].path);
    const json_t *list = json_object_get(r->json, "evidence");
    return drawn < QN_REVIEW_EACH ||
           (number > 0 && json_is_true(json_object_get(json_array_get(list, number - 1), "used")));
}

/* The base name of PATH without the suffix of archives. */
static void put_base(FILE *to, const char *path)
{
    const char *base = qn_path_base(path);
    const size_t n = strlen(base);
    fprintf(to, "%.*s", (int)(qn_has_suffix(base, ".qins") && n > 5 ? n - 5 : n), base);
}

/* Native projections by kind, of a validation or of a report of transport, and in how many layers:
 * NULL when out of memory. */
static json_t *count_native(const struct qn_evidence_file *f, double *layers)
{
    const json_t *counts = json_object_get(json_object_get(f->report, "transport"), "projections"),
                 *count, *layer;
    json_t *parts = json_object(), *numbers = json_object();
    const char *key;
    size_t i;
    *layers = 0.0;
    /* experts count each; they share a layer */
    json_object_foreach((json_t *)(uintptr_t)counts, key, count)
    {
        *layers = fmax(*layers, json_number_value(count));
        qn_json_put(&parts, key, json_true());
    }
    *layers = fmin(*layers, qn_report_number(json_object_get(f->report, "model"), "layers"));
    json_array_foreach(json_object_get(f->report, "layers"), i, layer)
    {
        char number[32];
        snprintf(number, sizeof number, "%.0f", qn_report_number(layer, "layer"));
        qn_json_put(&parts, qn_report_text(layer, "projection"), json_true());
        qn_json_put(&numbers, number, json_true());
    }
    *layers = fmax(*layers, (double)json_object_size(numbers));
    if (!numbers) {
        json_decref(parts);
        parts = NULL;
    }
    json_decref(numbers);
    return parts;
}

/* Layers on coded inputs: "v_proj", or several kinds, or how many; in how many layers. */
static void put_native(struct qn_text_writer *w, const struct qn_evidence_file *f)
{
    enum { NAMED = 3 }; /* more would be cut off beside a picture */
    double layers;
    json_t *parts = count_native(f, &layers), *unused;
    const size_t count = json_object_size(parts);
    const char *key;
    size_t n = 0;
    FILE *to = w->to;
    if (!parts)
        w->status = qn_fail_memory(&w->error);
    fputs("native", to);
    if (count > NAMED)
        fprintf(to, " %zu kinds", count);
    json_object_foreach(parts, key, unused)
    {
        const size_t length = strlen(key) - (count > 1 && qn_has_suffix(key, "_proj") ? 5 : 0);
        (void)unused;
        if (count <= NAMED)
            fprintf(to, "%s%.*s", n++ ? "+" : " ", (int)length, key);
    }
    if (layers > 0.0)
        fprintf(to, ", %.0f layer%s", layers, layers > 1.0 ? "s" : "");
    json_decref(parts);
}

char *qn_review_label(const struct qn_review *r, const struct qn_evidence_file *f,
                      struct qins_error *err)
{
    const json_t *candidate = json_object_get(f->report, "candidate"),
                 *kv = json_object_get(f->report, "kv_cache");
    const char *archive = qn_report_text(f->report, "archive"),
               *path = *archive ? archive : qn_report_text(candidate, "path");
    const double bits = qn_report_number(kv, "bits"),
                 size_in_bits = qn_report_number(candidate, "bits_per_weight");
    const size_t number = qn_review_number(r, f->path);
    const bool native = json_is_true(json_object_get(candidate, "native")) ||
                        json_is_object(json_object_get(f->report, "transport")) ||
                        strcmp(f->schema, QN_TRANSPORT_REPORT) == 0;
    struct qn_text_writer w;
    if (qn_text_writer_init(&w, err) != QINS_OK)
        return NULL;
    FILE *to = w.to;
    if (size_in_bits > 0.0) {
        fprintf(to, "archive, %.2f bits a weight", size_in_bits);
    } else if (!native && !(bits > 0.0)) {
        fputs(*archive || *qn_report_text(candidate, "archive_hash") ? "archive " : "", to);
        put_base(to, *path ? path : f->path);
    }
    if (native) {
        fputs(size_in_bits > 0.0 ? ", " : "", to);
        put_native(&w, f);
    }
    if (bits > 0.0)
        fprintf(to, "%sV cache %.0f bit", size_in_bits > 0.0 || native ? ", " : "FP32, ", bits);
    if (number > 0)
        fprintf(to, " [%zu]", number);
    return qn_text_writer_finish(&w, NULL, err);
}

void qn_review_plot_label(struct qn_plotter *p, const struct qn_review *r,
                          const struct qn_evidence_file *f)
{
    char *label = qn_review_label(r, f, NULL);
    qn_plot_text(p, label);
    free(label);
}

double qn_review_at(const json_t *array, size_t i)
{
    const json_t *v = json_array_get(array, i);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

enum qins_status qn_review_plots(struct qn_plotter *p, const struct qn_review *r,
                                 struct qins_error *err)
{
    static enum qins_status (*const parts[])(struct qn_plotter *, const struct qn_review *,
                                             struct qins_error *) = {
        qn_review_plot_generation, qn_review_plot_prediction, qn_review_plot_sizes,
        qn_review_plot_history};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && st == QINS_OK; i++)
        st = parts[i](p, r, err);
    return st;
}
