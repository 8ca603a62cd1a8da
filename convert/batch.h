/* One batch of a conversion: some consecutive tensors, looked at and then encoded into a sink
 * while their source is still in the page cache. */
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
    uint64_t chunks_done;       /* by an earlier run */
    struct qn_look *looks;      /* one, or one a block; while its batch is under way */
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

/* Looks at, settles and encodes N units, in order. */
enum qins_status qn_encode_batch(struct qn_encoder *e, struct qn_unit *units, size_t n,
                                 struct qins_error *err);

#endif
