#include "formats/archive/reader.h"

#include "core/bytes.h"
#include "core/file.h"
#include "formats/archive/userblock.h"

#include <math.h>
#include <stdlib.h>

bool qn_is_archive(const void *head, size_t size)
{
    return qn_userblock_has_magic(head, size);
}

enum qins_status qn_path_is_archive(const char *path, bool *yes, struct qins_error *err)
{
    uint8_t head[16];
    struct qn_file f;
    *yes = false;
    if (qn_is_directory(path))
        return QINS_OK;
    enum qins_status st = qn_file_open(&f, path, err);
    if (st == QINS_OK && f.size >= sizeof head) {
        st = qn_file_read(&f, 0, head, sizeof head, err);
        *yes = st == QINS_OK && qn_is_archive(head, sizeof head);
    }
    qn_file_close(&f);
    return st;
}

/* SIZE bytes of the file that must have HASH, appended to *out. The caller has checked the
 * range. */
static enum qins_status read_hashed(const struct qn_file *f, uint64_t offset, uint64_t size,
                                    uint64_t hash, const char *what, struct qn_buf *out,
                                    struct qins_error *err)
{
    size_t start = out->size;
    if (size >= SIZE_MAX - start) {
        qn_fail_memory(err);
        return QINS_ERR_MEMORY;
    }
    enum qins_status st = qn_buf_reserve(out, start + (size_t)size + 1, err); /* never NULL */
    if (st == QINS_OK && size)
        st = qn_file_read(f, offset, out->data + start, (size_t)size, err);
    if (st != QINS_OK)
        return st;
    if (qn_hash64(out->data + start, (size_t)size) != hash)
        return qn_fail_at(err, QINS_ERR_FORMAT, f->path, NULL, (int64_t)offset,
                          "%s is damaged (its hash differs)", what);
    out->size = start + (size_t)size;
    return QINS_OK;
}

static enum qins_status read_userblock(const struct qn_file *f, struct qn_userblock *u,
                                       struct qins_error *err)
{
    uint8_t block[QN_USERBLOCK_SIZE] = {0};
    size_t size = (size_t)qn_min_u64(f->size, sizeof block);
    enum qins_status st = qn_file_read(f, 0, block, size, err);
    return st == QINS_OK ? qn_userblock_unpack(block, size, f->size, u, err) : st;
}

static enum qins_status read_chunk_table(struct qn_archive *a, const struct qn_userblock *u,
                                         struct qins_error *err)
{
    struct qn_buf table = {0};
    enum qins_status st = read_hashed(&a->file, u->chunks_offset, u->n_chunks * QN_CHUNK_ENTRY_SIZE,
                                      u->chunks_hash, "the chunk table", &table, err);
    if (st != QINS_OK)
        goto done;
    a->chunks = calloc((size_t)u->n_chunks + 1, sizeof *a->chunks);
    if (!a->chunks) {
        st = qn_fail_memory(err);
        goto done;
    }
    for (uint64_t i = 0; i < u->n_chunks && st == QINS_OK; i++) {
        const uint8_t *row = table.data + i * QN_CHUNK_ENTRY_SIZE;
        struct qn_chunk_entry e = {qn_load64(row), qn_load64(row + 8), qn_load64(row + 16)};
        if (e.size < QN_CHUNK_HEADER_SIZE || !qn_userblock_in_body(a->file.size, e.offset, e.size))
            st = qn_fail(err, QINS_ERR_FORMAT, "row %llu of the chunk table is out of bounds",
                         (unsigned long long)i);
        a->chunks[i] = e;
    }
done:
    qn_buf_finish(&table);
    return st;
}

static enum qins_status read_manifest(struct qn_archive *a, const struct qn_userblock *u,
                                      struct qins_error *err)
{
    struct qn_buf packed = {0};
    enum qins_status st = read_hashed(&a->file, u->manifest_offset, u->manifest_size,
                                      u->manifest_hash, "the manifest", &packed, err);
    if (st == QINS_OK)
        st = qn_manifest_unpack(packed.data, packed.size, &a->manifest, err);
    qn_buf_finish(&packed);
    if (st != QINS_OK)
        return st;
    if (qn_manifest_chunks(&a->manifest) != u->n_chunks)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the manifest's tensors have %llu chunks, the chunk table has %llu",
                       (unsigned long long)qn_manifest_chunks(&a->manifest),
                       (unsigned long long)u->n_chunks);
    for (size_t i = 0; i < a->manifest.n_files; i++) {
        const struct qn_archive_file *f = &a->manifest.files[i];
        if (!qn_userblock_in_body(a->file.size, f->offset, f->size))
            return qn_fail(err, QINS_ERR_FORMAT, "the attached file '%s' is out of bounds",
                           f->name);
    }
    return QINS_OK;
}

