/* The child's side of hdf5_child.h: everything that calls libhdf5 to read. Nothing here is
 * thread-safe, and all errors are text for the parent. */
#ifndef QINS_FORMATS_HDF5_SERVE_H
#define QINS_FORMATS_HDF5_SERVE_H

#include "formats/hdf5_error.h"
#include "formats/hdf5_protocol.h"

/* How elements of a dataset become canonical bytes. */
struct qn_hdf5_type {
    enum qins_dtype dtype; /* QINS_DTYPE_INVALID: not convertible, or no tensor at all */
    char foreign[24];      /* its name, if it is a number that qins does not know */
    const char *refusal;   /* what it is, if it is no tensor; static storage */
    bool swap;             /* stored big-endian: reverse the bytes of each element */
    hid_t convert_to;      /* libhdf5 must convert to this predefined type; else H5I_INVALID_HID */
};

/* TYPE stays the caller's. Never fails: what it cannot place is a refusal. */
void qn_hdf5_classify(hid_t type, struct qn_hdf5_type *out);

/* Where a dataset is: links are not followed again by name alone. */
struct qn_hdf5_place {
    haddr_t group, object; /* addresses of object headers */
    char *name;            /* within the group; heap */
};

struct qn_hdf5_places {
    struct qn_hdf5_place *items;
    size_t count, capacity;
};

void qn_hdf5_places_finish(struct qn_hdf5_places *p);

/* Walks FILE, sends records for all it holds, and END; places of the tensors go to *places. */
enum qins_status qn_hdf5_list(hid_t file, uint64_t file_size, struct qn_hdf5_sender *out,
                              struct qn_hdf5_places *places, struct qins_error *err);

/* Sends the text attributes of OBJECT, which is at PATH; counts the others in *left_out. */
enum qins_status qn_hdf5_list_attributes(hid_t object, const char *path, uint64_t file_size,
                                         struct qn_hdf5_sender *out, uint32_t *left_out,
                                         struct qins_error *err);

/* Refuses what may not be read: virtual and external storage, chunks beyond
 * QN_HDF5_MAX_CHUNK, contiguous data that cannot be in the file. SPACE may be negative where
 * asking for it would be too early; then extents are not checked. */
enum { QN_HDF5_MAX_CHUNK = 256 << 20 /* bytes */ };
enum qins_status qn_hdf5_check_layout(hid_t dataset, hid_t type, hid_t space, uint64_t file_size,
                                      struct qins_error *err);

/* One dataset open for reading; zero-initialised with id -1 is closed. */
struct qn_hdf5_dataset {
    hid_t id, space, memory_type;
    struct qn_hdf5_type type;
    bool chunked; /* and so has a cache of its own */
    unsigned rank;
    hsize_t dims[QINS_MAX_RANK];
};

enum qins_status qn_hdf5_dataset_open(struct qn_hdf5_dataset *d, hid_t file, uint64_t file_size,
                                      const struct qn_hdf5_place *place, struct qins_error *err);
void qn_hdf5_dataset_close(struct qn_hdf5_dataset *d);
/* COUNT elements from FIRST on, in row-major order; the range is checked. */
enum qins_status qn_hdf5_dataset_read(const struct qn_hdf5_dataset *d, uint64_t first,
                                      uint64_t count, uint8_t *dst, struct qins_error *err);

/* What the process does around its work; both calls may adjust its limits. */
struct qn_hdf5_stages {
    void (*before_listing)(void *ctx); /* the file is open; nothing else need be opened */
    void (*before_request)(void *ctx);
    void *ctx;
};

/* Opens PATH, sends the listing, then answers the requests that arrive on FD until it closes.
 * Failures go to the other side. */
void qn_hdf5_serve(int fd, const char *path, uint64_t file_size,
                   const struct qn_hdf5_stages *stages);

#endif
