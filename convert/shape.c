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

void qn_coded_rows_init(struct qn_coded_rows *r, struct qn_archive_tensor *t, size_t index)
{
    if (t->n_blocks == 0) {
        *r = (struct qn_coded_rows){&t->plan, &t->tensor_scale, 0, t->tensor.n_elements, t->layout};
        return;
    }
    struct qn_plan_block *b = &t->blocks[index];
    uint64_t shape[QINS_MAX_RANK], length = t->layout.row_length;
    memcpy(shape, t->tensor.shape, sizeof shape);
    shape[0] = b->row_end - b->row_begin;
    *r = (struct qn_coded_rows){.line = &b->line,
                                .tensor_scale = &b->tensor_scale,
                                .first = b->row_begin * length,
                                .n_elements = shape[0] * length};
    qn_layout_init(&r->layout, t->tensor.rank, shape);
}

/* Elements of a group that does not reach over the end of its row. */
static uint64_t group_length(const struct qn_plan_line *line, uint64_t row)
{
    bool block = line->group_kind == QN_GROUP_BLOCK && line->group < row;
    return block ? line->group : row;
}

uint64_t qn_shape_stride(const struct qn_coded_rows *r)
{
    uint64_t rows = r->layout.row_length ? r->n_elements / r->layout.row_length : 0;
    if (r->line->group_kind == QN_GROUP_TENSOR || r->layout.row_length > QN_CHUNK_MAX)
        return 1;
    uint64_t stride = qn_min_u64(r->n_elements / QN_SAMPLE, rows / QN_SAMPLE_ROWS);
    return stride ? stride : 1;
}

bool qn_shape_look(const struct qn_coded_rows *r, float abs_max, const float *x, size_t n,
                   struct qn_hist *hist, size_t *bad)
{
    bool finite = true;
    if (r->line->group_kind == QN_GROUP_TENSOR) {
        qn_hist_add(hist, abs_max, x, n); /* the pass that found abs_max saw every value */
        return true;
    }
    size_t row = (size_t)qn_min_u64(r->layout.row_length, n);
    size_t group = (size_t)qn_min_u64(group_length(r->line, r->layout.row_length), n);
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

void qn_shape_settle(struct qn_coded_rows *r, float abs_max, const struct qn_hist *hist)
{
    struct qn_plan_line *p = r->line;
    if (p->content == QN_CONTENT_SEED)
        *r->tensor_scale = 1.0F;
    if (qn_needs_search(p)) {
        struct qn_shape_choice c = qn_search_shape(hist, p->levels, p->kappa, p->clip);
        p->kappa = c.kappa;
        p->clip = c.clip;
    }
    if (qn_needs_abs_max(p))
        *r->tensor_scale = p->clip * abs_max > 0.0F ? p->clip * abs_max : abs_max;
}

void qn_shape_settle_blocks(struct qn_archive_tensor *t)
{
    const struct qn_plan_line own = t->plan;
    const struct qn_plan_block *largest = t->blocks;
    for (size_t i = 1; i < t->n_blocks; i++)
        if (t->blocks[i].row_end - t->blocks[i].row_begin > largest->row_end - largest->row_begin)
            largest = &t->blocks[i];
    t->plan = largest->line;
    t->tensor_scale = largest->tensor_scale;
    t->plan.access_class = own.access_class;
    t->plan.access_frequency = own.access_frequency;
    memcpy(t->plan.reason, own.reason, sizeof own.reason);
}

static struct qn_chunk_run run_of(const struct qn_archive_tensor *t, const struct qn_part *part,
                                  const struct qn_feedback *feedback)
{
    const struct qn_plan_line *p = part->line;
    struct qn_chunk_run run = {
        .params = {.content = p->content,
                   .dtype = t->tensor.dtype,
                   .codec = p->codec,
                   .levels = p->levels,
                   .kappa = p->kappa,
                   .clip = p->clip,
                   .tensor_scale = part->tensor_scale,
                   .row_length = t->layout.row_length,
                   .group = group_length(p, t->layout.row_length),
                   .rounding = p->rounding,
                   .feedback = p->rounding == QN_ROUND_FEEDBACK ? feedback : NULL},
        .n = (size_t)part->count,
    };
    /* A tensor of zeros has the scale 0, which asks for scales of its groups: one will do. */
    if (p->content == QN_CONTENT_LOSSLESS || p->group_kind == QN_GROUP_TENSOR)
        run.params.row_length = run.params.group = part->count;
    return run;
}

enum qins_status qn_shape_runs(const struct qn_archive_tensor *t, uint64_t first, uint64_t count,
                               const struct qn_feedback *feedback, struct qn_buf *runs,
                               struct qins_error *err)
{
    struct qn_part part = {.first = first};
    enum qins_status st = QINS_OK;
    runs->size = 0;
    while (st == QINS_OK && qn_next_part(t, first + count, &part)) {
        struct qn_chunk_run run = run_of(t, &part, feedback);
        st = qn_buf_append(runs, &run, sizeof run, err);
    }
    return st;
}
