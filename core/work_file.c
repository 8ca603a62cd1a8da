#include "core/work_file.h"

#include "core/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* Offsets in a head, in bytes. */
enum { HEAD_VERSION = 8, HEAD_HASH = 32 };

/* A frame's two hashes are the last of what is before its body. */
enum { HASH_SIZE = 8 };

struct qn_work_head qn_work_head(const char magic[QN_WORK_MAGIC_SIZE], uint32_t version,
                                 const struct qn_digest *job)
{
    struct qn_work_head head = {{0}};
    memcpy(head.bytes, magic, QN_WORK_MAGIC_SIZE);
    qn_store32(head.bytes + HEAD_VERSION, version);
    memcpy(head.bytes + QN_WORK_JOB_AT, job->bytes, sizeof job->bytes);
    qn_store64(head.bytes + HEAD_HASH, qn_hash64(head.bytes, HEAD_HASH));
    return head;
}

bool qn_work_head_intact(const struct qn_work_head *head)
{
    return qn_load64(head->bytes + HEAD_HASH) == qn_hash64(head->bytes, HEAD_HASH);
}

/* Somebody may only be looking (qn_work_file_look()): what is held for longer than this is held. */
enum { LOCK_TRIES = 10, LOCK_PAUSE = 20000000 /* ns */ };

