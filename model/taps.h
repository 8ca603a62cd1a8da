/* Where activations can be seen: the inputs of the linear layers, and V. */
#ifndef QINS_MODEL_TAPS_H
#define QINS_MODEL_TAPS_H

#include "formats/calibration.h"
#include "model/weights.h"

/* A point in the forward pass; points are numbered in order of execution, experts in their own
 * order. */
struct qn_tap_point {
    char *name; /* e.g. "model.layers.0.self_attn.q_proj.weight:input": the first tensor's, with
                   ":input" or ":output" */
    enum qn_tap_kind kind;
    uint32_t layer, expert; /* 0 where it has none */
    uint32_t channels;
    const char *tensors[QN_POINT_TENSORS]; /* names of the weights that see it; NULL ends; the
                                              model's */
};

struct qn_tap_list {
    struct qn_tap_point *points;
    size_t n;
};

/* Numbers of points, counted from a layer's first; behind QN_POINT_MLP that of what goes down, or
 * with experts (then QN_POINT_MLP is the router) two of each. */
enum { QN_POINT_ATTENTION, QN_POINT_VALUE, QN_POINT_O, QN_POINT_MLP };

static inline size_t qn_point_number(const struct qn_model_config *c, uint32_t layer, size_t point)
{
    const size_t experts = c->n_experts;
    return layer * (QN_POINT_MLP + (experts > 0 ? 1 + 2 * experts : 2)) + point;
}

enum qins_status qn_taps_init(struct qn_tap_list *list, const struct qn_model *m,
                              struct qins_error *err);
void qn_taps_finish(struct qn_tap_list *list);

/* What a session tells its listener, from the thread that called forward. May be NULL each. */
struct qn_listener {
    void *ctx;
    /* ROWS rows of the point's channels, STRIDE elements apart, in order of positions; for an
     * expert only the rows that were routed to it. */
    void (*rows)(void *ctx, size_t point, const float *x, size_t rows, size_t stride);
    /* The experts of each of ROWS tokens in layer LAYER: chosen[row * experts_per_token + i]. */
    void (*experts)(void *ctx, uint32_t layer, const uint32_t *chosen, size_t rows);
    /* The last layer that is of interest: forward stops behind it, and there are no logits.
     * UINT32_MAX: all. */
    uint32_t last_layer;
};

#endif
