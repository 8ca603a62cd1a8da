/* What the parts of a forward pass share: session.c, forward.c, attention.c, moe.c. */
#ifndef QINS_MODEL_SESSION_INTERNAL_H
#define QINS_MODEL_SESSION_INTERNAL_H

#include "model/kernels.h"
#include "model/kv_cache.h"
#include "model/linear.h"
#include "model/native_internal.h"
#include "model/rope.h"
#include "model/session.h"

/* Where q, k and v of a head lie in a row of the projections: at first + head * step. */
struct qn_head_place {
    size_t first, step;
};

/* Rows routed to the experts, in order of experts and, for each, of rows. */
struct qn_routing {
    float *logits;      /* [batch][n_experts], probabilities after the softmax */
    uint32_t *chosen;   /* [batch][experts_per_token], most probable first */
    float *share;       /* [batch][experts_per_token], sum 1 a row */
    size_t *first;      /* [n_experts + 1]: entries first[e] … first[e + 1] - 1 are expert e's */
    uint32_t *row;      /* [batch * experts_per_token] */
    float *row_share;   /* as row */
    float *gathered;    /* [batch][hidden_stride], input of one expert */
    float *contributed; /* as gathered, its output */
};

/* The input that native layers (model/native.h) take at a point. */
struct qn_coding {
    const struct qn_native_input *input; /* whose codes these are; NULL: not coded yet */
    bool expanded;                       /* `features` are those of all its rows */
    size_t rows;                         /* of `features` and `apart`, at most */
    uint16_t *codes;                     /* [batch][channels] */
    float *features;                     /* [rows][tables * channels] */
    float *apart;                        /* [rows][outputs] before they are spread; or NULL */
};

enum { QN_SESSION_BUFFERS = 24 };

struct qn_session {
    const struct qn_model *model;
    const struct qn_kernels *kernels;
    struct qn_pool *pool;
    unsigned threads;
    const struct qn_listener *listener;
    size_t positions, batch;
    size_t position;   /* tokens in the cache */
    size_t last_batch; /* rows of x that have passed the final norm */

    /* The cache. A layer's keys: [n_kv_heads][capacity / QN_KEY_BLOCK][head_dim][QN_KEY_BLOCK];
     * its values: [n_kv_heads][capacity][head_dim]. With a coded V cache the layers share the place
     * for values, which holds those of the layer that runs. */
    size_t capacity; /* positions, rounded up to whole blocks */
    float *keys, *values;
    struct qn_kv_cache *kv; /* or NULL */

    /* Activations, rows of the batch; strides are in elements. */
    size_t hidden_stride, qkv_stride, heads_stride, mlp_stride;
    struct qn_head_place q, k, v;
    float *x;     /* [batch][hidden_stride]: the residual stream; final norm's output at the end */
    float *input; /* as x: input of attention or MLP */
    float *delta; /* as x: output of attention or MLP */
    float *qkv;   /* [batch][qkv_stride] */
    float *heads; /* [batch][heads_stride]: output of attention's heads */
    float *mlp;   /* [batch][mlp_stride]: gate, then up; or up alone */
    float *value_rows; /* [batch][n_kv_heads * head_dim], for a listener; or NULL */
    struct qn_routing routing;
    struct qn_rope_table rope;
    struct qn_coding coding;
    struct qn_compute_counts counts;
    bool has_logits; /* some of the last batch, which counts for one product */

    float *linear_scratch; /* [threads][qn_linear_scratch()] */
    float *attend_scratch; /* [threads][attend_scratch_size] */
    size_t attend_scratch_size;

    void *owned[QN_SESSION_BUFFERS];
    unsigned n_owned;
};

/* One batch: N <= batch tokens, checked, appended to the cache. Only a coded V cache can fail; then
 * the sequence is lost. */
enum qins_status qn_forward_batch(struct qn_session *s, const uint32_t *ids, size_t n,
                                  struct qins_error *err);

/* From s->input to s->delta, N rows; the tokens' positions begin at s->position. */
enum qins_status qn_attention(struct qn_session *s, uint32_t layer, size_t n,
                              struct qins_error *err);
/* From s->input to s->delta, N rows. */
void qn_experts(struct qn_session *s, uint32_t layer, size_t n);
/* One MLP over ROWS rows of IN; POINT is the number of its input's tap. */
void qn_mlp(struct qn_session *s, const struct qn_mlp *mlp, size_t point, const float *in,
            size_t rows, float *out);

/* The rows of W that are native; X, Y as for qn_session_linear(). */
void qn_native_linear(struct qn_session *s, const struct qn_matrix *w, const float *x, size_t rows,
                      size_t x_stride, float *y, size_t y_stride);
/* Rows of features at a time in batches of BATCH. */
size_t qn_native_rows(const struct qn_native *n, size_t batch);

/* y = W x + bias into rows of Y; X is the input of the point that was visited last. */
static inline void qn_session_linear(struct qn_session *s, const struct qn_matrix *w,
                                     const float *x, size_t rows, size_t x_stride, float *y,
                                     size_t y_stride)
{
    if (!w->native || !w->native->whole) {
        s->counts.products++;
        qn_linear(s->pool, w, x, rows, x_stride, y, y_stride, s->linear_scratch);
    }
    if (w->native)
        qn_native_linear(s, w, x, rows, x_stride, y, y_stride);
}

static inline size_t qn_layer_point(const struct qn_session *s, uint32_t layer, size_t point)
{
    return qn_point_number(&s->model->config, layer, point);
}

static inline void qn_tell(const struct qn_session *s, size_t point, const float *x, size_t rows,
                           size_t stride)
{
    if (s->listener && s->listener->rows)
        s->listener->rows(s->listener->ctx, point, x, rows, stride);
}

/* Comes to a point that is the input of linear layers: what was coded before is not of it. */
static inline void qn_visit(struct qn_session *s, size_t point, const float *x, size_t rows,
                            size_t stride)
{
    s->coding.input = NULL;
    qn_tell(s, point, x, rows, stride);
}

/* Calls WORK(ctx, begin, end) for ranges of rows that together are 0 … n-1, on the pool where N
 * rows of WIDTH elements each are worth it. Ranges begin where PHASE + row is a multiple of 16:
 * the cached keys of 16 positions are a cache line. */
void qn_session_rows(const struct qn_session *s, size_t n, size_t width, size_t phase,
                     void (*work)(void *ctx, size_t begin, size_t end), void *ctx);

#endif
