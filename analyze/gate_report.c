#include "analyze/gate_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *copy(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);
    return v ? json_incref(v) : json_null();
}

/* Takes over TEXT, which may be NULL: then *J becomes NULL. */
static void put_text(json_t **j, const char *key, char *text)
{
    qn_json_put(j, key, text ? qn_json_text(text) : NULL);
    free(text);
}

static json_t *figure_json(const struct qn_figure *f)
{
    if (f->kind == QN_FIGURE_TEXT)
        return json_string(f->text);
    if (f->kind == QN_FIGURE_BOOL)
        return json_boolean(f->number != 0.0);
    return json_real(f->number);
}

/* "value" and "value_text" of SPEC, null where there is no figure. */
static void put_figure(const struct qn_gate_job *job, json_t **j, int file, const json_t *spec)
{
    const char *unit = json_string_value(json_object_get(spec, "unit"));
    const json_t *bar = json_object_get(spec, "comparison") ? spec : NULL;
    char why[QN_REASON_BYTES];
    struct qn_figure f;
    if (file == QN_NO_FILE || !qn_gate_figure(job, file, json_object_get(spec, "value"), &f, why)) {
        qn_json_put(j, "value", json_null());
        qn_json_put(j, "value_text", json_null());
        return;
    }
    qn_json_put(j, "value", figure_json(&f));
    put_text(j, "value_text", qn_gate_figure_text(&f, unit, bar, NULL));
}

static void put_bar(json_t **j, const json_t *spec)
{
    qn_json_put(j, "comparison", copy(spec, "comparison"));
    qn_json_put(j, "threshold", copy(spec, "threshold"));
    put_text(j, "threshold_text",
             qn_gate_bar_text(spec, json_string_value(json_object_get(spec, "unit")), NULL));
}

static json_t *others(const struct qn_gate_job *job, const json_t *criterion, const char *key,
                      int file)
{
    const json_t *list = json_object_get(criterion, key);
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *spec = json_array_get(list, i);
        json_t *j = json_object();
        qn_json_put(&j, "name", copy(spec, "name"));
        put_figure(job, &j, file, spec);
        qn_json_put(&j, "unit", copy(spec, "unit"));
        if (json_object_get(spec, "comparison"))
            put_bar(&j, spec);
        qn_json_append(&out, j);
    }
    return out;
}

/* A path as it is, anything else as JSON in one line. */
static char *key_text(const json_t *expr)
{
    const char *path = json_string_value(expr);
    return path ? qn_strdup(path, NULL) : qn_json_dump(expr, JSON_ENCODE_ANY | JSON_COMPACT);
}

/* The number that EXPR is, or null. */
static json_t *number_json(const struct qn_gate_job *job, const json_t *expr, int file)
{
    char why[QN_REASON_BYTES];
    struct qn_figure f;
    return expr && file != QN_NO_FILE && qn_gate_figure(job, file, expr, &f, why) &&
                   f.kind == QN_FIGURE_NUMBER
               ? json_real(f.number)
               : json_null();
}

/* How far VALUE is from the nearest end of the bar; NaN where the bar is no number. */
static double distance(double value, const json_t *threshold)
{
    const json_t *low = json_array_get(threshold, 0), *high = json_array_get(threshold, 1);
    if (json_array_size(threshold) == 2)
        return fmin(distance(value, low), distance(value, high));
    return json_is_number(threshold) ? fabs(value - json_number_value(threshold)) : (double)NAN;
}

/* Whether an end of the bar lies within SPREAD. */
static bool is_within(const json_t *threshold, double low, double high)
{
    if (json_array_size(threshold) == 2)
        return is_within(json_array_get(threshold, 0), low, high) ||
               is_within(json_array_get(threshold, 1), low, high);
    const double bar = json_number_value(threshold);
    return json_is_number(threshold) && low <= bar && bar <= high;
}

