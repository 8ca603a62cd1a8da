#include "convert/shape.h"

#include "core/bytes.h"

bool qn_needs_abs_max(const struct qn_plan_line *plan)
{
    return plan->content == QN_CONTENT_QINS && plan->group_kind == QN_GROUP_TENSOR;
}

bool qn_needs_search(const struct qn_plan_line *plan)
{
    return plan->content == QN_CONTENT_QINS && (plan->kappa < 0.0F || plan->clip < 0.0F);
}

size_t qn_first_nonfinite(const float *x, size_t n)
{
    size_t i = 0;
    while (i < n && (qn_float_bits(x[i]) & 0x7f800000u) != 0x7f800000u)
        i++;
    return i;
}

static bool fail_at(const float *x, size_t begin, size_t n, size_t *bad)
{
    *bad = begin + qn_first_nonfinite(x + begin, n);
    return false;
}

/* Elements of a group that does not reach over the end of its row. */
static uint64_t group_length(const struct qn_archive_tensor *t)
{
    uint64_t row = t->layout.row_length;
    bool block = t->plan.group_kind == QN_GROUP_BLOCK && t->plan.group < row;
    return block ? t->plan.group : row;
}

uint64_t qn_shape_stride(const struct qn_archive_tensor *t)
{
    uint64_t rows = t->layout.row_length ? t->tensor.n_elements / t->layout.row_length : 0;
    if (t->plan.group_kind == QN_GROUP_TENSOR || t->layout.row_length > QN_CHUNK_MAX)
        return 1;
    uint64_t stride = qn_min_u64(t->tensor.n_elements / QN_SAMPLE, rows / QN_SAMPLE_ROWS);
    return stride ? stride : 1;
}

bool qn_shape_look(const struct qn_archive_tensor *t, float abs_max, const float *x, size_t n,
                   struct qn_hist *hist, size_t *bad)
{
    bool finite = true;
    if (t->plan.group_kind == QN_GROUP_TENSOR) {
        qn_hist_add(hist, abs_max, x, n); /* the pass that found abs_max saw every value */
        return true;
    }
    size_t row = (size_t)qn_min_u64(t->layout.row_length, n);
    size_t group = (size_t)qn_min_u64(group_length(t), n);
    for (size_t begin = 0; begin < n; begin += row)
        for (size_t i = begin; i < begin + row && i < n; i += group) {
            size_t end = begin + row < n ? begin + row : n;
            size_t count = end - i < group ? end - i : group;
            float scale = qn_abs_max(x + i, count, &finite);
            if (!finite)
                return fail_at(x, i, count, bad);
            qn_hist_add(hist, scale, x + i, count);
        }
    return true;
}

void qn_shape_settle(struct qn_archive_tensor *t, float abs_max, const struct qn_hist *hist)
{
    struct qn_plan_line *p = &t->plan;
    if (p->content == QN_CONTENT_SEED)
        t->tensor_scale = 1.0F;
    if (qn_needs_search(p)) {
        struct qn_shape_choice c = qn_search_shape(hist, p->levels, p->kappa, p->clip);
        p->kappa = c.kappa;
        p->clip = c.clip;
    }
    if (qn_needs_abs_max(p))
        t->tensor_scale = p->clip * abs_max > 0.0F ? p->clip * abs_max : abs_max;
}

void qn_shape_params(const struct qn_archive_tensor *t, size_t n, struct qn_chunk_params *out)
{
    const struct qn_plan_line *p = &t->plan;
    *out = (struct qn_chunk_params){
        .content = p->content,
        .dtype = t->tensor.dtype,
        .codec = p->codec,
        .levels = p->levels,
        .kappa = p->kappa,
        .clip = p->clip,
        .tensor_scale = t->tensor_scale,
        .row_length = t->layout.row_length,
        .group = group_length(t),
    };
    /* A tensor of zeros has the scale 0, which asks for scales of its groups: one will do. */
    if (p->content == QN_CONTENT_LOSSLESS || p->group_kind == QN_GROUP_TENSOR)
        out->row_length = out->group = n;
}
