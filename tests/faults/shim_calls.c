/* Both names of each call are wrapped, that with 64 and that without. */
#undef _FILE_OFFSET_BITS
/* System calls that fail, come short, or meet what another process does at that moment. */
#include "shim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What the environment variable NAME names, open for reading and writing; its size. */
static int open_named(const char *name, off_t *size)
{
    const char *path = getenv(name);
    const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        _exit(125);
    *size = info.st_size;
    return fd;
}

/* Writes SIZE bytes of FROM over those of TO, each changed by MASK. */
static void write_over(int to, int from, off_t size, unsigned char mask)
{
    for (off_t at = 0; at < size;) {
        unsigned char piece[4096];
        const ssize_t n = pread(from, piece, sizeof piece, at);
        for (ssize_t i = 0; i < n; i++)
            piece[i] ^= mask;
        if (n <= 0 || pwrite(to, piece, (size_t)n, at) != n)
            _exit(125);
        at += n;
    }
}

/* The file QINS_FAULT_VICTIM, as its owner might while qins reads it. */
static void change_victim(enum shim_action action)
{
    off_t size, other_size;
    const int fd = open_named("QINS_FAULT_VICTIM", &size);
    if (action == ACTION_CUT && ftruncate(fd, size / 2) != 0)
        _exit(125);
    if (action == ACTION_ALTER)
        write_over(fd, fd, size, 0x55);
    if (action == ACTION_SWAP) {
        const int other = open_named("QINS_FAULT_OTHER", &other_size);
        write_over(fd, other, other_size, 0);
        if (ftruncate(fd, other_size) != 0)
            _exit(125);
        close(other);
    }
    close(fd);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

static void remove_folder(void)
{
    const char *path = getenv("QINS_FAULT_FOLDER");
    if (!path || nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS) != 0)
        _exit(125);
}

/* True where the call itself has to differ. */
static bool act(enum shim_kind kind, const void *caller)
{
    uintptr_t place;
    if (shim_busy)
        return false;
    shim_busy = true;
    const enum shim_target owner = shim_owner(caller, &place);
    shim_busy = false;
    if (owner == SHIM_LOADER || owner == SHIM_BLAS || !shim_due(SHIM_CALL, kind, place))
        return false;
    /* A read that finds nothing left is what a cut file makes of it, for which there is ACTION_CUT;
     * libhdf5 goes on with zeros. */
    if (owner == SHIM_HDF5 && shim_plan.action == ACTION_END)
        return false;
    shim_busy = true;
    bool differs = false;
    switch ((enum shim_action)shim_plan.action) {
    case ACTION_SIGNAL:
        raise((int)shim_plan.value);
        break;
    case ACTION_CUT:
    case ACTION_ALTER:
    case ACTION_SWAP:
        change_victim((enum shim_action)shim_plan.action);
        break;
    case ACTION_VANISH:
        remove_folder();
        break;
    default:
        differs = true;
    }
    shim_busy = false;
    errno = differs ? (int)shim_plan.value : errno;
    return differs;
}

#define CALLER __builtin_return_address(0)
#define ERROR  ((int)shim_plan.value)

/* NOLINTBEGIN(bugprone-macro-parentheses): types and lists of parameters.
 * RESULT NAME PARAMETERS, which returns FAILURE where it fails. */
