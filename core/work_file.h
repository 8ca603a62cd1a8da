/* A file of work in progress: one process at a time, open for reading and writing, and never
 * somebody else's file that happens to have its name. A head that says whose work it is, then
 * frames, each with its own hashes, so that a torn end shows wherever it is torn and no fsync is
 * needed on the way. Little-endian; hashes are XXH3-64:
 *     head   magic (8), version (4), 0 (4), job (16), hash of these 32
 *     frame  magic (4), its user's bytes and among them the size of the body (8), hash of the body
 *            (8), hash of all before it in the frame (8), body */
#ifndef QINS_CORE_WORK_FILE_H
#define QINS_CORE_WORK_FILE_H

#include "core/file.h"

/* All of this from one thread at a time. */
enum { QN_WORK_HEAD_SIZE = 40, QN_WORK_MAGIC_SIZE = 8, QN_WORK_JOB_AT = 16 };

struct qn_work_head {
    uint8_t bytes[QN_WORK_HEAD_SIZE];
};

/* How a frame begins. */
struct qn_work_frame {
    char magic[4];
    size_t size;         /* bytes before the body, hashes included */
    size_t body_size_at; /* offset of the size of the body */
    const char *of;      /* what the file is, for messages: "the spool" */
};

struct qn_work_head qn_work_head(const char magic[QN_WORK_MAGIC_SIZE], uint32_t version,
                                 const struct qn_digest *job);
/* Whether its hash is right. */
bool qn_work_head_intact(const struct qn_work_head *head);

/* Opens or creates PATH, with an exclusive lock (flock) until qn_file_close(). QINS_ERR_IO where
 * another process has it, or it is no regular file. */
enum qins_status qn_work_file_open(struct qn_file *f, const char *path, struct qins_error *err);
/* Whether a process has PATH, a work file, open. QN_WORK_UNKNOWN where locks cannot tell: the file
 * system has none, or may have them for each machine apart. Never waits; holds a lock of its own
 * for an instant, for which qn_work_file_open() waits. *FOUND, which may be NULL, is the head. */
enum qn_work_holder { QN_WORK_FREE, QN_WORK_HELD, QN_WORK_UNKNOWN };
enum qins_status qn_work_file_look(const char *path, enum qn_work_holder *holder,
                                   struct qn_work_head *found, struct qins_error *err);
/* The head that is there; all zeros where the file is shorter. */
enum qins_status qn_work_file_head(const struct qn_file *f, struct qn_work_head *found,
                                   struct qins_error *err);
/* Throws away what is there and writes HEAD. QINS_ERR_USAGE, and nothing is changed, unless the
 * file is empty, begins with the magic that HEAD begins with (as far as it goes), or holds nothing
 * but zeros, as a power loss leaves it. f->size becomes that of the head. */
enum qins_status qn_work_file_begin(struct qn_file *f, const struct qn_work_head *head,
                                    struct qins_error *err);
/* Reads the head of the frame at AT, which is at most f->size, into HEAD (frame->size bytes). Its
 * body is BODY_SIZE bytes, which are there; what they are is not looked at. QINS_ERR_FORMAT where
 * no frame begins or its body is cut short. */
enum qins_status qn_work_file_read_head(const struct qn_file *f, const struct qn_work_frame *frame,
                                        uint64_t at, uint8_t *head, uint64_t *body_size,
                                        struct qins_error *err);
/* Reads the frame at AT, which is at most f->size: its head into HEAD (frame->size bytes), its body
 * in place of what is in *body. The next one begins at AT + frame->size + body->size.
 * QINS_ERR_FORMAT, with *body undefined, where there is no whole frame. */
enum qins_status qn_work_file_read(const struct qn_file *f, const struct qn_work_frame *frame,
                                   uint64_t at, uint8_t *head, struct qn_buf *body,
                                   struct qins_error *err);
/* Writes a frame at f->size, which moves behind it unless it cannot be written whole. In HEAD stand
 * its user's bytes; the rest is filled in here. BODY is not NULL. */
enum qins_status qn_work_file_append(struct qn_file *f, const struct qn_work_frame *frame,
                                     uint8_t *head, const void *body, size_t size,
                                     struct qins_error *err);
/* Cuts the file off at SIZE, which becomes f->size. */
enum qins_status qn_work_file_cut(struct qn_file *f, uint64_t size, struct qins_error *err);

#endif
