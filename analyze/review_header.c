/* The first screen of a review's page: what is in the way, the lights, what was measured. */
#include "analyze/page.h"
#include "analyze/report_json.h"
#include "analyze/review_page.h"

#include "core/file.h"

#include <string.h>

static bool decides(const json_t *criterion, const char *status)
{
    return !json_is_false(json_object_get(criterion, "decides")) &&
           strcmp(qn_report_text(criterion, "status"), status) == 0;
}

static size_t count(const json_t *gate, const char *status)
{
    const json_t *criterion;
    size_t i, n = 0;
    json_array_foreach(json_object_get(gate, "criteria"), i, criterion)
    {
        n += decides(criterion, status);
    }
    return n;
}

/* One that failed, with its figure. */
static void put_failed(FILE *to, const json_t *criterion)
{
    qn_page_text(to, qn_report_text(criterion, "name"));
    fputs(" <b class=\"figure\">", to);
    qn_review_put_value(to, criterion);
    fputs("</b>, the bar is <span class=\"figure\">", to);
    qn_review_put_threshold(to, criterion);
    fputs("</span>", to);
    if (*qn_report_text(criterion, "close")) {
        fputs(" <span class=\"close\">(", to);
        qn_page_text(to, qn_report_text(criterion, "close"));
        fputs(")</span>", to);
    }
}

/* One that was not run, and why where that is not that there is nothing. *REASON: of the one
 * before.
 */
static void put_not_run(FILE *to, const json_t *criterion, const char **reason)
{
    const char *now = qn_report_text(criterion, "reason");
    qn_page_text(to, qn_report_text(criterion, "name"));
    if (strncmp(now, "no evidence", strlen("no evidence")) != 0) {
        fputs(" <span class=\"soft\">(", to);
        qn_page_text(to, strcmp(now, *reason) == 0 ? "for the same reason" : now);
        fputs(")</span>", to);
    }
    *reason = now;
}

/* All of GATE that have STATUS. */
static void put_named(FILE *to, const json_t *gate, size_t number, const char *status)
{
    const json_t *criterion;
    const bool failed = strcmp(status, "fail") == 0;
    const char *reason = "";
    size_t i, n = 0;
    json_array_foreach(json_object_get(gate, "criteria"), i, criterion)
    {
        if (!decides(criterion, status))
            continue;
        if (n++ == 0) {
            fprintf(to, "<li><a href=\"#gate-%zu\">", number);
            qn_page_text(to, qn_report_text(gate, "title"));
            fputs("</a>: ", to);
        } else {
            fputs("; ", to);
        }
        if (failed)
            put_failed(to, criterion);
        else
            put_not_run(to, criterion, &reason);
    }
    fputs(n > 0 ? "</li>\n" : "", to);
}

static void put_list(FILE *to, const json_t *gates, const char *status, const char *title)
{
    const json_t *gate;
    size_t i, n = 0;
    json_array_foreach(gates, i, gate)
    {
        n += count(gate, status);
    }
    if (n == 0)
        return;
    fputs("<div>", to);
    qn_review_light(to, status, false);
    fprintf(to, " <b>%s</b>\n<ul>\n", title);
    json_array_foreach(gates, i, gate)
    {
        put_named(to, gate, i + 1, status);
    }
    fputs("</ul></div>\n", to);
}

/* One of N before it; of gate NUMBER, or 0. */
static void put_note(FILE *to, const json_t *gate, size_t number, const json_t *note, size_t n)
{
    fputs(n ? "<li>" : "<div><b class=\"warn\">To be read with care</b>\n<ul>\n<li>", to);
    if (number > 0) {
        fprintf(to, "<a href=\"#gate-%zu\">", number);
        qn_page_text(to, qn_report_text(gate, "title"));
        fputs("</a>: ", to);
    }
    qn_page_text(to, json_is_string(note) ? json_string_value(note) : "");
    fputs("</li>\n", to);
}

/* What is to be known of the evidence before its figures are. */
static void put_notes(FILE *to, const json_t *review)
{
    const json_t *gate, *note;
    size_t i, k, n = 0;
    json_array_foreach(json_object_get(review, "gates"), i, gate)
    {
        json_array_foreach(json_object_get(gate, "notes"), k, note)
        {
            put_note(to, gate, i + 1, note, n++);
        }
    }
    json_array_foreach(json_object_get(review, "notes"), i, note)
    {
        put_note(to, NULL, 0, note, n++);
    }
    fputs(n ? "</ul></div>\n" : "", to);
}

void qn_review_open(FILE *to, const json_t *review)
{
    const json_t *gates = json_object_get(review, "gates");
    fputs("<div class=\"findings\">\n", to);
    put_list(to, gates, "fail", "Failed");
    put_list(to, gates, "not_run", "Not run: no evidence, or not enough");
    put_notes(to, review);
    fputs("</div>\n", to);
}

