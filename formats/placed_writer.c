#include "formats/placed_writer.h"

#include <stdlib.h>

struct qn_placed_writer *qn_placed_writer_new(const struct qn_tensor_writer_ops *ops,
                                              const struct qn_tensor_list *tensors,
                                              struct qins_error *err)
{
    struct qn_placed_writer *w = calloc(1, sizeof *w);
    if (w) {
        w->base.ops = ops;
        w->out.fd = -1;
        w->progress.tensors = tensors;
        w->offsets = calloc(tensors->count + 1, sizeof *w->offsets);
    }
    if (!w || !w->offsets) {
        free(w);
        qn_fail_memory(err);
        return NULL;
    }
    return w;
}

enum qins_status qn_placed_writer_note(struct qn_placed_writer *w, size_t tensor, uint64_t offset,
                                       size_t size, struct qins_error *err)
{
    const struct qn_tensor_list *list = w->progress.tensors;
    if (tensor >= list->count || offset > list->items[tensor].n_bytes ||
        size > list->items[tensor].n_bytes - offset)
        return qn_fail(err, QINS_ERR_USAGE, "bytes outside tensor %zu came to be written", tensor);
    atomic_fetch_add(&w->put, size);
    return QINS_OK;
}

static enum qins_status check_complete(const struct qn_placed_writer *w, struct qins_error *err)
{
    const struct qn_tensor_list *list = w->progress.tensors;
    uint64_t left = atomic_load(&w->put);
    if (left == 0)
        return qn_write_progress_end(&w->progress, err);
    for (size_t i = 0; i < list->count; i++)
        left -= list->items[i].n_bytes;
    return left == 0 ? QINS_OK
                     : qn_fail(err, QINS_ERR_USAGE, "not all bytes of the tensors were written");
}

enum qins_status qn_placed_writer_commit(struct qn_tensor_writer *base, struct qins_error *err)
{
    struct qn_placed_writer *w = (struct qn_placed_writer *)base;
    enum qins_status st = check_complete(w, err);
    return st == QINS_OK ? qn_output_commit(&w->out, err) : st;
}

void qn_placed_writer_destroy(struct qn_tensor_writer *base)
{
    struct qn_placed_writer *w = (struct qn_placed_writer *)base;
    if (!w)
        return;
    qn_output_abandon(&w->out);
    free(w->offsets);
    free(w);
}
