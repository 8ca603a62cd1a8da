#include "formats/archive/manifest.h"

#include "core/bytes.h"
#include "formats/archive/manifest_json.h"
#include "formats/archive/userblock.h"
#include "formats/limits.h"

#include <stdlib.h>
#include <zlib.h>

static const char schema[] = "qins-archive-manifest-1";

/* A manifest inflates to at most SLACK + MAX_RATIO times its compressed size: names and
 * digests do not compress further, and a bomb stays small. pack() stores what would not
 * fit. */
enum { SLACK = 1 << 20, MAX_RATIO = 64 };
enum { MAX_INFLATED = 1 << 30 };

/* Their names are checked pair by pair. */
enum { MAX_FILES = 1024 };

void qn_manifest_finish(struct qn_manifest *m)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        qn_archive_tensor_finish(&m->tensors[i]);
    for (size_t i = 0; i < m->n_files; i++)
        free(m->files[i].name);
    free(m->tensors);
    free(m->files);
    free(m->source_format);
    *m = (struct qn_manifest){0};
}

bool qn_is_transport_tensor(const char *name)
{
    return strncmp(name, QN_TRANSPORT_PREFIX, strlen(QN_TRANSPORT_PREFIX)) == 0;
}

size_t qn_manifest_own_tensors(const struct qn_manifest *m)
{
    size_t n = m->n_tensors;
    while (n > 0 && qn_is_transport_tensor(m->tensors[n - 1].tensor.name))
        n--;
    return n;
}

uint64_t qn_manifest_chunks(const struct qn_manifest *m)
{
    if (m->n_tensors == 0)
        return 0;
    const struct qn_archive_tensor *last = &m->tensors[m->n_tensors - 1];
    return last->first_chunk + last->layout.n_chunks;
}

/* Room for one more element in a growing array; NULL when out of memory. */
static void *room(void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return items;
    size_t grown = *capacity ? *capacity * 2 : 64;
    void *p = realloc(items, grown * item_size);
    if (p)
        *capacity = grown;
    return p;
}

/* Takes over T's name and blocks on success. */
static enum qins_status append_tensor(struct qn_manifest *m, const struct qn_archive_tensor *t,
                                      struct qins_error *err)
{
    uint64_t end, first = qn_manifest_chunks(m);
    void *items = room(m->tensors, m->n_tensors, &m->tensor_capacity, sizeof *m->tensors);
    if (!items)
        return qn_fail_memory(err);
    m->tensors = items;
    struct qn_archive_tensor *added = &m->tensors[m->n_tensors];
    *added = *t;
    qn_layout_init(&added->layout, added->tensor.rank, added->tensor.shape);
    added->first_chunk = first;
    if (!qn_add_u64(first, added->layout.n_chunks, &end))
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->tensor.name, QN_NO_OFFSET,
                          "the number of chunks overflows");
    m->n_tensors++;
    return QINS_OK;
}

enum qins_status qn_manifest_add(struct qn_manifest *m, const struct qn_archive_tensor *t,
                                 struct qins_error *err)
{
    struct qn_archive_tensor copy;
    for (unsigned i = 0; i < t->tensor.rank; i++)
        if (t->tensor.shape[i] > INT64_MAX)
            return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, t->tensor.name, QN_NO_OFFSET,
                              "an extent is above 2^63 - 1");
    enum qins_status st = qn_archive_tensor_copy(&copy, t, err);
    if (st == QINS_OK)
        st = append_tensor(m, &copy, err);
    if (st != QINS_OK)
        qn_archive_tensor_finish(&copy);
    return st;
}

enum qins_status qn_manifest_add_file(struct qn_manifest *m, const struct qn_archive_file *f,
                                      struct qins_error *err)
{
    if (m->n_files >= MAX_FILES)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "more than %d attached files", MAX_FILES);
    void *items = room(m->files, m->n_files, &m->file_capacity, sizeof *m->files);
    char *name = items ? qn_strdup(f->name, err) : NULL;
    if (items)
        m->files = items;
    if (!name)
        return qn_fail_memory(err);
    m->files[m->n_files] = *f;
    m->files[m->n_files++].name = name;
    return QINS_OK;
}

static json_t *manifest_to_json(const struct qn_manifest *m)
{
    json_t *j = json_object(), *tensors = json_array(), *files = json_array();
    bool ok = true;
    for (size_t i = 0; i < m->n_tensors; i++)
        ok = json_array_append_new(tensors, qn_archive_tensor_to_json(&m->tensors[i])) == 0 && ok;
    for (size_t i = 0; i < m->n_files; i++)
        ok = json_array_append_new(files, qn_archive_file_to_json(&m->files[i])) == 0 && ok;
    qn_json_put(&j, "schema", json_string(schema));
    qn_json_put(&j, "qins_version", json_string(qins_version()));
    qn_json_put(&j, "format_version", json_integer(QN_ARCHIVE_VERSION));
    qn_json_put(&j, "source_format", json_string(m->source_format));
    qn_json_put(&j, "tensors", tensors);
    qn_json_put(&j, "files", files);
    if (ok)
        return j;
    json_decref(j);
    return NULL;
}

