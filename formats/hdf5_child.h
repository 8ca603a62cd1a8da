/* A forked process in which libhdf5 parses one file of unknown origin. libhdf5 1.10 crashes on
 * crafted files (docs/hdf5-upstream.md), so it runs there, with limits on memory and time, and
 * only checked bytes come back (hdf5_protocol.h). Whatever becomes of the process, the caller
 * gets QINS_ERR_FORMAT and one sentence.
 *
 * The process is a fork without exec, so that the library works wherever it is linked. It is a
 * guard against crashes and endless loops, not a sandbox: it keeps the user's rights, but it
 * can open no further file while it lists, and it writes none at all. It ends when its socket
 * closes, and its processor time is limited, so it does not outlive its parent for long;
 * PR_SET_PDEATHSIG is of no use here, because it fires when the *thread* that forked ends.
 *
 * Filters that libhdf5 lacks are loaded from HDF5_PLUGIN_PATH while reading, as everywhere: a file
 * can ask for what the user has put there and for nothing else. No other thread may be inside
 * libhdf5 when a child is started, because the child inherits the library's lock. */
#ifndef QINS_FORMATS_HDF5_CHILD_H
#define QINS_FORMATS_HDF5_CHILD_H

#include "formats/hdf5_protocol.h"

#include <sys/types.h>

struct qn_hdf5_limits {
    unsigned list_seconds; /* wall-clock and processor time of the listing */
    unsigned read_seconds; /* the same for each request of at most QN_HDF5_MAX_READ bytes */
    uint64_t memory;       /* bytes of address space beyond what the parent has */
};

extern const struct qn_hdf5_limits qn_hdf5_default_limits;

struct qn_hdf5_child {
    pid_t pid; /* 0: none, or reaped */
    int fd;    /* the parent's end of the socket; -1 when closed */
    struct qn_hdf5_limits limits;
    struct qins_error failure; /* why the process is of no more use; status QINS_OK while it is */
};

/* PATH must be the regular file of FILE_SIZE bytes that the caller has looked at. */
enum qins_status qn_hdf5_child_start(struct qn_hdf5_child *c, const char *path, uint64_t file_size,
                                     const struct qn_hdf5_limits *limits, struct qins_error *err);

/* Receives the listing. Call once, first. */
enum qins_status qn_hdf5_child_list(struct qn_hdf5_child *c, struct qn_hdf5_listing *listing,
                                    struct qins_error *err);

/* SIZE bytes of the listing's tensor number TENSOR. Not thread-safe. */
enum qins_status qn_hdf5_child_read(struct qn_hdf5_child *c, size_t tensor, uint64_t offset,
                                    void *dst, size_t size, struct qins_error *err);

/* Ends and reaps the process; a zeroed struct with fd -1 is accepted. */
void qn_hdf5_child_end(struct qn_hdf5_child *c);

/* What qn_hdf5_ops.open() does, with LIMITS. */
enum qins_status qn_hdf5_open(struct qn_checkpoint **out, const char *path,
                              const struct qn_hdf5_limits *limits, const struct qn_monitor *monitor,
                              struct qins_error *err);
/* The child of a checkpoint of qn_hdf5_ops, for tests. */
struct qn_hdf5_child *qn_hdf5_child_of(struct qn_checkpoint *ck);

#endif
