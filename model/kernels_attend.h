/* Causal attention, for model/kernels_template.h. Many queries: one a lane, keys and values
 * broadcast, so nothing is added across lanes; the softmax runs along with the keys (Milakov and
 * Gimelshein 2018, "Online normalizer calculation for softmax"). Few queries: one by one, keys
 * in lanes. Scores are in units of log2. */

#define LOG2_E 0x1.715476p0F

/* From how many queries on a query a lane is the faster way. */
enum { FEW_QUERIES = 4 };

static size_t first_key(const struct qn_attend *a, size_t query)
{
    size_t end = a->position + query + 1;
    return a->window && a->window < end ? end - a->window : 0;
}

/* The lanes' state; all arrays [..][width], width = 16 * vectors. */
struct lane_attention {
    const struct qn_attend *a;
    size_t first_query, n_q;
    float *scores;  /* [QN_KEY_BLOCK] */
    float *q, *out; /* [head_dim] */
};

INLINE void gather_queries(const struct lane_attention *l, size_t width)
{
    const struct qn_attend *a = l->a;
    float factor = a->scale * LOG2_E;
    for (size_t i = 0; i < width; i++) {
        const float *q = i < l->n_q ? a->q + (l->first_query + i) * a->q_stride : NULL;
        for (size_t d = 0; d < a->head_dim; d++) {
            l->q[d * width + i] = q ? q[d] * factor : 0.0F;
            l->out[d * width + i] = 0.0F;
        }
    }
}

/* Scores of keys j … j + ATTEND_TILE - 1 of a block. */
INLINE void score_tile(const struct lane_attention *l, size_t vectors, const float *keys, size_t j)
{
    vf sum[ATTEND_TILE][ATTEND_VECTORS];
    UNROLL for (size_t k = 0; k < ATTEND_TILE; k++) UNROLL for (size_t v = 0; v < vectors; v++)
        sum[k][v] = vf_set1(0.0F);
    for (size_t d = 0; d < l->a->head_dim; d++) {
        vf q[ATTEND_VECTORS];
        UNROLL for (size_t v = 0; v < vectors; v++) q[v] =
            vf_load(l->q + (d * vectors + v) * LANES);
        UNROLL for (size_t k = 0; k < ATTEND_TILE; k++)
        {
            vf key = vf_set1(keys[d * QN_KEY_BLOCK + j + k]);
            UNROLL for (size_t v = 0; v < vectors; v++) sum[k][v] = vf_fma(key, q[v], sum[k][v]);
        }
    }
    UNROLL for (size_t k = 0; k < ATTEND_TILE; k++) UNROLL for (size_t v = 0; v < vectors; v++)
        vf_store(l->scores + ((j + k) * vectors + v) * LANES, sum[k][v]);
}

/* -INFINITY for the scores of keys that a lane's query does not see. */
INLINE void mask_scores(const struct lane_attention *l, size_t vectors, size_t key, size_t from,
                        size_t to)
{
    const size_t no_window = (size_t)1 << 30; /* above any position */
    size_t window = l->a->window && l->a->window < no_window ? l->a->window : no_window;
    vf hidden = vf_set1(-INFINITY);
    for (size_t j = from; j < to; j++)
        UNROLL for (size_t v = 0; v < vectors; v++)
        {
            int32_t base = (int32_t)(l->a->position + l->first_query + v * LANES);
            vi query = vi_add(vi_set1(base), vi_lanes());
            vm seen = vm_and(vi_gt(query, vi_set1((int32_t)(key + j) - 1)),
                             vi_gt(vi_set1((int32_t)(key + j + window)), query));
            float *s = l->scores + (j * vectors + v) * LANES;
            vf_store(s, vf_select(seen, vf_load(s), hidden));
        }
}

