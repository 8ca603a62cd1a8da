#include "core/file.h"

#include "core/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct qn_file_stamp stamp_of(const struct stat *info)
{
    return (struct qn_file_stamp){{
        (uint64_t)info->st_size,
        (uint64_t)info->st_mtim.tv_sec,
        (uint64_t)info->st_mtim.tv_nsec,
        (uint64_t)info->st_ctim.tv_sec,
        (uint64_t)info->st_ctim.tv_nsec,
    }};
}

enum qins_status qn_file_look(const char *path, struct qn_file_stamp *out, struct qins_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return qn_fail_errno(err, path, "cannot look at");
    *out = stamp_of(&info);
    return QINS_OK;
}

enum qins_status qn_file_open(struct qn_file *f, const char *path, struct qins_error *err)
{
    struct stat info;
    *f = (struct qn_file){.fd = -1};
    f->path = qn_strdup(path, err);
    if (!f->path)
        return QINS_ERR_MEMORY;
    /* O_NONBLOCK: a FIFO in place of a file must not hang the open. */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 || fstat(f->fd, &info) != 0) {
        enum qins_status st = qn_fail_errno(err, path, "cannot open");
        qn_file_close(f);
        return st;
    }
    if (!S_ISREG(info.st_mode)) {
        qn_file_close(f);
        return qn_fail_at(err, QINS_ERR_IO, path, NULL, QN_NO_OFFSET, "is not a regular file");
    }
    f->size = (uint64_t)info.st_size;
    f->stamp = stamp_of(&info);
    return QINS_OK;
}

void qn_file_close(struct qn_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    *f = (struct qn_file){.fd = -1};
}

enum qins_status qn_file_read(const struct qn_file *f, uint64_t offset, void *dst, size_t size,
                              struct qins_error *err)
{
    uint8_t *p = dst;
    while (size > 0) {
        ssize_t n = pread(f->fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return qn_fail_errno(err, f->path, "read");
        if (n == 0)
            return qn_fail_at(err, QINS_ERR_FORMAT, f->path, NULL, (int64_t)offset,
                              "the file is truncated");
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return QINS_OK;
}

static enum qins_status check_unchanged(const struct qn_file *f, struct qins_error *err)
{
    struct stat info;
    if (fstat(f->fd, &info) != 0)
        return qn_fail_errno(err, f->path, "cannot look at");
    const struct qn_file_stamp now = stamp_of(&info);
    if (memcmp(&now, &f->stamp, sizeof now) != 0)
        return qn_fail_at(err, QINS_ERR_IO, f->path, NULL, QN_NO_OFFSET,
                          "the file changed while it was read");
    return QINS_OK;
}

enum qins_status qn_read_whole(const char *path, uint64_t limit, struct qn_buf *out,
                               struct qins_error *err)
{
    struct qn_file f;
    enum qins_status st = qn_file_open(&f, path, err);
    if (st != QINS_OK)
        return st;
    if (f.size > limit || f.size > SIZE_MAX - out->size)
        st = qn_fail_at(err, QINS_ERR_FORMAT, path, NULL, QN_NO_OFFSET,
                        "the file is larger than qins reads of its kind");
    else
        st = qn_buf_reserve(out, out->size + (size_t)f.size, err);
    if (st == QINS_OK && f.size > 0)
        st = qn_file_read(&f, 0, out->data + out->size, (size_t)f.size, err);
    if (st == QINS_OK)
        st = check_unchanged(&f, err);
    if (st == QINS_OK)
        out->size += (size_t)f.size;
    qn_file_close(&f);
    return st;
}

enum qins_status qn_hash_file(const char *path, struct qn_digest *out, struct qins_error *err)
{
    uint8_t piece[1 << 14];
    struct qn_file f;
    struct qn_hasher *h = NULL;
    enum qins_status st = qn_file_open(&f, path, err);
    if (st == QINS_OK) {
        h = qn_hasher_create();
        st = h ? QINS_OK : qn_fail_memory(err);
    }
    for (uint64_t at = 0; st == QINS_OK && at < f.size;) {
        size_t n = (size_t)qn_min_u64(sizeof piece, f.size - at);
        st = qn_file_read(&f, at, piece, n, err);
        if (st == QINS_OK)
            qn_hasher_add(h, piece, n);
        at += n;
    }
    if (st == QINS_OK)
        *out = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    qn_file_close(&f);
    return st;
}

bool qn_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool qn_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool qn_is_regular(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool qn_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

enum qins_status qn_make_directories(const char *path, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    char *copy = qn_strdup(path, err);
    if (!copy)
        return QINS_ERR_MEMORY;
    size_t n = strlen(copy);
    for (size_t i = 1; i <= n && st == QINS_OK; i++) {
        if (copy[i] != '/' && copy[i] != '\0')
            continue;
        char saved = copy[i];
        copy[i] = '\0';
        if (mkdir(copy, 0777) != 0 && (errno != EEXIST || !qn_is_directory(copy)))
            st = qn_fail_errno(err, copy, "cannot create the folder");
        copy[i] = saved;
    }
    free(copy);
    return st;
}

size_t qn_first_missing(const char *path)
{
    size_t found = 0;
    char *copy = qn_strdup(path, NULL);
    const size_t n = copy ? strlen(copy) : 0;
    for (size_t i = 1; i <= n && found == 0; i++) {
        if (copy[i] != '/' && copy[i] != '\0')
            continue;
        const char saved = copy[i];
        copy[i] = '\0';
        if (!qn_exists(copy))
            found = i;
        copy[i] = saved;
    }
    free(copy);
    return found;
}

void qn_remove_empty(const char *path, size_t shortest)
{
    char *copy = qn_strdup(path, NULL);
    size_t n = copy ? strlen(copy) : 0;
    while (n > 0 && copy[n - 1] == '/')
        copy[--n] = '\0';
    while (n >= shortest && n > 0 && rmdir(copy) == 0) {
        while (n > 0 && copy[n - 1] != '/')
            copy[--n] = '\0';
        while (n > 0 && copy[n - 1] == '/')
            copy[--n] = '\0';
    }
    free(copy);
}

char *qn_path_join(const char *dir, const char *name, struct qins_error *err)
{
    size_t n = strlen(dir);
    return qn_format(err, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

const char *qn_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *qn_path_dir(const char *path, struct qins_error *err)
{
    const char *base = qn_path_base(path);
    if (base == path)
        return qn_strdup(".", err);
    size_t n = (size_t)(base - path);
    return qn_strndup(path, n > 1 ? n - 1 : n, err);
}

bool qn_has_suffix(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && memcmp(text + n - m, suffix, m) == 0;
}

int qn_scratch_file(struct qins_error *err)
{
    const char *dir = getenv("TMPDIR");
    char *path = qn_path_join(dir && *dir ? dir : "/tmp", "qins-XXXXXX", err);
    if (!path)
        return -1;
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        qn_fail_errno(err, path, "cannot create a temporary file");
    else
        unlink(path);
    free(path);
    return fd;
}
