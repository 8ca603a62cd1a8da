/* A part of an archive in the making: what one shard of a conversion leaves, OUT-00003-of-00008,
 * or, while it is made, OUT-00003-of-00008.part. A spool (spool.h) of a range of the model's
 * chunks, with a record in front that says which, and one at its end that says that it is complete.
 * Format: docs/archive-format.md. */
#ifndef QINS_FORMATS_ARCHIVE_PART_H
#define QINS_FORMATS_ARCHIVE_PART_H

#include "core/shard.h"
#include "formats/archive/sink.h"

/* A chunk, or a tensor that has none: tensors by their order in the checkpoint, chunks from 0 on in
 * each. What follows the last tensor is {tensors, 0}. */
struct qn_part_place {
    uint64_t tensor, chunk;
};

/* [begin, end) of a model. Where end.chunk is not 0, the tensor goes on in the next part. */
struct qn_part_range {
    struct qn_part_place begin, end;
    uint64_t first_chunk, end_chunk; /* the same of all the model's chunks, numbered through */
    uint64_t input_bytes;            /* of source: those of chunks, and of scalars */
};

struct qn_part_info {
    struct qn_shard shard;
    struct qn_digest job; /* of everything that decides the archive's bytes: all parts have it */
    struct qn_digest source_digest; /* convert/sources.h */
    struct qn_part_range range;
    uint64_t attachments; /* in part 1 alone */
    /* As told to the run that began the part; in paths bytes that are no UTF-8 are '?'. */
    char *source, *source_format, *output, *version;
    /* What is there of it. */
    uint64_t chunks_done, tensors_done; /* tensors: ended, or up to where they are cut */
    uint64_t part_bytes;                /* of the file */
    bool complete;
    bool torn; /* the scan ended at a frame that is not whole */
};

/* The chunks of its range. */
static inline uint64_t qn_part_chunks(const struct qn_part_info *p)
{
    return p->range.end_chunk - p->range.first_chunk;
}

/* Reads what the part PATH says of itself, finished or in progress (by another process, too). The
 * last frame tells whether it is complete; SCAN: all frames' heads are gone over, to count what is
 * done of one that is not; else chunks_done and tensors_done are 0 for such a one. Bodies are not
 * looked at: qn_part_replay() does that. QINS_ERR_FORMAT where it is no part or its first record is
 * damaged. On success *out is the caller's. Thread-safe. */
enum qins_status qn_part_read_info(const char *path, bool scan, struct qn_part_info *out,
                                   struct qins_error *err);
void qn_part_info_finish(struct qn_part_info *p); /* a zeroed one is accepted */

enum qins_status qn_part_info_copy(struct qn_part_info *to, const struct qn_part_info *from,
                                   struct qins_error *err);

/* Whether two say the same of their place in the job: shard, job, source and range. */
bool qn_part_same(const struct qn_part_info *a, const struct qn_part_info *b);

/* What a part leaves to the next one. Zero-initialised is the beginning of a model. */
struct qn_part_join {
    bool open;                 /* a tensor was cut */
    struct qn_buf description; /* of the last tensor, as its record has it */
};
void qn_part_join_finish(struct qn_part_join *j);

/* Feeds all of the complete part PATH, of which INFO was read, to the sink TO, in order: a tensor
 * that is cut is begun where its first part is and ended where its last one is. Every byte is
 * checked against its frame's hashes, the frames against each other, their number and hashes
 * against the last one. Attachments are added to *ATTACHMENTS, which may be NULL. QINS_ERR_FORMAT,
 * naming file and offset, at the first thing that does not fit; what TO has heard before is then
 * void. */
enum qins_status qn_part_replay(const char *path, const struct qn_part_info *info,
                                struct qn_part_join *join, struct qn_sink *to,
                                struct qn_attachment_list *attachments, struct qins_error *err);

#endif
