/* A file of work in progress: one process at a time, open for reading and writing, and never
 * somebody else's file that happens to have its name. */
#ifndef QINS_CORE_WORK_FILE_H
#define QINS_CORE_WORK_FILE_H

#include "core/file.h"

/* Opens or creates PATH, with an exclusive lock (flock) until qn_file_close(). QINS_ERR_IO where
 * another process has it, or it is no regular file. */
enum qins_status qn_work_file_open(struct qn_file *f, const char *path, struct qins_error *err);
/* Throws away what is there and writes HEAD. QINS_ERR_USAGE, and nothing is changed, unless the
 * file is empty, begins with the MAGIC_SIZE bytes that HEAD begins with (as far as it goes), or
 * holds nothing but zeros, as a power loss leaves it. f->size becomes that of the head. */
enum qins_status qn_work_file_begin(struct qn_file *f, const void *head, size_t head_size,
                                    size_t magic_size, struct qins_error *err);
enum qins_status qn_work_file_write(const struct qn_file *f, uint64_t offset, const void *data,
                                    size_t size, struct qins_error *err);
/* Cuts the file off at SIZE, which becomes f->size. */
enum qins_status qn_work_file_cut(struct qn_file *f, uint64_t size, struct qins_error *err);

#endif
