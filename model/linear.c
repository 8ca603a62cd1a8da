#include "model/linear.h"

#include "core/bytes.h"
#include "core/linalg.h"
#include "model/kernels.h"
#include "model/packed.h"

#include <string.h>

/* How a product is cut into items. None of it depends on the pool, so neither does any bit of
 * the result. */
enum {
    FEW_ROWS = 4,          /* up to here dot products win over a matrix product */
    FEW_BYTES = 128 << 10, /* of weights an item, in the second-level cache for the next row */
    MANY_OUTPUTS = 128,    /* outputs an item where there are many rows */
    MANY_ROWS = 1024,      /* rows an item at most */
    PANEL_DEPTH = 2048,    /* inputs of a widened panel */
    COLUMN_ALIGNMENT = 16,
};
_Static_assert(MANY_OUTPUTS *PANEL_DEPTH <= QN_LINEAR_PANEL, "a panel holds what is widened");

struct task {
    const struct qn_matrix *w;
    const struct qn_kernels *kernels;
    const float *x;
    float *y;
    size_t rows, x_stride, y_stride;
    float *scratch;
    size_t block; /* outputs an item */
};

static const void *element(const struct qn_matrix *w, size_t row, size_t column)
{
    size_t size = w->dtype == QINS_F32 ? sizeof(float) : sizeof(uint16_t);
    return (const char *)w->data + (row * w->stride + column) * size;
}

static void few_rows(void *ctx, unsigned worker, size_t item)
{
    (void)worker;
    const struct task *t = ctx;
    const struct qn_matrix *w = t->w;
    size_t first = item * t->block, count = (size_t)qn_min_u64(t->block, w->out - first);
    const float *bias = w->bias ? w->bias + first : NULL;
    const void *data = w->transposed ? element(w, 0, first) : element(w, first, 0);
    for (size_t r = 0; r < t->rows; r++) {
        const float *x = t->x + r * t->x_stride;
        float *y = t->y + r * t->y_stride + first;
        if (w->transposed)
            t->kernels->gemv_columns(w->dtype, y, data, w->stride, w->in, count, x, bias);
        else
            t->kernels->gemv(w->dtype, y, data, w->stride, count, w->in, x, bias);
    }
}

/* Widens inputs FIRST_IN … of outputs FIRST_OUT … to PANEL; returns the panel's row length. */
static size_t widen_panel(const struct task *t, float *panel, size_t first_out, size_t n_out,
                          size_t first_in, size_t n_in)
{
    const struct qn_matrix *w = t->w;
    size_t rows = w->transposed ? n_in : n_out, columns = w->transposed ? n_out : n_in;
    for (size_t r = 0; r < rows; r++) {
        const void *from = w->transposed ? element(w, first_in + r, first_out)
                                         : element(w, first_out + r, first_in);
        t->kernels->widen(w->dtype, panel + r * columns, from, columns);
    }
    return columns;
}

static void multiply(const struct task *t, const float *x, size_t rows, float *y, float *panel,
                     size_t first, size_t count)
{
    const struct qn_matrix *w = t->w;
    if (w->dtype == QINS_F32) {
        const void *b = w->transposed ? element(w, 0, first) : element(w, first, 0);
        qn_sgemm(false, !w->transposed, rows, count, w->in, 1.0F, x, t->x_stride, b, w->stride,
                 0.0F, y, t->y_stride);
        return;
    }
    for (size_t in = 0; in < w->in; in += PANEL_DEPTH) {
        size_t depth = (size_t)qn_min_u64(PANEL_DEPTH, w->in - in);
        size_t length = widen_panel(t, panel, first, count, in, depth);
        qn_sgemm(false, !w->transposed, rows, count, depth, 1.0F, x + in, t->x_stride, panel,
                 length, in == 0 ? 0.0F : 1.0F, y, t->y_stride);
    }
}

static void many_rows(void *ctx, unsigned worker, size_t item)
{
    const struct task *t = ctx;
    const struct qn_matrix *w = t->w;
    size_t first = item * t->block, count = (size_t)qn_min_u64(t->block, w->out - first);
    float *panel = t->scratch ? t->scratch + worker * qn_linear_scratch() : NULL;
    for (size_t row = 0; row < t->rows; row += MANY_ROWS) {
        size_t rows = (size_t)qn_min_u64(MANY_ROWS, t->rows - row);
        float *y = t->y + row * t->y_stride + first;
        multiply(t, t->x + row * t->x_stride, rows, y, panel, first, count);
        for (size_t r = 0; w->bias && r < rows; r++)
            t->kernels->add(y + r * t->y_stride, w->bias + first, count);
    }
}

/* Outputs whose weights come to FEW_BYTES. */
static size_t few_block(const struct qn_matrix *w)
{
    size_t size = w->dtype == QINS_F32 ? sizeof(float) : sizeof(uint16_t);
    size_t outputs = FEW_BYTES / (w->in * size);
    outputs -= outputs % COLUMN_ALIGNMENT;
    return outputs ? outputs : COLUMN_ALIGNMENT;
}

void qn_linear(struct qn_pool *pool, const struct qn_matrix *w, const float *x, size_t rows,
               size_t x_stride, float *y, size_t y_stride, float *scratch)
{
    if (w->packed) {
        qn_packed_multiply(pool, w->packed, w->bias, x, rows, x_stride, y, y_stride, scratch);
        return;
    }
    bool few = rows <= FEW_ROWS;
    struct task t = {w, qn_kernels(), x, y, rows, x_stride, y_stride, scratch, 0};
    t.block = few ? few_block(w) : MANY_OUTPUTS;
    if (rows == 0)
        return;
    qn_pool_run(pool, (w->out + t.block - 1) / t.block, few ? few_rows : many_rows, &t);
}

size_t qn_linear_scratch(void)
{
    const size_t packed = qn_packed_scratch();
    return packed > QN_LINEAR_PANEL ? packed : QN_LINEAR_PANEL;
}

void qn_matrix_row(const struct qn_matrix *w, size_t row, float *dst)
{
    if (w->packed)
        qn_packed_rows(w->packed, row, 1, dst, NULL);
    else if (w->dtype == QINS_F32)
        memcpy(dst, element(w, row, 0), w->in * sizeof *dst);
    else
        qn_kernels()->widen(w->dtype, dst, element(w, row, 0), w->in);
}