enum qins_status qn_archive_open(struct qn_archive **out, const char *path, struct qins_error *err)
{
    struct qn_archive *a = calloc(1, sizeof *a);
    struct qn_userblock u;
    *out = NULL;
    if (!a)
        return qn_fail_memory(err);
    enum qins_status st = qn_is_directory(path)
                              ? qn_fail(err, QINS_ERR_FORMAT, "is a folder, not an archive")
                              : qn_file_open(&a->file, path, err);
    if (st == QINS_OK)
        st = read_userblock(&a->file, &u, err);
    if (st == QINS_OK)
        st = read_chunk_table(a, &u, err);
    if (st == QINS_OK)
        st = read_manifest(a, &u, err);
    if (st == QINS_OK) {
        a->body_hash = u.body_hash;
        *out = a;
    } else {
        qn_archive_destroy(a);
    }
    return qn_error_in_file(err, st, path);
}

void qn_archive_destroy(struct qn_archive *a)
{
    if (!a)
        return;
    qn_manifest_finish(&a->manifest);
    free(a->chunks);
    qn_file_close(&a->file);
    free(a);
}

enum qins_status qn_archive_check_hash(const struct qn_archive *a, unsigned threads,
                                       const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_userblock u;
    struct qn_digest found;
    enum qins_status st = read_userblock(&a->file, &u, err);
    if (st == QINS_OK)
        st = qn_userblock_hash_body(&a->file, threads, monitor, &found, err);
    if (st == QINS_OK && memcmp(found.bytes, u.body_hash.bytes, sizeof found.bytes) != 0)
        st = qn_fail(err, QINS_ERR_FORMAT,
                     "the archive's contents are not those its user block describes: damaged, or "
                     "changed by another program (what h5repack or an editor makes of an archive "
                     "is no longer one)");
    return qn_error_in_file(err, st, a->file.path);
}

enum qins_status qn_archive_payload(const struct qn_archive *a, size_t tensor, uint64_t chunk,
                                    struct qn_buf *out, struct qins_error *err)
{
    const struct qn_archive_tensor *t = &a->manifest.tensors[tensor];
    const struct qn_chunk_entry *e = &a->chunks[t->first_chunk + chunk];
    out->size = 0;
    enum qins_status st = read_hashed(&a->file, e->offset, e->size, e->hash, "a chunk", out, err);
    return qn_error_in_tensor(err, st, t->tensor.name);
}

/* Elements [first, first + count) of a tensor, and where they go. */
struct span {
    uint64_t first, count;
    uint8_t *dst;
    size_t element_size;
    bool view;
};

static void decode_scalar(const struct qn_archive_tensor *t, const struct span *s)
{
    float widened;
    if (s->view && qn_dtype_is_quantisable(t->tensor.dtype)) {
        qn_to_f32(t->tensor.dtype, t->inline_data, &widened, 1);
        memcpy(s->dst, &widened, sizeof widened);
    } else {
        memcpy(s->dst, t->inline_data, s->element_size);
    }
}

/* Space for SIZE decoded bytes behind the payload in its buffer, aligned like malloc's. */
static enum qins_status space_behind(struct qn_buf *payload, size_t size, size_t *at,
                                     struct qins_error *err)
{
    *at = (payload->size + 63) / 64 * 64;
    return qn_buf_reserve(payload, *at + size, err);
}

