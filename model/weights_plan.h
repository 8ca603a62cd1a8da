/* Which tensors a model has: what loading and making up weights have in common. */
#ifndef QINS_MODEL_WEIGHTS_PLAN_H
#define QINS_MODEL_WEIGHTS_PLAN_H

#include "model/weights.h"

/* One named weight with the bias that may go with it. */
struct qn_need {
    const char *name;         /* without ".weight", prefix included; valid during the call */
    struct qn_matrix *matrix; /* a linear layer's or a table's, extents and `transposed` set */
    struct qn_norm *norm;     /* or this, of `out` weights */
    size_t out, in;           /* in is 1 for a norm */
    bool bias;                /* of `out` elements */
};

/* Allocates m->layers and their MLPs for m->config. */
enum qins_status qn_weights_allocate(struct qn_model *m, struct qins_error *err);

/* Calls VISIT for each weight that m->config asks for; the head is not among them where it is
 * tied, and qn_weights_tie() makes it the embedding afterwards. */
enum qins_status qn_weights_each(struct qn_model *m, const char *prefix,
                                 enum qins_status (*visit)(void *ctx, const struct qn_need *need,
                                                           struct qins_error *err),
                                 void *ctx, struct qins_error *err);
void qn_weights_tie(struct qn_model *m);

enum { QN_WEIGHTS_ALIGNMENT = 64 }; /* bytes */

/* Memory that belongs to a model: everything at once, and freed with it. */
struct qn_weights_storage {
    uint8_t *data; /* aligned, as is each weight in it */
    uint64_t size;
    char **names;
    size_t n_names, name_capacity;
};

/* A copy of "PREFIX<name>SUFFIX" that lives as long as the model; NULL when out of memory. */
const char *qn_weights_name(struct qn_model *m, const char *name, const char *suffix,
                            struct qins_error *err);

/* Bytes that SIZE bytes take there. */
static inline uint64_t qn_weights_room(uint64_t size)
{
    return (size + QN_WEIGHTS_ALIGNMENT - 1) / QN_WEIGHTS_ALIGNMENT * QN_WEIGHTS_ALIGNMENT;
}

/* Reserves room for N elements of DTYPE at the end of what is planned and counts them as weights
 * of M; yields the offset. QINS_ERR_UNSUPPORTED where it overflows. */
enum qins_status qn_weights_reserve(struct qn_model *m, uint64_t n, enum qins_dtype dtype,
                                    uint64_t *offset, struct qins_error *err);
/* QINS_ERR_MEMORY where that is more than the machine has. */
enum qins_status qn_weights_fit(const struct qn_model *m, struct qins_error *err);
/* SIZE bytes for weights, aligned, on large pages where that pays; NULL when out of memory. */
void *qn_weights_block(uint64_t size);
/* Allocates what was reserved, if it fits. Pages are not touched until they are written. */
enum qins_status qn_weights_commit(struct qn_model *m, struct qins_error *err);

#endif