/* Why the verdict may be chance, or null: J has what was measured. */
static json_t *close_json(const json_t *j)
{
    static const double errors = 2.0;
    const json_t *value = json_object_get(j, "value"), *spread = json_object_get(j, "spread"),
                 *error = json_object_get(j, "standard_error"),
                 *threshold = json_object_get(j, "threshold");
    if (!json_is_boolean(json_object_get(j, "passed")) || !json_is_number(value))
        return json_null();
    if (json_number_value(error) > 0.0 &&
        distance(json_number_value(value), threshold) <= errors * json_number_value(error))
        return json_string("within two standard errors of the threshold");
    if (json_is_array(spread) && is_within(threshold, json_number_value(json_array_get(spread, 0)),
                                           json_number_value(json_array_get(spread, 1))))
        return json_string("the threshold lies within what was measured");
    return json_null();
}

/* [low, high] of the measurement, or null. */
static json_t *spread_json(const struct qn_gate_job *job, const json_t *criterion, int file)
{
    const json_t *spread = json_object_get(criterion, "spread");
    json_t *low = number_json(job, json_array_get(spread, 0), file),
           *high = number_json(job, json_array_get(spread, 1), file);
    const bool known = json_is_number(low) && json_is_number(high);
    json_t *out = known ? json_array() : json_null();
    if (known) {
        qn_json_append(&out, json_incref(low));
        qn_json_append(&out, json_incref(high));
    }
    json_decref(low);
    json_decref(high);
    return out;
}

static json_t *criterion_json(const struct qn_gate_job *job, const json_t *spec,
                              const struct qn_verdict *v)
{
    const char *unit = json_string_value(json_object_get(spec, "unit"));
    const bool judged = v->status != QN_GATE_NOT_RUN;
    const json_t *decides = json_object_get(spec, "decides");
    json_t *j = json_object();
    qn_json_put(&j, "id", copy(spec, "id"));
    qn_json_put(&j, "name", copy(spec, "name"));
    qn_json_put(&j, "status", json_string(qn_gate_status_names[v->status]));
    qn_json_put(&j, "passed", judged ? json_boolean(v->status == QN_GATE_PASS) : json_null());
    qn_json_put(&j, "decides", json_boolean(!json_is_false(decides)));
    qn_json_put(&j, "value", v->known ? figure_json(&v->figure) : json_null());
    if (v->known)
        put_text(&j, "value_text", qn_gate_figure_text(&v->figure, unit, spec, NULL));
    else
        qn_json_put(&j, "value_text", json_null());
    qn_json_put(&j, "unit", copy(spec, "unit"));
    qn_json_put(&j, "standard_error",
                number_json(job, json_object_get(spec, "standard_error"), v->file));
    qn_json_put(&j, "spread", spread_json(job, spec, v->file));
    put_bar(&j, spec);
    qn_json_put(&j, "close", close_json(j));
    qn_json_put(&j, "reason", judged ? json_null() : qn_json_text(v->reason));
    qn_json_put(&j, "evidence",
                v->file == QN_NO_FILE ? json_null()
                                      : qn_json_text(job->evidence.files[v->file].path));
    qn_json_put(&j, "selector", copy(spec, "evidence"));
    char *key = key_text(json_object_get(spec, "value"));
    qn_json_put(&j, "key", key ? qn_json_text(key) : NULL);
    free(key);
    qn_json_put(&j, "alternatives", others(job, spec, "alternatives", v->file));
    qn_json_put(&j, "beside", others(job, spec, "beside", v->file));
    qn_json_put(&j, "source", copy(spec, "source"));
    /* What was not enough is not to be made again as it was. */
    put_text(&j, "command", qn_gate_command(job, spec, judged ? v->file : QN_NO_FILE, NULL));
    qn_json_put(&j, "limits", copy(spec, "limits"));
    qn_json_put(&j, "plot", copy(spec, "plot"));
    return j;
}

static json_t *counts_json(const size_t *counts, size_t n)
{
    json_t *j = json_object();
    for (size_t i = 0; i < n; i++)
        qn_json_put(&j, qn_gate_status_names[i], json_integer((json_int_t)counts[i]));
    return j;
}

