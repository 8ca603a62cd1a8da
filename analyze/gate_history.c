#include "analyze/gate_internal.h"

#include "core/file.h"
#include "core/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_HISTORY = 1000 };
static const uint64_t max_review = 1u << 26; /* bytes */

static const char review_name[] = "gate_review.json";

static json_t *copy(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);
    return v ? json_incref(v) : json_null();
}

/* What a trend needs of a gate. */
static json_t *gate_digest(const json_t *gate)
{
    static const char *const kept[] = {"id", "value", "value_text", "threshold", "status"};
    const json_t *criteria = json_object_get(gate, "criteria");
    json_t *j = json_object(), *list = json_array();
    for (size_t i = 0; i < json_array_size(criteria); i++) {
        json_t *c = json_object();
        for (size_t k = 0; k < sizeof kept / sizeof *kept; k++)
            qn_json_put(&c, kept[k], copy(json_array_get(criteria, i), kept[k]));
        qn_json_append(&list, c);
    }
    qn_json_put(&j, "id", copy(gate, "id"));
    qn_json_put(&j, "status", copy(gate, "status"));
    qn_json_put(&j, "alone", copy(gate, "alone"));
    qn_json_put(&j, "criteria", list);
    return j;
}

static json_t *review_digest(const json_t *review, const struct qn_digest *d)
{
    static const char *const kept[] = {"number", "qins_version", "passed", "decision",
                                       "models", "archives",     "summary"};
    const json_t *gates = json_object_get(review, "gates");
    json_t *j = json_object(), *list = json_array();
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        qn_json_put(&j, kept[i], copy(review, kept[i]));
    qn_json_put(&j, "fingerprint", qn_json_digest(d));
    for (size_t i = 0; i < json_array_size(gates); i++)
        qn_json_append(&list, gate_digest(json_array_get(gates, i)));
    qn_json_put(&j, "gates", list);
    return j;
}

/* What the page and the next review rely on. */
static enum qins_status check_review(const json_t *review, struct qins_error *err)
{
    const char *schema = json_string_value(json_object_get(review, "schema"));
    const json_t *gates = json_object_get(review, "gates"),
                 *history = json_object_get(review, "history");
    uint64_t number;
    if (!schema || strcmp(schema, QN_REVIEW_SCHEMA) != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "its \"schema\" is not \"" QN_REVIEW_SCHEMA "\"");
    if (!json_is_array(gates))
        return qn_fail(err, QINS_ERR_FORMAT, "review: \"gates\" is no list");
    for (size_t i = 0; i < json_array_size(gates); i++) {
        const json_t *g = json_array_get(gates, i);
        if (!json_is_string(json_object_get(g, "id")) ||
            !json_is_string(json_object_get(g, "status")) ||
            !json_is_array(json_object_get(g, "criteria")))
            return qn_fail(err, QINS_ERR_FORMAT,
                           "review: gates[%zu] lacks \"id\", \"status\" or \"criteria\"", i);
    }
    if (!json_is_array(history) || json_array_size(history) > MAX_HISTORY)
        return qn_fail(err, QINS_ERR_FORMAT, "review: \"history\" is no list of at most %d",
                       MAX_HISTORY);
    if (!qn_json_u64(json_object_get(review, "number"), &number) || number >= INT32_MAX)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "review: \"number\" is no whole number that another can follow");
    return QINS_OK;
}

static const json_t *with_id(const json_t *list, const json_t *id)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_object_get(json_array_get(list, i), "id"), id))
            return json_array_get(list, i);
    return NULL;
}

/* "previous" of each criterion: its value and status then, or null. */
static enum qins_status add_to_criteria(json_t *review, const json_t *previous,
                                        struct qins_error *err)
{
    const json_t *gates = json_object_get(review, "gates");
    for (size_t i = 0; i < json_array_size(gates); i++) {
        const json_t *g = json_array_get(gates, i),
                     *then = with_id(json_object_get(previous, "gates"), json_object_get(g, "id")),
                     *criteria = json_object_get(g, "criteria");
        for (size_t k = 0; k < json_array_size(criteria); k++) {
            json_t *c = json_array_get(criteria, k), *j = NULL;
            const json_t *old =
                with_id(json_object_get(then, "criteria"), json_object_get(c, "id"));
            if (old) {
                j = json_object();
                qn_json_put(&j, "value", copy(old, "value"));
                qn_json_put(&j, "value_text", copy(old, "value_text"));
                qn_json_put(&j, "status", copy(old, "status"));
            }
            if (json_object_set_new(c, "previous", old ? j : json_null()) != 0)
                return qn_fail_memory(err);
        }
    }
    return QINS_OK;
}

