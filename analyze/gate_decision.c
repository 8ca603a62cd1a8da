#include "analyze/gate_internal.h"

#include "analyze/gate_operators.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIGURE_BYTES = 200 }; /* of a text that is a figure */

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static double shown(double x, const char *unit)
{
    return strcmp(unit, "share") == 0 ? 100.0 * x : x;
}

static char *number_text(double x, const char *unit, int digits, struct qins_error *err)
{
    const char *word = strcmp(unit, "share") == 0 ? "%" : unit;
    const double y = shown(x, unit);
    const char *space = *word ? " " : "";
    if (y == floor(y) && fabs(y) < 1e15)
        return qn_format(err, "%.0f%s%s", y, space, word);
    return qn_format(err, "%.*g%s%s", digits, y, space, word);
}

/* As few digits as do not change what BAR makes of it, nor make all of what is less: 0.949996 must
 * not read as 95 %, nor 0.9998 as 100 %. */
static int digits_for(const struct qn_figure *f, const char *unit, const json_t *bar)
{
    static const int tried[] = {3, 4, 6, 9, 12};
    char why[QN_REASON_BYTES], text[64];
    for (size_t i = 0; bar && i < sizeof tried / sizeof *tried; i++) {
        struct qn_figure rounded = *f;
        snprintf(text, sizeof text, "%.*g", tried[i], shown(f->number, unit));
        rounded.number = strtod(text, NULL) / shown(1.0, unit);
        if ((rounded.number == 1.0) == (f->number == 1.0) &&
            qn_comparison_eval(bar, &rounded, why) == qn_comparison_eval(bar, f, why))
            return tried[i];
    }
    return bar ? 17 : tried[0];
}

char *qn_gate_figure_text(const struct qn_figure *f, const char *unit, const json_t *bar,
                          struct qins_error *err)
{
    const char *of = unit ? unit : "";
    if (f->kind == QN_FIGURE_TEXT)
        return qn_format(err, "%.*s", qn_utf8_cut(f->text, FIGURE_BYTES), f->text);
    if (f->kind == QN_FIGURE_BOOL)
        return qn_strdup(f->number != 0.0 ? "true" : "false", err);
    return number_text(f->number, of, digits_for(f, of, bar), err);
}

static char *plain_text(const json_t *j, const char *unit, struct qins_error *err)
{
    if (json_is_boolean(j))
        return qn_strdup(json_is_true(j) ? "true" : "false", err);
    if (json_is_string(j))
        return qn_strdup(json_string_value(j), err);
    return number_text(json_number_value(j), unit, 12, err);
}

static char *set_text(const json_t *set, const char *unit, struct qins_error *err)
{
    char *text = qn_strdup("one of", err);
    for (size_t i = 0; i < json_array_size(set) && text; i++) {
        char *item = plain_text(json_array_get(set, i), unit, err);
        char *longer = item ? qn_format(err, "%s%s %s", text, i ? "," : "", item) : NULL;
        free(item);
        free(text);
        text = longer;
    }
    return text;
}

char *qn_gate_bar_text(const json_t *object, const char *unit, struct qins_error *err)
{
    static const char *const signs[QN_CMP_COUNT] = {[QN_CMP_AT_MOST] = "\xe2\x89\xa4",
                                                    [QN_CMP_AT_LEAST] = "\xe2\x89\xa5",
                                                    [QN_CMP_UNEQUAL] = "\xe2\x89\xa0"};
    const json_t *t = json_object_get(object, "threshold");
    const char *comparison = text_of(object, "comparison"), *of = unit ? unit : "";
    const enum qn_comparison c = qn_comparison_of(object);
    if (c == QN_CMP_PRESENT || c == QN_CMP_ABSENT)
        return qn_strdup(comparison, err);
    if (c == QN_CMP_IN)
        return set_text(t, of, err);
    char *a = plain_text(c == QN_CMP_BETWEEN ? json_array_get(t, 0) : t, of, err);
    char *b = c == QN_CMP_BETWEEN ? plain_text(json_array_get(t, 1), of, err) : NULL;
    char *text = NULL;
    if (a && c == QN_CMP_BETWEEN && b)
        text = qn_format(err, "%s to %s", a, b);
    else if (a && c == QN_CMP_EQUAL)
        text = qn_strdup(a, err);
    else if (a && c != QN_CMP_BETWEEN)
        text = qn_format(err, "%s %s", signs[c] ? signs[c] : comparison, a);
    free(a);
    free(b);
    return text;
}

static const struct qn_gate_result *gate_of(const struct qn_gate_job *job, const char *id, size_t n)
{
    for (size_t i = 0; i < job->n_gates; i++) {
        const char *have = text_of(job->gates[i].spec, "id");
        if (strlen(have) == n && memcmp(have, id, n) == 0)
            return &job->gates[i];
    }
    return NULL;
}

