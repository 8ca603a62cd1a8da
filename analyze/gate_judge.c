#include "analyze/gate_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FOUND_BYTES = 600 }; /* of paths that are told in one reason */

const char *const qn_gate_status_names[] = {
    [QN_GATE_PASS] = "pass",
    [QN_GATE_FAIL] = "fail",
    [QN_GATE_NOT_RUN] = "not_run",
    [QN_GATE_BLOCKED] = "blocked",
};

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static struct qn_expr_scope scope(const struct qn_gate_job *job, int file, char *why)
{
    const json_t *report = job->evidence.files[file].report;
    return (struct qn_expr_scope){.report = report,
                                  .element = report,
                                  .steps = job->steps,
                                  .monitor = job->monitor,
                                  .why = why};
}

bool qn_gate_figure(const struct qn_gate_job *job, int file, const json_t *expr,
                    struct qn_figure *out, char *why)
{
    struct qn_expr_scope s = scope(job, file, why);
    return qn_expr_eval(expr, &s, out);
}

enum qins_status qn_gates_check_steps(const struct qn_gate_job *job, struct qins_error *err)
{
    const enum qins_status st = qn_check_stop(job->monitor, err);
    if (st != QINS_OK || job->steps->left > 0)
        return st;
    if (job->steps->memory_short)
        return qn_fail_memory(err);
    return qn_fail(err, QINS_ERR_FORMAT, "gates: on this evidence they take more than %.0f steps",
                   (double)QN_EXPR_STEPS);
}

/* A report that lacks what "where" compares is not meant. */
static bool selects(const struct qn_gate_job *job, const json_t *selector, int file)
{
    const json_t *where = json_object_get(selector, "where");
    char why[QN_REASON_BYTES] = "";
    struct qn_expr_scope s = scope(job, file, why);
    return same(job->evidence.files[file].schema, text_of(selector, "schema")) &&
           (!where || qn_condition_eval(where, &s) == QN_TRUE);
}

/* Appends TEXT as far as there is room. */
static void append(char *reason, const char *text)
{
    const size_t n = strlen(reason);
    if (n + 1 < QN_GATE_REASON)
        snprintf(reason + n, QN_GATE_REASON - n, "%.*s",
                 qn_utf8_cut(text, (int)(QN_GATE_REASON - n - 1)), text);
}

static void select_one(const struct qn_gate_job *job, const json_t *selector,
                       struct qn_selected *out)
{
    const struct qn_evidence *e = &job->evidence;
    const char *schema = text_of(selector, "schema");
    size_t n = 0, of_schema = 0;
    char found[QN_GATE_REASON] = "";
    *out = (struct qn_selected){.file = QN_NO_FILE};
    for (size_t i = 0; i < e->n; i++) {
        of_schema += same(e->files[i].schema, schema);
        if (!selects(job, selector, (int)i))
            continue;
        out->file = (int)i;
        append(found, n++ ? ", " : "");
        append(found, e->files[i].path);
    }
    if (n == 1)
        return;
    out->file = QN_NO_FILE;
    const char *what = text_of(selector, "description");
    if (n > 1)
        snprintf(out->reason, sizeof out->reason,
                 "%zu reports are %s, and none is better than another: %.*s; give one", n, what,
                 qn_utf8_cut(found, FOUND_BYTES), found);
    else if (text_of(selector, "unavailable"))
        snprintf(out->reason, sizeof out->reason, "no evidence: %s",
                 text_of(selector, "unavailable"));
    else if (of_schema == 0)
        snprintf(out->reason, sizeof out->reason, "no evidence: there is no report %s (%s)", schema,
                 what);
    else
        snprintf(out->reason, sizeof out->reason, "no evidence: none of %zu reports %s is %s",
                 of_schema, schema, what);
}

size_t qn_gate_selector(const struct qn_gate_job *job, const char *name)
{
    const json_t *selectors = json_object_get(job->spec, "selectors");
    const char *key;
    json_t *value;
    size_t i = 0;
    json_object_foreach((json_t *)(uintptr_t)selectors, key, value)
    {
        (void)value;
        if (strcmp(key, name) == 0)
            break;
        i++;
    }
    return i;
}

bool qn_gate_uses(const struct qn_gate_job *job, size_t file)
{
    for (size_t i = 0; i < job->n_gates; i++)
        for (size_t k = 0; k < job->gates[i].n; k++)
            if (job->gates[i].verdicts[k].file == (int)file)
                return true;
    return false;
}

