/* Transports as HDF5 files: docs/transport-format.md. */
#include "formats/described.h"
#include "formats/tensor_writer.h"
#include "formats/transport.h"

#include <stdlib.h>
#include <string.h>

/* The datasets of all arrays, as writer and reader both need them. */
static enum qins_status list_arrays(struct qn_transport *t, struct qn_tensor_list *list,
                                    json_t *paths, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    struct qn_transport_array a;
    char path[sizeof a.name + 1];
    for (size_t at = 0; st == QINS_OK && qn_transport_array(t, &at, &a);) {
        snprintf(path, sizeof path, "/%s", a.name);
        st = qn_described_add(list, paths, path, QINS_F32, a.rank, a.shape, err);
    }
    return st;
}

struct writing {
    struct qn_tensor_list tensors; /* /meta, then the arrays */
    struct qn_attachment_list attachments;
    json_t *paths;
    char *meta;
    struct qn_tensor_writer *writer;
    const struct qn_monitor *monitor;
    uint64_t done, total; /* bytes */
};

/* The report grows by tens of kilobytes a layer; where that is too much for /meta, it stays out. */
static enum qins_status add_meta(struct writing *w, const struct qn_transport *t,
                                 struct qins_error *err)
{
    struct qn_transport bare = *t;
    bare.study = NULL;
    enum qins_status st =
        qn_described_add_meta(&w->tensors, qn_transport_to_json(t), &w->meta, err);
    if (st == QINS_ERR_UNSUPPORTED && t->study) {
        free(w->meta);
        st = qn_described_add_meta(&w->tensors, qn_transport_to_json(&bare), &w->meta, err);
    }
    return st;
}

static enum qins_status describe(struct writing *w, struct qn_transport *t, struct qins_error *err)
{
    enum qins_status st = qn_transport_check(t, err);
    if (st == QINS_OK)
        st = add_meta(w, t, err);
    if (st == QINS_OK && !(w->paths = json_object()))
        st = qn_fail_memory(err);
    if (st == QINS_OK)
        st = list_arrays(t, &w->tensors, w->paths, err);
    if (st == QINS_OK)
        st = qn_described_attach(&w->attachments, w->paths, err);
    for (size_t i = 0; i < w->tensors.count; i++)
        w->total += w->tensors.items[i].n_bytes;
    return st;
}

static enum qins_status put(struct writing *w, size_t tensor, const void *data,
                            struct qins_error *err)
{
    const uint64_t size = w->tensors.items[tensor].n_bytes;
    enum qins_status st = qn_check_stop(w->monitor, err);
    if (st == QINS_OK)
        st = w->writer->ops->write(w->writer, tensor, data, (size_t)size, err);
    w->done += size;
    qn_progress(w->monitor, "write", w->done, w->total);
    return st;
}

enum qins_status qn_transport_write(struct qn_transport *t, const char *path,
                                    const struct qn_monitor *monitor, struct qins_error *err)
{
    struct writing w = {.monitor = monitor};
    struct qn_transport_array a;
    size_t tensor = 0;
    enum qins_status st = describe(&w, t, err);
    if (st == QINS_OK)
        st = qn_hdf5_writer_ops.create(&w.writer, path, &w.tensors, &w.attachments, err);
    if (st == QINS_OK)
        st = put(&w, tensor++, w.meta, err);
    for (size_t at = 0; st == QINS_OK && qn_transport_array(t, &at, &a);)
        st = put(&w, tensor++, *a.data, err);
    if (st == QINS_OK)
        st = w.writer->ops->commit(w.writer, err);
    if (w.writer)
        w.writer->ops->destroy(w.writer);
    qn_tensor_list_finish(&w.tensors);
    qn_attachment_list_finish(&w.attachments);
    json_decref(w.paths);
    free(w.meta);
    return st;
}

static enum qins_status read_arrays(struct qn_described *d, struct qn_transport *t,
                                    const struct qn_tensor_list *arrays, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    struct qn_transport_array a;
    size_t at = 0, tensor;
    for (size_t i = 0; i < arrays->count && st == QINS_OK && qn_transport_array(t, &at, &a); i++) {
        const struct qn_tensor *want = &arrays->items[i];
        st = qn_described_match(d, want, &tensor, err);
        if (st == QINS_OK)
            st = qn_checkpoint_read(d->ck, tensor, 0, *a.data, (size_t)want->n_bytes, err);
    }
    return st;
}

enum qins_status qn_transport_load(struct qn_transport *t, struct qn_checkpoint *ck,
                                   struct qins_error *err)
{
    struct qn_described d = {0};
    struct qn_tensor_list arrays = {0};
    struct qn_buf meta = {0};
    json_t *paths = json_object();
    *t = (struct qn_transport){0};
    enum qins_status st = paths ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_described_init(&d, ck, "transport", err);
    if (st == QINS_OK)
        st = qn_described_meta(&d, &meta, err);
    if (st == QINS_OK)
        st = qn_transport_from_json(meta.data, meta.size, qn_described_bytes(&d), t, err);
    if (st == QINS_OK)
        st = list_arrays(t, &arrays, paths, err);
    if (st == QINS_OK)
        st = read_arrays(&d, t, &arrays, err);
    if (st == QINS_OK)
        st = qn_transport_check(t, err);
    if (st != QINS_OK) {
        qn_error_in_file(err, st, ck->path);
        qn_transport_finish(t);
    }
    qn_described_finish(&d);
    qn_tensor_list_finish(&arrays);
    qn_buf_finish(&meta);
    json_decref(paths);
    return st;
}

enum qins_status qn_transport_read(struct qn_transport *t, const char *path,
                                   const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_checkpoint *ck;
    *t = (struct qn_transport){0};
    enum qins_status st = qn_described_open(&ck, path, "transport", monitor, err);
    if (st == QINS_OK)
        st = qn_transport_load(t, ck, err);
    qn_checkpoint_destroy(ck);
    return st;
}
