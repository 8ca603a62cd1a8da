#include "formats/write_progress.h"

enum qins_status qn_write_progress_step(struct qn_write_progress *p, size_t tensor, size_t size,
                                        uint64_t *offset, struct qins_error *err)
{
    const struct qn_tensor_list *list = p->tensors;
    while (p->tensor < list->count && p->done == list->items[p->tensor].n_bytes) {
        p->tensor++;
        p->done = 0;
    }
    if (tensor >= list->count || tensor != p->tensor)
        return qn_fail(err, QINS_ERR_USAGE, "tensor %zu was written out of turn", tensor);
    const struct qn_tensor *t = &list->items[tensor];
    size_t element = qins_dtype_size(t->dtype);
    if (size > t->n_bytes - p->done || (element && size % element != 0))
        return qn_fail_at(err, QINS_ERR_USAGE, NULL, t->name, QN_NO_OFFSET,
                          "more bytes than the tensor has, or a part of an element, came to be "
                          "written");
    *offset = p->done;
    p->done += size;
    return QINS_OK;
}

enum qins_status qn_write_progress_end(const struct qn_write_progress *p, struct qins_error *err)
{
    uint64_t done = p->done;
    for (size_t i = p->tensor; i < p->tensors->count; i++, done = 0)
        if (done != p->tensors->items[i].n_bytes)
            return qn_fail_at(err, QINS_ERR_USAGE, NULL, p->tensors->items[i].name, QN_NO_OFFSET,
                              "the tensor was not written to its end");
    return QINS_OK;
}
