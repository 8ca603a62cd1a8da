/* index.html of a review: what is decided, the lights, each gate. */
#include "analyze/review_page.h"
#include "analyze/page.h"
#include "analyze/plot_assets.h"
#include "analyze/report_json.h"

#include "core/file.h"

#include <stdlib.h>
#include <string.h>

/* Told apart by shape and word; the colours are in assets/review.css. */
static const char symbols[] =
    "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" class=\"symbols\">"
    "<symbol id=\"l-pass\" viewBox=\"0 0 24 24\"><circle cx=\"12\" cy=\"12\" r=\"11\"/>"
    "<path d=\"M6.5 12.5l3.7 3.7 7.3-8\"/></symbol>"
    "<symbol id=\"l-fail\" viewBox=\"0 0 24 24\"><path class=\"body\" d=\"M8 1h8l7 7v8l-7 "
    "7H8l-7-7V8z\"/>"
    "<path d=\"M7.5 7.5l9 9m0-9l-9 9\"/></symbol>"
    "<symbol id=\"l-not_run\" viewBox=\"0 0 24 24\"><circle class=\"open\" cx=\"12\" cy=\"12\" "
    "r=\"9.5\"/></symbol>"
    "<symbol id=\"l-blocked\" viewBox=\"0 0 24 24\"><path class=\"body\" d=\"M12 1l11 11-11 11L1 "
    "12z\"/>"
    "<path d=\"M7 12h10\"/></symbol>"
    "<symbol id=\"l-met\" viewBox=\"0 0 24 24\"><path d=\"M4.5 12.5l5 5 10-11\"/></symbol>"
    "<symbol id=\"l-missed\" viewBox=\"0 0 24 24\"><path d=\"M5 5l14 14m0-14l-14 14\"/></symbol>"
    "</svg>\n";

/* The last two of what does not decide. */
static const struct {
    const char *status, *word;
} words[] = {{"pass", "pass"},       {"fail", "fail"}, {"not_run", "not run"},
             {"blocked", "blocked"}, {"met", "met"},   {"missed", "missed"}};

/* Index in words; another status is as good as none. */
static size_t status_of(const char *status)
{
    enum { NOT_RUN = 2 };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i].status, status) == 0)
            return i;
    return NOT_RUN;
}

const char *qn_review_word(const char *status, bool as_class)
{
    const size_t i = status_of(status);
    return as_class ? words[i].status : words[i].word;
}

void qn_review_light(FILE *to, const char *status, bool word)
{
    const size_t i = status_of(status);
    fprintf(
        to,
        "<span class=\"light %s\"><svg role=\"img\" aria-label=\"%s\"><use href=\"#l-%s\"/></svg>",
        words[i].status, words[i].word, words[i].status);
    if (word)
        fprintf(to, " <b>%s</b>", words[i].word);
    fputs("</span>", to);
}

const char *qn_review_status(const json_t *criterion)
{
    const char *status = qn_report_text(criterion, "status");
    if (!json_is_false(json_object_get(criterion, "decides")))
        return status;
    return strcmp(status, "pass") == 0 ? "met" : strcmp(status, "fail") == 0 ? "missed" : status;
}

/* The first N bytes of TEXT. */
static void put_part(FILE *to, const char *class, const char *text, size_t n)
{
    if (n == 0)
        return;
    fprintf(to, "<p class=\"%s\">", class);
    qn_page_part(to, text, n);
    fputs("</p>\n", to);
}

static void put_paragraph(FILE *to, const char *class, const char *text)
{
    put_part(to, class, text, strlen(text));
}

/* What the seeds attach to OBJECT's decision, where it is not to go on. */
static void put_fallback(FILE *to, const json_t *object)
{
    const json_t *source = json_object_get(object, "decision_source");
    const char *fallback = qn_report_text(object, "fallback");
    if (!*fallback)
        return;
    fputs("<p>Fallback: <b>", to);
    qn_page_text(to, fallback);
    fputs("</b>", to);
    qn_review_source(to, " \xe2\x80\x93 ", source);
    fputs("</p>\n", to);
}

/* What it comes to in large letters, and the rest. */
static void put_first_sentence(FILE *to, const char *text)
{
    const char *end = strstr(text, ". ");
    put_part(to, "decision", text, end ? (size_t)(end + 1 - text) : strlen(text));
    put_paragraph(to, "", end ? end + 2 : "");
}

static void put_decision(FILE *to, const json_t *review)
{
    const json_t *ship = json_object_get(review, "ship"), *item;
    const bool passed = json_is_true(json_object_get(review, "passed"));
    size_t i;
    fprintf(to, "<div class=\"verdict %s\">\n", passed ? "pass" : "open");
    put_first_sentence(to, qn_report_text(review, "decision"));
    put_fallback(to, review);
    if (json_array_size(ship) > 0) {
        fputs("<ul class=\"ship\">\n", to);
        json_array_foreach(ship, i, item)
        {
            const json_t *ready = json_object_get(item, "ready");
            fputs("<li>", to);
            qn_review_light(to,
                            json_is_true(json_object_get(item, "blocked")) ? "blocked"
                            : json_is_true(ready)                          ? "pass"
                            : json_is_false(ready)                         ? "fail"
                                                                           : "not_run",
                            false);
            fputs("<div><b>", to);
            qn_page_text(to, qn_report_text(item, "name"));
            fputs("</b> \xe2\x80\x93 ", to);
            qn_page_text(to, qn_report_text(item, "text"));
            fputs("</div></li>\n", to);
        }
        fputs("</ul>\n", to);
    }
    fputs("</div>\n", to);
}