/* Place of the criterion, or the number of them. */
static size_t criterion_of(const struct qn_gate_result *g, const char *id, size_t n)
{
    size_t i = 0;
    for (; i < g->n; i++) {
        const char *have = text_of(json_array_get(g->criteria, i), "id");
        if (strlen(have) == n && memcmp(have, id, n) == 0)
            break;
    }
    return i;
}

static bool rule_holds(const struct qn_gate_job *job, const struct qn_gate_result *gate,
                       const json_t *rule, bool unblocked)
{
    const char *id = text_of(rule, "gate"), *criterion = text_of(rule, "criterion"),
               *status = text_of(rule, "status"), *alone = text_of(rule, "alone");
    const struct qn_gate_result *g = id ? gate_of(job, id, strlen(id)) : gate;
    if (!criterion)
        return strcmp(status ? status : alone,
                      qn_gate_status_names[status && !unblocked ? g->status : g->alone]) == 0;
    const struct qn_verdict *v = &g->verdicts[criterion_of(g, criterion, strlen(criterion))];
    char why[QN_REASON_BYTES];
    if (status)
        return strcmp(status, qn_gate_status_names[v->status]) == 0;
    /* A figure that may not be judged decides nothing. */
    return v->status != QN_GATE_NOT_RUN && qn_comparison_eval(rule, &v->figure, why) == QN_TRUE;
}

bool qn_gate_rules_hold(const struct qn_gate_job *job, const struct qn_gate_result *gate,
                        const json_t *rules, bool unblocked)
{
    for (size_t i = 0; i < json_array_size(rules); i++)
        if (!rule_holds(job, gate, json_array_get(rules, i), unblocked))
            return false;
    return true;
}

/* " \xc2\xb1 0.05 %" of a figure that has a standard error, else "". */
static char *error_text(const struct qn_gate_job *job, const json_t *criterion,
                        const struct qn_verdict *v, struct qins_error *err)
{
    const json_t *expr = json_object_get(criterion, "standard_error");
    const char *unit = text_of(criterion, "unit");
    char why[QN_REASON_BYTES];
    struct qn_figure f;
    if (!expr || !qn_gate_figure(job, v->file, expr, &f, why) || f.kind != QN_FIGURE_NUMBER ||
        !(f.number > 0.0))
        return qn_strdup("", err);
    char *error = number_text(f.number, unit ? unit : "", 1, err);
    char *text = error ? qn_format(err, " \xc2\xb1 %s", error) : NULL;
    free(error);
    return text;
}

/* "NAME: FIGURE, not BAR". */
static char *failed_text(const struct qn_gate_job *job, const json_t *criterion,
                         const struct qn_verdict *v, struct qins_error *err)
{
    const char *unit = text_of(criterion, "unit");
    char *value = qn_gate_figure_text(&v->figure, unit, criterion, err),
         *error = value ? error_text(job, criterion, v, err) : NULL,
         *bar = error ? qn_gate_bar_text(criterion, unit, err) : NULL,
         *text =
             bar ? qn_format(err, "%s: %s%s, not %s", text_of(criterion, "name"), value, error, bar)
                 : NULL;
    free(value);
    free(error);
    free(bar);
    return text;
}

/* Whether criterion I of G decides and has STATUS. */
static bool counts(const struct qn_gate_result *g, size_t i, enum qn_gate_status status)
{
    return g->verdicts[i].status == status &&
           !json_is_false(json_object_get(json_array_get(g->criteria, i), "decides"));
}

/* "NAME and 3 more: REASON" of those that were not run for the reason of criterion FIRST. */
static char *missing_text(const struct qn_gate_result *g, size_t first, struct qins_error *err)
{
    const char *reason = g->verdicts[first].reason,
               *name = text_of(json_array_get(g->criteria, first), "name");
    size_t more = 0;
    for (size_t i = first + 1; i < g->n; i++)
        more += counts(g, i, QN_GATE_NOT_RUN) && strcmp(g->verdicts[i].reason, reason) == 0;
    return more ? qn_format(err, "%s, and %zu more (%s)", name, more, reason)
                : qn_format(err, "%s (%s)", name, reason);
}

static bool is_told(const struct qn_gate_result *g, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (counts(g, i, QN_GATE_NOT_RUN) &&
            strcmp(g->verdicts[i].reason, g->verdicts[at].reason) == 0)
            return true;
    return false;
}

/* Criteria of G that decide and failed, or were not run, one behind the other. */
static char *named_by_status(const struct qn_gate_job *job, const struct qn_gate_result *g,
                             enum qn_gate_status status, struct qins_error *err)
{
    char *text = qn_strdup("", err);
    for (size_t i = 0; i < g->n && text; i++) {
        if (!counts(g, i, status) || (status == QN_GATE_NOT_RUN && is_told(g, i)))
            continue;
        char *item = status == QN_GATE_FAIL
                         ? failed_text(job, json_array_get(g->criteria, i), &g->verdicts[i], err)
                         : missing_text(g, i, err);
        char *longer = item ? qn_format(err, "%s%s%s", text, *text ? "; " : "", item) : NULL;
        free(item);
        free(text);
        text = longer;
    }
    if (text && !*text) {
        free(text);
        text = qn_strdup("nothing", err);
    }
    return text;
}