static bool lock(int fd)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE};
    bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    for (int i = 1; i < LOCK_TRIES && !locked && errno == EWOULDBLOCK; i++) {
        nanosleep(&pause, NULL);
        locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    }
    return locked;
}

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
    if (!lock(f->fd)) {
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

/* Whether a lock on another machine would show here: not where a file system of a cluster may be
 * mounted with local locks alone. */
static bool has_wide_locks(int fd)
{
    static const unsigned long local[] = {0xEF53 /* ext */,
                                          0x58465342 /* XFS */,
                                          0x9123683E /* btrfs */,
                                          0x01021994 /* tmpfs */,
                                          0x794C7630 /* overlay */,
                                          0x2FC12FC1 /* ZFS */,
                                          0xF2F52010 /* F2FS */};
    struct statfs info;
    if (fstatfs(fd, &info) != 0)
        return false;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if ((unsigned long)info.f_type == local[i])
            return true;
    return false;
}

enum qins_status qn_work_file_look(const char *path, enum qn_work_holder *holder,
                                   struct qn_work_head *found, struct qins_error *err)
{
    struct qn_file f;
    enum qins_status st = qn_file_open(&f, path, err);
    if (st != QINS_OK)
        return st;
    bool locked;
    do
        locked = flock(f.fd, LOCK_SH | LOCK_NB) == 0;
    while (!locked && errno == EINTR);
    *holder = !locked && errno == EWOULDBLOCK  ? QN_WORK_HELD
              : locked && has_wide_locks(f.fd) ? QN_WORK_FREE
                                               : QN_WORK_UNKNOWN;
    if (locked)
        flock(f.fd, LOCK_UN);
    if (found)
        st = qn_work_file_head(&f, found, err);
    qn_file_close(&f);
    return st;
}

enum qins_status qn_work_file_head(const struct qn_file *f, struct qn_work_head *found,
                                   struct qins_error *err)
{
    *found = (struct qn_work_head){{0}};
    return f->size < sizeof found->bytes
               ? QINS_OK
               : qn_file_read(f, 0, found->bytes, sizeof found->bytes, err);
}

static enum qins_status may_be_ours(const struct qn_file *f, const uint8_t *magic, bool *may,
                                    struct qins_error *err)
{
    uint8_t block[4096];
    const size_t magic_size = (size_t)qn_min_u64(f->size, QN_WORK_MAGIC_SIZE);
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

static enum qins_status write_at(const struct qn_file *f, uint64_t offset, const void *data,
                                 size_t size, struct qins_error *err)
{
    struct qn_output borrowed = {.fd = f->fd, .final_path = f->path};
    return qn_output_write_at(&borrowed, offset, data, size, err);
}

enum qins_status qn_work_file_begin(struct qn_file *f, const struct qn_work_head *head,
                                    struct qins_error *err)
{
    bool may = false;
    enum qins_status st = may_be_ours(f, head->bytes, &may, err);
    if (st != QINS_OK)
        return st;
    if (!may)
        return qn_fail_at(err, QINS_ERR_USAGE, f->path, NULL, QN_NO_OFFSET,
                          "is in the way of the work in progress and none of qins's making: move "
                          "or remove it");
    st = qn_work_file_cut(f, 0, err);
    if (st == QINS_OK)
        st = write_at(f, 0, head->bytes, sizeof head->bytes, err);
    if (st == QINS_OK)
        f->size = sizeof head->bytes;
    return st;
}

static enum qins_status damaged(const struct qn_file *f, const struct qn_work_frame *frame,
                                uint64_t at, struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, f->path, NULL, (int64_t)at, "%s's frame is damaged",
                      frame->of);
}

enum qins_status qn_work_file_read_head(const struct qn_file *f, const struct qn_work_frame *frame,
                                        uint64_t at, uint8_t *head, uint64_t *body_size,
                                        struct qins_error *err)
{
    const size_t hash_at = frame->size - HASH_SIZE;
    if (f->size - at < frame->size)
        return qn_fail_at(err, QINS_ERR_FORMAT, f->path, NULL, (int64_t)at, "%s's end is torn",
                          frame->of);
    *body_size = 0;
    enum qins_status st = qn_file_read(f, at, head, frame->size, err);
    if (st != QINS_OK)
        return st;
    *body_size = qn_load64(head + frame->body_size_at);
    if (memcmp(head, frame->magic, sizeof frame->magic) != 0 ||
        qn_load64(head + hash_at) != qn_hash64(head, hash_at) ||
        *body_size > f->size - at - frame->size || *body_size >= SIZE_MAX)
        return damaged(f, frame, at, err);
    return QINS_OK;
}

enum qins_status qn_work_file_read(const struct qn_file *f, const struct qn_work_frame *frame,
                                   uint64_t at, uint8_t *head, struct qn_buf *body,
                                   struct qins_error *err)
{
    const size_t hash_at = frame->size - HASH_SIZE, body_hash_at = hash_at - HASH_SIZE;
    uint64_t size = 0;
    enum qins_status st = qn_work_file_read_head(f, frame, at, head, &size, err);
    if (st != QINS_OK)
        return st;
    body->size = 0;
    st = qn_buf_reserve(body, (size_t)size + 1, err);
    if (st == QINS_OK && size)
        st = qn_file_read(f, at + frame->size, body->data, (size_t)size, err);
    if (st != QINS_OK)
        return st;
    if (qn_load64(head + body_hash_at) != qn_hash64(body->data, (size_t)size))
        return damaged(f, frame, at, err);
    body->size = (size_t)size;
    return QINS_OK;
}

enum qins_status qn_work_file_append(struct qn_file *f, const struct qn_work_frame *frame,
                                     uint8_t *head, const void *body, size_t size,
                                     struct qins_error *err)
{
    const size_t hash_at = frame->size - HASH_SIZE, body_hash_at = hash_at - HASH_SIZE;
    memcpy(head, frame->magic, sizeof frame->magic);
    qn_store64(head + frame->body_size_at, size);
    qn_store64(head + body_hash_at, qn_hash64(body, size));
    qn_store64(head + hash_at, qn_hash64(head, hash_at));
    enum qins_status st = write_at(f, f->size, head, frame->size, err);
    if (st == QINS_OK)
        st = write_at(f, f->size + frame->size, body, size, err);
    if (st == QINS_OK)
        f->size += frame->size + size;
    return st;
}

enum qins_status qn_work_file_cut(struct qn_file *f, uint64_t size, struct qins_error *err)
{
    if (ftruncate(f->fd, (off_t)size) != 0)
        return qn_fail_errno(err, f->path, "cannot truncate");
    f->size = size;
    return QINS_OK;
}