/* Title of the first gate that blocks G. */
static const char *blocker(const struct qn_gate_job *job, const struct qn_gate_result *g)
{
    const json_t *id = json_array_get(g->blocked_by, 0);
    size_t i = 0;
    while (!json_equal(json_object_get(job->gates[i].spec, "id"), id))
        i++;
    return json_string_value(json_object_get(job->gates[i].spec, "title"));
}

/* "decision", and "fallback" where the one that was chosen is one. */
static void put_decision(const struct qn_gate_job *job, const struct qn_gate_result *g, json_t **j)
{
    const json_t *d;
    char *decided = qn_gate_decide(job, g, &d, NULL),
         *text = decided ? qn_gate_name_words(job, decided, NULL) : NULL;
    free(decided);
    if (g && g->status == QN_GATE_BLOCKED && text) {
        char *blocked =
            json_array_size(g->blocked_by)
                ? qn_format(NULL, "Blocked by \"%s\". Were all before it passed: %s",
                            blocker(job, g), text)
                : qn_format(NULL, "Blocked: the evidence contradicts itself (%s). Did it not: %s",
                            g->contradiction, text);
        free(text);
        text = blocked;
        d = NULL; /* what is left to ship is for the gate that blocks it to say */
    }
    const char *first = json_string_value(json_array_get(job->contradictions, 0));
    if (!g && first && text) {
        char *warned =
            qn_format(NULL,
                      "The evidence contradicts itself (%s): no gate passes on it. Did it "
                      "not: %s",
                      first, text);
        free(text);
        text = warned;
    }
    put_text(j, "decision", text);
    qn_json_put(j, "fallback", copy(d, "fallback"));
    qn_json_put(j, "decision_source", copy(d, "source"));
}

static json_t *gate_json(const struct qn_gate_job *job, const struct qn_gate_result *g)
{
    static const char *const copied[] = {"id", "title", "from", "to", "description", "source"};
    size_t counts[QN_GATE_BLOCKED] = {0};
    json_t *j = json_object(), *criteria = json_array();
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        qn_json_put(&j, copied[i], copy(g->spec, copied[i]));
    qn_json_put(&j, "status", json_string(qn_gate_status_names[g->status]));
    qn_json_put(&j, "alone", json_string(qn_gate_status_names[g->alone]));
    qn_json_put(&j, "blocked_by", json_incref(g->blocked_by));
    put_decision(job, g, &j);
    qn_json_put(&j, "notes", qn_gate_settings_notes(job, g));
    for (size_t i = 0; i < g->n; i++) {
        qn_json_append(&criteria,
                       criterion_json(job, json_array_get(g->criteria, i), &g->verdicts[i]));
        counts[g->verdicts[i].status]++;
    }
    qn_json_put(&j, "counts", counts_json(counts, QN_GATE_BLOCKED));
    qn_json_put(&j, "criteria", criteria);
    return j;
}

/* Whether RULES are about a gate whose evidence contradicts itself. */
static bool is_contradicted(const struct qn_gate_job *job, const json_t *rules)
{
    for (size_t i = 0; i < json_array_size(rules); i++)
        for (size_t k = 0; k < job->n_gates; k++)
            if (job->gates[k].contradiction &&
                json_equal(json_object_get(json_array_get(rules, i), "gate"),
                           json_object_get(job->gates[k].spec, "id")))
                return true;
    return false;
}

static json_t *ship_json(const struct qn_gate_job *job)
{
    const json_t *list = json_object_get(job->spec, "ship");
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *spec = json_array_get(list, i), *when = json_object_get(spec, "when"),
                     *unknown = json_object_get(spec, "unknown_when");
        const bool holds = qn_gate_rules_hold(job, NULL, when, false),
                   open = !holds && unknown && qn_gate_rules_hold(job, NULL, unknown, false),
                   contradicted = !open && is_contradicted(job, when) &&
                                  qn_gate_rules_hold(job, NULL, when, true),
                   ready = holds && !contradicted;
        json_t *j = json_object();
        qn_json_put(&j, "id", copy(spec, "id"));
        qn_json_put(&j, "name", copy(spec, "name"));
        qn_json_put(&j, "ready", open ? json_null() : json_boolean(ready));
        qn_json_put(&j, "blocked",
                    json_boolean(!ready && !open && qn_gate_rules_hold(job, NULL, when, true)));
        const char *says = contradicted
                               ? "Not on evidence that contradicts itself."
                               : json_string_value(json_object_get(spec, ready  ? "ready"
                                                                         : open ? "unknown"
                                                                                : "not_ready"));
        char *filled = qn_gate_fill(job, NULL, says, NULL);
        put_text(&j, "text", filled ? qn_gate_name_words(job, filled, NULL) : NULL);
        free(filled);
        qn_json_append(&out, j);
    }
    return out;
}