/* What a blocked gate comes to but for what blocks it. */
static const char *by_itself(const char *alone)
{
    return strcmp(alone, "pass") == 0   ? "passes by itself"
           : strcmp(alone, "fail") == 0 ? "fails by itself"
                                        : "not run by itself";
}

void qn_review_lights(FILE *to, const json_t *gates)
{
    const json_t *gate;
    size_t i;
    fprintf(to, "<ol class=\"lights of-%zu\">\n", json_array_size(gates));
    json_array_foreach(gates, i, gate)
    {
        const char *status = qn_report_text(gate, "status");
        const size_t met = count(gate, "pass"), failed = count(gate, "fail"),
                     missing = count(gate, "not_run");
        fprintf(to, "<li><a class=\"card %s\" href=\"#gate-%zu\">", qn_review_word(status, true),
                i + 1);
        qn_review_light(to, status, true);
        if (strcmp(status, "blocked") == 0)
            fprintf(to, "<span class=\"alone\">%s</span>",
                    by_itself(qn_report_text(gate, "alone")));
        fputs("<span class=\"title\">", to);
        qn_page_text(to, qn_report_text(gate, "title"));
        fprintf(to, "</span><span class=\"count\">%zu of %zu met", met, met + failed + missing);
        if (failed > 0)
            fprintf(to, ", %zu failed", failed);
        if (missing > 0)
            fprintf(to, ", %zu not run", missing);
        fputs("</span></a></li>\n", to);
    }
    fputs("</ol>\n", to);
}

/* The report that ITEM of a subject's "reports" is, or NULL. */
static const struct qn_evidence_file *file_of(const struct qn_review *r, const json_t *item)
{
    const char *path = json_string_value(item);
    for (size_t i = 0; path && i < r->evidence->n; i++)
        if (strcmp(r->evidence->files[i].path, path) == 0)
            return &r->evidence->files[i];
    return NULL;
}

static bool is_named_by(const struct qn_review *r, const json_t *subject, const char *schema)
{
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(subject, "reports"), i, item)
    {
        const struct qn_evidence_file *f = file_of(r, item);
        if (f && strcmp(f->schema, schema) == 0)
            return true;
    }
    return false;
}

/* What a text was for. */
static void put_role(FILE *to, const struct qn_review *r, const json_t *text)
{
    const bool validated = is_named_by(r, text, QN_VALIDATION_SCHEMA),
               calibrated = is_named_by(r, text, QN_CALIBRATE_SCHEMA);
    if (validated && calibrated)
        fputs("<b class=\"warn\">calibrated and validated on the same text</b>: ", to);
    else if (validated || calibrated)
        fputs(validated ? "validated on " : "calibrated on ", to);
}

/* Paths of transports that were made with a calibration, each once. */
static void put_role_of_calibration(FILE *to, const struct qn_review *r, const json_t *calibration)
{
    enum { MOST = 8 };
    const char *seen[MOST];
    const json_t *item;
    size_t i, n = 0;
    json_array_foreach(json_object_get(calibration, "reports"), i, item)
    {
        const struct qn_evidence_file *f = file_of(r, item);
        const char *path = !f ? ""
                           : strcmp(f->schema, QN_TRANSPORT_REPORT) == 0
                               ? qn_report_text(f->report, "output")
                               : qn_report_text(json_object_get(f->report, "transport"), "path");
        size_t k = 0;
        while (k < n && strcmp(seen[k], path) != 0)
            k++;
        if (!*path || k < n || n == MOST)
            continue;
        seen[n++] = path;
        fputs(n > 1 ? ", " : "", to);
        qn_page_name(to, path);
    }
    fputs(n > 0 ? ", made with the calibration " : "made with the calibration ", to);
}

/* "news (news-1, news-2), code (…)": of the report that has most to say of them. */
static void put_prompts(FILE *to, const struct qn_review *r, const json_t *subject)
{
    const struct qn_evidence_file *f =
        file_of(r, json_array_get(json_object_get(subject, "reports"), 0));
    const json_t *prompts =
                     f ? json_object_get(qn_review_test(f, "autoregressive"), "prompts") : NULL,
                 *prompt;
    const char *kind = NULL;
    size_t i;
    if (json_array_size(prompts) == 0)
        return;
    fprintf(to, "<div>%zu prompts: ", json_array_size(prompts));
    json_array_foreach(prompts, i, prompt)
    {
        const json_t *id = json_object_get(prompt, "id");
        const char *now = qn_report_text(prompt, "kind");
        if (kind && strcmp(kind, now) == 0) {
            fputs(", ", to);
        } else {
            fputs(kind ? "); " : "", to);
            qn_page_text(to, *now ? now : "of no kind");
            fputs(" (", to);
        }
        kind = now;
        if (json_is_integer(id))
            fprintf(to, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
        else
            qn_page_text(to, json_is_string(id) ? json_string_value(id) : "?");
    }
    fputs(")</div>", to);
}

/* An archive's size, of the first report that has it. */
static void put_size(FILE *to, const struct qn_review *r, const json_t *subject)
{
    static const double fp32_bits = 32.0;
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(subject, "reports"), i, item)
    {
        const struct qn_evidence_file *f = file_of(r, item);
        const json_t *of = f && json_is_object(json_object_get(f->report, "candidate"))
                               ? json_object_get(f->report, "candidate")
                           : f ? f->report
                               : NULL;
        const double bits = qn_report_number(of, "bits_per_weight"),
                     bytes = qn_report_number(of, "archive_bytes");
        if (!(bits > 0.0 && bytes > 0.0))
            continue;
        fprintf(to, "<div>%.3f bits a weight, %.2f\xc3\x97 smaller than FP32; ", bits,
                fp32_bits / bits);
        qn_page_bytes(to, bytes);
        fputs("</div>", to);
        return;
    }
}

