/* What the process that runs libhdf5 on a file (hdf5_child.h) and the one that asked for it say
 * to each other. All numbers are little-endian.
 *
 * Child to parent, each record with a header of 8 bytes: u32 kind, u32 payload size. First the
 * listing, which ends with END or FAIL; then one DATA or FAIL for each request.
 * Parent to child: requests of 16 bytes: u32 tensor, u32 size, u64 offset, in bytes of the
 * canonical form, size at most QN_HDF5_MAX_READ. */
#ifndef QINS_FORMATS_HDF5_PROTOCOL_H
#define QINS_FORMATS_HDF5_PROTOCOL_H

#include "core/buf.h"
#include "core/json.h"
#include "formats/checkpoint.h"

enum {
    QN_HDF5_HEADER_SIZE = 8,
    QN_HDF5_REQUEST_SIZE = 16,
    QN_HDF5_MAX_READ = 4 << 20,   /* bytes */
    QN_HDF5_MAX_TEXT = 16 << 20,  /* bytes of one attribute */
    QN_HDF5_MAX_RECORD = 17 << 20 /* bytes of a payload */
};

enum qn_hdf5_kind {
    QN_HDF5_GROUP = 1, /* path */
    QN_HDF5_TENSOR,    /* u8 dtype, u8 rank, u8 n, rank × u64 extent, n bytes foreign type, path */
    /* A text attribute: u8 is an array, u8 0, u16 n, u32 count, u32 m, m bytes path, n bytes
     * name, count × (u32 size, bytes). */
    QN_HDF5_TEXT,
    QN_HDF5_NOTICE, /* u32 n, n bytes path, why it is skipped */
    QN_HDF5_END,    /* u32 tensors, u32 attributes that are not carried */
    QN_HDF5_DATA,   /* the bytes asked for */
    QN_HDF5_FAIL,   /* u32 status, message */
};

/* The child's half: records collect in a buffer and go out in large pieces. */
struct qn_hdf5_sender {
    int fd; /* a socket; -1 drops everything */
    struct qn_buf buf;
};

void qn_hdf5_sender_finish(struct qn_hdf5_sender *s);
/* Appends a record of two parts; either may be empty. */
enum qins_status qn_hdf5_send(struct qn_hdf5_sender *s, enum qn_hdf5_kind kind, const void *head,
                              size_t head_size, const void *tail, size_t tail_size,
                              struct qins_error *err);
enum qins_status qn_hdf5_send_fail(struct qn_hdf5_sender *s, const struct qins_error *failure,
                                   struct qins_error *err);
enum qins_status qn_hdf5_send_flush(struct qn_hdf5_sender *s, struct qins_error *err);

/* The parent's half: what the child says is checked like any other untrusted input. */
struct qn_hdf5_listing {
    struct qn_checkpoint *ck; /* receives tensors and attachments */
    const struct qn_monitor *monitor;
    uint64_t budget;       /* bytes of records that may still come */
    uint64_t logical_left; /* bytes of tensors that may still come */
    uint64_t n_notices;
    json_t *paths, *attributes; /* of the attachments "hdf5.paths" and "hdf5.attributes" */
    bool complete;
};

/* FILE_SIZE bounds what a file can list and what its tensors can measure. */
enum qins_status qn_hdf5_listing_init(struct qn_hdf5_listing *l, struct qn_checkpoint *ck,
                                      uint64_t file_size, const struct qn_monitor *monitor,
                                      struct qins_error *err);
void qn_hdf5_listing_finish(struct qn_hdf5_listing *l);

/* Checks a header before its payload is received. */
enum qins_status qn_hdf5_listing_admit(struct qn_hdf5_listing *l, uint32_t kind, uint32_t size,
                                       struct qins_error *err);
/* Takes one admitted record; sets `complete` and adds the attachments on END. */
enum qins_status qn_hdf5_listing_take(struct qn_hdf5_listing *l, uint32_t kind,
                                      const uint8_t *payload, size_t size, struct qins_error *err);

/* Turns the payload of FAIL into an error. */
enum qins_status qn_hdf5_received_fail(const uint8_t *payload, size_t size, struct qins_error *err);

#endif