static json_t *selectors_of(const struct qn_gate_job *job, size_t file)
{
    const char *name;
    json_t *value, *out = json_array();
    json_object_foreach(json_object_get(job->spec, "selectors"), name, value)
    {
        (void)value;
        if (job->selected[qn_gate_selector(job, name)].file == (int)file)
            qn_json_append(&out, json_string(name));
    }
    return out;
}

static json_t *evidence_json(const struct qn_gate_job *job)
{
    json_t *out = json_array();
    for (size_t i = 0; i < job->evidence.n; i++) {
        const struct qn_evidence_file *f = &job->evidence.files[i];
        json_t *j = json_object();
        qn_json_put(&j, "path", qn_json_text(f->path));
        qn_json_put(&j, "schema", json_string(f->schema));
        qn_json_put(&j, "fingerprint", qn_json_digest(&f->digest));
        qn_json_put(&j, "bytes", json_integer((json_int_t)f->bytes));
        qn_json_put(&j, "qins_version", copy(f->report, "qins_version"));
        qn_json_put(&j, "used", json_boolean(qn_gate_uses(job, i)));
        qn_json_put(&j, "selectors", selectors_of(job, i));
        for (size_t k = 0; qn_gate_identities[k]; k++) {
            const char *id = qn_gate_identity(job, (int)i, qn_gate_identities[k]);
            qn_json_put(&j, qn_gate_identities[k], id ? json_string(id) : json_null());
        }
        qn_json_append(&out, j);
    }
    return out;
}

static json_t *with_fingerprint(const json_t *list, const char *id)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *j = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(j, "fingerprint")), id) == 0)
            return j;
    }
    return NULL;
}

/* What the evidence that was used is about: each thing once, with the reports that name it. */
static json_t *subjects_json(const struct qn_gate_job *job, const char *kind, const char *name_key)
{
    json_t *out = json_array();
    for (size_t i = 0; i < job->evidence.n && out; i++) {
        const char *id = qn_gate_uses(job, i) ? qn_gate_identity(job, (int)i, kind) : NULL;
        if (!id)
            continue;
        json_t *j = with_fingerprint(out, id);
        if (!j) {
            j = json_object();
            qn_json_put(&j, "fingerprint", json_string(id));
            qn_json_put(&j, "name", json_null());
            qn_json_put(&j, "reports", json_array());
            qn_json_append(&out, j);
            j = with_fingerprint(out, id);
        }
        const char *name = qn_gate_identity(job, (int)i, name_key);
        if (name && json_is_null(json_object_get(j, "name")))
            qn_json_put(&j, "name", qn_json_text(name));
        if (json_array_append_new(json_object_get(j, "reports"),
                                  qn_json_text(job->evidence.files[i].path)) != 0) {
            json_decref(out);
            out = NULL;
        }
    }
    return out;
}

/* Whatever is judged on the text that something was calibrated on is not held out. */
static void note_same_text(const struct qn_gate_job *job, size_t file, json_t **notes)
{
    const struct qn_evidence_file *files = job->evidence.files;
    const char *text = qn_gate_uses(job, file) ? qn_gate_identity(job, (int)file, "text") : NULL;
    for (size_t i = 0; i < file && text; i++) {
        const char *other = qn_gate_uses(job, i) ? qn_gate_identity(job, (int)i, "text") : NULL;
        char note[QN_GATE_REASON];
        if (!other || strcmp(files[i].schema, files[file].schema) == 0 ||
            (!qn_gate_is_about(job, (int)i, "text", text) &&
             !qn_gate_is_about(job, (int)file, "text", other)))
            continue;
        snprintf(note, sizeof note,
                 "%.*s and %.*s are about the same text: its figures are not held out",
                 qn_utf8_cut(files[i].path, QN_GATE_PATH), files[i].path,
                 qn_utf8_cut(files[file].path, QN_GATE_PATH), files[file].path);
        qn_json_append(notes, qn_json_text(note));
    }
}

