/* Kernels that decode codes to floats in registers, written once over the compiler's vectors. What
 * includes this defines LANES (floats in a vector), struct unpacker, and
 *   void unpacker_init(struct unpacker *u, unsigned bits, unsigned shift)
 *   void unpack(const struct unpacker *u, unsigned bits, const uint8_t *src, vf codes[VECTORS])
 * for GROUP codes of BITS bits from bit SHIFT < 8 of SRC on, of which up to
 * QN_PACKED_MARGIN bytes may be read; SHIFT is 0 where BITS is 8.
 *
 * T[l] of quant.h is (1 / k) l / (P - l), P = N (1 + k) / k: the factor waits for the row's sum. A
 * division takes fewer operations than look-ups in so many tables of 16 [measured: sharing one
 * division among two vectors, an estimate of the reciprocal made better, or a table of 256 floats
 * is not faster]. Of an even grid, k = 0, T[l] is l / N. */
#ifndef QINS_MODEL_PACKED_FLOATS_H
#define QINS_MODEL_PACKED_FLOATS_H

#include "model/packed_tables.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

enum { GROUP = QN_PACKED_LANES, VECTORS = GROUP / LANES };
_Static_assert(QN_PACKED_STEP % GROUP == 0, "whole groups");
_Static_assert(QN_PACKED_PLANES == QN_PACKED_STEP * sizeof(float), "planes hold the inputs");

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

static void unpacker_init(struct unpacker *u, unsigned bits, unsigned shift);
INLINE void unpack(const struct unpacker *u, unsigned bits, const uint8_t *src, vf codes[VECTORS]);

/* One vector of each is a lane of what model/packed_kernels.h says. */
struct group {
    vf v[VECTORS];
};

struct decoder {
    const struct qn_packed_table *table;
    float levels, pole;
    struct unpacker unpacker;
};

INLINE vf load(const float *x)
{
    vf v;
    memcpy(&v, x, sizeof v);
    return v;
}

INLINE vf all(float x)
{
    return x - (vf){0};
}

/* T[l] over the table's unit for codes as floats. */
INLINE void decode(const struct decoder *d, bool even, struct group *g)
{
    UNROLL for (size_t j = 0; j < VECTORS; j++)
    {
        const vf distance = g->v[j] - all(d->levels);
        const vf level = (vf)((vi)distance & 0x7fffffff);
        g->v[j] = even ? distance : distance / (all(d->pole) - level);
    }
}

INLINE void add_products(struct group *sums, const struct group *weights, const float *x)
{
    UNROLL for (size_t j = 0; j < VECTORS; j++) sums->v[j] += weights->v[j] * load(x + j * LANES);
}

INLINE void add_scaled(struct group *sums, const struct group *more, float scale)
{
    UNROLL for (size_t j = 0; j < VECTORS; j++) sums->v[j] += more->v[j] * all(scale);
}