#define CALL(RESULT, NAME, KIND, PARAMETERS, ARGUMENTS, FAILURE)                                   \
    RESULT NAME PARAMETERS                                                                         \
    {                                                                                              \
        static RESULT(*next) PARAMETERS;                                                           \
        shim_find(&next, #NAME);                                                                   \
        if (!act(KIND, CALLER))                                                                    \
            return next ARGUMENTS;                                                                 \
        if (shim_plan.action == ACTION_LATE)                                                       \
            (void)next ARGUMENTS;                                                                  \
        errno = ERROR;                                                                             \
        return shim_plan.action == ACTION_END ? (RESULT)0 : FAILURE;                               \
    }

/* The same of one that moves SIZE bytes. */
#define MOVE(NAME, KIND, PARAMETERS, ARGUMENTS)                                                    \
    ssize_t NAME PARAMETERS                                                                        \
    {                                                                                              \
        static ssize_t(*next) PARAMETERS;                                                          \
        shim_find(&next, #NAME);                                                                   \
        if (!act(KIND, CALLER))                                                                    \
            return next ARGUMENTS;                                                                 \
        if (shim_plan.action == ACTION_END)                                                        \
            return 0;                                                                              \
        if (shim_plan.action != ACTION_SHORT)                                                      \
            return -1;                                                                             \
        size = size > 1 ? size / 2 : size;                                                         \
        return next ARGUMENTS;                                                                     \
    }

/* Opening takes a mode where it creates. */
#define OPEN(NAME, PARAMETERS, ARGUMENTS)                                                          \
    int NAME PARAMETERS                                                                            \
    {                                                                                              \
        static int(*next) PARAMETERS;                                                              \
        mode_t mode = 0;                                                                           \
        shim_find(&next, #NAME);                                                                   \
        if (flags & O_CREAT) {                                                                     \
            va_list rest;                                                                          \
            va_start(rest, flags);                                                                 \
            mode = va_arg(rest, mode_t);                                                           \
            va_end(rest);                                                                          \
        }                                                                                          \
        return act(KIND_OPEN, CALLER) ? -1 : next ARGUMENTS;                                       \
    }

/* NOLINTEND(bugprone-macro-parentheses) */

OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))
CALL(int, mkostemp64, KIND_OPEN, (char *path, int flags), (path, flags), -1)

MOVE(read, KIND_READ, (int fd, void *to, size_t size), (fd, to, size))
MOVE(pread, KIND_READ, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
MOVE(pread64, KIND_READ, (int fd, void *to, size_t size, off64_t at), (fd, to, size, at))
MOVE(write, KIND_WRITE, (int fd, const void *from, size_t size), (fd, from, size))
MOVE(pwrite, KIND_WRITE, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
MOVE(pwrite64, KIND_WRITE, (int fd, const void *from, size_t size, off64_t at),
     (fd, from, size, at))
MOVE(recv, KIND_SOCKET, (int fd, void *to, size_t size, int flags), (fd, to, size, flags))
MOVE(send, KIND_SOCKET, (int fd, const void *from, size_t size, int flags), (fd, from, size, flags))

/* Thousands of real ones would only wear the disk: what a test looks at is in the page cache. */
#define SYNC(NAME)                                                                                 \
    int NAME(int fd)                                                                               \
    {                                                                                              \
        (void)fd;                                                                                  \
        return act(KIND_SYNC, CALLER) ? -1 : 0;                                                    \
    }
SYNC(fsync)
SYNC(fdatasync)

CALL(int, close, KIND_CLOSE, (int fd), (fd), -1)
CALL(int, rename, KIND_RENAME, (const char *from, const char *to), (from, to), -1)
CALL(int, link, KIND_RENAME, (const char *from, const char *to), (from, to), -1)
CALL(int, ftruncate, KIND_TRUNCATE, (int fd, off_t size), (fd, size), -1)
CALL(int, ftruncate64, KIND_TRUNCATE, (int fd, off64_t size), (fd, size), -1)
CALL(int, flock, KIND_LOCK, (int fd, int operation), (fd, operation), -1)
CALL(int, mkdir, KIND_MKDIR, (const char *path, mode_t mode), (path, mode), -1)
CALL(char *, mkdtemp, KIND_MKDIR, (char *path), (path), NULL)

CALL(int, stat, KIND_STAT, (const char *path, struct stat *info), (path, info), -1)
CALL(int, stat64, KIND_STAT, (const char *path, struct stat64 *info), (path, info), -1)
CALL(int, lstat, KIND_STAT, (const char *path, struct stat *info), (path, info), -1)
CALL(int, lstat64, KIND_STAT, (const char *path, struct stat64 *info), (path, info), -1)
CALL(int, fstat, KIND_STAT, (int fd, struct stat *info), (fd, info), -1)
CALL(int, fstat64, KIND_STAT, (int fd, struct stat64 *info), (fd, info), -1)
CALL(int, fstatat64, KIND_STAT, (int at, const char *path, struct stat64 *info, int flags),
     (at, path, info, flags), -1)

CALL(int, unlinkat, KIND_UNLINK, (int at, const char *path, int flags), (at, path, flags), -1)
CALL(int, rmdir, KIND_UNLINK, (const char *path), (path), -1)
CALL(int, remove, KIND_UNLINK, (const char *path), (path), -1)

int unlink(const char *path)
{
    static int (*next)(const char *path);
    char hidden[4096];
    shim_find(&next, "unlink");
    if (!act(KIND_UNLINK, CALLER))
        return next(path);
    if (shim_plan.action != ACTION_HIDE)
        return -1;
    const char *slash = strrchr(path, '/');
    snprintf(hidden, sizeof hidden, "%.*s.nfs0001", slash ? (int)(slash - path + 1) : 0, path);
    shim_busy = true;
    const int done = rename(path, hidden);
    shim_busy = false;
    return done;
}

CALL(DIR *, opendir, KIND_FOLDER, (const char *path), (path), NULL)
CALL(struct dirent64 *, readdir64, KIND_FOLDER, (DIR * folder), (folder), NULL)
CALL(int, closedir, KIND_FOLDER, (DIR * folder), (folder), -1)
CALL(int, nftw64, KIND_FOLDER,
     (const char *path, int (*f)(const char *, const struct stat64 *, int, struct FTW *), int n,
      int flags),
     (path, f, n, flags), -1)

CALL(char *, realpath, KIND_PATH, (const char *path, char *to), (path, to), NULL)
CALL(int, access, KIND_PATH, (const char *path, int mode), (path, mode), -1)
CALL(off64_t, lseek64, KIND_PATH, (int fd, off64_t at, int whence), (fd, at, whence), -1)
CALL(int, statvfs64, KIND_PATH, (const char *path, struct statvfs64 *info), (path, info), -1)
CALL(int, fchmod, KIND_PATH, (int fd, mode_t mode), (fd, mode), -1)

CALL(FILE *, fopen64, KIND_STREAM, (const char *path, const char *mode), (path, mode), NULL)
CALL(int, fclose, KIND_STREAM, (FILE * f), (f), EOF)
CALL(int, fflush, KIND_STREAM, (FILE * f), (f), EOF)

CALL(pid_t, fork, KIND_PROCESS, (void), (), -1)
CALL(int, socketpair, KIND_PROCESS, (int domain, int type, int protocol, int ends[2]),
     (domain, type, protocol, ends), -1)
CALL(int, pipe, KIND_PROCESS, (int ends[2]), (ends), -1)
CALL(int, dup2, KIND_PROCESS, (int from, int to), (from, to), -1)
CALL(int, posix_spawnp, KIND_PROCESS,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,
      const posix_spawnattr_t *attributes, char *const *argv, char *const *environment),
     (pid, path, actions, attributes, argv, environment), ERROR)
CALL(int, poll, KIND_POLL, (struct pollfd * p, nfds_t n, int ms), (p, n, ms), -1)
CALL(pid_t, waitpid, KIND_WAIT, (pid_t pid, int *status, int flags), (pid, status, flags), -1)
CALL(int, waitid, KIND_WAIT, (idtype_t type, id_t id, siginfo_t *info, int flags),
     (type, id, info, flags), -1)
CALL(int, pthread_create, KIND_THREAD,
     (pthread_t * id, const pthread_attr_t *attributes, void *(*f)(void *), void *argument),
     (id, attributes, f, argument), ERROR)

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*next)(clockid_t clock, struct timespec * now);
    static atomic_int swings;
    shim_find(&next, "clock_gettime");
    const int done = next(clock, now);
    const enum shim_kind kind = clock == CLOCK_REALTIME ? KIND_REAL_CLOCK : KIND_STEADY_CLOCK;
    if (!shim_due(SHIM_CLOCK, kind, 0))
        return done;
    const bool back = shim_plan.action == ACTION_SWING && atomic_fetch_add(&swings, 1) % 2 == 1;
    now->tv_sec += back ? -shim_plan.value : shim_plan.value;
    return done;
}
