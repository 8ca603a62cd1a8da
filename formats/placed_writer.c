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

enum qins_status qn_placed_writer_commit(struct qn_tensor_writer *base, struct qins_error *err)
{
    struct qn_placed_writer *w = (struct qn_placed_writer *)base;
    enum qins_status st = qn_write_progress_end(&w->progress, err);
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
