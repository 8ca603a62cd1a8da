/* A shared object to preload: it makes chosen allocations and system calls of a program fail, and
 * runs the program's main() again and again, a fork a fault, for docs/faults.md.
 *
 * The runner (server.py) talks to it over the socket QINS_FAULT_FD, a struct shim_plan a run, and
 * finds what happened in the file QINS_FAULT_SHARED, a struct shim_shared. Both are the same
 * machine's words of 64 bits. */
#ifndef QINS_TESTS_FAULTS_SHIM_H
#define QINS_TESTS_FAULTS_SHIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Whose an allocation is, and everything else that is counted. */
enum shim_target {
    SHIM_OWN,     /* an allocation by the program's own code */
    SHIM_LIBRARY, /* by a library on the program's behalf: jansson, zstd, libzip, PCRE2, libc ... */
    SHIM_LOADER,  /* by the dynamic loader */
    SHIM_HDF5,    /* by libhdf5 and what it calls */
    SHIM_BLAS,    /* by OpenBLAS */
    SHIM_CALL,    /* a system call by the program or a library other than libc */
    SHIM_CLOCK,   /* a look at a clock */
    SHIM_TARGETS
};

/* What is called. The order is server.py's. */
enum shim_kind {
    KIND_NONE,
    KIND_OPEN,
    KIND_READ,
    KIND_WRITE,
    KIND_SYNC,
    KIND_RENAME,
    KIND_CLOSE,
    KIND_TRUNCATE,
    KIND_STAT,
    KIND_LOCK,
    KIND_UNLINK,
    KIND_MKDIR,
    KIND_FOLDER, /* opendir, readdir, nftw */
    KIND_PATH,   /* realpath, access, lseek, statvfs, fchmod */
    KIND_STREAM, /* stdio: fopen, fclose, fflush, open_memstream */
    KIND_PROCESS,
    KIND_SOCKET,
    KIND_POLL,
    KIND_WAIT,
    KIND_THREAD,
    KIND_REAL_CLOCK,
    KIND_STEADY_CLOCK,
};

enum shim_action {
    ACTION_FAIL,   /* the call is not made; errno is the plan's value */
    ACTION_SHORT,  /* it is made with half the size */
    ACTION_END,    /* it returns 0 */
    ACTION_LATE,   /* it is made, and fails all the same */
    ACTION_SIGNAL, /* the plan's value is a signal that comes before it */
    ACTION_CUT,    /* before it, the file QINS_FAULT_VICTIM loses its second half */
    ACTION_ALTER,  /* before it, every byte of that file changes */
    ACTION_VANISH, /* before it, the folder QINS_FAULT_FOLDER goes, with all in it */
    ACTION_HIDE,   /* an unlink() that renames, as an NFS client does with open files */
    ACTION_JUMP,   /* a clock is the plan's value of seconds ahead from now on */
    ACTION_SWING,  /* and behind as many, in turn */
    ACTION_SWAP,   /* before it, QINS_FAULT_VICTIM is rewritten with what is in QINS_FAULT_OTHER */
};

struct shim_plan {
    int64_t target, index; /* the index-th from 1; 0: none, count only */
    int64_t action, value;
    int64_t last;       /* the last index that is to fail */
    int64_t kinds;      /* where last > index, or clocks: bits of those of enum shim_kind */
    int64_t timeout_ms; /* for the whole run */
};

enum { SHIM_TRACE = 1 << 21 };

struct shim_shared {
    atomic_int_least64_t counts[SHIM_TARGETS], fired, traced, status;
    struct {
        uint16_t target, kind;
        uint32_t place; /* of the call in its module: tells call sites apart */
    } trace[SHIM_TRACE];
};

/* True where this one, of a KIND, made from the return address CALLER, is to fail. */
bool shim_due(enum shim_target target, enum shim_kind kind, uintptr_t place);
/* Whose code is at ADDRESS: SHIM_TARGETS where one has to ask who called it. *PLACE is relative to
 * the module's beginning. */
enum shim_target shim_owner(const void *address, uintptr_t *place);
extern struct shim_plan shim_plan;
extern _Thread_local bool shim_busy __attribute__((tls_model("initial-exec"))); /* nothing counts */

/* The function NAME that stands behind the wrapper, into the pointer to a function *FUNCTION, once.
 */
void shim_find(void *function, const char *name);

#endif
