/* The work in progress of a resumable run: an append-only file of framed, checksummed records
 * (OUT.qins.part), from which an archive is assembled. Format: docs/archive-format.md. */
#ifndef QINS_FORMATS_ARCHIVE_SPOOL_H
#define QINS_FORMATS_ARCHIVE_SPOOL_H

#include "core/thread.h"
#include "formats/archive/sink.h"

struct qn_part_info;
struct qn_spool; /* its first member is a struct qn_sink */

/* How far an existing spool got. A tensor that was begun has its record in `open_tensor`. */
struct qn_spool_state {
    size_t tensors_done;                  /* tensors whose end record is there */
    bool tensor_open;                     /* the next one was begun */
    uint64_t chunks_done;                 /* its chunks that are there */
    struct qn_archive_tensor open_tensor; /* its name belongs to the spool */
};

/* Opens or creates PATH for a job identified by JOB (a digest of everything that decides the
 * archive's bytes: sources, plan, options). An existing spool of the same job is scanned, cut
 * after its last whole record and continued; one of another job is QINS_ERR_USAGE with a line
 * that says so; RESUME false truncates it, as does a head that is damaged. A file that is neither
 * empty nor begins with a spool's magic is left as it is: QINS_ERR_USAGE. Takes an exclusive lock
 * (flock): a second process with the same spool gets QINS_ERR_IO. Going over what is
 * there, now and in qn_spool_replay(), is progress of MONITOR, which may be NULL, and ends with
 * QINS_ERR_INTERRUPTED when it says so; the file then stays as it is. */
enum qins_status qn_spool_open(struct qn_spool **out, const char *path, const struct qn_digest *job,
                               bool resume, const struct qn_monitor *monitor,
                               struct qn_spool_state *state, struct qins_error *err);
/* The same for a part of a model (part.h), of which PART says which: an existing one is continued.
 * What its sink is given, from the range's first chunk to its last, is the work of that part: a
 * tensor of which other parts have some is begun and ended like any other. chunks_done counts from
 * the tensor's beginning. */
enum qins_status qn_spool_open_part(struct qn_spool **out, const char *path,
                                    const struct qn_part_info *part,
                                    const struct qn_monitor *monitor, struct qn_spool_state *state,
                                    struct qins_error *err);
struct qn_sink *qn_spool_sink(struct qn_spool *s);
/* Of a part, before its first tensor: writes those attachments that are not there yet. LIST has as
 * many as PART said. */
enum qins_status qn_spool_attach(struct qn_spool *s, const struct qn_attachment_list *list,
                                 struct qins_error *err);
/* Of a part, behind its last tensor: closes it with its last frame, syncs it, and renames it to
 * PATH. The lock is kept until qn_spool_destroy(), which must not remove it any more. */
enum qins_status qn_spool_complete(struct qn_spool *s, const char *path, struct qins_error *err);
/* Feeds all records of a model, in order, to another sink. Every payload is checked against its
 * frame. */
enum qins_status qn_spool_replay(struct qn_spool *s, struct qn_sink *to, struct qins_error *err);
/* Closes; REMOVE deletes the file. Accepts NULL. */
void qn_spool_destroy(struct qn_spool *s, bool remove);

#endif
