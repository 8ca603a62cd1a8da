#include "analyze/prompts.h"

#include "core/file.h"
#include "core/json.h"

#include <stdlib.h>
#include <string.h>

extern const char qn_prompts_json[];
extern const size_t qn_prompts_json_size;

/* SIZE bytes of text and a kind become the next prompt; WHERE and NUMBER say where it stands. */
static enum qins_status add(struct qn_prompts *p, const char *kind, const char *text, size_t size,
                            const char *where, size_t number, struct qins_error *err)
{
    if (p->n == QN_MAX_PROMPTS)
        return qn_fail(err, QINS_ERR_FORMAT, "there are more than %d prompts", QN_MAX_PROMPTS);
    if (size == 0)
        return qn_fail(err, QINS_ERR_FORMAT, "%s %zu is empty", where, number);
    if (size > QN_MAX_PROMPT_BYTES)
        return qn_fail(err, QINS_ERR_FORMAT, "%s %zu has %zu bytes, more than %d", where, number,
                       size, QN_MAX_PROMPT_BYTES);
    if (memchr(text, '\0', size))
        return qn_fail(err, QINS_ERR_FORMAT, "%s %zu holds a NUL", where, number);
    if (strlen(kind) > QN_MAX_PROMPT_KIND)
        return qn_fail(err, QINS_ERR_FORMAT, "the kind of %s %zu has more than %d bytes", where,
                       number, QN_MAX_PROMPT_KIND);
    struct qn_prompt *q = &p->prompts[p->n++];
    q->kind = qn_strdup(kind, err);
    q->text = qn_strndup(text, size, err);
    q->size = size;
    return q->kind && q->text ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status parse_json(struct qn_prompts *p, const void *data, size_t size,
                                   struct qins_error *err)
{
    json_t *root = qn_json_parse(data, size, 0, err);
    if (!root)
        return err ? err->status : QINS_ERR_FORMAT;
    const json_t *list = json_object_get(root, "prompts"), *item;
    const char *schema = json_string_value(json_object_get(root, "schema"));
    enum qins_status st = QINS_OK;
    size_t i;
    if (!schema || strcmp(schema, QN_PROMPTS_SCHEMA) != 0)
        st = qn_fail(err, QINS_ERR_FORMAT, "its schema is not %s", QN_PROMPTS_SCHEMA);
    else if (!json_is_array(list))
        st = qn_fail(err, QINS_ERR_FORMAT, "'prompts' is no array");
    json_array_foreach(list, i, item)
    {
        const json_t *kind = json_object_get(item, "kind"), *text = json_object_get(item, "text");
        if (st == QINS_OK && (!json_is_string(kind) || !json_is_string(text)))
            st = qn_fail(err, QINS_ERR_FORMAT, "prompt %zu has no 'kind' and 'text' of text", i);
        if (st == QINS_OK)
            st = add(p, json_string_value(kind), json_string_value(text), json_string_length(text),
                     "prompt", i, err);
    }
    json_decref(root);
    return st;
}

static enum qins_status parse_lines(struct qn_prompts *p, const char *text, size_t size,
                                    struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t at = 0, line = 1, length; at < size && st == QINS_OK; at += length + 1, line++) {
        const char *end = memchr(text + at, '\n', size - at);
        length = end ? (size_t)(end - text) - at : size - at;
        const size_t kept = length - (length > 0 && text[at + length - 1] == '\r');
        if (kept > 0)
            st = add(p, "given", text + at, kept, "line", line, err);
    }
    return st;
}

/* A line may begin with a bracket; JSON without the object is a slip. */
static enum qins_status refuse_array(const void *data, size_t size, struct qins_error *err)
{
    struct qins_error why = {.offset = QN_NO_OFFSET};
    json_t *root = qn_json_parse(data, size, 0, &why);
    json_decref(root);
    if (!root && why.status == QINS_ERR_MEMORY)
        return qn_fail_memory(err);
    return root ? qn_fail(err, QINS_ERR_FORMAT, "JSON of prompts is an object with a schema, %s",
                          QN_PROMPTS_SCHEMA)
                : QINS_OK;
}

enum qins_status qn_prompts_parse(struct qn_prompts *p, const void *data, size_t size,
                                  struct qins_error *err)
{
    const char *text = data;
    size_t blank = 0;
    *p = (struct qn_prompts){0};
    if (size > QN_MAX_PROMPTS_FILE)
        return qn_fail(err, QINS_ERR_FORMAT, "it has %zu bytes, prompts have %d at most", size,
                       QN_MAX_PROMPTS_FILE);
    p->prompts = calloc(QN_MAX_PROMPTS, sizeof *p->prompts);
    if (!p->prompts)
        return qn_fail_memory(err);
    p->digest = qn_hash128(data, size);
    while (blank < size && strchr(" \t\r\n", text[blank]) && text[blank])
        blank++;
    enum qins_status st = QINS_OK;
    if (blank < size && text[blank] == '[')
        st = refuse_array(data, size, err);
    if (st == QINS_OK)
        st = blank < size && text[blank] == '{' ? parse_json(p, data, size, err)
                                                : parse_lines(p, text, size, err);
    if (st == QINS_OK && p->n == 0)
        st = qn_fail(err, QINS_ERR_FORMAT, "it holds no prompt");
    return st;
}

enum qins_status qn_prompts_read(struct qn_prompts *p, const char *path, struct qins_error *err)
{
    struct qn_buf file = {0};
    *p = (struct qn_prompts){0};
    if (!path)
        return qn_prompts_parse(p, qn_prompts_json, qn_prompts_json_size, err);
    enum qins_status st = qn_read_whole(path, QN_MAX_PROMPTS_FILE, &file, err);
    if (st == QINS_OK)
        st = qn_prompts_parse(p, file.data, file.size, err);
    qn_buf_finish(&file);
    return qn_error_in_file(err, st, path);
}

void qn_prompts_finish(struct qn_prompts *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->prompts[i].kind);
        free(p->prompts[i].text);
    }
    free(p->prompts);
    *p = (struct qn_prompts){0};
}