static uint64_t inflation_limit(uint64_t size)
{
    uint64_t limit;
    if (!qn_mul_u64(size, MAX_RATIO, &limit) || !qn_add_u64(limit, SLACK, &limit))
        limit = UINT64_MAX;
    return qn_min_u64(limit, MAX_INFLATED);
}

/* Appends the zlib stream of TEXT to *out. */
static enum qins_status deflate_text(const char *text, size_t size, int level, struct qn_buf *out,
                                     struct qins_error *err)
{
    uLongf room_left = compressBound((uLong)size);
    enum qins_status st = qn_buf_reserve(out, out->size + room_left, err);
    if (st != QINS_OK)
        return st;
    if (compress2(out->data + out->size, &room_left, (const Bytef *)text, (uLong)size, level) !=
        Z_OK)
        return qn_fail_memory(err);
    out->size += room_left;
    return QINS_OK;
}

enum qins_status qn_manifest_pack(const struct qn_manifest *m, struct qn_buf *out,
                                  struct qins_error *err)
{
    size_t start = out->size;
    json_t *j = manifest_to_json(m);
    /* Nine digits name a binary32 value exactly. */
    char *text = j ? qn_json_dump(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    enum qins_status st;
    if (!text) {
        st = qn_fail_memory(err);
    } else if (strlen(text) > MAX_INFLATED) {
        st = qn_fail(err, QINS_ERR_UNSUPPORTED, "the manifest would exceed 1 GiB");
    } else {
        size_t size = strlen(text);
        st = deflate_text(text, size, Z_BEST_COMPRESSION, out, err);
        if (st == QINS_OK && (size > inflation_limit(out->size - start) ||
                              !qn_json_fits(text, size, out->size - start))) {
            out->size = start;
            st = deflate_text(text, size, Z_NO_COMPRESSION, out, err);
        }
    }
    free(text);
    json_decref(j);
    return st;
}

/* Inflates exactly one zlib stream that fills [data, data + size). */
static enum qins_status inflate_text(const void *data, size_t size, struct qn_buf *out,
                                     struct qins_error *err)
{
    static const char damaged[] = "the manifest is not one sound zlib stream";
    uint64_t limit = inflation_limit(size);
    z_stream z = {0};
    int rc = Z_OK;
    enum qins_status st = QINS_OK;
    if (size > UINT32_MAX)
        return qn_fail(err, QINS_ERR_FORMAT, "the manifest is larger than 4 GiB");
    if (inflateInit(&z) != Z_OK)
        return qn_fail_memory(err);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    while (st == QINS_OK && rc != Z_STREAM_END) {
        st = out->size > limit ? qn_fail(err, QINS_ERR_FORMAT, "the manifest inflates too far")
                               : qn_buf_reserve(out, out->size + 65536, err);
        if (st != QINS_OK)
            break;
        uInt space = (uInt)qn_min_u64(out->capacity - out->size, 1u << 30);
        z.next_out = out->data + out->size;
        z.avail_out = space;
        rc = inflate(&z, Z_NO_FLUSH);
        out->size += space - z.avail_out;
        if (rc != Z_OK && rc != Z_STREAM_END)
            st = qn_fail(err, rc == Z_MEM_ERROR ? QINS_ERR_MEMORY : QINS_ERR_FORMAT, "%s",
                         rc == Z_MEM_ERROR ? "out of memory" : damaged);
    }
    if (st == QINS_OK && z.avail_in != 0)
        st = qn_fail(err, QINS_ERR_FORMAT, "%s", damaged);
    inflateEnd(&z);
    if (st == QINS_OK && !qn_json_fits(out->data, out->size, size))
        st = qn_fail(err, QINS_ERR_FORMAT, "the manifest would take too much memory");
    return st;
}

static enum qins_status file_from_json(const json_t *j, struct qn_manifest *out,
                                       struct qn_attachment_list *names, struct qins_error *err)
{
    struct qn_archive_file f;
    if (!qn_archive_file_from_json(j, &f))
        return qn_fail(err, QINS_ERR_FORMAT, "entry %zu of the manifest's \"files\" is invalid",
                       out->n_files);
    enum qins_status st = qn_attachment_add(names, f.name, NULL, 0, err); /* checks the name */
    return st == QINS_OK ? qn_manifest_add_file(out, &f, err) : st;
}

static enum qins_status check_order(const struct qn_manifest *m, struct qins_error *err)
{
    const size_t own = qn_manifest_own_tensors(m);
    for (size_t i = 0; i < own; i++)
        if (qn_is_transport_tensor(m->tensors[i].tensor.name))
            return qn_fail_at(err, QINS_ERR_FORMAT, NULL, m->tensors[i].tensor.name, QN_NO_OFFSET,
                              "it is a transport's and stands among the model's own tensors");
    return QINS_OK;
}

static enum qins_status tensors_from_json(const json_t *tensors, struct qn_manifest *out,
                                          struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    struct qn_tensor_list names = {0};
    size_t n = json_array_size(tensors);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        struct qn_archive_tensor t;
        st = qn_archive_tensor_from_json(json_array_get(tensors, i), &t, err);
        if (st != QINS_OK)
            break;
        st = append_tensor(out, &t, err);
        if (st != QINS_OK)
            qn_archive_tensor_finish(&t);
    }
    if (st == QINS_OK && n) {
        names.items = calloc(n, sizeof *names.items);
        names.count = n;
        for (size_t i = 0; i < n && names.items; i++)
            names.items[i].name = out->tensors[i].tensor.name;
        st = names.items ? qn_tensor_list_check_unique(&names, err) : qn_fail_memory(err);
        free(names.items);
    }
    return st == QINS_OK ? check_order(out, err) : st;
}

