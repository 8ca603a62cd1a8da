/* The pictures of a review's page, and what stands in the place of those that there are not. */
#include "analyze/page.h"
#include "analyze/report_json.h"
#include "analyze/review_page.h"

#include "core/file.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *title, *missing, *command;
    const char *test; /* of a validation, where a report has a picture of its own */
} about[QN_REVIEW_KINDS] = {
    {"Autoregressive stability",
     "No validation with the test autoregressive was among the evidence.",
     "qins validate MODEL ARCHIVE --text TEXT --tests autoregressive -o DIR/validation.json",
     "autoregressive"},
    {"Agreement in long contexts",
     "No validation with the test long-context was among the evidence.",
     "qins validate MODEL ARCHIVE --text TEXT --tests long-context -o DIR/validation.json",
     "long-context"},
    {"Error by layer",
     "No validation with the test consistency and no report of verify with quantised tensors was "
     "among the evidence.",
     "qins validate MODEL ARCHIVE --text TEXT --tests consistency -o DIR/validation.json",
     "consistency"},
    {"Divergence", "No validation with the test perplexity or sampling was among the evidence.",
     "qins validate MODEL ARCHIVE --text TEXT --tests perplexity,sampling -o DIR/validation.json"},
    {"Likeliest tokens", "No validation with the test sampling was among the evidence.",
     "qins validate MODEL ARCHIVE --text TEXT --tests sampling -o DIR/validation.json"},
    {"Perplexity", "No validation with the test perplexity was among the evidence.",
     "qins validate MODEL ARCHIVE --text TEXT --tests perplexity -o DIR/validation.json"},
    {"V cache", "No validation with a coded V cache was among the evidence.",
     "qins validate MODEL --text TEXT --kv-cache 8 -o DIR/validation-kv8.json"},
    {"Size against decoding", "No measurement of the coders was among the evidence.",
     "qins bench coders ARCHIVE --save DIR/bench-coders.json"},
    {"History", "No earlier review was given.",
     "qins gate --evidence DIR --previous EARLIER -o REVIEW_DIR"},
};

/* The kind of a plot by its file's name; *FILE: of what evidence, where there is one for each. */
static enum qn_review_kind kind_of(const char *name, size_t *file)
{
    for (int k = 0; k < QN_REVIEW_KINDS; k++) {
        char made[sizeof((struct qn_plot *)0)->name];
        const char *dash = strrchr(name, '-');
        const unsigned long number = dash ? strtoul(dash + 1, NULL, 10) : 0;
        *file = number > 0 ? number - 1 : 0;
        qn_review_plot_name((enum qn_review_kind)k, *file, made, sizeof made);
        if (strcmp(made, name) == 0)
            return (enum qn_review_kind)k;
    }
    return QN_REVIEW_KINDS;
}

/* The plot that a criterion is about, or NULL. */
static const struct qn_plot *plot_of(const struct qn_review_shown *s, enum qn_review_kind kind,
                                     const char *evidence)
{
    const struct qn_evidence *e = s->review->evidence;
    char name[sizeof((struct qn_plot *)0)->name];
    size_t file = 0;
    while (kind < QN_REVIEW_ALL_FILES && file < e->n && strcmp(e->files[file].path, evidence) != 0)
        file++;
    qn_review_plot_name(kind, file, name, sizeof name);
    for (size_t i = 0; i < s->plotter->n_plots; i++)
        if (strcmp(s->plotter->plots[i].name, name) == 0)
            return &s->plotter->plots[i];
    return NULL;
}

static void put_title(FILE *to, const struct qn_review_shown *s, enum qn_review_kind kind,
                      size_t file)
{
    fprintf(to, "<h3>%s", about[kind].title);
    if (kind < QN_REVIEW_ALL_FILES) {
        char *label =
            qn_review_label(s->review, &s->review->evidence->files[file], &s->page->error);
        fputs(": ", to);
        if (label)
            qn_page_text(to, label);
        else
            s->page->status = QINS_ERR_MEMORY;
        free(label);
    }
    fputs("</h3>\n", to);
}

static void put_plot(FILE *to, struct qn_review_shown *s, const struct qn_plot *plot)
{
    const size_t index = (size_t)(plot - s->plotter->plots);
    size_t file;
    const enum qn_review_kind kind = kind_of(plot->name, &file);
    if (s->placed[index] || kind == QN_REVIEW_KINDS)
        return;
    s->placed[index] = true;
    fputs("<div class=\"picture\">\n", to);
    put_title(to, s, kind, file);
    if (plot->drawn)
        qn_page_picture(s->page, s->plotter, plot);
    else
        fprintf(to,
                "<div class=\"missing\" id=\"%s\"><p>gnuplot did not draw this picture. "
                "<code>cd plots &amp;&amp; gnuplot draw.gp</code> draws it.</p></div>\n",
                plot->name);
    fputs("</div>\n", to);
}

/* What has evidence and no picture has nothing to draw: its tensors are exact. */
static bool is_exact(enum qn_review_kind kind, const json_t *criterion)
{
    return kind == QN_REVIEW_LAYERS && *qn_report_text(criterion, "evidence");
}

