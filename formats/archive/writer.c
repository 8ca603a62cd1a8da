#include "formats/archive/writer.h"

#include "core/bytes.h"
#include "core/file.h"
#include "formats/archive/hdf5_out.h"
#include "formats/archive/userblock.h"

#include <stdlib.h>
#include <unistd.h>

struct qn_archive_writer {
    struct qn_sink sink; /* must be first */
    struct qn_output output;
    struct qn_hdf5_out *hdf5;
    struct qn_manifest manifest;
    struct qn_buf table; /* the chunk table's bytes */
    struct qn_fingerprint fingerprint;
    bool tensor_open; /* the manifest's last one */
    bool sealed;      /* complete but for its name */
    uint64_t chunks_done;
    unsigned threads;
    const struct qn_monitor *monitor;
};

static struct qn_archive_writer *writer_of(struct qn_sink *s)
{
    return (struct qn_archive_writer *)(void *)s;
}

static struct qn_archive_tensor *current(const struct qn_archive_writer *w)
{
    return &w->manifest.tensors[w->manifest.n_tensors - 1];
}

static enum qins_status out_of_order(struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_USAGE, "the archive writer was called out of order");
}

static enum qins_status writer_begin(struct qn_sink *s, const struct qn_archive_tensor *t,
                                     struct qins_error *err)
{
    struct qn_archive_writer *w = writer_of(s);
    if (w->tensor_open || !w->hdf5)
        return out_of_order(err);
    enum qins_status st = qn_manifest_add(&w->manifest, t, err);
    if (st != QINS_OK)
        return st;
    const struct qn_tensor *description = &current(w)->tensor;
    uint8_t value[8] = {0};
    if (description->rank == 0) {
        float widened;
        memcpy(value, t->inline_data, sizeof value);
        if (qn_dtype_is_quantisable(description->dtype)) {
            qn_to_f32(description->dtype, t->inline_data, &widened, 1);
            memcpy(value, &widened, sizeof widened);
        }
    }
    w->tensor_open = true;
    w->chunks_done = 0;
    return qn_hdf5_out_begin(w->hdf5, description, &current(w)->layout,
                             current(w)->layout.n_chunks ? NULL : value, err);
}

static enum qins_status writer_chunk(struct qn_sink *s, const void *payload, size_t size,
                                     const struct qn_digest *leaf, struct qins_error *err)
{
    struct qn_archive_writer *w = writer_of(s);
    uint8_t row[QN_CHUNK_ENTRY_SIZE];
    uint64_t offset;
    if (!w->tensor_open || w->chunks_done == current(w)->layout.n_chunks ||
        size < QN_CHUNK_HEADER_SIZE)
        return out_of_order(err);
    enum qins_status st = qn_hdf5_out_chunk(w->hdf5, payload, size, &offset, err);
    if (st != QINS_OK)
        return qn_error_in_tensor(err, st, current(w)->tensor.name);
    qn_store64(row, offset);
    qn_store64(row + 8, size);
    qn_store64(row + 16, qn_hash64(payload, size));
    st = qn_buf_append(&w->table, row, sizeof row, err);
    if (st == QINS_OK)
        st = qn_fingerprint_add(&w->fingerprint, leaf, err);
    w->chunks_done++;
    return st;
}

static enum qins_status writer_end(struct qn_sink *s, struct qins_error *err)
{
    struct qn_archive_writer *w = writer_of(s);
    if (!w->tensor_open || w->chunks_done != current(w)->layout.n_chunks)
        return out_of_order(err);
    struct qn_archive_tensor *t = current(w);
    enum qins_status st = QINS_OK;
    if (t->tensor.rank == 0) {
        struct qn_digest leaf = qn_hash128(t->inline_data, (size_t)t->tensor.n_bytes);
        st = qn_fingerprint_add(&w->fingerprint, &leaf, err);
    } else if (t->layout.n_chunks) {
        st = qn_hdf5_out_end(w->hdf5, err);
    }
    t->fingerprint = qn_fingerprint_finish(&w->fingerprint);
    w->tensor_open = false;
    return st;
}

enum qins_status qn_archive_writer_create(struct qn_archive_writer **out, const char *path,
                                          const char *source_format, struct qins_error *err)
{
    struct qn_archive_writer *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w)
        return qn_fail_memory(err);
    w->sink = (struct qn_sink){writer_begin, writer_chunk, writer_end};
    w->output.fd = -1;
    w->threads = 1;
    w->manifest.source_format = qn_strdup(source_format, err);
    enum qins_status st = w->manifest.source_format ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_output_create(&w->output, path, err);
    if (st == QINS_OK)
        st = qn_hdf5_out_create(&w->hdf5, w->output.fd, w->output.final_path, err);
    if (st == QINS_OK)
        *out = w;
    else
        qn_archive_writer_destroy(w);
    return st;
}

