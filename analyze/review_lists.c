/* Earlier reviews and the list of evidence. */
#include "analyze/page.h"
#include "analyze/report_json.h"
#include "analyze/review_page.h"

#include "core/file.h"

#include <string.h>

static const char *gate_status(const json_t *review, const char *id)
{
    const json_t *gate;
    size_t i;
    json_array_foreach(json_object_get(review, "gates"), i, gate)
    {
        if (strcmp(qn_report_text(gate, "id"), id) == 0)
            return qn_report_text(gate, "status");
    }
    return "not_run";
}

/* Base names of what REVIEW is of: its archives, or its models where there are none. */
static void put_names(FILE *to, const json_t *review)
{
    const json_t *names = json_object_get(review, "archives"), *item;
    size_t i;
    if (json_array_size(names) == 0)
        names = json_object_get(review, "models");
    json_array_foreach(names, i, item)
    {
        fputs(i ? ", " : "", to);
        qn_page_name(to, qn_path_base(qn_report_text(item, "name")));
    }
}

static void put_review(FILE *to, const json_t *gates, const json_t *review, size_t number,
                       const char *which)
{
    const json_t *gate;
    size_t i;
    fprintf(to, "<tr><td class=\"n\">%zu%s</td><td class=\"name\">", number, which);
    put_names(to, review);
    fputs("</td>", to);
    json_array_foreach(gates, i, gate)
    {
        fputs("<td>", to);
        qn_review_light(to, gate_status(review, qn_report_text(gate, "id")), true);
        fputs("</td>", to);
    }
    fputs("</tr>\n", to);
}

void qn_review_history(FILE *to, struct qn_review_shown *s)
{
    const json_t *review = s->review->json, *history = json_object_get(review, "history"),
                 *gates = json_object_get(review, "gates"), *gate, *earlier;
    size_t i;
    fputs("<h2 id=\"history\">Earlier reviews</h2>\n", to);
    if (json_array_size(history) == 0) {
        fputs("<p class=\"soft\">No earlier review was given (<code>--previous DIR</code>), so "
              "there is no trend to show.</p>\n",
              to);
        return;
    }
    fputs("<div class=\"scroll\"><table class=\"history\"><thead><tr><th class=\"n\">review</th>"
          "<th>of</th>",
          to);
    json_array_foreach(gates, i, gate)
    {
        fputs("<th>", to);
        qn_page_text(to, qn_report_text(gate, "title"));
        fputs("</th>", to);
    }
    fputs("</tr></thead><tbody>\n", to);
    json_array_foreach(history, i, earlier)
    {
        const double number = qn_report_number(earlier, "number");
        put_review(to, gates, earlier, number >= 1.0 && number < 1e9 ? (size_t)number : i + 1, "");
    }
    const double number = qn_report_number(review, "number");
    put_review(to, gates, review, number >= 1.0 && number < 1e10 ? (size_t)number : i + 1,
               ", this review");
    fputs("</tbody></table></div>\n<div class=\"figures\">\n", to);
    qn_review_picture(to, s, QN_REVIEW_HISTORY);
    fputs("</div>\n", to);
}

void qn_review_evidence(FILE *to, const struct qn_review *r)
{
    const json_t *item;
    size_t i;
    fputs("<h2 id=\"evidence\">Evidence</h2>\n", to);
    if (json_array_size(json_object_get(r->json, "evidence")) == 0) {
        fputs("<p>There is none.</p>\n", to);
        return;
    }
    fputs("<div class=\"scroll\"><table class=\"evidence\"><thead><tr><th class=\"n\"></th>"
          "<th>report</th><th>what</th><th class=\"n\">size</th><th>fingerprint (XXH3-128)</th>"
          "</tr></thead><tbody>\n",
          to);
    json_array_foreach(json_object_get(r->json, "evidence"), i, item)
    {
        const char *title = qn_report_text(item, "title");
        fprintf(to, "<tr id=\"evidence-%zu\"><td class=\"n\">[%zu]</td><td class=\"name\">", i + 1,
                i + 1);
        qn_page_name(to, qn_report_text(item, "path"));
        fputs("</td><td class=\"wide\">", to);
        qn_page_text(to, *title ? title : qn_report_text(item, "schema"));
        if (json_is_false(json_object_get(item, "used")))
            fputs(" <span class=\"soft\">(no criterion rests on it)</span>", to);
        fputs("</td><td class=\"n\">", to);
        qn_page_bytes(to, qn_report_number(item, "bytes"));
        fputs("</td><td><code>", to);
        qn_page_text(to, qn_report_text(item, "fingerprint"));
        fputs("</code></td></tr>\n", to);
    }
    fputs("</tbody></table></div>\n", to);
}
