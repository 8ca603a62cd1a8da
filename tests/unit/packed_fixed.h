/* The fixed-point kernels of model/packed_kernels.h in plain C, which those of AVX-512 agree with
 * bit for bit. */
#ifndef QINS_TESTS_PACKED_FIXED_H
#define QINS_TESTS_PACKED_FIXED_H

#include "model/packed_tables.h"

/* A step's inputs: 64 numbers, then their high digits. */
struct fixed_step {
    int16_t x[QN_PACKED_STEP], high[QN_PACKED_STEP];
};
_Static_assert(sizeof(struct fixed_step) == QN_PACKED_PLANES, "a step of inputs");

static void fixed_prepare(struct qn_packed_input *p, const float *x)
{
    int16_t fixed[QN_PACKED_MAX_BLOCK];
    struct fixed_step *to = (struct fixed_step *)(void *)p->planes;
    for (size_t begin = 0, b = 0; begin < p->in; begin += p->block, b++) {
        const size_t n = (size_t)qn_min_u64(p->block, p->in - begin);
        qn_packed_quantise(p, b, x + begin, n, fixed);
        for (size_t i = 0; i < n; i += QN_PACKED_STEP, to++)
            for (size_t k = 0; k < QN_PACKED_STEP; k++) {
                to->x[k] = fixed[i + k];
                to->high[k] = qn_packed_high(fixed[i + k]);
            }
    }
}

/* The digits of up to 64 codes from code FIRST on, zeros behind them. */
struct fixed_digits {
    int16_t high[QN_PACKED_STEP], low[QN_PACKED_STEP];
};

static void fixed_decode(const struct qn_packed_rows *w, size_t first, size_t n,
                         struct fixed_digits *d)
{
    const struct qn_packed_table *t = w->table;
    const unsigned bits = t->bits, mask = (1u << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        const size_t at = (first + i) * bits;
        const unsigned code =
            bits == 8 ? w->codes[first + i] : qn_load16(w->codes + at / 8) >> at % 8 & mask;
        d->high[i] = (int16_t)t->high[code];
        d->low[i] = (int16_t)t->low[code];
    }
    for (size_t i = n; i < QN_PACKED_STEP; i++)
        d->high[i] = d->low[i] = 0;
}

/* What lanes have summed: of one input row, in this block and before it. */
struct fixed_lanes {
    int32_t sums[QN_PACKED_LANES], rest[QN_PACKED_LANES]; /* rest: Vl Xl, where it counts */
    float f[QN_PACKED_LANES];
};

static void fixed_add_products(const struct fixed_digits *d, const struct fixed_step *s,
                               int32_t exact, struct fixed_lanes *l)
{
    for (size_t j = 0; j < QN_PACKED_LANES; j++)
        for (size_t i = 4 * j; i < 4 * j + 4; i++)
            l->sums[j] += d->high[i] * s->x[i] + d->low[i] * s->high[i];
    for (size_t i = 0; exact && i < QN_PACKED_STEP; i++)
        l->rest[i / 4] += d->low[i] * (s->x[i] - 256 * s->high[i]);
}

static float fixed_add_lanes(float f[QN_PACKED_LANES])
{
    for (size_t half = QN_PACKED_LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            f[j] += f[j + half];
    return f[0];
}

/* The block's sums, with its inputs' and weights' scales, to the lanes' floats. */
static void fixed_end_block(const struct qn_packed_rows *w, const struct qn_packed_input *p,
                            size_t block, const float *scales, struct fixed_lanes *l)
{
    for (size_t j = 0; j < QN_PACKED_LANES; j++) {
        /* Where a block has more than one group, a step is the block. */
        const size_t at = block * p->block + (w->group < QN_PACKED_STEP ? 4 * j : 0);
        const float scale =
            w->group < w->in ? p->scales[block] * scales[at / w->group] : p->scales[block];
        l->f[j] += (float)(l->sums[j] + (l->rest[j] >> 8)) * scale;
    }
    memset(l->sums, 0, sizeof l->sums);
    memset(l->rest, 0, sizeof l->rest);
}

static void fixed_row(const struct qn_packed_rows *w, size_t row,
                      const struct qn_packed_input *inputs, size_t n, float *y, size_t y_stride)
{
    const float *scales = w->scales + row * w->row_scales;
    const size_t block = inputs[0].block, first = w->first + row * w->in;
    struct fixed_lanes lanes[QN_PACKED_MAX_ROWS] = {0};
    for (size_t i = 0; i < w->in; i += QN_PACKED_STEP) {
        const size_t left = w->in - i;
        struct fixed_digits d;
        fixed_decode(w, first + i, left < QN_PACKED_STEP ? left : QN_PACKED_STEP, &d);
        for (size_t k = 0; k < n; k++) {
            const struct fixed_step *s = (const struct fixed_step *)(const void *)inputs[k].planes;
            fixed_add_products(&d, s + i / QN_PACKED_STEP, inputs[k].exact[i / block], &lanes[k]);
            if ((i + QN_PACKED_STEP) % block == 0 || left <= QN_PACKED_STEP)
                fixed_end_block(w, &inputs[k], i / block, scales, &lanes[k]);
        }
    }
    for (size_t k = 0; k < n; k++)
        y[k * y_stride] = w->group < w->in ? fixed_add_lanes(lanes[k].f)
                                           : fixed_add_lanes(lanes[k].f) * scales[0];
}

static void fixed_multiply(const struct qn_packed_rows *w, const struct qn_packed_input *inputs,
                           size_t n, float *y, size_t y_stride)
{
    for (size_t r = 0; r < w->rows; r++)
        fixed_row(w, r, inputs, n, y + r, y_stride);
}

static const struct qn_packed_kernels packed_fixed = {
    .fixed = true, .prepare = fixed_prepare, .multiply = fixed_multiply};

#endif
