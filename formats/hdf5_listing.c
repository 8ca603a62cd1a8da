/* The parent's view of a file's listing: see hdf5_protocol.h. */
#include "core/bytes.h"
#include "formats/hdf5_protocol.h"
#include "formats/limits.h"

#include <stdlib.h>

/* A tensor may be larger than its file only as far as a filter can have shrunk it. Deflate's
 * bound is 1032:1 (zlib's technical notes, "Maximum Compression Factor"); 16 MiB more let small
 * files hold constant or unwritten tensors. */
enum { MAX_RATIO = 1100, SLACK = 16 << 20 };

/* A listed object costs more bytes in the file than its record does here, except that records
 * repeat the names of the groups above; 4 times the file is far beyond any honest one. */
enum { LISTING_RATIO = 4, LISTING_SLACK = 1 << 20, LISTING_MAX = 256 << 20 };

enum { MAX_NOTICES = 10 };

enum qins_status qn_hdf5_listing_init(struct qn_hdf5_listing *l, struct qn_checkpoint *ck,
                                      uint64_t file_size, const struct qn_monitor *monitor,
                                      struct qins_error *err)
{
    *l = (struct qn_hdf5_listing){.ck = ck, .monitor = monitor};
    if (!qn_mul_u64(file_size, MAX_RATIO, &l->logical_left) ||
        !qn_add_u64(l->logical_left, SLACK, &l->logical_left))
        l->logical_left = UINT64_MAX;
    l->budget = qn_min_u64(file_size, LISTING_MAX) * LISTING_RATIO + LISTING_SLACK;
    l->budget = qn_min_u64(l->budget, LISTING_MAX);
    l->paths = json_object();
    l->attributes = json_object();
    return l->paths && l->attributes ? QINS_OK : qn_fail_memory(err);
}

void qn_hdf5_listing_finish(struct qn_hdf5_listing *l)
{
    json_decref(l->paths);
    json_decref(l->attributes);
    l->paths = l->attributes = NULL;
}

static enum qins_status nonsense(struct qins_error *err)
{
    qn_fail(err, QINS_ERR_FORMAT, "the process that reads this file answered nonsense");
    return QINS_ERR_FORMAT;
}

enum qins_status qn_hdf5_listing_admit(struct qn_hdf5_listing *l, uint32_t kind, uint32_t size,
                                       struct qins_error *err)
{
    bool known = (kind >= QN_HDF5_GROUP && kind <= QN_HDF5_END) || kind == QN_HDF5_FAIL;
    if (l->complete || !known || size > QN_HDF5_MAX_RECORD)
        return nonsense(err);
    uint64_t cost = (uint64_t)size + QN_HDF5_HEADER_SIZE;
    if (cost > l->budget)
        return qn_fail(err, QINS_ERR_FORMAT, "it lists more than a file of its size can hold");
    l->budget -= cost;
    return QINS_OK;
}

/* N bytes of clean UTF-8 as a string on the heap into *OUT; NULL there on failure. */
static enum qins_status take_text(struct qn_cursor *c, size_t n, char **out, struct qins_error *err)
{
    const uint8_t *p = qn_cursor_take(c, n);
    *out = NULL;
    if (!p || memchr(p, 0, n) || !qn_utf8_valid(p, n))
        return nonsense(err);
    *out = qn_strndup(p, n, err);
    return *out ? QINS_OK : QINS_ERR_MEMORY;
}

static bool is_path(const char *path)
{
    return path && path[0] == '/';
}

/* The writer encodes '/' and '%' of names without a recorded path. */
static enum qins_status remember_path(struct qn_hdf5_listing *l, const char *name, const char *path,
                                      struct qins_error *err)
{
    if (!strpbrk(path + 1, "/%"))
        return QINS_OK;
    return json_object_set_new(l->paths, name, json_string(path)) == 0 ? QINS_OK
                                                                       : qn_fail_memory(err);
}

