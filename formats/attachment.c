#include "core/file.h"
#include "core/folder.h"
#include "formats/checkpoint.h"
#include "formats/limits.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 255 };
enum { MAX_MODEL_FILE = 64 << 20 }; /* bytes; tokenizers reach 20 MiB */

void qn_attachment_list_finish(struct qn_attachment_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].name);
        free(list->items[i].data);
        free(list->items[i].path);
    }
    free(list->items);
    *list = (struct qn_attachment_list){0};
}

const struct qn_attachment *qn_attachment_find(const struct qn_attachment_list *list,
                                               const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

static enum qins_status check_name(const struct qn_attachment_list *list, const char *name,
                                   struct qins_error *err)
{
    size_t n = strlen(name);
    if (n == 0 || n > MAX_NAME || strchr(name, '/') || name[0] == '.' || !qn_utf8_valid(name, n))
        return qn_fail(err, QINS_ERR_FORMAT, "'%s' is no name for an attached file", name);
    if (qn_attachment_find(list, name))
        return qn_fail(err, QINS_ERR_FORMAT, "two attached files are called '%s'", name);
    return QINS_OK;
}

enum qins_status qn_attachment_add(struct qn_attachment_list *list, const char *name,
                                   const void *data, size_t size, struct qins_error *err)
{
    enum qins_status st = check_name(list, name, err);
    if (st != QINS_OK)
        return st;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 8;
        struct qn_attachment *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        list->items = items;
        list->capacity = capacity;
    }
    struct qn_attachment a = {
        .name = qn_strdup(name, err), .data = malloc(size ? size : 1), .size = size};
    if (!a.name || !a.data) {
        free(a.name);
        free(a.data);
        return qn_fail_memory(err);
    }
    if (size)
        memcpy(a.data, data, size);
    list->items[list->count++] = a;
    return QINS_OK;
}

static enum qins_status attach_file(struct qn_attachment_list *list, const char *dir,
                                    const char *name, struct qins_error *err)
{
    struct qn_buf data = {0};
    char *path = qn_path_join(dir, name, err);
    if (!path)
        return QINS_ERR_MEMORY;
    bool there;
    enum qins_status st = qn_find_regular(path, &there, err);
    if (st == QINS_OK && there) {
        st = qn_read_whole(path, MAX_MODEL_FILE, &data, err);
        if (st == QINS_OK)
            st = qn_attachment_add(list, name, data.data, data.size, err);
        if (st == QINS_OK) {
            list->items[list->count - 1].path = path;
            path = NULL;
        }
    }
    qn_buf_finish(&data);
    free(path);
    return st;
}

static const char *const model_files[] = {
    "config.json",       "generation_config.json",  "tokenizer.json",
    "tokenizer.model",   "tokenizer_config.json",   "tokenizer.bin",
    "added_tokens.json", "special_tokens_map.json", "vocab.json",
    "merges.txt",        "chat_template.jinja",
};
enum { N_MODEL_FILES = sizeof model_files / sizeof *model_files };

bool qn_is_model_file(const char *name)
{
    for (size_t i = 0; i < N_MODEL_FILES; i++)
        if (strcmp(model_files[i], name) == 0)
            return true;
    return false;
}

enum qins_status qn_attach_model_files(struct qn_attachment_list *list, const char *dir,
                                       struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < N_MODEL_FILES && st == QINS_OK; i++)
        if (!qn_attachment_find(list, model_files[i]))
            st = attach_file(list, dir, model_files[i], err);
    return st;
}

const struct qn_limit qn_attachment_limits[] = {
    {"attachment", "file", MAX_MODEL_FILE, "bytes", "memory: config and tokenizer are held whole"},
    {"attachment", "name", MAX_NAME, "bytes", "paths that restore makes"},
    {0},
};