INLINE float add_lanes(const struct group *g)
{
    float f[GROUP];
    memcpy(f, g, sizeof f);
    for (size_t half = GROUP / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            f[j] += f[j + half];
    return f[0];
}

/* The last codes of a row, N < GROUP; behind them those of 0. */
static void unpack_last(const struct qn_packed_table *t, const uint8_t *codes, size_t first,
                        size_t n, struct group *g)
{
    uint8_t bytes[GROUP + QN_PACKED_MARGIN] = {0};
    struct unpacker plain;
    memset(bytes, (int)t->levels, GROUP);
    for (size_t i = 0; i < n; i++) {
        const size_t at = (first + i) * t->bits;
        bytes[i] = (uint8_t)(qn_load16(codes + at / 8) >> at % 8 & ((1u << t->bits) - 1));
    }
    unpacker_init(&plain, 8, 0);
    unpack(&plain, 8, bytes, g->v);
}

/* A row of codes by N rows of inputs, which are where QN_PACKED_PLANES are. */
INLINE void multiply_row(const struct qn_packed_rows *w, const struct decoder *d, unsigned bits,
                         bool even, size_t row, const struct qn_packed_input *inputs, size_t n,
                         float *y, size_t y_stride)
{
    const size_t first = w->first + row * w->in, whole = w->in / GROUP * GROUP;
    const uint8_t *src = w->codes + first * bits / 8;
    const float *scale = w->scales + row * w->row_scales;
    struct group total[QN_PACKED_MAX_ROWS];
    UNROLL for (size_t k = 0; k < n; k++) total[k] = (struct group){0};
    for (size_t i = 0; i < w->in; scale++) {
        const size_t end = w->in - i > w->group ? i + w->group : w->in;
        struct group sums[QN_PACKED_MAX_ROWS], g;
        UNROLL for (size_t k = 0; k < n; k++) sums[k] = (struct group){0};
        for (const size_t stop = end < whole ? end : whole; i < stop;
             i += GROUP, src += (size_t)GROUP / 8 * bits) {
            unpack(&d->unpacker, bits, src, g.v);
            decode(d, even, &g);
            UNROLL for (size_t k = 0; k < n; k++)
                add_products(&sums[k], &g, (const float *)(const void *)inputs[k].planes + i);
        }
        if (i < end) {
            unpack_last(d->table, w->codes, first + i, end - i, &g);
            decode(d, even, &g);
            UNROLL for (size_t k = 0; k < n; k++)
                add_products(&sums[k], &g, (const float *)(const void *)inputs[k].planes + i);
            i = end;
        }
        UNROLL for (size_t k = 0; k < n; k++) add_scaled(&total[k], &sums[k], *scale);
    }
    UNROLL for (size_t k = 0; k < n; k++) y[k * y_stride] = add_lanes(&total[k]) * d->table->unit;
}

INLINE void multiply_rows(const struct qn_packed_rows *w, unsigned bits, bool even,
                          const struct qn_packed_input *inputs, size_t n, float *y, size_t y_stride)
{
    struct decoder d = {.table = w->table, (float)w->table->levels, w->table->pole};
    unsigned shift = 8; /* none */
    for (size_t r = 0; r < w->rows; r++) {
        const unsigned now = (unsigned)((w->first + r * w->in) * bits % 8);
        if (now != shift)
            unpacker_init(&d.unpacker, bits, now);
        shift = now;
        multiply_row(w, &d, bits, even, r, inputs, n, y + r, y_stride);
    }
}

/* One loop for bytes and one for fewer bits, of even grids and of others, for each number of inputs
 * that is a power of two. */
#define ROWS(n)                                                                                    \
    static void rows_##n(const struct qn_packed_rows *w, const struct qn_packed_input *inputs,     \
                         float *y, size_t y_stride)                                                \
    {                                                                                              \
        const unsigned bits = w->table->bits;                                                      \
        if (w->table->even && bits == 8)                                                           \
            multiply_rows(w, 8, true, inputs, n, y, y_stride);                                     \
        else if (w->table->even)                                                                   \
            multiply_rows(w, bits, true, inputs, n, y, y_stride);                                  \
        else if (bits == 8)                                                                        \
            multiply_rows(w, 8, false, inputs, n, y, y_stride);                                    \
        else                                                                                       \
            multiply_rows(w, bits, false, inputs, n, y, y_stride);                                 \
    }
ROWS(1)
ROWS(2)
ROWS(4)

typedef void rows_fn(const struct qn_packed_rows *w, const struct qn_packed_input *inputs, float *y,
                     size_t y_stride);
static rows_fn *const rows_of[] = {rows_1, rows_2, rows_4};

static void multiply(const struct qn_packed_rows *w, const struct qn_packed_input *inputs, size_t n,
                     float *y, size_t y_stride)
{
    for (size_t k = 0; k < n;) {
        size_t power = 2;
        while ((size_t)1 << power > n - k)
            power--;
        rows_of[power](w, inputs + k, y + k * y_stride, y_stride);
        k += (size_t)1 << power;
    }
}

/* Zeros follow up to the end of the last step. What is not finite becomes NaN. */
static void prepare(struct qn_packed_input *p, const float *x)
{
    float *to = (float *)(void *)p->planes;
    for (size_t i = 0; i < p->in; i++)
        to[i] = x[i] + 0.0F * x[i];
    for (size_t i = p->in; i < qn_packed_steps(p->in) * QN_PACKED_STEP; i++)
        to[i] = 0.0F;
}

#endif
