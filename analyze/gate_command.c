/* Commands that make evidence anew, as it was made. */
#include "analyze/gate_internal.h"

#include <stdlib.h>
#include <string.h>

static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,-";

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
static char *argument(const json_t *report, const char *text, uint64_t *budget,
                      struct qins_error *err)
{
    struct qn_path path;
    struct qn_path_found found = {.budget = budget};
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
    if (out && (out[strspn(out, safe)] || *out == '-'))
        *out = '\0';
    qn_path_found_finish(&found);
    return out;
}

char *qn_gate_command(const struct qn_gate_job *job, const json_t *criterion, int file,
                      struct qins_error *err)
{
    const char *name = json_string_value(json_object_get(criterion, "evidence")),
               *command = json_string_value(json_object_get(criterion, "command")), *option;
    const json_t *selector = json_object_get(json_object_get(job->spec, "selectors"), name);
    json_t *path;
    char *out = qn_strdup(command ? command : "", err);
    if (file == QN_NO_FILE || !command)
        return out;
    json_object_foreach(json_object_get(selector, "options"), option, path)
    {
        char *value = out && !strstr(command, option)
                          ? argument(job->evidence.files[file].report, json_string_value(path),
                                     job->budget, err)
                          : NULL;
        if (value && *value) {
            char *longer = qn_format(err, "%s %s %s", out, option, value);
            free(out);
            out = longer;
        }
        free(value);
    }
    return out;
}
