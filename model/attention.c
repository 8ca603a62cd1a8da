#include "model/session_internal.h"

#include <string.h>

/* Multiplications below which waking a pool costs more than it brings: about 10 us of work. */
static const size_t ATTEND_GRAIN = (size_t)1 << 19;

struct attention {
    const struct qn_session *s;
    uint32_t layer;
    size_t begin, end, n_blocks; /* rows of the batch whose queries are under way */
};

static float *head_keys(const struct qn_session *s, uint32_t layer, size_t head)
{
    const struct qn_model_config *c = &s->model->config;
    return s->keys + (layer * (size_t)c->n_kv_heads + head) * s->capacity * c->head_dim;
}

static float *head_values(const struct qn_session *s, uint32_t layer, size_t head)
{
    const struct qn_model_config *c = &s->model->config;
    const size_t place = s->kv ? 0 : layer;
    return s->values + (place * c->n_kv_heads + head) * s->capacity * c->head_dim;
}

/* Norm and rotation of the heads of one row. */
static void turn_heads(const struct qn_session *s, float *row, struct qn_head_place place,
                       size_t n_heads, const struct qn_norm *norm, size_t position)
{
    const struct qn_model_config *c = &s->model->config;
    const bool turned = c->arch->rope != QN_ROPE_NONE;
    const float *cos = turned ? qn_rope_cos(&s->rope, position) : NULL,
                *sin = turned ? qn_rope_sin(&s->rope, position) : NULL;
    for (size_t i = 0; i < n_heads; i++) {
        float *x = row + place.first + i * place.step;
        if (norm->weight && c->arch->norm == QN_NORM_RMS)
            s->kernels->rms_norm(x, x, norm->weight, c->head_dim, c->norm_eps);
        else if (norm->weight)
            s->kernels->layer_norm(x, x, norm->weight, norm->bias, c->head_dim, c->norm_eps);
        if (c->arch->rope == QN_ROPE_HALVES)
            s->kernels->rope_halves(x, cos, sin, s->rope.half);
        else if (c->arch->rope == QN_ROPE_PAIRS)
            s->kernels->rope_pairs(x, cos, sin, s->rope.half);
    }
}

/* Keys and values of one head to their places in the cache. */
static void cache_head(const struct qn_session *s, uint32_t layer, size_t head, size_t begin,
                       size_t end)
{
    const size_t dim = s->model->config.head_dim;
    const float *k = s->qkv + s->k.first + head * s->k.step,
                *v = s->qkv + s->v.first + head * s->v.step;
    float *keys = head_keys(s, layer, head), *values = head_values(s, layer, head);
    for (size_t i = begin; i < end; i++) {
        const size_t position = s->position + i, within = position % QN_KEY_BLOCK;
        const float *key = k + i * s->qkv_stride;
        float *column = keys + (position - within) * dim + within;
        for (size_t j = 0; j < dim; j++)
            column[j * QN_KEY_BLOCK] = key[j];
        memcpy(values + position * dim, v + i * s->qkv_stride, dim * sizeof *values);
    }
}

static void cache_rows(void *ctx, size_t begin, size_t end)
{
    const struct attention *a = ctx;
    const struct qn_session *s = a->s;
    const struct qn_model_config *c = &s->model->config;
    const struct qn_layer *l = &s->model->layers[a->layer];
    for (size_t i = begin; i < end; i++) {
        float *row = s->qkv + i * s->qkv_stride;
        turn_heads(s, row, s->q, c->n_heads, &l->q_norm, s->position + i);
        turn_heads(s, row, s->k, c->n_kv_heads, &l->k_norm, s->position + i);
    }
    for (size_t i = 0; i < c->n_kv_heads; i++)
        cache_head(s, a->layer, i, begin, end);
}

static size_t window_of(const struct qn_session *s, uint32_t layer)
{
    const struct qn_model_config *c = &s->model->config;
    return layer >= c->sliding_from ? c->sliding_window : 0;
}

/* One block of queries of one head. The last blocks see the most keys and come first, so that
 * no thread begins a long one at the end. */
static void attend_item(void *ctx, unsigned worker, size_t item)
{
    const struct attention *a = ctx;
    const struct qn_session *s = a->s;
    const struct qn_model_config *c = &s->model->config;
    const size_t head = item % c->n_heads,
                 first = a->begin + (a->n_blocks - 1 - item / c->n_heads) * QN_QUERY_BLOCK,
                 kv_head = head / (c->n_heads / c->n_kv_heads), left = a->end - first;
    const struct qn_attend job = {
        .q = s->qkv + first * s->qkv_stride + s->q.first + head * s->q.step,
        .k = head_keys(s, a->layer, kv_head),
        .v = head_values(s, a->layer, kv_head),
        .out = s->heads + first * s->heads_stride + head * c->head_dim,
        .q_stride = s->qkv_stride,
        .v_stride = c->head_dim,
        .out_stride = s->heads_stride,
        .n_q = left < QN_QUERY_BLOCK ? left : QN_QUERY_BLOCK,
        .head_dim = c->head_dim,
        .position = s->position + first,
        .window = window_of(s, a->layer),
        .scale = (float)c->attention_scale,
        .scratch = s->attend_scratch + worker * s->attend_scratch_size,
    };
    s->kernels->attend(&job);
}

