/* The libhdf5 half of the archive writer: groups, datasets and where their data came to lie.
 * Offsets are bytes from the start of the file, user block included. One thread. */
#ifndef QINS_FORMATS_ARCHIVE_HDF5_OUT_H
#define QINS_FORMATS_ARCHIVE_HDF5_OUT_H

#include "core/tensor.h"
#include "formats/archive/layout.h"

struct qn_hdf5_out;

/* Starts an HDF5 file with a user block on the empty file open as FD, which stays the caller's.
 * PATH is for messages. */
enum qins_status qn_hdf5_out_create(struct qn_hdf5_out **out, int fd, const char *path,
                                    struct qins_error *err);

/* A dataset for T under /tensors, of its view type. With DATA (elements of the view type; may
 * be non-NULL without elements) it is compact and complete; without, chunks follow in order and
 * then qn_hdf5_out_end(). */
enum qins_status qn_hdf5_out_begin(struct qn_hdf5_out *h, const struct qn_tensor *t,
                                   const struct qn_layout *layout, const void *data,
                                   struct qins_error *err);
enum qins_status qn_hdf5_out_chunk(struct qn_hdf5_out *h, const void *payload, size_t size,
                                   uint64_t *offset, struct qins_error *err);
enum qins_status qn_hdf5_out_end(struct qn_hdf5_out *h, struct qins_error *err);

/* A contiguous dataset of bytes (COLUMNS 0) or of little-endian 64-bit rows of COLUMNS numbers.
 * GROUP is "/qins" or "/qins/files". Nothing is written for SIZE 0; *offset is then that of the
 * first byte behind the user block. */
enum qins_status qn_hdf5_out_blob(struct qn_hdf5_out *h, const char *group, const char *name,
                                  unsigned columns, const void *data, size_t size, uint64_t *offset,
                                  struct qins_error *err);

/* Everything on its way to the descriptor. Call destroy all the same. */
enum qins_status qn_hdf5_out_close(struct qn_hdf5_out *h, struct qins_error *err);
/* Drops what was not yet written unless closed before; accepts NULL. */
void qn_hdf5_out_destroy(struct qn_hdf5_out *h);

#endif
