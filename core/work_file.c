#include "core/work_file.h"

#include "core/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* *gone is set if another process removed the file in between. */
static enum qins_status open_locked(struct qn_file *f, const char *path, bool *gone,
                                    struct qins_error *err)
{
    struct stat mine, there;
    *gone = false;
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (f->fd < 0 || fstat(f->fd, &mine) != 0)
        return qn_fail_errno(err, path, "cannot open");
    if (!S_ISREG(mine.st_mode))
        return qn_fail_at(err, QINS_ERR_IO, path, NULL, QN_NO_OFFSET, "is not a regular file");
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return qn_fail_errno(err, path, "cannot lock");
        return qn_fail_at(err, QINS_ERR_IO, path, NULL, QN_NO_OFFSET,
                          "another process is working on it");
    }
    if (fstat(f->fd, &mine) != 0)
        return qn_fail_errno(err, path, "cannot open");
    *gone = stat(path, &there) != 0 || there.st_ino != mine.st_ino || there.st_dev != mine.st_dev;
    f->size = (uint64_t)mine.st_size;
    return QINS_OK;
}

enum qins_status qn_work_file_open(struct qn_file *f, const char *path, struct qins_error *err)
{
    bool gone = true;
    *f = (struct qn_file){.fd = -1, .path = qn_strdup(path, err)};
    enum qins_status st = f->path ? QINS_OK : QINS_ERR_MEMORY;
    while (st == QINS_OK && gone) {
        if (f->fd >= 0)
            close(f->fd);
        st = open_locked(f, path, &gone, err);
    }
    if (st != QINS_OK)
        qn_file_close(f);
    return st;
}

static enum qins_status may_be_ours(const struct qn_file *f, const void *magic, size_t magic_size,
                                    bool *may, struct qins_error *err)
{
    uint8_t block[4096];
    magic_size = (size_t)qn_min_u64(f->size, magic_size);
    enum qins_status st = qn_file_read(f, 0, block, magic_size, err);
    *may = st == QINS_OK && memcmp(block, magic, magic_size) == 0;
    if (*may)
        return st;
    uint8_t any = 0;
    for (uint64_t at = 0; at < f->size && any == 0 && st == QINS_OK; at += sizeof block) {
        size_t size = (size_t)qn_min_u64(f->size - at, sizeof block);
        st = qn_file_read(f, at, block, size, err);
        for (size_t i = 0; i < size && st == QINS_OK; i++)
            any |= block[i];
    }
    *may = any == 0;
    return st;
}

enum qins_status qn_work_file_begin(struct qn_file *f, const void *head, size_t head_size,
                                    size_t magic_size, struct qins_error *err)
{
    bool may = false;
    enum qins_status st = may_be_ours(f, head, magic_size, &may, err);
    if (st != QINS_OK)
        return st;
    if (!may)
        return qn_fail_at(err, QINS_ERR_USAGE, f->path, NULL, QN_NO_OFFSET,
                          "is in the way of the work in progress and none of qins's making: move "
                          "or remove it");
    st = qn_work_file_cut(f, 0, err);
    if (st == QINS_OK)
        st = qn_work_file_write(f, 0, head, head_size, err);
    if (st == QINS_OK)
        f->size = head_size;
    return st;
}

enum qins_status qn_work_file_write(const struct qn_file *f, uint64_t offset, const void *data,
                                    size_t size, struct qins_error *err)
{
    struct qn_output borrowed = {.fd = f->fd, .final_path = f->path};
    return qn_output_write_at(&borrowed, offset, data, size, err);
}

enum qins_status qn_work_file_cut(struct qn_file *f, uint64_t size, struct qins_error *err)
{
    if (ftruncate(f->fd, (off_t)size) != 0)
        return qn_fail_errno(err, f->path, "cannot truncate");
    f->size = size;
    return QINS_OK;
}
