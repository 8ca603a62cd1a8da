/* Coded weights that are decoded matrix by matrix within a forward pass, each time into the same
 * memory: what serving them takes without fused kernels and without a second copy of the model. */
#ifndef QINS_BENCH_TURNS_H
#define QINS_BENCH_TURNS_H

#include "bench/forms.h"
#include "model/taps.h"

/* For one form and one pool. */
struct qn_turns {
    struct qn_twin *twin;
    const struct qn_formed *formed;
    struct qn_pool *pool;
    struct qn_tap_list taps; /* of the twin's model */
    struct qn_buf order;     /* size_t: pieces of the form, point by point */
    size_t *begin;           /* [taps.n + 1], in `order` */
    size_t *places;          /* of the twin's matrices: offset in its buffer, or SIZE_MAX */
    const void **own;        /* the matrices' data, while they are elsewhere */
    struct qn_listener listener;
    bool failed;
};

/* Both outlive it. To be finished whatever the result. */
enum qins_status qn_turns_init(struct qn_turns *t, struct qn_twin *twin, const struct qn_formed *f,
                               struct qn_pool *pool, struct qins_error *err);
void qn_turns_finish(struct qn_turns *t);

/* Between the two, sessions of the twin's model that have `listener` decode the matrices that see
 * the same inputs into the buffer, right before these are multiplied; a head that is also the table
 * of embeddings is decoded in its place. */
void qn_turns_begin(struct qn_turns *t);
enum qins_status qn_turns_end(struct qn_turns *t, struct qins_error *err);

#endif