/* Numbers of the reports from FIRST on that measured perplexity as it did. */
static void put_alike(FILE *to, const struct qn_review *r, const json_t *reports, size_t first)
{
    const json_t *test = qn_review_test(file_of(r, json_array_get(reports, first)), "perplexity");
    for (size_t i = first; i < json_array_size(reports); i++) {
        const char *path = json_string_value(json_array_get(reports, i));
        const json_t *other = qn_review_test(file_of(r, json_array_get(reports, i)), "perplexity");
        if (qn_review_same_windows(test, other))
            fprintf(to, " <a href=\"#evidence-%zu\">[%zu]</a>", qn_review_number(r, path),
                    qn_review_number(r, path));
    }
}

/* How much of a text was read, in which windows, and by which reports. */
static void put_windows(FILE *to, const struct qn_review *r, const json_t *subject)
{
    const json_t *reports = json_object_get(subject, "reports");
    for (size_t i = 0; i < json_array_size(reports); i++) {
        const json_t *test = qn_review_test(file_of(r, json_array_get(reports, i)), "perplexity");
        bool told = !test;
        for (size_t k = 0; k < i && !told; k++)
            told = qn_review_same_windows(
                test, qn_review_test(file_of(r, json_array_get(reports, k)), "perplexity"));
        if (told)
            continue;
        fputs("<div>perplexity of ", to);
        qn_page_number(to, 0, qn_report_number(json_object_get(test, "candidate"), "tokens"));
        fprintf(to, " tokens in windows of %.0f", qn_report_number(test, "context"));
        if (strcmp(qn_report_text(test, "style"), "qins") != 0) {
            fputs(", style ", to);
            qn_page_text(to, qn_report_text(test, "style"));
        }
        fputs(":", to);
        put_alike(to, r, reports, i);
        fputs("</div>", to);
    }
}

typedef void put_part(FILE *to, const struct qn_review *r, const json_t *subject);

/* Those of KEY: names, and fingerprints of their contents. */
static void put_subjects(FILE *to, const struct qn_review *r, const char *key, const char *what,
                         put_part *before, put_part *behind)
{
    const json_t *items = json_object_get(r->json, key), *item;
    size_t i;
    fprintf(to, "<dt>%s</dt><dd>", what);
    if (json_array_size(items) == 0)
        fputs("<span class=\"soft\">none in the evidence</span>", to);
    json_array_foreach(items, i, item)
    {
        const char *name = qn_report_text(item, "name");
        fputs("<div>", to);
        if (before)
            before(to, r, item);
        if (*name)
            qn_page_name(to, name);
        else
            fputs("<span class=\"soft\">(its report has no name of it)</span>", to);
        fputs(" <code>", to);
        qn_page_text(to, qn_report_text(item, "fingerprint"));
        fputs("</code>", to);
        if (behind)
            behind(to, r, item);
        fputs("</div>", to);
    }
    fputs("</dd>\n", to);
}

void qn_review_subjects(FILE *to, const struct qn_review *r)
{
    fputs("<dl class=\"subjects\">\n", to);
    put_subjects(to, r, "models", "Model", NULL, NULL);
    put_subjects(to, r, "archives", "Archive", NULL, put_size);
    if (json_array_size(json_object_get(r->json, "transports")) > 0)
        put_subjects(to, r, "transports", "Transport", put_role_of_calibration, NULL);
    put_subjects(to, r, "texts", "Text", put_role, put_windows);
    put_subjects(to, r, "prompts", "Prompts", NULL, put_prompts);
    fputs("</dl>\n", to);
}

void qn_review_legend(FILE *to, const json_t *legend)
{
    const json_t *item;
    size_t i;
    if (json_array_size(legend) == 0)
        return;
    fputs("<details class=\"legend\" open><summary>Words</summary>\n<dl class=\"subjects\">\n", to);
    json_array_foreach(legend, i, item)
    {
        fputs("<dt>", to);
        qn_page_text(to, qn_report_text(item, "term"));
        fputs("</dt><dd>", to);
        qn_page_text(to, qn_report_text(item, "text"));
        fputs("</dd>\n", to);
    }
    fputs("</dl></details>\n", to);
}