/* out = out * FADE + Σ scores[j] value[j], COUNT (a constant) elements of it. */
INLINE void add_values(const struct lane_attention *l, size_t vectors, size_t count, size_t d,
                       const float *values, size_t from, size_t to, const vf *fade)
{
    vf sum[ATTEND_TILE][ATTEND_VECTORS];
    UNROLL for (size_t k = 0; k < count; k++) UNROLL for (size_t v = 0; v < vectors; v++)
        sum[k][v] = vf_mul(vf_load(l->out + ((d + k) * vectors + v) * LANES), fade[v]);
    for (size_t j = from; j < to; j++) {
        const float *value = values + j * l->a->v_stride + d;
        vf p[ATTEND_VECTORS];
        UNROLL for (size_t v = 0; v < vectors; v++) p[v] =
            vf_load(l->scores + (j * vectors + v) * LANES);
        UNROLL for (size_t k = 0; k < count; k++)
        {
            vf x = vf_set1(value[k]);
            UNROLL for (size_t v = 0; v < vectors; v++) sum[k][v] = vf_fma(x, p[v], sum[k][v]);
        }
    }
    UNROLL for (size_t k = 0; k < count; k++) UNROLL for (size_t v = 0; v < vectors; v++)
        vf_store(l->out + ((d + k) * vectors + v) * LANES, sum[k][v]);
}

/* Scores to weights: 2^(score - max); brings MAX and SUM up to date and sets FADE to what all
 * before shrinks by. */
INLINE void weigh(const struct lane_attention *l, size_t vectors, size_t from, size_t to, vf *max,
                  vf *sum, vf *fade)
{
    UNROLL for (size_t v = 0; v < vectors; v++)
    {
        vf m = max[v];
        for (size_t j = from; j < to; j++)
            m = vf_max(m, vf_load(l->scores + (j * vectors + v) * LANES));
        fade[v] = v_exp2_below(vf_sub(max[v], m));
        vf total = vf_mul(sum[v], fade[v]);
        for (size_t j = from; j < to; j++) {
            float *s = l->scores + (j * vectors + v) * LANES;
            vf p = v_exp2_below(vf_sub(vf_load(s), m));
            vf_store(s, p);
            total = vf_add(total, p);
        }
        max[v] = m;
        sum[v] = total;
    }
}

INLINE void attend_block(const struct lane_attention *l, size_t vectors, size_t key, size_t first,
                         size_t end, vf *max, vf *sum)
{
    const struct qn_attend *a = l->a;
    size_t from = first > key ? first - key : 0;
    size_t to = end - key < QN_KEY_BLOCK ? end - key : QN_KEY_BLOCK;
    const float *keys = a->k + key * a->head_dim, *values = a->v + key * a->v_stride;
    size_t tile_from = from - from % ATTEND_TILE;
    for (size_t j = tile_from; j < to; j += ATTEND_TILE)
        score_tile(l, vectors, keys, j);
    size_t query = a->position + l->first_query;
    if (key + to > query + 1 || key + from < first_key(a, l->first_query + l->n_q - 1))
        mask_scores(l, vectors, key, from, to);
    vf fade[ATTEND_VECTORS];
    weigh(l, vectors, from, to, max, sum, fade);
    size_t d = 0;
    for (; a->head_dim - d >= ATTEND_TILE; d += ATTEND_TILE)
        add_values(l, vectors, ATTEND_TILE, d, values, from, to, fade);
    for (; d < a->head_dim; d++)
        add_values(l, vectors, 1, d, values, from, to, fade);
}

INLINE void attend_lanes(const struct qn_attend *a, size_t vectors, size_t first_query)
{
    size_t width = vectors * LANES, left = a->n_q - first_query;
    struct lane_attention l = {
        .a = a,
        .first_query = first_query,
        .n_q = left < width ? left : width,
        .scores = a->scratch,
        .q = a->scratch + QN_KEY_BLOCK * width,
        .out = a->scratch + (QN_KEY_BLOCK + a->head_dim) * width,
    };
    gather_queries(&l, width);
    vf max[ATTEND_VECTORS], sum[ATTEND_VECTORS];
    UNROLL for (size_t v = 0; v < vectors; v++)
    {
        max[v] = vf_set1(-FLT_MAX); /* not infinite: what is hidden less it is no NaN */
        sum[v] = vf_set1(0.0F);
    }
    size_t first = first_key(a, first_query), end = a->position + first_query + l.n_q;
    for (size_t key = first - first % QN_KEY_BLOCK; key < end; key += QN_KEY_BLOCK)
        attend_block(&l, vectors, key, first, end, max, sum);
    UNROLL for (size_t v = 0; v < vectors; v++)
    {
        vf factor = vf_div(vf_set1(1.0F), sum[v]);
        for (size_t d = 0; d < a->head_dim; d++) {
            float *o = l.out + (d * vectors + v) * LANES;
            vf_store(o, vf_mul(vf_load(o), factor));
        }
    }
    for (size_t i = 0; i < l.n_q; i++)
        for (size_t d = 0; d < a->head_dim; d++)
            a->out[(first_query + i) * a->out_stride + d] = l.out[d * width + i];
}

