/* The description in front of a NumPy array: numpy/lib/format.py, versions 1.0, 2.0 and 3.0.
 * Shared by the readers of .npy and .npz. */
#ifndef QINS_FORMATS_NPY_HEADER_H
#define QINS_FORMATS_NPY_HEADER_H

#include "core/buf.h"
#include "core/tensor.h"
#include "formats/strided.h"

enum { QN_NPY_PREFIX = 12, QN_NPY_MAX_HEADER = 1 << 20 }; /* bytes */

struct qn_npy_header {
    enum qins_dtype dtype; /* QINS_DTYPE_INVALID for what numpy stores and qins does not treat */
    char foreign_type[24]; /* its name then: "V2", "c8", "U7", "O", "structured" */
    unsigned rank;
    uint64_t shape[QINS_MAX_RANK];
    size_t size;  /* of the header: the data begins there, bytes */
    bool fortran; /* first axis fastest */
    bool swap;    /* big-endian */
};

bool qn_npy_has_magic(const uint8_t *head, size_t head_size);

/* Size of the whole header from the first bytes of the file (up to QN_NPY_PREFIX). */
enum qins_status qn_npy_header_size(const uint8_t *head, size_t head_size, size_t *size,
                                    struct qins_error *err);

/* Parses a whole header. */
enum qins_status qn_npy_header_parse(struct qn_npy_header *out, const uint8_t *data, size_t size,
                                     struct qins_error *err);

/* Appends the header of a little-endian, row-major array, version 1.0, to OUT; RANK is at most 8,
 * DTYPE one that NumPy has. */
enum qins_status qn_npy_header_write(struct qn_buf *out, enum qins_dtype dtype, unsigned rank,
                                     const uint64_t *shape, struct qins_error *err);

/* SIZE canonical bytes from OFFSET of the array T, whose header was parsed to H. FETCH yields
 * the data behind the header. */
enum qins_status qn_npy_read(const struct qn_npy_header *h, const struct qn_tensor *t,
                             qn_fetch_fn fetch, void *ctx, uint64_t offset, void *dst, size_t size,
                             struct qins_error *err);

/* Adds the array to a list under NAME after checking that DATA_SIZE bytes of data are just
 * what it takes. */
enum qins_status qn_npy_add(struct qn_tensor_list *list, const struct qn_npy_header *h,
                            const char *name, size_t name_size, uint64_t data_size,
                            struct qn_tensor **out, struct qins_error *err);

#endif
