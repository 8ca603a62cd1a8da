/* The weights of a model that is open, one after the other. */
#ifndef QINS_ANALYZE_WEIGHT_LIST_H
#define QINS_ANALYZE_WEIGHT_LIST_H

#include "model/weights.h"

struct qn_weight {
    char *name;       /* of the tensor */
    int64_t layer;    /* or -1 */
    const void *data; /* the model's: rows as they are stored, one behind the other; or NULL, */
    const struct qn_packed *packed; /* and they are coded: qn_packed_rows() */
    enum qins_dtype dtype;
    size_t rows, row_length; /* of a norm or bias one row */
    bool matrix;
    bool native; /* its layers compute on coded inputs instead (model/native.h) */
};

struct qn_weight_list {
    struct qn_weight *items;
    size_t count, capacity;
};

/* Matrices, their biases and norms, in the order of the forward pass; a tied head is the embedding
 * and not listed again. Zero-initialised before, to be finished. */
enum qins_status qn_weight_list_of(struct qn_weight_list *list, const struct qn_model *m,
                                   struct qins_error *err);
void qn_weight_list_finish(struct qn_weight_list *list);

/* The last part of a name without ".weight" or ".bias": "v_proj"; *length bytes of it. */
const char *qn_weight_component(const char *name, size_t *length);

#endif