void qn_archive_writer_use(struct qn_archive_writer *w, unsigned threads,
                           const struct qn_monitor *monitor)
{
    w->threads = threads;
    w->monitor = monitor;
}

struct qn_sink *qn_archive_writer_sink(struct qn_archive_writer *w)
{
    return &w->sink;
}

static enum qins_status write_attachments(struct qn_archive_writer *w,
                                          const struct qn_attachment_list *attachments,
                                          struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; attachments && i < attachments->count && st == QINS_OK; i++) {
        const struct qn_attachment *a = &attachments->items[i];
        struct qn_archive_file f = {a->name, 0, a->size, qn_hash64(a->data, a->size)};
        st = qn_hdf5_out_blob(w->hdf5, "/qins/files", a->name, 0, a->data, a->size, &f.offset, err);
        if (st == QINS_OK)
            st = qn_manifest_add_file(&w->manifest, &f, err);
    }
    return st;
}

/* The last datasets, and what the user block says of them. */
static enum qins_status write_index(struct qn_archive_writer *w, struct qn_userblock *u,
                                    struct qins_error *err)
{
    struct qn_buf packed = {0};
    enum qins_status st = qn_manifest_pack(&w->manifest, &packed, err);
    if (st == QINS_OK)
        st = qn_hdf5_out_blob(w->hdf5, "/qins", "chunks", 3, w->table.data, w->table.size,
                              &u->chunks_offset, err);
    if (st == QINS_OK)
        st = qn_hdf5_out_blob(w->hdf5, "/qins", "manifest", 0, packed.data, packed.size,
                              &u->manifest_offset, err);
    u->n_chunks = w->table.size / QN_CHUNK_ENTRY_SIZE;
    u->chunks_hash = qn_hash64(w->table.data, w->table.size);
    u->manifest_size = packed.size;
    u->manifest_hash = qn_hash64(packed.data, packed.size);
    qn_buf_finish(&packed);
    return st;
}

/* The file is whole but for the user block. */
static enum qins_status write_userblock(struct qn_archive_writer *w, struct qn_userblock *u,
                                        struct qins_error *err)
{
    uint8_t block[QN_USERBLOCK_SIZE];
    struct qn_file f = {w->output.fd, 0, w->output.final_path};
    off_t end = lseek(f.fd, 0, SEEK_END);
    if (end < QN_USERBLOCK_SIZE)
        return qn_fail_errno(err, f.path, "cannot measure the file");
    f.size = u->file_size = (uint64_t)end;
    enum qins_status st = qn_userblock_hash_body(&f, w->threads, w->monitor, &u->body_hash, err);
    if (st == QINS_OK)
        st = qn_check_stop(w->monitor, err);
    if (st != QINS_OK)
        return st;
    qn_userblock_pack(u, block);
    return qn_output_write_at(&w->output, 0, block, sizeof block, err);
}

enum qins_status qn_archive_writer_seal(struct qn_archive_writer *w,
                                        const struct qn_attachment_list *attachments,
                                        uint64_t *archive_bytes, struct qn_digest *hash,
                                        struct qins_error *err)
{
    struct qn_userblock u = {0};
    if (w->tensor_open || !w->hdf5)
        return out_of_order(err);
    enum qins_status st = write_attachments(w, attachments, err);
    if (st == QINS_OK)
        st = write_index(w, &u, err);
    if (st == QINS_OK)
        st = qn_hdf5_out_close(w->hdf5, err);
    qn_hdf5_out_destroy(w->hdf5);
    w->hdf5 = NULL;
    if (st == QINS_OK)
        st = write_userblock(w, &u, err);
    if (st == QINS_OK)
        st = qn_output_seal(&w->output, err);
    if (st == QINS_OK && archive_bytes)
        *archive_bytes = u.file_size;
    if (st == QINS_OK && hash)
        *hash = u.body_hash;
    w->sealed = st == QINS_OK;
    return st;
}

enum qins_status qn_archive_writer_publish(struct qn_archive_writer *w, struct qins_error *err)
{
    return w->sealed ? qn_output_commit(&w->output, err) : out_of_order(err);
}

const struct qn_output *qn_archive_writer_output(const struct qn_archive_writer *w)
{
    return &w->output;
}

enum qins_status qn_archive_writer_commit(struct qn_archive_writer *w,
                                          const struct qn_attachment_list *attachments,
                                          uint64_t *archive_bytes, struct qins_error *err)
{
    enum qins_status st = qn_archive_writer_seal(w, attachments, archive_bytes, NULL, err);
    return st == QINS_OK ? qn_archive_writer_publish(w, err) : st;
}

void qn_archive_writer_destroy(struct qn_archive_writer *w)
{
    if (!w)
        return;
    qn_hdf5_out_destroy(w->hdf5);
    qn_output_abandon(&w->output);
    qn_manifest_finish(&w->manifest);
    qn_fingerprint_finish(&w->fingerprint);
    qn_buf_finish(&w->table);
    free(w);
}
