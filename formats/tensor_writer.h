/* Writers of restored checkpoints behind one const vtable. Output appears under its final name
 * complete or not at all; memory does not grow with the tensors. */
#ifndef QINS_FORMATS_TENSOR_WRITER_H
#define QINS_FORMATS_TENSOR_WRITER_H

#include "formats/checkpoint.h"

struct qn_tensor_writer;

struct qn_tensor_writer_ops {
    const char *format;
    const char *suffix; /* ".safetensors", ".gguf", ".h5" */
    /* TENSORS: names, dtypes (those to write) and shapes of everything, known beforehand and
     * alive until destroy. ATTACHMENTS (may be NULL): what the archive carries, e.g.
     * "gguf.metadata" or "safetensors.metadata". */
    enum qins_status (*create)(struct qn_tensor_writer **out, const char *path,
                               const struct qn_tensor_list *tensors,
                               const struct qn_attachment_list *attachments,
                               struct qins_error *err);
    /* The next SIZE bytes of tensor TENSOR in canonical form; tensors come in list order, each
     * complete before the next; empty tensors get no call. One thread. */
    enum qins_status (*write)(struct qn_tensor_writer *w, size_t tensor, const void *data,
                              size_t size, struct qins_error *err);
    /* The same for writers that can take bytes in any order, from any thread: SIZE bytes from byte
     * OFFSET of TENSOR on, each byte once. NULL where a writer cannot. A caller uses either this or
     * write(). */
    enum qins_status (*put)(struct qn_tensor_writer *w, size_t tensor, uint64_t offset,
                            const void *data, size_t size, struct qins_error *err);
    /* Checks that everything came, then commits. Still to be destroyed. */
    enum qins_status (*commit)(struct qn_tensor_writer *w, struct qins_error *err);
    void (*destroy)(struct qn_tensor_writer *w); /* abandons if there was no commit */
};

struct qn_tensor_writer {
    const struct qn_tensor_writer_ops *ops;
};

extern const struct qn_tensor_writer_ops qn_safetensors_writer_ops, qn_gguf_writer_ops,
    qn_hdf5_writer_ops;

/* By the file name's ending; NULL if none fits. */
const struct qn_tensor_writer_ops *qn_tensor_writer_for(const char *path);

#endif
