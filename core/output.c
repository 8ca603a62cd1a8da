#include "core/bytes.h"
#include "core/clock.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Temporary files that a signal handler has to remove. Copies in a fixed table, as the handler
 * may take no lock and another thread may free the original. FREE -> FILLING -> PENDING -> FREE;
 * the handler's PENDING -> TAKEN is for good, for the process ends then. */
enum { MAX_PENDING = 64 };
enum slot_state { SLOT_FREE, SLOT_FILLING, SLOT_PENDING, SLOT_TAKEN };
static struct {
    atomic_int state;
    char path[PATH_MAX];
} pending[MAX_PENDING];

/* The place of PATH in the table, from 1, or 0. A path that is too long for the table is too long
 * for open(), too. */
static int remember(const char *path)
{
    size_t size = strlen(path) + 1;
    for (int i = 0; i < MAX_PENDING && size <= PATH_MAX; i++) {
        int state = SLOT_FREE;
        if (!atomic_compare_exchange_strong(&pending[i].state, &state, SLOT_FILLING))
            continue;
        memcpy(pending[i].path, path, size);
        atomic_store(&pending[i].state, SLOT_PENDING);
        return i + 1;
    }
    return 0;
}

static void forget(int place)
{
    int state = SLOT_PENDING;
    if (place > 0)
        atomic_compare_exchange_strong(&pending[place - 1].state, &state, SLOT_FREE);
}

void qn_output_abandon_all(void)
{
    for (int i = 0; i < MAX_PENDING; i++) {
        int state = SLOT_PENDING;
        if (atomic_compare_exchange_strong(&pending[i].state, &state, SLOT_TAKEN))
            unlink(pending[i].path);
    }
}

