#include "analyze/gate_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is not to be mixed: models in a whole review, the rest within a gate, since phases ship
 * different things. */
static const struct {
    const char *kind, *plural;
    bool in_gate;
} kinds[] = {
    {"model", "models", false}, {"archive", "archives", true}, {"transport", "transports", true}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

const char *const qn_gate_identities[] = {"model", "archive", "transport", "text", "prompts", NULL};

/* The first text at PATH of REPORT, or the first that is WANTED; NULL: there is none. */
static const char *text_at(const struct qn_gate_job *job, const json_t *report, const char *text,
                           const char *wanted)
{
    struct qn_path path;
    struct qn_path_found found = {.steps = job->steps};
    const char *out = NULL;
    const bool there =
        qn_path_parse(text, &path, NULL) == QINS_OK && qn_path_find(&path, report, &found);
    for (size_t i = 0; there && i < found.n && !out; i++) {
        const char *value = json_string_value(found.values[i]);
        out = value && (!wanted || strcmp(value, wanted) == 0) ? value : NULL;
    }
    qn_path_found_finish(&found);
    return out;
}

static const char *find_identity(const struct qn_gate_job *job, int file, const char *kind,
                                 const char *wanted)
{
    const json_t *list = json_object_get(job->spec, "identities");
    const struct qn_evidence_file *f = &job->evidence.files[file];
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i), *path = json_object_get(j, kind);
        const char *found =
            path && strcmp(json_string_value(json_object_get(j, "schema")), f->schema) == 0
                ? text_at(job, f->report, json_string_value(path), wanted)
                : NULL;
        if (found)
            return found;
    }
    return NULL;
}

const char *qn_gate_identity(const struct qn_gate_job *job, int file, const char *kind)
{
    return find_identity(job, file, kind, NULL);
}

bool qn_gate_is_about(const struct qn_gate_job *job, int file, const char *kind, const char *id)
{
    return find_identity(job, file, kind, id) != NULL;
}

static bool exempt(const struct qn_gate_job *job, const json_t *criterion)
{
    const char *name = json_string_value(json_object_get(criterion, "evidence"));
    const json_t *selector = json_object_get(json_object_get(job->spec, "selectors"), name);
    return json_is_true(json_object_get(selector, "any_model"));
}

/* What the criterion's report says that it is about, or NULL. */
static const char *subject(const struct qn_gate_job *job, const struct qn_gate_result *g,
                           size_t criterion, const char *kind)
{
    const int file = g->verdicts[criterion].file;
    if (file == QN_NO_FILE || exempt(job, json_array_get(g->criteria, criterion)))
        return NULL;
    return qn_gate_identity(job, file, kind);
}

/* A pair of reports that are about two things. */
struct conflict {
    const char *first, *second; /* identities; second NULL: there is none */
    int first_file, second_file;
};

static void look(const struct qn_gate_job *job, size_t from, size_t to, const char *kind,
                 struct conflict *c)
{
    for (size_t i = from; i < to; i++)
        for (size_t k = 0; k < job->gates[i].n; k++) {
            const char *id = subject(job, &job->gates[i], k, kind);
            if (!id || c->second)
                continue;
            if (!c->first) {
                c->first = id;
                c->first_file = job->gates[i].verdicts[k].file;
            } else if (strcmp(c->first, id) != 0) {
                c->second = id;
                c->second_file = job->gates[i].verdicts[k].file;
            }
        }
}

/* All criteria there that name one are not run. */
static enum qins_status refuse(struct qn_gate_job *job, size_t from, size_t to, size_t kind,
                               const struct conflict *c, struct qins_error *err)
{
    const struct qn_evidence_file *files = job->evidence.files;
    char *text = qn_format(err, "the evidence is about different %s: %.12s… (%s) and %.12s… (%s)",
                           kinds[kind].plural, c->first, files[c->first_file].path, c->second,
                           files[c->second_file].path);
    if (!text)
        return QINS_ERR_MEMORY;
    for (size_t i = from; i < to; i++)
        for (size_t k = 0; k < job->gates[i].n; k++) {
            struct qn_verdict *v = &job->gates[i].verdicts[k];
            if (!subject(job, &job->gates[i], k, kinds[kind].kind) || v->status == QN_GATE_NOT_RUN)
                continue;
            v->status = QN_GATE_NOT_RUN;
            snprintf(v->reason, sizeof v->reason, "%.*s; give evidence on one",
                     qn_utf8_cut(text, 900), text);
        }
    if (kinds[kind].in_gate) {
        char *in_gate =
            qn_format(err, "gate %s: %s",
                      json_string_value(json_object_get(job->gates[from].spec, "id")), text);
        free(text);
        text = in_gate;
    }
    if (text)
        qn_json_append(&job->conflicts, qn_json_text(text));
    free(text);
    return job->conflicts ? QINS_OK : qn_fail_memory(err);
}

enum qins_status qn_gates_refuse_mixed(struct qn_gate_job *job, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t kind = 0; kind < N_KINDS; kind++) {
        const size_t step = kinds[kind].in_gate ? 1 : job->n_gates;
        for (size_t from = 0; from < job->n_gates && st == QINS_OK; from += step) {
            struct conflict c = {0};
            look(job, from, from + step, kinds[kind].kind, &c);
            if (c.second)
                st = refuse(job, from, from + step, kind, &c, err);
        }
    }
    return st;
}