static bool is_word(const char *id, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(id, word, n) == 0;
}

/* What "criterion" or "gate/criterion", N bytes at NAME, came to, all that is "failed" or "missing"
 * of a gate, or, in a text of the review, a gate's "decision". */
static char *figure_named(const struct qn_gate_job *job, const struct qn_gate_result *gate,
                          const char *name, size_t n, struct qins_error *err)
{
    const char *slash = memchr(name, '/', n);
    const struct qn_gate_result *g = slash ? gate_of(job, name, (size_t)(slash - name)) : gate;
    const char *id = slash ? slash + 1 : name;
    const size_t n_id = (size_t)(name + n - id);
    if (g && is_word(id, n_id, "failed"))
        return named_by_status(job, g, QN_GATE_FAIL, err);
    if (g && is_word(id, n_id, "missing"))
        return named_by_status(job, g, QN_GATE_NOT_RUN, err);
    if (g && !gate && is_word(id, n_id, "decision")) {
        const json_t *chosen;
        return qn_gate_decide(job, g, &chosen, err);
    }
    const size_t at = g ? criterion_of(g, id, n_id) : 0;
    if (!g || at == g->n)
        return qn_format(err, "{%.*s}", (int)n, name);
    const struct qn_verdict *v = &g->verdicts[at];
    if (!v->known || v->status == QN_GATE_NOT_RUN)
        return qn_strdup("not measured", err);
    const json_t *spec = json_array_get(g->criteria, at);
    return qn_gate_figure_text(&v->figure, text_of(spec, "unit"), spec, err);
}

/* Cuts OUT, a UTF-8 text, to what a reader may bear. */
static enum qins_status cut(struct qn_buf *out, struct qins_error *err)
{
    static const char dots[] = "\xe2\x80\xa6";
    size_t n = QN_GATE_FILLED;
    while (n > 0 && (out->data[n] & 0xC0) == 0x80)
        n--;
    out->size = n;
    return qn_buf_append(out, dots, sizeof dots - 1, err);
}

char *qn_gate_fill(const struct qn_gate_job *job, const struct qn_gate_result *gate,
                   const char *text, struct qins_error *err)
{
    struct qn_buf out = {0};
    enum qins_status st = QINS_OK;
    const char *p = text;
    while (*p && st == QINS_OK && out.size <= QN_GATE_FILLED) {
        const size_t plain = strcspn(p, "{");
        const char *end = p[plain] ? strchr(p + plain, '}') : NULL;
        const size_t n = end ? plain : strlen(p);
        st = qn_buf_append(&out, p, n, err);
        p += n;
        if (end && st == QINS_OK) {
            char *figure = figure_named(job, gate, p + 1, (size_t)(end - p - 1), err);
            st = figure ? qn_buf_append(&out, figure, strlen(figure), err) : QINS_ERR_MEMORY;
            free(figure);
            p = end + 1;
        }
    }
    if (st == QINS_OK && out.size > QN_GATE_FILLED)
        st = cut(&out, err);
    if (st == QINS_OK)
        st = qn_buf_append_zeros(&out, 1, err);
    if (st != QINS_OK)
        qn_buf_finish(&out);
    return (char *)out.data;
}

/* Where a gate's own decisions do not say. */
static const char *common_decision(enum qn_gate_status alone)
{
    switch (alone) {
    case QN_GATE_PASS:
        return "Passed: go on.";
    case QN_GATE_FAIL:
        return "Not passed: stop here.";
    default:
        return "Undecided: evidence is missing.";
    }
}

/* The first whose rules hold, or NULL. */
static const json_t *decision_of(const struct qn_gate_job *job, const struct qn_gate_result *gate)
{
    const json_t *list = json_object_get(gate ? gate->spec : job->spec, "decisions");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *d = json_array_get(list, i);
        if (qn_gate_rules_hold(job, gate, json_object_get(d, "when"), false))
            return d;
    }
    return NULL;
}

/* The first gate that did not pass, or the last. */
static const struct qn_gate_result *deciding(const struct qn_gate_job *job)
{
    size_t i = 0;
    while (i + 1 < job->n_gates && job->gates[i].status == QN_GATE_PASS)
        i++;
    return &job->gates[i];
}

char *qn_gate_decide(const struct qn_gate_job *job, const struct qn_gate_result *gate,
                     const json_t **chosen, struct qins_error *err)
{
    const json_t *d = decision_of(job, gate);
    const char *as = text_of(d, "as");
    if (!d && !gate) {
        gate = deciding(job);
        d = decision_of(job, gate);
    }
    *chosen = as ? decision_of(job, gate_of(job, as, strlen(as))) : d;
    return d ? qn_gate_fill(job, gate, text_of(d, "text"), err)
             : qn_strdup(common_decision(gate->alone), err);
}
