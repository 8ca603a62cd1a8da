/* Files: reads at a position, and output that appears under its final name complete or not at
 * all. */
#ifndef QINS_CORE_FILE_H
#define QINS_CORE_FILE_H

#include "core/buf.h"
#include "core/hash.h"

/* What tells that a file was changed or replaced: size, seconds and nanoseconds of the last change
 * of the contents, the same of the inode. The inode's own time, unlike that of the contents, cannot
 * be set. */
struct qn_file_stamp {
    uint64_t figures[5];
};

/* A regular file open for reading. Reads are thread-safe (pread). */
struct qn_file {
    int fd; /* -1 when closed */
    uint64_t size;
    char *path;
    struct qn_file_stamp stamp; /* when it was opened */
};

/* That of PATH, as it is now. */
enum qins_status qn_file_look(const char *path, struct qn_file_stamp *out, struct qins_error *err);

/* Fails with QINS_ERR_IO if PATH cannot be opened or is no regular file. On failure *f is
 * closed and qn_file_close() is harmless. */
enum qins_status qn_file_open(struct qn_file *f, const char *path, struct qins_error *err);
void qn_file_close(struct qn_file *f); /* a closed or zeroed-with-fd=-1 file is accepted */

/* Reads exactly SIZE bytes at OFFSET, retrying on EINTR and short reads; past the end of the
 * file is QINS_ERR_FORMAT ("truncated"). */
enum qins_status qn_file_read(const struct qn_file *f, uint64_t offset, void *dst, size_t size,
                              struct qins_error *err);

/* The whole of a file of at most LIMIT bytes, appended to *out. QINS_ERR_IO where it changed
 * meanwhile. */
enum qins_status qn_read_whole(const char *path, uint64_t limit, struct qn_buf *out,
                               struct qins_error *err);

/* XXH3-128 of all of a file's bytes. */
enum qins_status qn_hash_file(const char *path, struct qn_digest *out, struct qins_error *err);

/* Output under a temporary name beside the final one. */
struct qn_output {
    int fd;
    int pending; /* its place among those of qn_output_abandon_all(), from 1; 0 for none */
    char *final_path, *temp_path;
    uint64_t written; /* bytes appended so far by qn_output_write() */
};

/* Creates "PATH.tmp-XXXXXX" in PATH's folder with the permissions that PATH has, or 0666 less
 * the umask. A link is followed: what it names is replaced, the link stays. QINS_ERR_IO where
 * PATH is there and no regular file (a rename would put one in place of a device), or is a link
 * to nothing. */
enum qins_status qn_output_create(struct qn_output *o, const char *path, struct qins_error *err);
/* Sequential append. */
enum qins_status qn_output_write(struct qn_output *o, const void *data, size_t size,
                                 struct qins_error *err);
/* Write at a position (does not move `written`). */
enum qins_status qn_output_write_at(struct qn_output *o, uint64_t offset, const void *data,
                                    size_t size, struct qins_error *err);
/* Seconds that this process has spent in fsync for outputs. */
double qn_output_sync_seconds(void);
/* fsync, close: all of a commit that takes long. Nothing more can be written; commit or abandon
 * follows. */
enum qins_status qn_output_seal(struct qn_output *o, struct qins_error *err);
/* fsync, close, rename to the final name, fsync the folder. *o is finished either way; on
 * failure nothing stands under the final name that was not there before, but where all that failed
 * is the folder's fsync, which comes after the rename: then the file is whole and in place, and
 * the error says that the rename may not outlive a crash of the system. A file system that has no
 * fsync for folders is no error. */
enum qins_status qn_output_commit(struct qn_output *o, struct qins_error *err);
/* The same for a file that is no qn_output: fsyncs FD (unless it is -1), which is open on TEMP and
 * stays open, and renames it to FINAL, in the same folder. */
enum qins_status qn_publish(int fd, const char *temp, const char *final, struct qins_error *err);
/* Removes the temporary file; does nothing after a commit or on a zeroed *o. */
void qn_output_abandon(struct qn_output *o);
/* Removes temporary files of all outputs not yet committed. Async-signal-safe: for a handler
 * that is about to end the process. */
void qn_output_abandon_all(void);

/* Writes SIZE bytes to PATH by way of a qn_output. */
enum qins_status qn_write_whole(const char *path, const void *data, size_t size,
                                struct qins_error *err);

/* True if both name the same existing file. */
bool qn_same_file(const char *a, const char *b);
bool qn_is_directory(const char *path);
bool qn_is_regular(const char *path); /* links are followed */
bool qn_exists(const char *path);
/* Creates PATH and its parents; an existing folder is fine. */
enum qins_status qn_make_directories(const char *path, struct qins_error *err);
/* Bytes of PATH to the end of the first folder on its way that is not there; 0: all are. */
size_t qn_first_missing(const char *path);
/* Removes PATH and its parents as far as they are empty, none that is shorter than SHORTEST bytes;
 * what qn_first_missing() told before they were made. Does not fail. */
void qn_remove_empty(const char *path, size_t shortest);

/* "DIR/NAME" on the heap. */
char *qn_path_join(const char *dir, const char *name, struct qins_error *err);
/* Points at the part after the last '/'. */
const char *qn_path_base(const char *path);
/* The folder part, "." if there is none; heap. */
char *qn_path_dir(const char *path, struct qins_error *err);
bool qn_has_suffix(const char *text, const char *suffix);

/* An unlinked temporary file in $TMPDIR or /tmp, for data that does not fit in memory.
 * Returns a descriptor or -1 with *err set. */
int qn_scratch_file(struct qins_error *err);

#endif
