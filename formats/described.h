/* HDF5 files that describe themselves: /meta is a JSON text, which says what other datasets there
 * are. What calibrations and transports have in common. */
#ifndef QINS_FORMATS_DESCRIBED_H
#define QINS_FORMATS_DESCRIBED_H

#include "core/buf.h"
#include "core/json.h"
#include "formats/checkpoint.h"

#define QN_META "meta"
enum { QN_MAX_META = 64 << 20 }; /* bytes: over 100 000 points of a calibration */

/* Adds the dataset PATH, which begins with '/', to LIST, under the name that the reader of HDF5
 * will give it, with dots for slashes, and that name with its path to PATHS. */
enum qins_status qn_described_add(struct qn_tensor_list *list, json_t *paths, const char *path,
                                  enum qins_dtype dtype, unsigned rank, const uint64_t *shape,
                                  struct qins_error *err);
/* Opens PATH; QINS_ERR_UNSUPPORTED unless it is HDF5, which WHAT ("calibration") is. */
enum qins_status qn_described_open(struct qn_checkpoint **out, const char *path, const char *what,
                                   const struct qn_monitor *monitor, struct qins_error *err);

/* Being read, by one thread. */
struct qn_described {
    struct qn_checkpoint *ck; /* the caller's; outlives it */
    const char *what;
    size_t *by_name;    /* numbers of tensors, sorted */
    struct qn_buf meta; /* contents of /meta */
};
/* QINS_ERR_FORMAT where CK has no description. To be finished even on failure. WHAT is for
 * messages, as above, and outlives D. */
enum qins_status qn_described_init(struct qn_described *d, struct qn_checkpoint *ck,
                                   const char *what, struct qins_error *err);
void qn_described_finish(struct qn_described *d); /* a zeroed one is accepted */

/* Bytes of all datasets. The file has them, or a filter may make them of what it has
 * (formats/hdf5_listing.c), so what it can describe is bounded by them. */
uint64_t qn_described_bytes(const struct qn_described *d);
/* The number of the tensor of WANT's name; QINS_ERR_FORMAT unless it has its type and shape. */
enum qins_status qn_described_match(const struct qn_described *d, const struct qn_tensor *want,
                                    size_t *tensor, struct qins_error *err);

#endif
