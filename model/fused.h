/* Models whose matrices stay coded in memory and are multiplied so (model/packed.h). */
#ifndef QINS_MODEL_FUSED_H
#define QINS_MODEL_FUSED_H

#include "core/json.h"
#include "core/thread.h"
#include "formats/archive/layout.h"
#include "formats/codec/chunk.h"
#include "model/weights.h"

/* A matrix that is to be kept so. */
struct qn_fused_item {
    struct qn_matrix *matrix; /* its name and extents set; not transposed */
    size_t source;            /* the caller's number for it */
    enum qins_dtype dtype;    /* of what is coded */
    bool looked_up;           /* rows are read one at a time, too */
    struct qn_layout layout;  /* chunks of whole rows: qn_fused_cut() */
    bool refused;             /* how it is coded cannot be multiplied so */
};

/* Fills LAYOUT for a matrix of these extents; false where chunks do not hold whole rows. */
bool qn_fused_cut(struct qn_layout *layout, size_t out, size_t in);

/* Payloads of the items' chunks, from wherever they are. */
struct qn_fused_source {
    /* Appends that of chunk CHUNK, of COUNT elements from FIRST on, to *out. From any thread. */
    enum qins_status (*payload)(void *ctx, const struct qn_fused_item *item, uint64_t chunk,
                                uint64_t first, uint64_t count, struct qn_chunk_work *work,
                                struct qn_buf *out, struct qins_error *err);
    void *ctx;
    const char *what; /* is done: a verb phrase for the progress */
};

/* Makes the items' matrices coded ones and counts them as weights of M, once in its life; one that
 * is refused is left as it was. What payloads say is checked in full, so no product can fail
 * afterwards. Memory: the coded bytes, for a while up to twice, and QN_PACKED_MAX_GRIDS tables of
 * 20 KB at most. */
enum qins_status qn_fused_load(struct qn_model *m, struct qn_fused_item *items, size_t n,
                               const struct qn_fused_source *source, unsigned threads,
                               const struct qn_monitor *monitor, struct qins_error *err);

/* A model that shares with M, which must outlive it, all but its matrices: these are coded as
 * SOURCE, which numbers them as qn_weights_each() visits them, has them. Transposed ones, and what
 * is refused, are M's as well. */
enum qins_status qn_model_code(struct qn_model **out, const struct qn_model *m,
                               const struct qn_fused_source *source, unsigned threads,
                               const struct qn_monitor *monitor, struct qins_error *err);

/* Puts what M holds in memory: "weight_bytes", and of a fused model "fused" and how many matrices
 * are coded and decoded. */
void qn_fused_report(json_t **j, const struct qn_model *m);

/* Frees what qn_fused_load() made; of qn_model_destroy(). */
struct qn_fused;
void qn_fused_destroy(struct qn_fused *f); /* accepts NULL */

#endif
