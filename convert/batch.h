/* Batches of a conversion: some consecutive tensors each, looked at and then encoded into a sink
 * while their source is still in the page cache. Batches follow each other like parts on a line:
 * while one is encoded and written the next is looked at, so that threads have something to do at
 * the end of each, and nobody waits for a search or a write. */
#ifndef QINS_CONVERT_BATCH_H
#define QINS_CONVERT_BATCH_H

#include "convert/shape.h"
#include "convert/work.h"
#include "core/thread.h"
#include "formats/archive/sink.h"

struct qn_feedback_source;
struct qn_look;

/* One tensor on its way. */
struct qn_unit {
    struct qn_archive_tensor t; /* its name belongs to the checkpoint, its blocks to it */
    size_t index;               /* in the checkpoint */
    uint64_t chunks_done;       /* by an earlier run, or for another part to do */
    uint64_t chunks_end;        /* behind the last one to be coded; looks go over all of them */
    struct qn_look *looks;      /* one, or one a block: its batch's */
    bool settled;               /* kappa, clip and scale are fixed */
    bool begun;                 /* the sink knows it */
};

/* What one slot of the ordered pipeline holds. */
struct qn_encode_slot {
    struct qn_buf payload;
    struct qn_digest leaf;
    float abs_max;
    struct qn_hist hist;
};

/* What batches share. */
struct qn_encoder {
    struct qn_checkpoint *source;
    struct qn_sink *sink;
    struct qn_feedback_source *feedback; /* or NULL; the caller's */
    const struct qn_monitor *monitor;
    unsigned threads, slots;
    struct qn_workspace_pool pool;
    struct qn_encode_slot *slot; /* `slots` of them */
    struct qn_hist hist;         /* of the tensor whose chunks are being merged */
    uint64_t done, total;        /* bytes of source */
};

enum qins_status qn_encoder_init(struct qn_encoder *e, struct qn_checkpoint *source,
                                 struct qn_sink *sink, const struct qn_monitor *monitor,
                                 unsigned threads, struct qins_error *err);
void qn_encoder_finish(struct qn_encoder *e); /* a zeroed one is accepted */

struct qn_batch {
    struct qn_unit *units; /* the caller's */
    size_t n, next;        /* next: first unit whose end the sink has not seen */
    struct qn_look *looks;
    size_t n_looks;
};

enum qins_status qn_batch_init(struct qn_batch *b, struct qn_unit *units, size_t n,
                               struct qins_error *err);
void qn_batch_finish(struct qn_batch *b); /* a zeroed one is accepted; the units stay */

/* At once: encodes ENCODE, which has been SHAPE in a call before; looks at SHAPE, which has been
 * ABS_MAX before, and settles it; and takes the first look at ABS_MAX. Each may be NULL. */
enum qins_status qn_encode_flight(struct qn_encoder *e, struct qn_batch *encode,
                                  struct qn_batch *shape, struct qn_batch *abs_max,
                                  struct qins_error *err);

#endif