static enum qins_status select_all(struct qn_gate_job *job, struct qins_error *err)
{
    const json_t *selectors = json_object_get(job->spec, "selectors");
    const size_t n = json_object_size(selectors);
    const char *key;
    json_t *value;
    size_t i = 0;
    job->selected = calloc(n ? n : 1, sizeof *job->selected);
    if (!job->selected)
        return qn_fail_memory(err);
    json_object_foreach((json_t *)(uintptr_t)selectors, key, value)
    {
        (void)key;
        select_one(job, value, &job->selected[i++]);
        const enum qins_status st = qn_gates_check_steps(job, err);
        if (st != QINS_OK)
            return st;
    }
    return QINS_OK;
}

/* Evidence that is too little is no evidence: of the first of "needs" that does not hold. */
static bool is_enough(const struct qn_gate_job *job, const json_t *criterion, struct qn_verdict *v)
{
    const json_t *needs = json_object_get(criterion, "needs");
    for (size_t i = 0; i < json_array_size(needs); i++) {
        const json_t *need = json_array_get(needs, i);
        char why[QN_REASON_BYTES] = "";
        struct qn_figure f;
        enum qn_truth t = QN_UNKNOWN;
        if (qn_gate_figure(job, v->file, json_object_get(need, "value"), &f, why))
            t = qn_comparison_eval(need, &f, why);
        if (t == QN_TRUE)
            continue;
        char *bar = qn_gate_bar_text(need, "", NULL);
        if (!bar)
            qn_steps_end_for_memory(job->steps);
        if (t == QN_UNKNOWN)
            snprintf(v->reason, sizeof v->reason, "%s: %s", text_of(need, "name"), why);
        else
            snprintf(v->reason, sizeof v->reason, "the evidence is not enough: %s is %.15g, not %s",
                     text_of(need, "name"), f.number, bar ? bar : "");
        free(bar);
        return false;
    }
    return true;
}

/* A report that does not say what it is about could be about anything. */
static bool says_about(const struct qn_gate_job *job, const json_t *selector, struct qn_verdict *v)
{
    const json_t *about = json_object_get(selector, "about");
    for (size_t i = 0; i < json_array_size(about); i++) {
        const char *kind = json_string_value(json_array_get(about, i));
        if (qn_gate_identity(job, v->file, kind))
            continue;
        const char *path = job->evidence.files[v->file].path;
        snprintf(v->reason, sizeof v->reason, "%.*s does not say which %s it is about",
                 qn_utf8_cut(path, QN_GATE_PATH), path, kind);
        return false;
    }
    return true;
}

/* "range": what the figure cannot be outside of, such as a share of tokens. */
static bool is_possible(const json_t *criterion, struct qn_verdict *v)
{
    const json_t *range = json_object_get(criterion, "range"), *low = json_array_get(range, 0),
                 *high = json_array_get(range, 1);
    if (!v->known || v->figure.kind != QN_FIGURE_NUMBER ||
        !((json_is_number(low) && v->figure.number < json_number_value(low)) ||
          (json_is_number(high) && v->figure.number > json_number_value(high))))
        return true;
    snprintf(v->reason, sizeof v->reason, "%.15g is no value that this can have", v->figure.number);
    return false;
}

/* "held_out": what something was calibrated on proves nothing there. */
static bool is_held_out(const struct qn_gate_job *job, const json_t *criterion,
                        struct qn_verdict *v)
{
    const struct qn_evidence_file *files = job->evidence.files;
    const char *text = json_is_true(json_object_get(criterion, "held_out"))
                           ? qn_gate_identity(job, v->file, "text")
                           : NULL;
    for (size_t i = 0; i < job->evidence.n && text; i++) {
        if (same(files[i].schema, files[v->file].schema) ||
            !qn_gate_is_about(job, (int)i, "text", text))
            continue;
        snprintf(v->reason, sizeof v->reason,
                 "not held out: %.*s is about the text that %.*s is about; give another",
                 qn_utf8_cut(files[v->file].path, QN_GATE_PATH), files[v->file].path,
                 qn_utf8_cut(files[i].path, QN_GATE_PATH), files[i].path);
        return false;
    }
    return true;
}

/* Whether one of "alternatives" holds instead. */
static bool other_holds(const struct qn_gate_job *job, const json_t *criterion, int file)
{
    const json_t *list = json_object_get(criterion, "alternatives");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i);
        char why[QN_REASON_BYTES];
        struct qn_figure f;
        if (qn_gate_figure(job, file, json_object_get(a, "value"), &f, why) &&
            qn_comparison_eval(a, &f, why) == QN_TRUE)
            return true;
    }
    return false;
}