static enum qins_status manifest_from_json(const json_t *j, struct qn_manifest *out,
                                           struct qins_error *err)
{
    const json_t *tensors = json_object_get(j, "tensors"), *files = json_object_get(j, "files");
    const char *kind = json_string_value(json_object_get(j, "schema"));
    const char *source = json_string_value(json_object_get(j, "source_format"));
    struct qn_attachment_list names = {0};
    if (!kind || strcmp(kind, schema) != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "the manifest's \"schema\" is not %s", schema);
    const json_t *version = json_object_get(j, "format_version");
    if (!json_is_integer(version) || json_integer_value(version) != QN_ARCHIVE_VERSION)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the manifest's \"format_version\" is not the user block's");
    if (!source || !json_is_array(tensors) || !json_is_array(files))
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the manifest lacks \"source_format\", \"tensors\" or \"files\"");
    out->source_format = qn_strdup(source, err);
    if (!out->source_format)
        return QINS_ERR_MEMORY;
    enum qins_status st = tensors_from_json(tensors, out, err);
    for (size_t i = 0; i < json_array_size(files) && st == QINS_OK; i++)
        st = file_from_json(json_array_get(files, i), out, &names, err);
    qn_attachment_list_finish(&names);
    return st;
}

enum qins_status qn_manifest_unpack(const void *data, size_t size, struct qn_manifest *out,
                                    struct qins_error *err)
{
    struct qn_buf text = {0};
    json_t *j = NULL;
    *out = (struct qn_manifest){0};
    enum qins_status st = inflate_text(data, size, &text, err);
    if (st != QINS_OK)
        goto done;
    j = qn_json_parse(text.data, text.size, 0, err);
    if (!j) {
        st = err ? err->status : QINS_ERR_FORMAT;
        if (err)
            err->offset = QN_NO_OFFSET; /* it counts in the inflated text, not in the file */
        goto done;
    }
    st = manifest_from_json(j, out, err);
    if (st != QINS_OK)
        qn_manifest_finish(out);
done:
    json_decref(j);
    qn_buf_finish(&text);
    return st;
}

enum qins_status qn_fingerprint_add(struct qn_fingerprint *f, const struct qn_digest *leaf,
                                    struct qins_error *err)
{
    return qn_buf_append(&f->leaves, leaf->bytes, sizeof leaf->bytes, err);
}

struct qn_digest qn_fingerprint_finish(struct qn_fingerprint *f)
{
    struct qn_digest d = qn_hash128(f->leaves.data, f->leaves.size);
    qn_buf_finish(&f->leaves);
    return d;
}

const struct qn_limit qn_archive_limits[] = {
    {"archive", "manifest", MAX_INFLATED, "bytes", "memory that the inflated JSON takes"},
    {"archive", "manifest_per_byte", MAX_RATIO, "bytes",
     "bombs: manifest that a packed byte may inflate to"},
    {"archive", "manifest_always", SLACK, "bytes", "the same, of a small manifest"},
    {"archive", "files", MAX_FILES, "files", "time: names are compared with each other"},
    {"archive", "chunk", QN_CHUNK_MAX, "elements", "memory for a decoded chunk"},
    {0},
};
