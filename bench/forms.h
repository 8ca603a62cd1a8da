/* A model's matrices in the forms that they can have in memory, for benchmarks. */
#ifndef QINS_BENCH_FORMS_H
#define QINS_BENCH_FORMS_H

#include "core/pool.h"
#include "formats/codec/chunk.h"
#include "model/weights.h"

#include <pthread.h>

/* How matrices are coded: a scale a row, which keeps its largest magnitude. */
struct qn_form {
    const char *name;
    unsigned levels;
    float kappa;
    enum qn_codec_id codec;
};

/* One chunk. */
struct qn_form_piece {
    size_t matrix;  /* as model/fused.h numbers them */
    uint64_t first; /* element of it */
    size_t n, size; /* elements; bytes of the payload */
    enum qins_dtype dtype;
    bool table; /* rows are looked up, and no product is made with them */
    uint8_t *payload;
};

/* A model coded in one form. Zero-initialised is empty; finish it. */
struct qn_formed {
    const struct qn_form *form;
    bool tied;                       /* the table of embeddings is the head */
    struct qn_model *model;          /* multiplies its matrices as they are coded (model/fused.h) */
    struct qn_buf pieces;            /* struct qn_form_piece: the payloads that it was made of */
    uint64_t payload_bytes, weights; /* of them */
    uint64_t fell_back;              /* weights under another coder than the form's */
    pthread_mutex_t lock;            /* of the last four, while it is made */
};

/* Codes M, which must outlive it. */
enum qins_status qn_formed_init(struct qn_formed *f, const struct qn_form *form,
                                const struct qn_model *m, unsigned threads,
                                const struct qn_monitor *monitor, struct qins_error *err);
void qn_formed_finish(struct qn_formed *f);
const struct qn_form_piece *qn_formed_pieces(const struct qn_formed *f, size_t *n);

/* A second copy of a model, for what is decoded before it is multiplied. */
struct qn_twin {
    struct qn_model *model;      /* the owner's; of the shape and types of what was coded */
    struct qn_buf matrices;      /* const struct qn_matrix *: as model/fused.h numbers them */
    struct qn_chunk_work *works; /* [threads] */
    unsigned threads;
    uint8_t *buffer; /* for turns.h, which all take turns */
    size_t buffer_bytes;
};
enum qins_status qn_twin_init(struct qn_twin *t, struct qn_model *model, unsigned threads,
                              struct qins_error *err);
void qn_twin_finish(struct qn_twin *t);
const struct qn_matrix *const *qn_twin_matrices(const struct qn_twin *t, size_t *n);
/* Writes what F codes over T's matrices, on POOL; without TABLES not over those of which a token
 * takes a row. */
enum qins_status qn_twin_decode(struct qn_twin *t, const struct qn_formed *f, bool tables,
                                struct qn_pool *pool, struct qins_error *err);
/* Makes the buffer no smaller than SIZE bytes. */
enum qins_status qn_twin_hold(struct qn_twin *t, size_t size, struct qins_error *err);
/* Of the pieces of F those N whose numbers ORDER has; false without memory. */
bool qn_twin_decode_some(struct qn_twin *t, const struct qn_formed *f, const size_t *order,
                         size_t n, struct qn_pool *pool);

#endif