/* The part of SPAN that lies in chunk INDEX. */
static enum qins_status decode_chunk(const struct qn_archive *a, size_t tensor, uint64_t index,
                                     const struct span *s, struct qn_chunk_work *work,
                                     struct qn_buf *payload, struct qins_error *err)
{
    const struct qn_archive_tensor *t = &a->manifest.tensors[tensor];
    uint64_t first, count, begin, end;
    size_t at = 0;
    enum qins_status st = qn_archive_payload(a, tensor, index, payload, err);
    if (st != QINS_OK)
        return st;
    qn_layout_chunk(&t->layout, index, &first, &count);
    begin = s->first > first ? s->first : first;
    end = qn_min_u64(s->first + s->count, first + count);
    uint8_t *dst = s->dst + (begin - s->first) * s->element_size, *whole = dst;
    bool direct = end - begin == count && (uintptr_t)dst % s->element_size == 0;
    if (!direct) {
        st = space_behind(payload, (size_t)count * s->element_size, &at, err);
        if (st != QINS_OK)
            return st;
        whole = payload->data + at;
    }
    st = qn_chunk_decode(payload->data, payload->size, t->tensor.dtype, (size_t)count, s->view,
                         work, whole, err);
    if (st == QINS_OK && !direct)
        memcpy(dst, whole + (begin - first) * s->element_size,
               (size_t)(end - begin) * s->element_size);
    if (st != QINS_OK && err)
        err->offset = (int64_t)a->chunks[t->first_chunk + index].offset;
    return st;
}

/* Index of the chunk that element FIRST is in. */
static uint64_t chunk_of(const struct qn_layout *l, uint64_t first)
{
    uint64_t slice = first / l->inner;
    return slice / l->split * l->chunks_per_outer + slice % l->split / l->step;
}

enum qins_status qn_archive_decode(const struct qn_archive *a, size_t tensor, uint64_t first,
                                   uint64_t count, bool view, struct qn_chunk_work *work,
                                   struct qn_buf *payload, void *dst, struct qins_error *err)
{
    const struct qn_archive_tensor *t = &a->manifest.tensors[tensor];
    enum qins_dtype type = view ? qn_dtype(t->tensor.dtype)->view : t->tensor.dtype;
    struct span s = {first, count, dst, qins_dtype_size(type), view};
    enum qins_status st = QINS_OK;
    if (first > t->tensor.n_elements || count > t->tensor.n_elements - first)
        st = qn_fail(err, QINS_ERR_USAGE, "%llu elements from %llu on are asked for, it has %llu",
                     (unsigned long long)count, (unsigned long long)first,
                     (unsigned long long)t->tensor.n_elements);
    else if (count && t->layout.n_chunks == 0)
        decode_scalar(t, &s);
    else if (count)
        for (uint64_t i = chunk_of(&t->layout, first),
                      last = chunk_of(&t->layout, first + count - 1);
             i <= last && st == QINS_OK; i++)
            st = decode_chunk(a, tensor, i, &s, work, payload, err);
    qn_error_in_tensor(err, st, t->tensor.name);
    return qn_error_in_file(err, st, a->file.path);
}

enum qins_status qn_archive_file_read(const struct qn_archive *a, size_t file, struct qn_buf *out,
                                      struct qins_error *err)
{
    const struct qn_archive_file *f = &a->manifest.files[file];
    return read_hashed(&a->file, f->offset, f->size, f->hash, "an attached file", out, err);
}

enum qins_status qn_archive_read_files(const struct qn_archive *a, struct qn_attachment_list *files,
                                       struct qins_error *err)
{
    const struct qn_manifest *m = &a->manifest;
    struct qn_buf data = {0};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < m->n_files && st == QINS_OK; i++) {
        data.size = 0;
        st = qn_archive_file_read(a, i, &data, err);
        if (st == QINS_OK)
            st = qn_attachment_add(files, m->files[i].name, data.data, data.size, err);
    }
    qn_buf_finish(&data);
    return qn_error_in_file(err, st, a->file.path);
}

uint64_t qn_archive_float_elements(const struct qn_archive *a)
{
    const size_t own = qn_manifest_own_tensors(&a->manifest);
    uint64_t n = 0;
    for (size_t i = 0; i < own; i++)
        if (qn_dtype_is_float(a->manifest.tensors[i].tensor.dtype))
            n += a->manifest.tensors[i].tensor.n_elements;
    return n;
}

double qn_archive_bits_per_weight(const struct qn_archive *a)
{
    uint64_t n = qn_archive_float_elements(a);
    return n ? 8.0 * (double)a->file.size / (double)n : NAN;
}