static enum qins_status add_tensor(struct qn_hdf5_listing *l, const struct qn_cursor *fixed,
                                   char *path, enum qins_dtype dtype, const char *foreign,
                                   unsigned rank, const uint64_t *shape, struct qins_error *err)
{
    struct qn_tensor *t = NULL;
    enum qins_status st = QINS_OK;
    if (fixed->bad || !is_path(path) || path[1] == '\0')
        return nonsense(err);
    char *name = qn_strdup(path + 1, err);
    if (!name)
        return QINS_ERR_MEMORY;
    for (char *p = name; *p; p++)
        if (*p == '/')
            *p = '.';
    st = qn_tensor_list_add(&l->ck->tensors, name, strlen(name), dtype, foreign, rank, shape, &t,
                            err);
    if (st == QINS_OK && t->n_bytes > l->logical_left)
        st = qn_fail_at(err, QINS_ERR_FORMAT, NULL, name, QN_NO_OFFSET,
                        "its %llu bytes are more than a file of this size can hold",
                        (unsigned long long)t->n_bytes);
    if (st == QINS_OK) {
        l->logical_left -= t->n_bytes;
        st = remember_path(l, name, path, err);
    }
    free(name);
    return st;
}

static enum qins_status take_tensor(struct qn_hdf5_listing *l, struct qn_cursor *c,
                                    struct qins_error *err)
{
    uint64_t shape[QINS_MAX_RANK] = {0};
    char foreign[sizeof l->ck->tensors.items->foreign_type] = "";
    unsigned dtype = qn_cursor_u8(c), rank = qn_cursor_u8(c), n = qn_cursor_u8(c);
    if (dtype >= QINS_DTYPE_COUNT || rank > QINS_MAX_RANK || n >= sizeof foreign ||
        (dtype == QINS_DTYPE_INVALID) != (n > 0))
        return nonsense(err);
    for (unsigned i = 0; i < rank; i++)
        shape[i] = qn_cursor_u64(c);
    char *type = NULL, *path = NULL;
    enum qins_status st = take_text(c, n, &type, err);
    if (st == QINS_OK)
        st = take_text(c, qn_cursor_left(c), &path, err);
    if (type && path) {
        memcpy(foreign, type, n);
        st = add_tensor(l, c, path, (enum qins_dtype)dtype, foreign, rank, shape, err);
    }
    free(type);
    free(path);
    return st;
}

/* The object of attributes of PATH, made if it is new; borrowed. NULL when out of memory. */
static json_t *attributes_of(struct qn_hdf5_listing *l, const char *path)
{
    json_t *o = json_object_get(l->attributes, path);
    if (!o && json_object_set_new(l->attributes, path, json_object()) == 0)
        o = json_object_get(l->attributes, path);
    return o;
}

static enum qins_status take_group(struct qn_hdf5_listing *l, struct qn_cursor *c,
                                   struct qins_error *err)
{
    char *path = NULL;
    enum qins_status st = take_text(c, qn_cursor_left(c), &path, err);
    if (st == QINS_OK && !is_path(path))
        st = nonsense(err);
    /* The root needs no making, so it is listed only for attributes of its own. */
    if (st == QINS_OK && path[1] && !attributes_of(l, path))
        st = qn_fail_memory(err);
    free(path);
    return st;
}

static enum qins_status take_value(struct qn_cursor *c, bool is_array, uint32_t count, json_t **out,
                                   struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    json_t *list = json_array();
    if (!list)
        return qn_fail_memory(err);
    for (uint32_t i = 0; i < count && st == QINS_OK; i++) {
        char *text = NULL;
        st = take_text(c, qn_cursor_u32(c), &text, err);
        if (st == QINS_OK && json_array_append_new(list, json_string(text)) != 0)
            st = qn_fail_memory(err);
        free(text);
    }
    if (st == QINS_OK)
        *out = json_incref(is_array ? list : json_array_get(list, 0));
    json_decref(list);
    return st;
}