/* COMMAND with TEST among what "--tests" lists; without that option all tests are run. */
static void put_command_of(struct qn_text_writer *page, const char *command, const char *test)
{
    static const char option[] = " --tests ";
    const char *at = strstr(command, option);
    const size_t before = at ? (size_t)(at - command) + strlen(option) : 0,
                 n = at ? strcspn(command + before, " ") : 0;
    char *made = at && n > 0 ? qn_format(&page->error, "%.*s,%s%s", (int)(before + n), command,
                                         test, command + before + n)
                             : qn_strdup(command, &page->error);
    if (made)
        qn_review_put_command(page->to, made);
    else
        page->status = QINS_ERR_MEMORY;
    free(made);
}

/* Why CRITERION has no picture of its own report: that was not judged, or did not run the test. */
static void put_own_reason(FILE *to, const struct qn_review_shown *s, enum qn_review_kind kind,
                           const json_t *criterion)
{
    const char *reason = qn_report_text(criterion, "reason"),
               *evidence = qn_report_text(criterion, "evidence");
    const size_t number = qn_review_number(s->review, evidence);
    fputs("\xe2\x80\x9c", to);
    qn_page_text(to, qn_report_text(criterion, "name"));
    fputs("\xe2\x80\x9d: ", to);
    if (*evidence)
        fprintf(to, "its report, <a href=\"#evidence-%zu\">[%zu]</a>, has no test %s", number,
                number, about[kind].test);
    else
        qn_page_text(to, reason);
    fputc('.', to);
}

/* CRITERION: that has no picture of KIND; or NULL. */
static void put_missing(FILE *to, struct qn_review_shown *s, enum qn_review_kind kind,
                        const json_t *criterion)
{
    const char *command = qn_report_text(criterion, "command");
    /* other reports may have the figures; this criterion's is what is missing */
    const bool own = kind < QN_REVIEW_ALL_FILES && (*qn_report_text(criterion, "reason") ||
                                                    *qn_report_text(criterion, "evidence"));
    if (s->missing[kind] || is_exact(kind, criterion))
        return;
    s->missing[kind] = s->gate;
    fprintf(to,
            "<div class=\"picture\"><h3>%s</h3>\n<div class=\"missing\" id=\"missing-%zu-%d\"><p>",
            about[kind].title, s->gate, (int)kind + 1);
    if (own)
        put_own_reason(to, s, kind, criterion);
    else
        fputs(about[kind].missing, to);
    fputs("</p><p>To have it: ", to);
    if (kind < QN_REVIEW_ALL_FILES && *command)
        put_command_of(s->page, command, about[kind].test);
    else
        qn_review_put_command(to, about[kind].command);
    fputs("</p></div></div>\n", to);
}

void qn_review_gate_pictures(FILE *to, struct qn_review_shown *s, const json_t *gate)
{
    const json_t *criterion;
    size_t i;
    fputs("<div class=\"figures\">\n", to);
    json_array_foreach(json_object_get(gate, "criteria"), i, criterion)
    {
        const enum qn_review_kind kind = qn_review_kind(qn_report_text(criterion, "plot"));
        if (kind == QN_REVIEW_KINDS)
            continue;
        const struct qn_plot *plot = plot_of(s, kind, qn_report_text(criterion, "evidence"));
        if (plot)
            put_plot(to, s, plot);
        else
            put_missing(to, s, kind, criterion);
    }
    fputs("</div>\n", to);
}

static bool has_kind(const struct qn_review_shown *s, enum qn_review_kind kind)
{
    size_t file;
    for (size_t i = 0; i < s->plotter->n_plots; i++)
        if (kind_of(s->plotter->plots[i].name, &file) == kind)
            return true;
    return false;
}

void qn_review_picture(FILE *to, struct qn_review_shown *s, enum qn_review_kind kind)
{
    size_t file;
    for (size_t i = 0; i < s->plotter->n_plots; i++)
        if (kind_of(s->plotter->plots[i].name, &file) == kind)
            put_plot(to, s, &s->plotter->plots[i]);
    if (kind >= QN_REVIEW_ALL_FILES && !has_kind(s, kind)) /* the gates tell of the others */
        put_missing(to, s, kind, NULL);
}

void qn_review_further_pictures(FILE *to, struct qn_review_shown *s)
{
    bool all = true;
    size_t file;
    for (size_t i = 0; i < s->plotter->n_plots; i++)
        all =
            all && (s->placed[i] || kind_of(s->plotter->plots[i].name, &file) == QN_REVIEW_HISTORY);
    fprintf(to, "<div id=\"further\">%s</div>\n<div class=\"figures\">\n",
            all ? "" : "<h2>Further pictures</h2>");
    for (int k = 0; k < QN_REVIEW_HISTORY; k++)
        qn_review_picture(to, s, (enum qn_review_kind)k);
    fputs("</div>\n", to);
}

void qn_review_picture_place(const struct qn_review_shown *s, const json_t *criterion, char *place,
                             size_t size)
{
    const enum qn_review_kind kind = qn_review_kind(qn_report_text(criterion, "plot"));
    const struct qn_plot *plot =
        kind < QN_REVIEW_KINDS ? plot_of(s, kind, qn_report_text(criterion, "evidence")) : NULL;
    *place = '\0';
    if (plot)
        snprintf(place, size, "%s", plot->name);
    else if (kind < QN_REVIEW_KINDS && !is_exact(kind, criterion))
        snprintf(place, size, "missing-%zu-%d", s->missing[kind] ? s->missing[kind] : s->gate,
                 (int)kind + 1);
}