/* A replaced file keeps its permissions; a new one gets what the umask allows. */
static int create_beside(char *temp, const char *final_path)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t n = strlen(temp);
    for (unsigned attempt = 0; attempt < 1000; attempt++) {
        uint64_t v = ((uint64_t)getpid() << 20) + attempt * UINT64_C(7919) + (uintptr_t)&temp / 16;
        for (int i = 0; i < 6; i++, v /= 36)
            temp[n - 1 - (size_t)i] = letters[v % 36];
        int fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        struct stat info;
        if (fd >= 0 && stat(final_path, &info) == 0 && fchmod(fd, info.st_mode & 0777) != 0) {
            close(fd);
            unlink(temp);
            return -1;
        }
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

/* Where an output called PATH has to go: PATH itself, or what it links to. Heap. */
static enum qins_status resolve(const char *path, char **out, struct qins_error *err)
{
    struct stat info;
    bool is_link = lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
    *out = is_link ? realpath(path, NULL) : qn_strdup(path, err);
    if (!*out && !is_link)
        return QINS_ERR_MEMORY;
    if (!*out && errno == ENOENT)
        return qn_fail_at(err, QINS_ERR_IO, path, NULL, QN_NO_OFFSET, "is a link to nothing");
    if (!*out)
        return qn_fail_errno(err, path, "cannot follow the link");
    if (stat(*out, &info) != 0 || S_ISREG(info.st_mode))
        return QINS_OK; /* why there is no stat, open() will tell */
    if (!S_ISDIR(info.st_mode))
        return qn_fail_at(err, QINS_ERR_IO, path, NULL, QN_NO_OFFSET, "is not a regular file");
    errno = EISDIR;
    return qn_fail_errno(err, path, "cannot create");
}

enum qins_status qn_output_create(struct qn_output *o, const char *path, struct qins_error *err)
{
    *o = (struct qn_output){.fd = -1};
    enum qins_status st = resolve(path, &o->final_path, err);
    char *temp = st == QINS_OK ? qn_format(err, "%s.tmp-XXXXXX", o->final_path) : NULL;
    if (st == QINS_OK && !temp)
        st = QINS_ERR_MEMORY;
    if (st == QINS_OK) {
        o->fd = create_beside(temp, o->final_path);
        if (o->fd < 0)
            st = qn_fail_errno(err, path, "cannot create");
    }
    if (st != QINS_OK) {
        free(temp);
        qn_output_abandon(o);
        return st;
    }
    o->temp_path = temp;
    o->pending = remember(temp);
    return QINS_OK;
}

enum qins_status qn_output_write_at(struct qn_output *o, uint64_t offset, const void *data,
                                    size_t size, struct qins_error *err)
{
    const uint8_t *p = data;
    while (size > 0) {
        ssize_t n = pwrite(o->fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return qn_fail_errno(err, o->final_path, "write");
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return QINS_OK;
}

enum qins_status qn_output_write(struct qn_output *o, const void *data, size_t size,
                                 struct qins_error *err)
{
    enum qins_status st = qn_output_write_at(o, o->written, data, size, err);
    if (st == QINS_OK)
        o->written += size;
    return st;
}

/* The folder of PATH, for fsync. Before the rename, so that a lack of descriptors fails the
 * output in time. *fd is -1 in a folder that one may write to but not read. */
static enum qins_status open_folder(const char *path, int *fd, struct qins_error *err)
{
    char *dir = qn_path_dir(path, err);
    if (!dir)
        return QINS_ERR_MEMORY;
    *fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum qins_status st = QINS_OK;
    if (*fd < 0 && errno != EACCES)
        st = qn_fail_errno(err, dir, "cannot open the folder");
    free(dir);
    return st;
}

static atomic_uint_fast64_t sync_nanoseconds;

double qn_output_sync_seconds(void)
{
    return 1e-9 * (double)atomic_load(&sync_nanoseconds);
}

static int sync_timed(int fd)
{
    const double begun = qn_seconds();
    const int rc = fsync(fd);
    const int error = errno;
    atomic_fetch_add(&sync_nanoseconds, (uint_fast64_t)(1e9 * (qn_seconds() - begun)));
    errno = error;
    return rc;
}

/* Some file systems of networks and of user space have no fsync of a folder (fsync(2)). */
static bool cannot_sync_folders(int error)
{
    return error == EINVAL || error == EOPNOTSUPP || error == ENOSYS;
}

enum qins_status qn_publish(int fd, const char *temp, const char *final, struct qins_error *err)
{
    int folder = -1;
    enum qins_status st = open_folder(final, &folder, err);
    if (st == QINS_OK && fd >= 0 && sync_timed(fd) != 0)
        st = qn_fail_errno(err, final, "fsync");
    if (st == QINS_OK && rename(temp, final) != 0)
        st = qn_fail_errno(err, final, "rename");
    if (st == QINS_OK && folder >= 0 && sync_timed(folder) != 0 && !cannot_sync_folders(errno))
        st = qn_fail_errno(err, final,
                           "whole and in place, but may not outlive a crash: fsync of its folder");
    if (folder >= 0)
        close(folder);
    return st;
}

enum qins_status qn_output_seal(struct qn_output *o, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (o->fd < 0)
        return st;
    if (sync_timed(o->fd) != 0)
        st = qn_fail_errno(err, o->final_path, "fsync");
    if (close(o->fd) != 0 && st == QINS_OK)
        st = qn_fail_errno(err, o->final_path, "close");
    o->fd = -1;
    return st;
}

enum qins_status qn_output_commit(struct qn_output *o, struct qins_error *err)
{
    enum qins_status st = qn_output_seal(o, err);
    if (st == QINS_OK)
        st = qn_publish(-1, o->temp_path, o->final_path, err);
    if (st == QINS_OK) {
        forget(o->pending);
        free(o->temp_path);
        o->temp_path = NULL;
    }
    qn_output_abandon(o);
    return st;
}

void qn_output_abandon(struct qn_output *o)
{
    if (o->fd >= 0 && o->final_path)
        close(o->fd);
    if (o->temp_path) {
        unlink(o->temp_path);
        forget(o->pending);
    }
    free(o->temp_path);
    free(o->final_path);
    *o = (struct qn_output){.fd = -1};
}

enum qins_status qn_write_whole(const char *path, const void *data, size_t size,
                                struct qins_error *err)
{
    struct qn_output o;
    enum qins_status st = qn_output_create(&o, path, err);
    if (st != QINS_OK)
        return st;
    st = qn_output_write(&o, data, size, err);
    if (st == QINS_OK)
        return qn_output_commit(&o, err);
    qn_output_abandon(&o);
    return st;
}