/* Scores of one block of keys for one query. */
INLINE void score_row(float *scores, const float *keys, const float *q, size_t head_dim,
                      float factor)
{
    vf sum[QN_KEY_BLOCK / LANES];
    UNROLL for (size_t i = 0; i < QN_KEY_BLOCK / LANES; i++) sum[i] = vf_set1(0.0F);
    for (size_t d = 0; d < head_dim; d++) {
        vf x = vf_set1(q[d]);
        UNROLL for (size_t i = 0; i < QN_KEY_BLOCK / LANES; i++) sum[i] =
            vf_fma(x, vf_load(keys + d * QN_KEY_BLOCK + i * LANES), sum[i]);
    }
    UNROLL for (size_t i = 0; i < QN_KEY_BLOCK / LANES; i++)
        vf_store(scores + i * LANES, vf_mul(sum[i], vf_set1(factor)));
}

/* 16 elements of the weighted sum of values, in four sums so that none waits for another. */
INLINE void add_value_row(float *out, size_t n, const float *weights, const float *values,
                          size_t stride, size_t keys, vf factor)
{
    vf sum[4] = {vf_set1(0.0F), vf_set1(0.0F), vf_set1(0.0F), vf_set1(0.0F)};
    size_t j = 0;
    for (; keys - j >= 4; j += 4)
        UNROLL for (size_t i = 0; i < 4; i++) sum[i] =
            vf_fma(vf_set1(weights[j + i]), ld(values + (j + i) * stride, n), sum[i]);
    for (; j < keys; j++)
        sum[0] = vf_fma(vf_set1(weights[j]), ld(values + j * stride, n), sum[0]);
    vf total = vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3]));
    st(out, vf_mul(total, factor), n);
}

static void attend_row(const struct qn_attend *a, size_t query)
{
    size_t first = first_key(a, query), end = a->position + query + 1;
    size_t from = first - first % QN_KEY_BLOCK;
    float *scores = a->scratch; /* of key FROM on */
    size_t n = 0;
    for (; from + n < end; n += QN_KEY_BLOCK)
        score_row(scores + n, a->k + (from + n) * a->head_dim, a->q + query * a->q_stride,
                  a->head_dim, a->scale * LOG2_E);
    for (size_t j = 0; j < first - from; j++)
        scores[j] = -INFINITY;
    for (size_t j = end - from; j < n; j++)
        scores[j] = -INFINITY;
    vf max = vf_set1(-FLT_MAX), sum = vf_set1(0.0F);
    for (size_t j = 0; j < n; j += LANES)
        max = vf_max(max, vf_load(scores + j));
    float lanes[LANES], top = -FLT_MAX;
    vf_store(lanes, max);
    for (size_t j = 0; j < LANES; j++)
        top = lanes[j] > top ? lanes[j] : top;
    for (size_t j = 0; j < n; j += LANES) {
        vf p = v_exp2_below(vf_sub(vf_load(scores + j), vf_set1(top)));
        vf_store(scores + j, p);
        sum = vf_add(sum, p);
    }
    vf factor = vf_set1(1.0F / vf_sum(sum));
    for (size_t d = 0; d < a->head_dim; d += LANES)
        add_value_row(a->out + query * a->out_stride + d, a->head_dim - d, scores + (first - from),
                      a->v + first * a->v_stride + d, a->v_stride, end - first, factor);
}

static void attend(const struct qn_attend *a)
{
    if (a->n_q < FEW_QUERIES || a->head_dim > QN_LANE_HEAD) {
        for (size_t i = 0; i < a->n_q; i++)
            attend_row(a, i);
        return;
    }
    size_t done = 0;
    for (; ATTEND_VECTORS > 1 && done + LANES < a->n_q; done += ATTEND_VECTORS * (size_t)LANES)
        attend_lanes(a, ATTEND_VECTORS, done);
    for (; done < a->n_q; done += LANES)
        attend_lanes(a, 1, done);
}