static void put_texts(FILE *to, const json_t *texts, const char *class)
{
    const json_t *text;
    size_t i;
    if (json_array_size(texts) == 0)
        return;
    fprintf(to, "<ul class=\"%s\">\n", class);
    json_array_foreach(texts, i, text)
    {
        fputs("<li>", to);
        qn_page_text(to, json_is_string(text) ? json_string_value(text) : "");
        fputs("</li>\n", to);
    }
    fputs("</ul>\n", to);
}

static const char *subject_name(const json_t *review, const char *key)
{
    const json_t *first = json_array_get(json_object_get(review, key), 0);
    const char *name = qn_report_text(first, "name");
    return qn_path_base(name);
}

static void put_top(FILE *to, const struct qn_review *r)
{
    const json_t *review = r->json;
    const double number = qn_report_number(review, "number");
    const char *title = qn_report_text(review, "title");
    fputs("<p class=\"kicker\">Phase-gate review", to);
    if (*title) {
        fputs(": ", to);
        qn_page_text(to, title);
    }
    if (number > 1.0)
        fprintf(to, ", number %.0f", number);
    fputs("</p>\n<h1>", to);
    qn_page_text(to, json_array_size(json_object_get(review, "models")) > 0
                         ? subject_name(review, "models")
                         : "no model was measured");
    fputs("</h1>\n", to);
    put_decision(to, review);
    if (json_array_size(json_object_get(review, "conflicts")) > 0) {
        fputs("<div class=\"conflicts\"><b>The evidence does not belong together:</b>\n", to);
        put_texts(to, json_object_get(review, "conflicts"), "plain");
        fputs("</div>\n", to);
    }
    qn_review_open(to, review);
    qn_review_lights(to, json_object_get(review, "gates"));
    qn_review_subjects(to, r);
    qn_review_legend(to, json_object_get(review, "legend"));
}

/* Each gate says what it misses of pictures that are of one report. */
static void begin_gate(struct qn_review_shown *shown, size_t number)
{
    shown->gate = number;
    for (int k = 0; k < QN_REVIEW_ALL_FILES; k++)
        shown->missing[k] = 0;
}

static void put_gate(FILE *to, struct qn_review_shown *shown, const json_t *gate, size_t number)
{
    const json_t *source = json_object_get(gate, "source");
    const char *status = qn_report_text(gate, "status");
    fprintf(to, "<section class=\"gate\">\n<h2 id=\"gate-%zu\">", number);
    qn_review_light(to, status, true);
    fputs(" <span class=\"title\">", to);
    qn_page_text(to, qn_report_text(gate, "title"));
    fputs("</span></h2>\n", to);
    put_paragraph(to, "decision", qn_report_text(gate, "decision"));
    put_fallback(to, gate);
    put_texts(to, json_object_get(gate, "notes"), "plain warn");
    put_paragraph(to, "soft", qn_report_text(gate, "description"));
    if (*qn_report_text(source, "file")) {
        fputs("<p class=\"soft\">", to);
        qn_review_source(to, "From ", source);
        fputs(".</p>\n", to);
    }
    qn_review_criteria(to, shown, gate);
    qn_review_gate_pictures(to, shown, gate);
    fputs("</section>\n", to);
}

static void put_page(struct qn_text_writer *page, const void *ctx)
{
    const struct qn_review_shown *given = ctx;
    struct qn_review_shown shown = *given;
    FILE *to = page->to;
    const json_t *review = shown.review->json, *gates = json_object_get(review, "gates"), *gate;
    size_t i;
    shown.page = page;
    qn_page_head(to, "gate", subject_name(review, "models"), qn_asset_review_css);
    fputs(symbols, to);
    put_top(to, shown.review);
    fputs("<nav><a href=\"#gate-1\">Gates</a><a href=\"#history\">Earlier reviews</a>"
          "<a href=\"#evidence\">Evidence</a></nav>\n",
          to);
    json_array_foreach(gates, i, gate)
    {
        begin_gate(&shown, i + 1);
        put_gate(to, &shown, gate, i + 1);
    }
    shown.gate = i + 1;
    qn_review_further_pictures(to, &shown);
    qn_review_history(to, &shown);
    qn_review_evidence(to, shown.review);
    fputs("<p class=\"soft\">Judged by qins ", to);
    qn_page_text(to, qn_report_text(review, "qins_version"));
    fputs("; gate_review.json beside this page has every figure in full.</p>\n", to);
    qn_page_foot(to);
}

enum qins_status qn_review_page(const char *path, const struct qn_review *r,
                                const struct qn_plotter *p, struct qins_error *err)
{
    bool *placed = calloc(p->n_plots + 1, sizeof *placed);
    const struct qn_review_shown shown = {.review = r, .plotter = p, .placed = placed};
    enum qins_status st = placed ? qn_page_save(path, put_page, &shown, err) : qn_fail_memory(err);
    free(placed);
    return st;
}
