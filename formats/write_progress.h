/* Bookkeeping of the contract of qn_tensor_writer_ops.write(): tensors in list order, each
 * complete before the next, none left out. */
#ifndef QINS_FORMATS_WRITE_PROGRESS_H
#define QINS_FORMATS_WRITE_PROGRESS_H

#include "core/tensor.h"

struct qn_write_progress {
    const struct qn_tensor_list *tensors; /* not owned; n_bytes of each says what must come */
    size_t tensor;                        /* the one under way */
    uint64_t done;                        /* its bytes so far */
};

/* Accounts for SIZE more bytes of TENSOR; *OFFSET is where they begin in it. QINS_ERR_USAGE if
 * they are out of turn or too many, or are no whole elements. */
enum qins_status qn_write_progress_step(struct qn_write_progress *p, size_t tensor, size_t size,
                                        uint64_t *offset, struct qins_error *err);

/* QINS_ERR_USAGE unless every byte has come. */
enum qins_status qn_write_progress_end(const struct qn_write_progress *p, struct qins_error *err);

#endif