static void judge(const struct qn_gate_job *job, const json_t *criterion, struct qn_verdict *v)
{
    const char *name = text_of(criterion, "evidence");
    const json_t *selector = json_object_get(json_object_get(job->spec, "selectors"), name);
    const struct qn_selected *s = &job->selected[qn_gate_selector(job, name)];
    char why[QN_REASON_BYTES] = "";
    enum qn_truth t = QN_UNKNOWN;
    *v = (struct qn_verdict){.status = QN_GATE_NOT_RUN, .file = s->file};
    if (s->file == QN_NO_FILE) {
        snprintf(v->reason, sizeof v->reason, "%s", s->reason);
        return;
    }
    v->known = qn_gate_figure(job, s->file, json_object_get(criterion, "value"), &v->figure, why);
    if (!says_about(job, selector, v) || !is_held_out(job, criterion, v) ||
        !is_enough(job, criterion, v) || !is_possible(criterion, v))
        return;
    if (v->known)
        t = qn_comparison_eval(criterion, &v->figure, why);
    if (t == QN_UNKNOWN) {
        snprintf(v->reason, sizeof v->reason, "%s", why);
        return;
    }
    v->status = t == QN_TRUE || other_holds(job, criterion, s->file) ? QN_GATE_PASS : QN_GATE_FAIL;
}

static enum qn_gate_status alone(const struct qn_gate_result *g)
{
    bool failed = false, missing = false;
    for (size_t i = 0; i < g->n; i++) {
        const json_t *decides = json_object_get(json_array_get(g->criteria, i), "decides");
        if (json_is_false(decides))
            continue;
        failed = failed || g->verdicts[i].status == QN_GATE_FAIL;
        missing = missing || g->verdicts[i].status == QN_GATE_NOT_RUN;
    }
    return failed ? QN_GATE_FAIL : missing ? QN_GATE_NOT_RUN : QN_GATE_PASS;
}

/* "requires" where it is there, else every gate before. */
static bool is_required(const struct qn_gate_result *g, const struct qn_gate_result *earlier)
{
    const json_t *requires = json_object_get(g->spec, "requires");
    if (!requires)
        return true;
    for (size_t i = 0; i < json_array_size(requires); i++)
        if (same(json_string_value(json_array_get(requires, i)), text_of(earlier->spec, "id")))
            return true;
    return false;
}

static enum qins_status set_statuses(struct qn_gate_job *job, struct qins_error *err)
{
    for (size_t i = 0; i < job->n_gates; i++) {
        struct qn_gate_result *g = &job->gates[i];
        g->alone = alone(g);
        for (size_t k = 0; k < i; k++)
            if (job->gates[k].status != QN_GATE_PASS && is_required(g, &job->gates[k]))
                qn_json_append(&g->blocked_by,
                               json_incref(json_object_get(job->gates[k].spec, "id")));
        if (!g->blocked_by)
            return qn_fail_memory(err);
        const bool shut =
            json_array_size(g->blocked_by) > 0 || (g->contradiction && g->alone == QN_GATE_PASS);
        g->status = shut ? QN_GATE_BLOCKED : g->alone;
    }
    return QINS_OK;
}

enum qins_status qn_gates_judge(struct qn_gate_job *job, struct qins_error *err)
{
    const json_t *gates = json_object_get(job->spec, "gates");
    enum qins_status st = select_all(job, err);
    if (st != QINS_OK)
        return st;
    job->gates = calloc(json_array_size(gates), sizeof *job->gates);
    if (!job->gates)
        return qn_fail_memory(err);
    for (size_t i = 0; i < json_array_size(gates) && st == QINS_OK; i++) {
        struct qn_gate_result *g = &job->gates[job->n_gates++];
        g->spec = json_array_get(gates, i);
        g->criteria = json_object_get(g->spec, "criteria");
        g->blocked_by = json_array();
        g->verdicts = calloc(json_array_size(g->criteria), sizeof *g->verdicts);
        if (!g->verdicts || !g->blocked_by)
            return qn_fail_memory(err);
        g->n = json_array_size(g->criteria);
        for (size_t k = 0; k < g->n; k++)
            judge(job, json_array_get(g->criteria, k), &g->verdicts[k]);
        st = qn_gates_check_steps(job, err);
    }
    if (st == QINS_OK)
        st = qn_gates_refuse_mixed(job, err);
    if (st == QINS_OK)
        st = qn_gates_find_contradictions(job, err);
    return st == QINS_OK ? set_statuses(job, err) : st;
}
