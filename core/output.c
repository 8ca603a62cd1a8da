#include "core/bytes.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Temporary files that a signal handler has to remove. A fixed table of atomic pointers,
 * because the handler may not take a lock. */
enum { MAX_PENDING = 64 };
static _Atomic(char *) pending[MAX_PENDING];

static void remember(char *path)
{
    for (int i = 0; i < MAX_PENDING; i++) {
        char *none = NULL;
        if (atomic_compare_exchange_strong(&pending[i], &none, path))
            return;
    }
}

static void forget(char *path)
{
    for (int i = 0; i < MAX_PENDING; i++) {
        char *expected = path;
        if (atomic_compare_exchange_strong(&pending[i], &expected, NULL))
            return;
    }
}

void qn_output_abandon_all(void)
{
    for (int i = 0; i < MAX_PENDING; i++) {
        char *path = atomic_load(&pending[i]);
        if (path)
            unlink(path);
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

enum qins_status qn_output_create(struct qn_output *o, const char *path, struct qins_error *err)
{
    *o = (struct qn_output){.fd = -1};
    o->final_path = qn_strdup(path, err);
    o->temp_path = qn_format(err, "%s.tmp-XXXXXX", path);
    if (!o->final_path || !o->temp_path) {
        qn_output_abandon(o);
        return QINS_ERR_MEMORY;
    }
    o->fd = qn_is_directory(path) ? (errno = EISDIR, -1) : create_beside(o->temp_path, path);
    if (o->fd < 0) {
        enum qins_status st = qn_fail_errno(err, path, "cannot create");
        free(o->temp_path);
        o->temp_path = NULL;
        qn_output_abandon(o);
        return st;
    }
    remember(o->temp_path);
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

/* The rename itself must survive a crash, not only the file. */
static enum qins_status sync_folder(const char *path, struct qins_error *err)
{
    char *dir = qn_path_dir(path, err);
    if (!dir)
        return QINS_ERR_MEMORY;
    enum qins_status st = QINS_OK;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some file systems cannot sync a folder and say EINVAL; the rename stands all the same. */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        st = qn_fail_errno(err, dir, "cannot sync the folder");
    if (fd >= 0)
        close(fd);
    free(dir);
    return st;
}

enum qins_status qn_output_commit(struct qn_output *o, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (fsync(o->fd) != 0)
        st = qn_fail_errno(err, o->final_path, "fsync");
    if (close(o->fd) != 0 && st == QINS_OK)
        st = qn_fail_errno(err, o->final_path, "close");
    o->fd = -1;
    if (st == QINS_OK && rename(o->temp_path, o->final_path) != 0)
        st = qn_fail_errno(err, o->final_path, "rename");
    if (st == QINS_OK) {
        forget(o->temp_path);
        free(o->temp_path);
        o->temp_path = NULL;
        st = sync_folder(o->final_path, err);
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
        forget(o->temp_path);
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
