#include "model/native_internal.h"

#include "model/linear.h"
#include "model/taps.h"

static struct qn_matrix *attention_matrix(struct qn_layer *l, enum qn_projection p)
{
    return p == QN_PROJECTION_Q ? &l->q : p == QN_PROJECTION_K ? &l->k : &l->v;
}

/* The rows of q, k or v: heads lie side by side, or each head's three together. */
static void place_in_attention(const struct qn_model_config *c, struct qn_layer *l,
                               enum qn_projection p, struct qn_linear_part *out)
{
    const size_t dim = c->head_dim, q = c->n_heads * dim, kv = c->n_kv_heads * dim;
    const size_t number = p == QN_PROJECTION_Q ? 0 : p == QN_PROJECTION_K ? 1 : 2;
    out->matrix = l->qkv.name ? &l->qkv : attention_matrix(l, p);
    out->count = number == 0 ? q : kv;
    if (l->qkv.name && c->arch->qkv_order == QN_QKV_BY_HEAD) {
        out->first = number * dim;
        out->count = dim;
        out->step = 3 * dim;
        out->n = c->n_heads;
    } else if (l->qkv.name) {
        out->first = number == 0 ? 0 : q + (number - 1) * kv;
    }
}

static void place_whole(struct qn_matrix *w, size_t point, struct qn_linear_part *out)
{
    out->matrix = w;
    out->count = w->out;
    out->point = point;
}

static void place_in_mlp(const struct qn_model_config *c, struct qn_mlp *mlp, enum qn_projection p,
                         struct qn_linear_part *out)
{
    const bool gate = p == QN_PROJECTION_GATE;
    out->matrix = mlp->gate_up.name ? &mlp->gate_up : gate ? &mlp->gate : &mlp->up;
    out->count = c->intermediate;
    if (mlp->gate_up.name && !gate)
        out->first = c->intermediate;
}

bool qn_model_part(struct qn_model *m, enum qn_projection projection, uint32_t layer,
                   uint32_t expert, struct qn_linear_part *out)
{
    const struct qn_model_config *c = &m->config;
    *out = (struct qn_linear_part){.n = 1};
    if (layer >= c->n_layers || expert >= (c->n_experts ? c->n_experts : 1))
        return false;
    struct qn_layer *l = &m->layers[layer];
    struct qn_mlp *mlp = &l->mlp[expert];
    const size_t attention_point = qn_point_number(c, layer, QN_POINT_ATTENTION),
                 mlp_point = qn_point_number(c, layer, QN_POINT_MLP) +
                             (c->n_experts ? 1 + 2 * (size_t)expert : 0);
    switch (projection) {
    case QN_PROJECTION_Q:
    case QN_PROJECTION_K:
    case QN_PROJECTION_V:
        place_in_attention(c, l, projection, out);
        out->point = attention_point;
        break;
    case QN_PROJECTION_O:
        place_whole(&l->o, qn_point_number(c, layer, QN_POINT_O), out);
        break;
    case QN_PROJECTION_GATE:
    case QN_PROJECTION_UP:
        place_in_mlp(c, mlp, projection, out);
        out->point = mlp_point;
        break;
    case QN_PROJECTION_DOWN:
        place_whole(&mlp->down, mlp_point + 1, out);
        break;
    default:
        return false;
    }
    if (!out->matrix->name || (projection == QN_PROJECTION_GATE && !c->arch->gated))
        out->matrix = NULL;
    if (out->n == 1)
        out->step = out->count;
    out->out = out->count * out->n;
    return out->matrix && (out->point >= mlp_point || expert == 0);
}

static size_t row_of(const struct qn_linear_part *part, size_t i)
{
    return part->first + i / part->count * part->step + i % part->count;
}

void qn_part_row(const struct qn_linear_part *part, size_t i, float *dst)
{
    const struct qn_matrix *w = part->matrix;
    const size_t row = row_of(part, i), size = qins_dtype_size(w->dtype);
    if (!w->transposed) {
        qn_matrix_row(w, row, dst);
        return;
    }
    const uint8_t *from = (const uint8_t *)w->data + row * size;
    for (size_t j = 0; j < w->in; j++, from += w->stride * size)
        qn_to_f32(w->dtype, from, dst + j, 1);
}

void qn_part_weights(const struct qn_linear_part *part, float *dst)
{
    for (size_t i = 0; i < part->out; i++)
        qn_part_row(part, i, dst + i * part->matrix->in);
}
