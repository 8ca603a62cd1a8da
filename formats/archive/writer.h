/* Assembles the HDF5 file of an archive: one session, one fixed sequence of libhdf5 calls, to a
 * temporary name, then hash, user block, fsync, rename. Not thread-safe against other libhdf5
 * use in the process unless libhdf5 is. Memory does not grow with the model beyond its
 * metadata. */
#ifndef QINS_FORMATS_ARCHIVE_WRITER_H
#define QINS_FORMATS_ARCHIVE_WRITER_H

#include "core/file.h"
#include "core/thread.h"
#include "formats/archive/sink.h"

struct qn_archive_writer; /* its first member is a struct qn_sink */

enum qins_status qn_archive_writer_create(struct qn_archive_writer **out, const char *path,
                                          const char *source_format, struct qins_error *err);
struct qn_sink *qn_archive_writer_sink(struct qn_archive_writer *w);
/* How many threads read the file back for its hash, and who is told and may stop it: one and nobody
 * unless this is called. MONITOR is kept. */
void qn_archive_writer_use(struct qn_archive_writer *w, unsigned threads,
                           const struct qn_monitor *monitor);
/* After the last tensor: attachments, chunk table, manifest, user block; then the file is complete,
 * synced and closed, under its temporary name. *archive_bytes and *hash, what the user block says
 * of the rest, may be NULL. */
enum qins_status qn_archive_writer_seal(struct qn_archive_writer *w,
                                        const struct qn_attachment_list *attachments,
                                        uint64_t *archive_bytes, struct qn_digest *hash,
                                        struct qins_error *err);
/* After that: its final name. The writer must still be destroyed. */
enum qins_status qn_archive_writer_publish(struct qn_archive_writer *w, struct qins_error *err);
/* In between: what is going to be published. */
const struct qn_output *qn_archive_writer_output(const struct qn_archive_writer *w);
/* Both. */
enum qins_status qn_archive_writer_commit(struct qn_archive_writer *w,
                                          const struct qn_attachment_list *attachments,
                                          uint64_t *archive_bytes, struct qins_error *err);
/* Removes the temporary file unless it has its final name; accepts NULL. */
void qn_archive_writer_destroy(struct qn_archive_writer *w);

#endif
