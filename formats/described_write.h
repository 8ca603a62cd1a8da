/* Writing of files that describe themselves (formats/described.h). From one thread. */
#ifndef QINS_FORMATS_DESCRIBED_WRITE_H
#define QINS_FORMATS_DESCRIBED_WRITE_H

#include "formats/described.h"
#include "formats/tensor_writer.h"

/* Begins as zeros but for the monitor, and does not move until it is closed. */
struct qn_described_writer {
    const struct qn_monitor *monitor; /* may be NULL */
    struct qn_tensor_list tensors;    /* /meta, then what the caller adds */
    struct qn_attachment_list attachments;
    char *meta;
    struct qn_tensor_writer *writer;
    uint64_t done, total; /* bytes */
};

/* Makes META the description, the first of the tensors. Takes over META, which may be NULL when
 * memory was short. QINS_ERR_UNSUPPORTED where it is too long to be read again; another may be
 * tried then. */
enum qins_status qn_described_describe(struct qn_described_writer *w, json_t *meta,
                                       struct qins_error *err);
/* Begins the file PATH of all tensors, whose paths are in PATHS, and writes the description. */
enum qins_status qn_described_create(struct qn_described_writer *w, const char *path,
                                     const json_t *paths, struct qins_error *err);
/* The next SIZE bytes of tensor TENSOR, in the order of qn_tensor_writer_ops.write().
 * QINS_ERR_INTERRUPTED once the monitor has asked to stop. */
enum qins_status qn_described_put(struct qn_described_writer *w, size_t tensor, const void *data,
                                  size_t size, struct qins_error *err);
/* Commits the file if ST, which is how far the caller got, is QINS_OK; else nothing stands under
 * its name that was not there before. Finishes *w, however it stands. */
enum qins_status qn_described_close(struct qn_described_writer *w, enum qins_status st,
                                    struct qins_error *err);

#endif