/* What Keras keeps at the root is useful by itself, beside a restored model. */
static bool is_keras(const char *path, const char *name)
{
    static const char *const names[] = {"model_config", "training_config", "keras_version",
                                        "backend"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(path, "/") == 0 && strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static enum qins_status keep_text(struct qn_hdf5_listing *l, const char *path, const char *name,
                                  json_t *value, struct qins_error *err)
{
    if (is_keras(path, name) && json_is_string(value)) {
        char file[64];
        snprintf(file, sizeof file, "keras.%s", name);
        return qn_attachment_add(&l->ck->attachments, file, json_string_value(value),
                                 json_string_length(value), err);
    }
    json_t *o = attributes_of(l, path);
    return o && json_object_set(o, name, value) == 0 ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status take_attribute(struct qn_hdf5_listing *l, struct qn_cursor *c,
                                       struct qins_error *err)
{
    bool is_array = qn_cursor_u8(c) != 0;
    qn_cursor_u8(c);
    size_t name_size = qn_cursor_u16(c);
    uint32_t count = qn_cursor_u32(c), path_size = qn_cursor_u32(c);
    char *path = NULL, *name = NULL;
    json_t *value = NULL;
    enum qins_status st = take_text(c, path_size, &path, err);
    if (st == QINS_OK)
        st = take_text(c, name_size, &name, err);
    /* Each string costs 4 bytes at least, so COUNT cannot exceed what has come. */
    if (st == QINS_OK &&
        (!is_path(path) || (!is_array && count != 1) || count > qn_cursor_left(c) / 4))
        st = nonsense(err);
    if (st == QINS_OK)
        st = take_value(c, is_array, count, &value, err);
    if (st == QINS_OK)
        st = keep_text(l, path, name, value, err);
    if (st == QINS_OK && qn_cursor_left(c) != 0)
        st = nonsense(err);
    json_decref(value);
    free(path);
    free(name);
    return st;
}

static enum qins_status take_notice(struct qn_hdf5_listing *l, struct qn_cursor *c,
                                    struct qins_error *err)
{
    char *path = NULL, *why = NULL;
    enum qins_status st = take_text(c, qn_cursor_u32(c), &path, err);
    if (st == QINS_OK)
        st = take_text(c, qn_cursor_left(c), &why, err);
    if (st == QINS_OK && l->n_notices++ < MAX_NOTICES)
        qn_notice(l->monitor, "%s: '%.200s' is skipped: %.200s", l->ck->path, path, why);
    free(path);
    free(why);
    return st;
}

static enum qins_status attach_json(struct qn_hdf5_listing *l, const char *name,
                                    const json_t *value, struct qins_error *err)
{
    if (json_object_size(value) == 0)
        return QINS_OK;
    char *text = qn_json_dump(value, JSON_COMPACT);
    if (!text)
        return qn_fail_memory(err);
    enum qins_status st = qn_attachment_add(&l->ck->attachments, name, text, strlen(text), err);
    free(text);
    return st;
}

static enum qins_status take_end(struct qn_hdf5_listing *l, struct qn_cursor *c,
                                 struct qins_error *err)
{
    uint32_t count = qn_cursor_u32(c), left_out = qn_cursor_u32(c);
    if (c->bad || qn_cursor_left(c) != 0 || count != l->ck->tensors.count)
        return nonsense(err);
    if (l->n_notices > MAX_NOTICES)
        qn_notice(l->monitor, "%s: %llu more objects are skipped", l->ck->path,
                  (unsigned long long)(l->n_notices - MAX_NOTICES));
    if (left_out > 0)
        qn_notice(l->monitor, "%s: %lu attributes are not carried: they are no text, or too long",
                  l->ck->path, (unsigned long)left_out);
    enum qins_status st = attach_json(l, "hdf5.paths", l->paths, err);
    if (st == QINS_OK)
        st = attach_json(l, "hdf5.attributes", l->attributes, err);
    l->complete = st == QINS_OK;
    return st;
}

enum qins_status qn_hdf5_listing_take(struct qn_hdf5_listing *l, uint32_t kind,
                                      const uint8_t *payload, size_t size, struct qins_error *err)
{
    struct qins_error detail = {0};
    struct qn_cursor c = qn_cursor_init(payload, size);
    enum qins_status st;
    switch (kind) {
    case QN_HDF5_GROUP:
        st = take_group(l, &c, &detail);
        break;
    case QN_HDF5_TENSOR:
        st = take_tensor(l, &c, &detail);
        break;
    case QN_HDF5_TEXT:
        st = take_attribute(l, &c, &detail);
        break;
    case QN_HDF5_NOTICE:
        st = take_notice(l, &c, &detail);
        break;
    case QN_HDF5_END:
        st = take_end(l, &c, &detail);
        break;
    default:
        st = qn_hdf5_received_fail(payload, size, &detail);
        break;
    }
    if (st != QINS_OK && err)
        *err = detail;
    return st;
}

const struct qn_limit qn_hdf5_listing_limits[] = {
    {"hdf5", "unfolded_per_byte", MAX_RATIO, "bytes",
     "time and disk: data that a byte of file may unfold to"},
    {"hdf5", "unfolded_always", SLACK, "bytes", "the same, in a small file"},
    {"hdf5", "listing_per_byte", LISTING_RATIO, "bytes",
     "memory for the child's listing, for a byte of file"},
    {"hdf5", "listing_always", LISTING_SLACK, "bytes", "the same, of a small file"},
    {0},
};
