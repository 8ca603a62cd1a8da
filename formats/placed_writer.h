/* A tensor writer that knows beforehand where in its file each tensor goes: what the writers of
 * safetensors and HDF5 have in common. */
#ifndef QINS_FORMATS_PLACED_WRITER_H
#define QINS_FORMATS_PLACED_WRITER_H

#include "core/file.h"
#include "formats/tensor_writer.h"
#include "formats/write_progress.h"

#include <stdatomic.h>

struct qn_placed_writer {
    struct qn_tensor_writer base; /* must be first */
    struct qn_output out;
    struct qn_write_progress progress;
    uint64_t *offsets; /* of each tensor's data, in bytes from data_begin */
    uint64_t data_begin;
    atomic_uint_fast64_t put; /* bytes that came by put() */
};

/* A heap object with room for the offsets of TENSORS, its output not yet created; NULL and *err
 * set when out of memory. */
struct qn_placed_writer *qn_placed_writer_new(const struct qn_tensor_writer_ops *ops,
                                              const struct qn_tensor_list *tensors,
                                              struct qins_error *err);

/* For put(): checks the range and counts it. */
enum qins_status qn_placed_writer_note(struct qn_placed_writer *w, size_t tensor, uint64_t offset,
                                       size_t size, struct qins_error *err);

/* commit() and destroy() of the vtable. */
enum qins_status qn_placed_writer_commit(struct qn_tensor_writer *base, struct qins_error *err);
void qn_placed_writer_destroy(struct qn_tensor_writer *base); /* accepts NULL */

#endif
