/* Frames of spools (spool.h) and parts (part.h), and the order in which they may stand. */
#ifndef QINS_FORMATS_ARCHIVE_SPOOL_FRAME_H
#define QINS_FORMATS_ARCHIVE_SPOOL_FRAME_H

#include "core/work_file.h"
#include "formats/archive/part.h"
#include "formats/archive/spool.h"

enum qn_spool_frame_type {
    QN_FRAME_BEGIN = 1,      /* body: the tensor as JSON, as in the manifest; number: first chunk */
    QN_FRAME_CHUNK = 2,      /* body: the payload; leaf: digest of its source bytes */
    QN_FRAME_END = 3,        /* no body */
    QN_FRAME_PART = 4,       /* body: the part's place as JSON; first in a part, and there alone */
    QN_FRAME_CUT = 5,        /* in place of END: the tensor goes on in the next part */
    QN_FRAME_ATTACHMENT = 6, /* body: name and contents; number: bytes of the name */
    QN_FRAME_COMPLETE = 7,   /* body: QN_COMPLETE_SIZE bytes; last in a part */
};

enum {
    QN_SPOOL_VERSION = 1,
    QN_PART_VERSION = 2,
    QN_SPOOL_FRAME_SIZE = 48,
    QN_COMPLETE_SIZE = 32,        /* tensors, chunks, bytes of payloads, chain of the frames */
    QN_MAX_DESCRIPTION = 8 << 20, /* bytes of a BEGIN's body */
    QN_MAX_PART_RECORD = 1 << 16, /* bytes of a PART's */
};

struct qn_spool_frame {
    enum qn_spool_frame_type type;
    union {
        struct qn_digest leaf;
        uint64_t number;
    } note;
    size_t size;   /* of the body */
    uint64_t hash; /* of its head, which has the body's in it */
};

struct qn_work_head qn_spool_head(uint32_t version, const struct qn_digest *job);
/* Appends a frame; sets f->hash. */
enum qins_status qn_spool_frame_append(struct qn_file *file, struct qn_spool_frame *f,
                                       const void *body, struct qins_error *err);
/* The frame at AT and its body, which replaces what is in *body. QINS_ERR_FORMAT: there is no
 * whole frame. */
enum qins_status qn_spool_frame_read(const struct qn_file *file, uint64_t at,
                                     struct qn_spool_frame *f, struct qn_buf *body,
                                     struct qins_error *err);
/* The frame without its body. */
enum qins_status qn_spool_frame_read_head(const struct qn_file *file, uint64_t at,
                                          struct qn_spool_frame *f, struct qins_error *err);

/* How far a spool or a part got, frame by frame. Zero-initialised but for `part` is the beginning.
 * Each step is QINS_ERR_FORMAT where such a frame may not stand there. */
struct qn_spool_track {
    struct qn_spool_state state;
    const struct qn_part_info *part; /* NULL: a spool of the whole model */
    uint64_t attachments, chunks, payload_bytes;
    uint64_t chain; /* of the hashes of the frames so far */
    bool complete;
};
/* Takes over T's name and blocks when it succeeds. */
enum qins_status qn_spool_track_begin(struct qn_spool_track *k, const struct qn_archive_tensor *t,
                                      uint64_t first_chunk, struct qins_error *err);
enum qins_status qn_spool_track_chunk(struct qn_spool_track *k, size_t size,
                                      struct qins_error *err);
enum qins_status qn_spool_track_end(struct qn_spool_track *k, enum qn_spool_frame_type type,
                                    struct qins_error *err);
enum qins_status qn_spool_track_attachment(struct qn_spool_track *k, struct qins_error *err);
/* Sets BODY to what the last frame has to say. */
enum qins_status qn_spool_track_complete(struct qn_spool_track *k, uint8_t body[QN_COMPLETE_SIZE],
                                         struct qins_error *err);
void qn_spool_track_finish(struct qn_spool_track *k); /* frees the open tensor */
/* After each frame: links its hash to the chain. */
void qn_spool_track_link(struct qn_spool_track *k, const struct qn_spool_frame *f);
/* Chunk with which the next tensor begins, and the frame that ends the open one. */
uint64_t qn_spool_track_first_chunk(const struct qn_spool_track *k);
enum qn_spool_frame_type qn_spool_track_end_type(const struct qn_spool_track *k);

/* Whom frames are handed on to, and who is told how far it got. All may be NULL. */
struct qn_spool_target {
    struct qn_sink *to;
    struct qn_part_join *join; /* where parts follow each other; without it a tensor that
                                  another part began is out of order */
    struct qn_attachment_list *attachments;
    const struct qn_monitor *monitor; /* is shown WHAT is done, by bytes of the file */
    const char *what;
};
/* Advances K by one frame and hands it on. */
enum qins_status qn_spool_apply(struct qn_spool_track *k, const struct qn_spool_frame *f,
                                const struct qn_buf *body, const struct qn_spool_target *target,
                                struct qins_error *err);
/* Goes over all frames of FILE from *AT on, which becomes the end of the last one that was applied.
 */
enum qins_status qn_spool_scan(const struct qn_file *file, struct qn_spool_track *k,
                               const struct qn_spool_target *target, uint64_t *at,
                               struct qins_error *err);

/* The body of a PART frame; heap. */
char *qn_part_info_to_text(const struct qn_part_info *p, struct qins_error *err);
/* Trusts nothing; fills what it says, not the job. */
enum qins_status qn_part_info_from_text(const void *text, size_t size, struct qn_part_info *out,
                                        struct qins_error *err);

#endif
