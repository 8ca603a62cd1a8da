/* Commands that make evidence anew, as it was made, of what it was made of. */
#include "analyze/gate_internal.h"
#include "core/text_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What no shell takes for more than it is. */
static const char safe[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,-/+:@%=";

/* Keys of an object, as options name what reports name with underscores. */
static char *keys_of(const json_t *object, struct qins_error *err)
{
    const char *key;
    json_t *value;
    char *text = qn_strdup("", err);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        (void)value;
        char *longer = text ? qn_format(err, "%s%s%s", text, *text ? "," : "", key) : NULL;
        free(text);
        text = longer;
    }
    for (char *p = text; p && *p; p++)
        if (*p == '_')
            *p = '-';
    return text;
}

/* What stands at PATH of REPORT, to stand behind an option; "" where nothing is that a shell takes
 * as it is. */
static char *argument(const json_t *report, const char *text, struct qn_steps *steps,
                      struct qins_error *err)
{
    struct qn_path path;
    struct qn_path_found found = {.steps = steps};
    char *out = NULL;
    const bool there = qn_path_parse(text, &path, NULL) == QINS_OK &&
                       qn_path_find(&path, report, &found) && found.n == 1;
    const json_t *v = there ? found.values[0] : NULL;
    if (json_is_object(v))
        out = keys_of(v, err);
    else if (json_is_string(v))
        out = qn_strdup(json_string_value(v), err);
    else if (json_is_number(v))
        out = qn_format(err, "%.15g", json_number_value(v));
    else
        out = qn_strdup("", err);
    if (!out)
        qn_steps_end_for_memory(steps);
    if (out && (out[strspn(out, safe)] || *out == '-'))
        *out = '\0';
    qn_path_found_finish(&found);
    return out;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* What identities say of reports of SCHEMA, or NULL. */
static const json_t *identity_of(const struct qn_gate_job *job, const char *schema)
{
    const json_t *list = json_object_get(job->spec, "identities");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(text_of(json_array_get(list, i), "schema"), schema) == 0)
            return json_array_get(list, i);
    return NULL;
}

/* The argument that all reports of SCHEMA have at PATH that have any; "" where they differ. */
static char *common_argument(const struct qn_gate_job *job, const char *schema, const char *path,
                             struct qins_error *err)
{
    char *common = NULL;
    for (size_t i = 0; i < job->evidence.n; i++) {
        const struct qn_evidence_file *f = &job->evidence.files[i];
        char *value =
            strcmp(f->schema, schema) == 0 ? argument(f->report, path, job->steps, err) : NULL;
        const bool other = value && *value && common && strcmp(value, common) != 0;
        if (other)
            *common = '\0';
        if (value && *value && !common) {
            common = value;
            value = NULL;
        }
        free(value);
        if (other)
            break;
    }
    return common ? common : qn_strdup("", err);
}

/* " --option value" of each of OPTIONS that COMMAND lacks, of FILE, or where there is none, as all
 * reports of SCHEMA have it. */
static char *options_text(const struct qn_gate_job *job, const char *command, const json_t *options,
                          int file, const char *schema, struct qins_error *err)
{
    const char *option;
    json_t *path;
    char *out = qn_strdup("", err);
    json_object_foreach((json_t *)(uintptr_t)options, option, path)
    {
        const char *at = json_string_value(path);
        char *value = !out || strstr(command, option) ? NULL
                      : file == QN_NO_FILE
                          ? common_argument(job, schema, at, err)
                          : argument(job->evidence.files[file].report, at, job->steps, err);
        if (value && *value) {
            char *longer = qn_format(err, "%s %s %s", out, option, value);
            free(out);
            out = longer;
        }
        free(value);
    }
    return out;
}

/* The name in FILE of what "words" call WORD, or NULL. */
static const char *name_in(const struct qn_gate_job *job, int file, const char *word)
{
    const json_t *words =
        json_object_get(identity_of(job, job->evidence.files[file].schema), "words");
    const char *kind = text_of(words, word);
    char key[32];
    if (!kind || !qn_gate_identity(job, file, kind))
        return NULL;
    snprintf(key, sizeof key, "%s_name", kind);
    return qn_gate_identity(job, file, key);
}

/* What WORD of a command stands for: as FILE has it, or as all reports do that have it; NULL. */
static const char *name_of(const struct qn_gate_job *job, int file, const char *word)
{
    const char *name = file == QN_NO_FILE ? NULL : name_in(job, file, word);
    for (size_t i = 0; i < job->evidence.n && !(file != QN_NO_FILE && name_in(job, file, word));
         i++) {
        const char *other = name_in(job, (int)i, word);
        if (other && name && strcmp(other, name) != 0)
            return NULL;
        name = other ? other : name;
    }
    return name;
}

/* NAME as one word of a shell. */
static void put_quoted(FILE *to, const char *name)
{
    fputs(*name == '-' ? "./" : "", to);
    if (!name[strspn(name, safe)]) {
        fputs(name, to);
        return;
    }
    fputc('\'', to);
    for (; *name; name++)
        if (*name == '\'')
            fputs("'\\''", to);
        else
            fputc(*name, to);
    fputc('\'', to);
}

static bool is_printable(const char *name)
{
    for (; *name; name++)
        if (qn_text_unsafe(name) > 0 || *name == '\n')
            return false;
    return true;
}

/* TEXT with names in the place of words. */
static void put_command(FILE *to, const struct qn_gate_job *job, int file, const char *text,
                        size_t n)
{
    enum { LONGEST = 16 };
    for (size_t at = 0; at < n;) {
        const size_t length = strcspn(text + at, " "), taken = length < n - at ? length : n - at;
        char word[LONGEST] = "";
        if (taken < sizeof word)
            memcpy(word, text + at, taken);
        const char *name = *word ? name_of(job, file, word) : NULL;
        if (name && *name && is_printable(name))
            put_quoted(to, name);
        else
            fprintf(to, "%.*s", (int)taken, text + at);
        at += taken;
        for (; at < n && text[at] == ' '; at++)
            fputc(' ', to);
    }
}

char *qn_gate_name_words(const struct qn_gate_job *job, const char *text, struct qins_error *err)
{
    struct qn_text_writer w;
    if (qn_text_writer_init(&w, err) == QINS_OK)
        put_command(w.to, job, QN_NO_FILE, text, strlen(text));
    return qn_text_writer_finish(&w, NULL, err);
}

char *qn_gate_command(const struct qn_gate_job *job, const json_t *criterion, int file,
                      struct qins_error *err)
{
    const char *command = text_of(criterion, "command"), *name = text_of(criterion, "evidence");
    const json_t *selector = json_object_get(json_object_get(job->spec, "selectors"), name);
    const char *schema = text_of(selector, "schema");
    /* what was not judged may still say what it is of */
    const int own = job->selected[qn_gate_selector(job, name)].file;
    struct qn_text_writer w;
    if (!command)
        return qn_strdup("", err);
    /* what was not enough, or not there, is to be made otherwise, but like the others */
    char *options = options_text(
        job, command,
        json_object_get(file == QN_NO_FILE ? identity_of(job, schema) : selector, "options"), own,
        schema, err);
    if (!options)
        return NULL;
    if (qn_text_writer_init(&w, err) == QINS_OK) {
        const char *into = strstr(command, " > ");
        const size_t n = into ? (size_t)(into - command) : strlen(command);
        put_command(w.to, job, own, command, n);
        fputs(options, w.to);
        put_command(w.to, job, own, command + n, strlen(command + n));
    }
    free(options);
    return qn_text_writer_finish(&w, NULL, err);
}
