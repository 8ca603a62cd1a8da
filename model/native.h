/* Linear layers that compute on coded inputs (formats/transport.h; docs/transport.md). */
#ifndef QINS_MODEL_NATIVE_H
#define QINS_MODEL_NATIVE_H

#include "formats/transport.h"
#include "model/weights.h"

/* What went on in forward passes. */
struct qn_compute_counts {
    uint64_t forwards; /* batches */
    uint64_t products; /* matrix products with plain weights, of inputs as they are or decoded */
    uint64_t encodes;  /* inputs that were coded: tensors, not values */
    uint64_t decodes;  /* tensors that were decoded before a product: of QN_DECODE one for each
                          product, and outputs that a Jacobian method decodes */
    uint64_t plane_products; /* products of a plane of weights and a plane of features */
    uint64_t values;         /* that were coded, */
    uint64_t clipped;        /* and those of them beyond the scale */
    uint64_t clamped;        /* outputs that a clamp changed before a Jacobian's decode */
};
void qn_compute_counts_add(struct qn_compute_counts *into, const struct qn_compute_counts *from);

/* Part of a linear layer of a model: all of a weight's rows, or those of one role in a fused one.
 */
struct qn_linear_part {
    struct qn_matrix *matrix;
    size_t point; /* number of the input's tap */
    /* Rows first + i * step … + count - 1 for i < n: heads may lie apart (gpt_neox). */
    size_t first, count, step, n;
    size_t out; /* count * n */
};
/* False where the model has no such layer (or, with the fault in *MATRIX NULL, the MLP is not
 * gated). */
bool qn_model_part(struct qn_model *m, enum qn_projection projection, uint32_t layer,
                   uint32_t expert, struct qn_linear_part *out);
/* Rows of the part, widened, into DST[out][in]: W as layers multiply by it. */
void qn_part_weights(const struct qn_linear_part *part, float *dst);

/* From now on M's sessions run those layers natively: planes are made (W diag(c_k), in double and
 * narrowed to float32, with nothing infinite: qn_transport_product(); planes times the memory of
 * the layer) and M keeps what it needs of T. Before any session of M is
 * made. QINS_ERR_UNSUPPORTED, naming both, where T is another model's; QINS_ERR_FORMAT where a
 * layer is not there or has another shape. FILE names T in messages. */
enum qins_status qn_model_go_native(struct qn_model *m, const struct qn_transport *t,
                                    const char *file, struct qins_error *err);
/* Whether all of X's rows are of native layers: nothing is multiplied by X itself. */
bool qn_matrix_is_native(const struct qn_matrix *x);
/* Fails with QINS_ERR_FORMAT: M's logits are not finite WHERE ("in window 3"). The transport is
 * named where there is one, for it may be its fault. */
enum qins_status qn_model_not_finite(const struct qn_model *m, const char *where,
                                     struct qins_error *err);
/* Frees what that made; of qn_model_destroy(). Accepts models without. */
void qn_model_drop_native(struct qn_model *m);

#endif