/* Of a review that PATH holds (a folder or the file). */
static enum qins_status load(const char *path, json_t **review, struct qn_digest *digest,
                             char **file, struct qins_error *err)
{
    struct qn_buf text = {0};
    enum qn_entry what;
    enum qins_status st = qn_find(path, true, &what, err);
    if (st != QINS_OK)
        return st;
    *file = what == QN_ENTRY_FOLDER ? qn_path_join(path, review_name, err) : qn_strdup(path, err);
    st = *file ? qn_read_whole(*file, max_review, &text, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK) {
        *digest = qn_hash128(text.data, text.size);
        struct qins_error inner = {.offset = QN_NO_OFFSET};
        *review = qn_json_parse(text.data, text.size, 0, &inner);
        st = *review ? check_review(*review, &inner) : inner.status;
        if (st != QINS_OK) {
            qn_error_in_file(&inner, st, *file);
            if (err)
                *err = inner;
        }
    }
    qn_buf_finish(&text);
    return st;
}

/* Whether FILE is the review in FOLDER, however both are written. */
static enum qins_status is_review_in(const char *file, const char *folder, bool *out,
                                     struct qins_error *err)
{
    char *path = folder ? qn_path_join(folder, review_name, err) : NULL;
    struct stat a, b;
    enum qins_status st = path || !folder ? QINS_OK : QINS_ERR_MEMORY;
    *out = false;
    if (path && stat(file, &a) != 0)
        st = qn_fail_errno(err, file, "cannot look at");
    else if (path && stat(path, &b) == 0)
        *out = a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    else if (path && errno != ENOENT && errno != ENOTDIR)
        st = qn_fail_errno(err, path, "cannot look at");
    free(path);
    return st;
}

/* "previous" of the review: what FILE, whose review is OLD, is; without a path where the new one
 * takes its place. */
static enum qins_status describe_previous(const char *file, const json_t *old,
                                          const struct qn_digest *digest, const char *output,
                                          json_t **out, struct qins_error *err)
{
    bool replaced;
    const enum qins_status st = is_review_in(file, output, &replaced, err);
    json_t *j = json_object();
    qn_json_put(&j, "path", replaced ? json_null() : qn_json_text(file));
    qn_json_put(&j, "fingerprint", qn_json_digest(digest));
    qn_json_put(&j, "number", copy(old, "number"));
    *out = j;
    return st == QINS_OK && !j ? qn_fail_memory(err) : st;
}

enum qins_status qn_gate_add_history(json_t *review, const char *previous, const char *output,
                                     struct qins_error *err)
{
    json_t *old = NULL, *j = NULL, *history = NULL;
    struct qn_digest digest;
    char *file = NULL;
    uint64_t number = 0;
    enum qins_status st = QINS_OK;
    if (previous)
        st = load(previous, &old, &digest, &file, err);
    if (st == QINS_OK && old) {
        (void)qn_json_u64(json_object_get(old, "number"), &number);
        history = qn_json_copy(json_object_get(old, "history"));
        if (json_array_size(history) == MAX_HISTORY)
            json_array_remove(history, 0);
        qn_json_append(&history, review_digest(old, &digest));
        st = history ? describe_previous(file, old, &digest, output, &j, err) : qn_fail_memory(err);
    }
    if (st == QINS_OK)
        st = add_to_criteria(review, old, err);
    if (st == QINS_OK &&
        (json_object_set_new(review, "number", json_integer((json_int_t)number + 1)) != 0 ||
         json_object_set(review, "previous", j ? j : json_null()) != 0 ||
         json_object_set_new(review, "history", history ? json_incref(history) : json_array()) !=
             0))
        st = qn_fail_memory(err);
    json_decref(history);
    json_decref(j);
    json_decref(old);
    free(file);
    return st;
}