static json_t *notes_json(const struct qn_gate_job *job)
{
    json_t *out = qn_json_copy(job->evidence.notes);
    for (size_t i = 0; i < job->evidence.n && out; i++) {
        const struct qn_evidence_file *f = &job->evidence.files[i];
        const char *version = json_string_value(json_object_get(f->report, "qins_version"));
        char note[QN_GATE_REASON];
        note_same_text(job, i, &out);
        if (!qn_gate_uses(job, i) || !version || strcmp(version, qins_version()) == 0)
            continue;
        snprintf(note, sizeof note, "%.*s was written by qins %.60s, this is %s",
                 qn_utf8_cut(f->path, QN_GATE_PATH), f->path, version, qins_version());
        qn_json_append(&out, qn_json_text(note));
    }
    return out;
}

/* Evidence that was not judged because of it, then what was. */
static json_t *conflicts_json(const struct qn_gate_job *job)
{
    json_t *out = qn_json_copy(job->conflicts);
    for (size_t i = 0; i < json_array_size(job->contradictions); i++) {
        const char *text = json_string_value(json_array_get(job->contradictions, i));
        char *said = qn_format(NULL, "the evidence contradicts itself: %s", text);
        qn_json_append(&out, said ? qn_json_text(said) : NULL);
        free(said);
    }
    return out;
}

json_t *qn_gate_report(const struct qn_gate_job *job, struct qins_error *err)
{
    size_t gates[QN_GATE_BLOCKED + 1] = {0}, criteria[QN_GATE_BLOCKED] = {0};
    json_t *j = qn_report_begin(QN_REVIEW_SCHEMA), *file = json_object(), *list = json_array(),
           *summary = json_object();
    qn_json_put(&file, "path", job->spec_path ? qn_json_text(job->spec_path) : json_null());
    qn_json_put(&file, "fingerprint", qn_json_digest(&job->spec_digest));
    for (size_t i = 0; i < job->n_gates; i++) {
        const struct qn_gate_result *g = &job->gates[i];
        qn_json_append(&list, gate_json(job, g));
        gates[g->status]++;
        for (size_t k = 0; k < g->n; k++)
            criteria[g->verdicts[k].status]++;
    }
    qn_json_put(&summary, "gates", counts_json(gates, QN_GATE_BLOCKED + 1));
    qn_json_put(&summary, "criteria", counts_json(criteria, QN_GATE_BLOCKED));
    qn_json_put(&j, "title", copy(job->spec, "title"));
    qn_json_put(&j, "legend", copy(job->spec, "legend"));
    qn_json_put(&j, "passed", json_boolean(gates[QN_GATE_PASS] == job->n_gates));
    put_decision(job, NULL, &j);
    qn_json_put(&j, "ship", ship_json(job));
    qn_json_put(&j, "summary", summary);
    qn_json_put(&j, "models", subjects_json(job, "model", "model_name"));
    qn_json_put(&j, "archives", subjects_json(job, "archive", "archive_name"));
    qn_json_put(&j, "transports", subjects_json(job, "transport", "transport_name"));
    qn_json_put(&j, "texts", subjects_json(job, "text", "text_name"));
    qn_json_put(&j, "prompts", subjects_json(job, "prompts", "prompts_name"));
    qn_json_put(&j, "conflicts", conflicts_json(job));
    qn_json_put(&j, "notes", notes_json(job));
    qn_json_put(&j, "gates_file", file);
    qn_json_put(&j, "evidence", evidence_json(job));
    qn_json_put(&j, "gates", list);
    if (!j)
        qn_fail_memory(err);
    return j;
}
