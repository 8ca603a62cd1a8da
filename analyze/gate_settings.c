/* Whether the reports of a gate were measured alike. */
#include "analyze/gate_internal.h"
#include "core/text_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Paths of FILE's settings by name; NULL: it has none. */
static const json_t *settings_of(const struct qn_gate_job *job, size_t file)
{
    const json_t *list = json_object_get(job->spec, "identities");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(j, "schema")),
                   job->evidence.files[file].schema) == 0)
            return json_object_get(j, "settings");
    }
    return NULL;
}

static bool has_setting(const struct qn_gate_job *job, size_t file, const char *name,
                        struct qn_figure *out)
{
    const json_t *path = json_object_get(settings_of(job, file), name);
    char why[QN_REASON_BYTES];
    return path && qn_gate_figure(job, (int)file, path, out, why);
}

static bool is_of_gate(const struct qn_gate_result *g, size_t file)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->verdicts[i].file == (int)file)
            return true;
    return false;
}

static bool same_figure(const struct qn_figure *a, const struct qn_figure *b)
{
    if (a->kind != b->kind)
        return false;
    return a->kind == QN_FIGURE_TEXT ? strcmp(a->text, b->text) == 0 : a->number == b->number;
}

/* Whether two reports of G have another value under NAME. */
static bool differs(const struct qn_gate_job *job, const struct qn_gate_result *g, const char *name)
{
    struct qn_figure first = {0}, f;
    bool found = false;
    for (size_t i = 0; i < job->evidence.n; i++) {
        if (!is_of_gate(g, i) || !has_setting(job, i, name, &f))
            continue;
        if (found && !same_figure(&first, &f))
            return true;
        first = f;
        found = true;
    }
    return false;
}

/* Names of settings, each once, that differ; the caller's. NULL: out of memory. */
static json_t *find_differences(const struct qn_gate_job *job, const struct qn_gate_result *g)
{
    const char *name;
    json_t *path, *out = json_object();
    for (size_t i = 0; i < job->evidence.n; i++) {
        if (!is_of_gate(g, i))
            continue;
        json_object_foreach((json_t *)(uintptr_t)settings_of(job, i), name, path)
        {
            (void)path;
            if (out && !json_object_get(out, name) && differs(job, g, name))
                qn_json_put(&out, name, json_true());
        }
    }
    return out;
}

/* "context 256, tokens of text 14080"; heap, NULL when out of memory. */
static char *describe(const struct qn_gate_job *job, size_t file, const json_t *names)
{
    enum { WHOLE = 16, PART = 12 }; /* of a text, such as a fingerprint */
    struct qn_text_writer w;
    size_t n = 0;
    const char *name;
    json_t *unused;
    if (qn_text_writer_init(&w, NULL) != QINS_OK)
        return NULL;
    json_object_foreach((json_t *)(uintptr_t)names, name, unused)
    {
        struct qn_figure f;
        (void)unused;
        if (!has_setting(job, file, name, &f))
            continue;
        fprintf(w.to, "%s%s ", n++ ? ", " : "", name);
        if (f.kind != QN_FIGURE_TEXT)
            fprintf(w.to, "%.15g", f.number);
        else if (strlen(f.text) <= WHOLE)
            fputs(f.text, w.to);
        else
            fprintf(w.to, "%.*s\xe2\x80\xa6", PART, f.text);
    }
    return qn_text_writer_finish(&w, NULL, NULL);
}

/* Reports of one setting behind its description, one setting after the other. */
static char *list_reports(const struct qn_gate_job *job, char *const *described)
{
    struct qn_text_writer w;
    size_t n = 0;
    if (qn_text_writer_init(&w, NULL) != QINS_OK)
        return NULL;
    fputs("its reports were not measured alike, so each figure stands against its own bar but not "
          "beside those of the others: ",
          w.to);
    for (size_t i = 0; i < job->evidence.n; i++) {
        bool told = !described[i] || !*described[i];
        for (size_t k = 0; k < i && !told; k++)
            told = described[k] && strcmp(described[k], described[i]) == 0;
        if (told)
            continue;
        fprintf(w.to, "%s%s in %s", n++ ? "; " : "", described[i], job->evidence.files[i].path);
        for (size_t k = i + 1; k < job->evidence.n; k++)
            if (described[k] && strcmp(described[k], described[i]) == 0)
                fprintf(w.to, ", %s", job->evidence.files[k].path);
    }
    return qn_text_writer_finish(&w, NULL, NULL);
}

json_t *qn_gate_settings_notes(const struct qn_gate_job *job, const struct qn_gate_result *g)
{
    json_t *notes = json_array(), *names = find_differences(job, g);
    char **described = calloc(job->evidence.n + 1, sizeof *described);
    bool lost = !names || !described;
    if (!lost && json_object_size(names) > 0) {
        for (size_t i = 0; i < job->evidence.n && !lost; i++) {
            described[i] = is_of_gate(g, i) ? describe(job, i, names) : NULL;
            lost = is_of_gate(g, i) && !described[i];
        }
        char *text = lost ? NULL : list_reports(job, described);
        qn_json_append(&notes, text ? qn_json_text(text) : NULL);
        free(text);
    }
    for (size_t i = 0; described && i < job->evidence.n; i++)
        free(described[i]);
    free(described);
    json_decref(names);
    if (lost) {
        json_decref(notes);
        notes = NULL;
    }
    return notes;
}
