/* Transports as HDF5 files: docs/transport-format.md. */
#include "formats/described_write.h"
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

/* The report grows by tens of kilobytes a layer; where that is too much for /meta, it stays out. */
static enum qins_status describe(struct qn_described_writer *w, const struct qn_transport *t,
                                 struct qins_error *err)
{
    struct qn_transport bare = *t;
    bare.study = NULL;
    enum qins_status st = qn_described_describe(w, qn_transport_to_json(t), err);
    if (st == QINS_ERR_UNSUPPORTED && t->study)
        st = qn_described_describe(w, qn_transport_to_json(&bare), err);
    return st;
}

enum qins_status qn_transport_write(struct qn_transport *t, const char *path,
                                    const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_described_writer w = {.monitor = monitor};
    struct qn_transport_array a;
    size_t tensor = 1; /* behind the description */
    json_t *paths = json_object();
    enum qins_status st = paths ? qn_transport_check(t, err) : qn_fail_memory(err);
    if (st == QINS_OK)
        st = describe(&w, t, err);
    if (st == QINS_OK)
        st = list_arrays(t, &w.tensors, paths, err);
    if (st == QINS_OK)
        st = qn_described_create(&w, path, paths, err);
    for (size_t at = 0; st == QINS_OK && qn_transport_array(t, &at, &a); tensor++)
        st = qn_described_put(&w, tensor, *a.data, (size_t)w.tensors.items[tensor].n_bytes, err);
    st = qn_described_close(&w, st, err);
    json_decref(paths);
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
    json_t *paths = json_object();
    *t = (struct qn_transport){0};
    enum qins_status st = paths ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_described_init(&d, ck, "transport", err);
    if (st == QINS_OK)
        st = qn_transport_from_json(d.meta.data, d.meta.size, qn_described_bytes(&d), t, err);
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
    if (st == QINS_OK) {
        st = qn_checkpoint_check_unchanged(ck, NULL, err);
        if (st != QINS_OK)
            qn_transport_finish(t);
    }
    qn_checkpoint_destroy(ck);
    return st;
}
