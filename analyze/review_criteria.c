/* The table of a gate's criteria. */
#include "analyze/page.h"
#include "analyze/report_json.h"
#include "analyze/review_page.h"

#include "core/file.h"

#include <math.h>
#include <string.h>

enum { LONGEST_KEY = 160 }; /* bytes of an expression that the page shows */

void qn_review_put_value(FILE *to, const json_t *criterion)
{
    const json_t *value = json_object_get(criterion, "value");
    const char *text = qn_report_text(criterion, "value_text"),
               *unit = qn_report_text(criterion, "unit");
    if (json_is_number(value))
        qn_review_put_figure(to, json_number_value(value),
                             qn_report_number(criterion, "standard_error"),
                             qn_report_number(criterion, "threshold"), unit);
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "yes" : "no", to);
    else if (*text)
        qn_page_text(to, text);
    else
        fputs("\xe2\x80\x93", to);
}

static void put_evidence(FILE *to, const struct qn_review *r, const json_t *criterion)
{
    const char *path = qn_report_text(criterion, "evidence");
    const size_t number = qn_review_number(r, path);
    if (!*path) {
        fputs("<span class=\"soft\">none</span>", to);
        return;
    }
    if (number > 0)
        fprintf(to, "<a href=\"#evidence-%zu\">[%zu]</a> ", number, number);
    qn_page_name(to, qn_path_base(path)); /* the list of evidence has it whole */
}

void qn_review_source(FILE *to, const char *before, const json_t *source)
{
    const char *file = qn_report_text(source, "file"), *heading = qn_report_text(source, "heading");
    if (!*file)
        return;
    fputs(before, to);
    qn_page_text(to, file);
    if (*heading) {
        fputs(", \xe2\x80\x9c", to);
        qn_page_text(to, heading);
        fputs("\xe2\x80\x9d", to);
    }
}

static void put_line(FILE *to, const char *text)
{
    if (!*text)
        return;
    fputs("<div>", to);
    qn_page_text(to, text);
    fputs("</div>", to);
}

/* Figures that are shown but not judged. */
static void put_beside(FILE *to, const json_t *criterion)
{
    const json_t *item;
    size_t i, n = 0;
    json_array_foreach(json_object_get(criterion, "beside"), i, item)
    {
        if (json_is_null(json_object_get(item, "value")))
            continue;
        fputs(n++ ? "; " : "<div>beside it: ", to);
        qn_page_text(to, qn_report_text(item, "name"));
        fputs("\xc2\xa0", to);
        qn_review_put_value(to, item);
    }
    if (n > 0)
        fputs("</div>", to);
}

/* Where the criterion is from, how its figure is read from the evidence, and where it is drawn. */
static void put_source(FILE *to, const struct qn_review_shown *s, const json_t *criterion)
{
    const char *key = qn_report_text(criterion, "key");
    char place[64];
    fputs("<div>", to);
    qn_review_source(to, "source: ", json_object_get(criterion, "source"));
    if (!*qn_report_text(criterion, "evidence") || !*key) {
        /* nothing was read */
    } else if (strlen(key) > LONGEST_KEY) {
        fputs("; how it is read is in gate_review.json", to);
    } else {
        fputs("; read as <code>", to);
        qn_page_text(to, key);
        fputs("</code>", to);
    }
    qn_review_picture_place(s, criterion, place, sizeof place);
    if (*place)
        fprintf(to, "<span class=\"no-print\">; <a href=\"#%s\">picture</a></span>", place);
    fputs("</div>", to);
}

/* Whether KEY is the same text in both. */
static bool repeats(const json_t *before, const json_t *criterion, const char *key)
{
    return before && strcmp(qn_report_text(before, key), qn_report_text(criterion, key)) == 0;
}

static void put_previous(FILE *to, const json_t *criterion)
{
    const json_t *previous = json_object_get(criterion, "previous");
    const double value = qn_report_number(previous, "value");
    if (!json_is_object(previous) || (isnan(value) && repeats(previous, criterion, "status")))
        return;
    fputs("<div>review before: ", to);
    if (isfinite(value)) {
        qn_review_put_figure(to, value, NAN, qn_report_number(criterion, "threshold"),
                             qn_report_text(criterion, "unit"));
        fputs(", ", to);
    }
    qn_review_light(to, qn_report_text(previous, "status"), true);
    fputs("</div>", to);
}

/* The command of criterion I, or the first that has the same. */
static void put_command(FILE *to, const json_t *criteria, size_t i)
{
    const json_t *criterion = json_array_get(criteria, i), *before = NULL;
    const char *command = qn_report_text(criterion, "command");
    if (!*command) /* nothing makes it */
        return;
    fputs(strcmp(qn_report_text(criterion, "status"), "not_run") == 0 ? "<div>to have it: "
                                                                      : "<div>to reproduce: ",
          to);
    for (size_t k = 0; k < i && !before; k++)
        if (repeats(json_array_get(criteria, k), criterion, "command"))
            before = json_array_get(criteria, k);
    if (before) {
        fputs("as for \xe2\x80\x9c", to);
        qn_page_text(to, qn_report_text(before, "name"));
        fputs("\xe2\x80\x9d", to);
    } else {
        qn_review_put_command(to, command);
    }
    fputs("</div>", to);
}

/* Criterion I of a gate's. */
static void put_criterion(FILE *to, const struct qn_review_shown *s, const json_t *criteria,
                          size_t i)
{
    const json_t *criterion = json_array_get(criteria, i),
                 *before = i > 0 ? json_array_get(criteria, i - 1) : NULL;
    const bool decides = !json_is_false(json_object_get(criterion, "decides"));
    fputs("<tbody>\n<tr><td class=\"status\">", to);
    qn_review_light(to, qn_review_status(criterion), true);
    if (*qn_report_text(criterion, "close")) {
        fputs("<div class=\"close\">", to);
        qn_page_text(to, qn_report_text(criterion, "close"));
        fputs("</div>", to);
    }
    fputs("</td><td class=\"what\"><b>", to);
    qn_page_text(to, qn_report_text(criterion, "name"));
    fputs(decides ? "</b>" : "</b> <span class=\"soft\">reported, does not decide</span>", to);
    fputs("</td><td class=\"n\" data-label=\"figure\">", to);
    qn_review_put_value(to, criterion);
    fputs("</td><td class=\"n\" data-label=\"threshold\">", to);
    qn_review_put_threshold(to, criterion);
    fputs("</td><td class=\"from\" rowspan=\"2\" data-label=\"evidence\">", to);
    put_evidence(to, s->review, criterion);
    fputs("</td></tr>\n<tr class=\"more\"><td></td><td colspan=\"3\">", to);
    const char *reason = qn_report_text(criterion, "reason");
    if (*reason && repeats(before, criterion, "reason"))
        reason = "for the same reason";
    put_line(to, reason);
    put_beside(to, criterion);
    put_previous(to, criterion);
    put_line(to, qn_report_text(criterion, "limits"));
    put_source(to, s, criterion);
    put_command(to, criteria, i);
    fputs("</td></tr>\n</tbody>\n", to);
}

void qn_review_criteria(FILE *to, const struct qn_review_shown *s, const json_t *gate)
{
    const json_t *criteria = json_object_get(gate, "criteria");

    fputs("<table class=\"criteria\"><thead><tr><th>verdict</th><th>criterion</th>"
          "<th class=\"n\">figure</th><th class=\"n\">threshold</th><th>evidence</th></tr>"
          "</thead>\n",
          to);
    for (size_t i = 0; i < json_array_size(criteria); i++)
        put_criterion(to, s, criteria, i);
    fputs("</table>\n", to);
}
