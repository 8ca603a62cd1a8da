#include "model/session_internal.h"

#include <math.h>
#include <stdatomic.h>

/* 32 MiB of features at a time: many rows share one reading of the weights. */
enum { FEATURE_FLOATS = 8 << 20 };

void qn_compute_counts_add(struct qn_compute_counts *into, const struct qn_compute_counts *from)
{
    into->forwards += from->forwards;
    into->products += from->products;
    into->encodes += from->encodes;
    into->decodes += from->decodes;
    into->plane_products += from->plane_products;
    into->values += from->values;
    into->clipped += from->clipped;
    into->clamped += from->clamped;
}

size_t qn_native_rows(const struct qn_native *n, size_t batch)
{
    const size_t rows = n->max_features ? FEATURE_FLOATS / n->max_features : 0;
    return rows == 0 ? 1 : rows < batch ? rows : batch;
}

struct encoding {
    const struct qn_native_input *in;
    const float *x;
    size_t stride;
    uint16_t *codes;
    atomic_uint_fast64_t clipped; /* a sum of whole numbers: threads add in any order */
};

static void encode_rows(void *ctx, size_t begin, size_t end)
{
    struct encoding *e = ctx;
    const struct qn_native_input *in = e->in;
    uint64_t clipped = 0;
    for (size_t i = begin; i < end; i++) {
        const float *x = e->x + i * e->stride;
        qn_quantise(&in->grid, in->scale, x, in->channels, e->codes + i * in->channels);
        for (size_t j = 0; j < in->channels; j++)
            clipped += !(fabsf(x[j]) <= in->scale); /* NaN too */
    }
    atomic_fetch_add(&e->clipped, clipped);
}

static void encode(struct qn_session *s, const struct qn_native_input *in, const float *x,
                   size_t rows, size_t stride)
{
    struct encoding e = {.in = in, .x = x, .stride = stride, .codes = s->coding.codes};
    if (s->coding.input == in)
        return;
    qn_session_rows(s, rows, in->channels, 0, encode_rows, &e);
    s->coding.input = in;
    s->coding.expanded = false;
    s->counts.encodes++;
    s->counts.values += rows * in->channels;
    s->counts.clipped += atomic_load(&e.clipped);
}

struct expansion {
    const struct qn_native_input *in;
    const uint16_t *codes;
    float *features;
};

static void expand_rows(void *ctx, size_t begin, size_t end)
{
    const struct expansion *e = ctx;
    const size_t n = e->in->channels, symbols = 2 * (size_t)e->in->grid.levels + 1;
    for (size_t i = begin; i < end; i++) {
        const uint16_t *codes = e->codes + i * n;
        for (unsigned k = 0; k < e->in->tables; k++) {
            const float *table = e->in->table + k * symbols;
            float *to = e->features + (i * e->in->tables + k) * n;
            for (size_t j = 0; j < n; j++)
                to[j] = table[codes[j]];
        }
    }
}

/* Features of COUNT of the coded rows, or their values. Pattern A decodes before each product, so
 * that is what is done. */
static void expand(struct qn_session *s, const struct qn_native_input *in, size_t first,
                   size_t count, bool all)
{
    struct expansion e = {in, s->coding.codes + first * in->channels, s->coding.features};
    if (s->coding.expanded && !in->decode)
        return;
    qn_session_rows(s, count, in->tables * in->channels, 0, expand_rows, &e);
    s->coding.expanded = all;
}

/* What comes behind a product, row by row. */
struct ending {
    const struct qn_native_part *part;
    const float *bias; /* the matrix's, or NULL */
    const float *from; /* the part's outputs, from_stride apart; may be where they go to */
    float *to;
    size_t from_stride, to_stride;
    atomic_uint_fast64_t clamped;
};

/* D(z) with |z| clamped to FLOOR … 1; counts what the clamp changed. */
static float decode_output(const struct qn_native_part *p, float z, uint64_t *clamped)
{
    float m = fabsf(z);
    if (!(m >= p->output_floor && m <= 1.0F)) {
        m = m > 1.0F ? 1.0F : p->output_floor;
        ++*clamped;
    }
    const float y = (1.0F - m) / (p->output_alpha * m);
    return z < 0.0F ? -y : y;
}

static void end_rows(void *ctx, size_t begin, size_t end)
{
    struct ending *e = ctx;
    const struct qn_native_part *p = e->part;
    uint64_t clamped = 0;
    for (size_t i = begin; i < end; i++)
        for (size_t run = 0, o = 0; run < p->runs; run++)
            for (size_t j = 0; j < p->count; j++, o++) {
                const size_t row = p->first + run * p->step + j;
                float v = e->from[i * e->from_stride + o];
                if (p->output_scale)
                    v *= p->output_scale[o];
                if (p->output_offset)
                    v += p->output_offset[o];
                if (p->output_alpha > 0.0F)
                    v = decode_output(p, v, &clamped);
                if (e->bias)
                    v += e->bias[row];
                e->to[i * e->to_stride + row] = v;
            }
    atomic_fetch_add(&e->clamped, clamped);
}

/* One part's outputs of COUNT rows whose features are there. */
static void multiply(struct qn_session *s, const struct qn_matrix *w,
                     const struct qn_native_part *p, size_t count, float *y, size_t y_stride)
{
    const size_t width = p->weights.in, outputs = p->weights.out;
    const bool apart = p->runs > 1;
    float *to = apart ? s->coding.apart : y + p->first;
    const size_t stride = apart ? outputs : y_stride;
    qn_linear(s->pool, &p->weights, s->coding.features, count, width, to, stride,
              s->linear_scratch);
    if (!apart && !w->bias && !p->output_scale && !p->output_offset && p->output_alpha <= 0.0F)
        return;
    struct ending e = {.part = p,
                       .bias = w->bias,
                       .from = to,
                       .from_stride = stride,
                       .to = y,
                       .to_stride = y_stride};
    qn_session_rows(s, count, outputs, 0, end_rows, &e);
    s->counts.clamped += atomic_load(&e.clamped);
}

void qn_native_linear(struct qn_session *s, const struct qn_matrix *w, const float *x, size_t rows,
                      size_t x_stride, float *y, size_t y_stride)
{
    const struct qn_native_matrix *native = w->native;
    const struct qn_native_input *in = native->input;
    encode(s, in, x, rows, x_stride);
    for (size_t k = 0; k < native->n_parts; k++) {
        const struct qn_native_part *p = &native->parts[k];
        for (size_t first = 0, count; first < rows; first += count) {
            count = rows - first < s->coding.rows ? rows - first : s->coding.rows;
            expand(s, in, first, count, count == rows);
            multiply(s, w, p, count, y + first * y_stride, y_stride);
        }
        if (in->decode)
            s->counts.products++;
        else
            s->counts.plane_products += in->tables;
        s->counts.decodes += in->decode + (p->output_alpha > 0.0F);
    }
}