static void project(struct qn_session *s, const struct qn_layer *l, size_t n)
{
    const struct {
        const struct qn_matrix *w;
        size_t first;
    } projections[] = {{&l->qkv, 0}, {&l->q, s->q.first}, {&l->k, s->k.first}, {&l->v, s->v.first}};
    for (size_t i = 0; i < sizeof projections / sizeof *projections; i++)
        if (projections[i].w->name)
            qn_session_linear(s, projections[i].w, s->input, n, s->hidden_stride,
                              s->qkv + projections[i].first, s->qkv_stride);
}

/* V of one row may lie apart, head by head; a listener gets it in one piece. */
static void tell_values(const struct qn_session *s, size_t point, size_t n)
{
    const struct qn_model_config *c = &s->model->config;
    const size_t dim = c->head_dim, width = c->n_kv_heads * dim;
    if (!s->listener || !s->listener->rows)
        return;
    if (s->v.step == dim) {
        qn_tell(s, point, s->qkv + s->v.first, n, s->qkv_stride);
        return;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < c->n_kv_heads; j++)
            memcpy(s->value_rows + i * width + j * dim,
                   s->qkv + i * s->qkv_stride + s->v.first + j * s->v.step,
                   dim * sizeof *s->value_rows);
    qn_tell(s, point, s->value_rows, n, width);
}

/* The queries of rows BEGIN … END - 1. */
static void attend_rows(struct attention *a, size_t begin, size_t end)
{
    const struct qn_session *s = a->s;
    const struct qn_model_config *c = &s->model->config;
    const size_t work = (end - begin) * (s->position + end) * c->n_heads * c->head_dim;
    a->begin = begin;
    a->end = end;
    a->n_blocks = (end - begin + QN_QUERY_BLOCK - 1) / QN_QUERY_BLOCK;
    qn_pool_run(work < ATTEND_GRAIN ? NULL : s->pool, a->n_blocks * c->n_heads, attend_item, a);
}

/* Values of earlier tokens that the N tokens at s->position see. */
static enum qins_status load_values(const struct qn_session *s, uint32_t layer,
                                    struct qins_error *err)
{
    const size_t window = window_of(s, layer),
                 from = window && window <= s->position ? s->position + 1 - window : 0;
    return qn_kv_cache_load(s->kv, layer, from, s->position, s->values,
                            s->capacity * s->model->config.head_dim, err);
}

/* Page by page: queries see values of their own page as they are, those of pages that are full as
 * they were coded. */
static enum qins_status attend_pages(struct attention *a, size_t n, struct qins_error *err)
{
    const struct qn_session *s = a->s;
    const size_t head_stride = s->capacity * s->model->config.head_dim;
    enum qins_status st = QINS_OK;
    for (size_t begin = 0, end; begin < n && st == QINS_OK; begin = end) {
        const size_t page_end = qn_kv_cache_page_end(s->kv, s->position + begin) - s->position;
        end = page_end < n ? page_end : n;
        attend_rows(a, begin, end);
        st = qn_kv_cache_store(s->kv, a->layer, s->position + begin, s->position + end, end < n,
                               s->values, head_stride, err);
    }
    return st;
}

enum qins_status qn_attention(struct qn_session *s, uint32_t layer, size_t n,
                              struct qins_error *err)
{
    const struct qn_model_config *c = &s->model->config;
    const struct qn_layer *l = &s->model->layers[layer];
    struct attention a = {.s = s, .layer = layer};
    const size_t width = (c->n_heads + 2 * (size_t)c->n_kv_heads) * c->head_dim;
    enum qins_status st = s->kv ? load_values(s, layer, err) : QINS_OK;
    if (st != QINS_OK)
        return st;
    qn_visit(s, qn_layer_point(s, layer, QN_POINT_ATTENTION), s->input, n, s->hidden_stride);
    project(s, l, n);
    tell_values(s, qn_layer_point(s, layer, QN_POINT_VALUE), n);
    qn_session_rows(s, n, width, s->position, cache_rows, &a);
    if (s->kv)
        st = attend_pages(&a, n, err);
    else
        attend_rows(&a, 0, n);
    qn_visit(s, qn_layer_point(s, layer, QN_POINT_O), s->heads, n, s->heads_stride);
    qn_session_linear(s, &l->o, s->heads, n, s->heads_stride, s->delta, s->hidden_stride);
    return st;
}
