/* What the packed kernels of all CPU levels share; model/packed_kernels.c hands out the tables. */
#ifndef QINS_MODEL_PACKED_TABLES_H
#define QINS_MODEL_PACKED_TABLES_H

#include "core/bytes.h"
#include "formats/codec/magnitude.h"
#include "model/packed_kernels.h"

extern const struct qn_packed_kernels qn_packed_kernels_c;
#if defined(__x86_64__)
extern const struct qn_packed_kernels qn_packed_kernels_avx2, qn_packed_kernels_avx512;
#endif

/* Below this the reciprocal might overflow: inputs of such a block count as 0. */
#define QN_PACKED_LEAST 0x1p-100f

static inline size_t qn_packed_steps(size_t in)
{
    return (in + QN_PACKED_STEP - 1) / QN_PACKED_STEP;
}

/* Where the largest input is more than so many times the root mean square of a block, what is left
 * of the products counts: up to there it is 1.4e-4 of them. */
enum { QN_PACKED_FAR_OUT = 8 };

/* Block B of P: its N inputs to fixed point, zeros behind them up to its end, its scale, which
 * takes a sum of products back, and whether products are exact. */
static inline void qn_packed_quantise(struct qn_packed_input *p, size_t b, const float *x, size_t n,
                                      int16_t *fixed)
{
    const float unit = QN_PACKED_UNIT;
    const float to_nearest = 0x1.8p23f; /* x + it has no fraction: the low bits are the integer */
    const uint64_t full = (uint64_t)QN_PACKED_UNIT * QN_PACKED_UNIT;
    uint32_t most = 0;
    uint64_t squares = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = qn_float_bits(x[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    const float magnitude = qn_float_from_bits(most);
    const bool finite = most < 0x7f800000u;
    const bool zero = !finite || magnitude < QN_PACKED_LEAST;
    const float factor = zero ? 0.0f : unit / magnitude;
    memset(fixed, 0, p->block * sizeof *fixed);
    for (size_t i = 0; !zero && i < n; i++)
        fixed[i] = (int16_t)(uint16_t)qn_float_bits(x[i] * factor + to_nearest);
    for (size_t i = 0; i < n; i++)
        squares += (uint32_t)(fixed[i] * fixed[i]);
    p->exact[b] = squares * QN_PACKED_FAR_OUT * QN_PACKED_FAR_OUT < n * full ? -1 : 0;
    p->scales[b] = zero ? 0.0f : magnitude * (256.0f / (unit * unit));
    if (!finite)
        p->scales[b] = qn_float_from_bits(0x7fc00000u);
}

/* X = 256 high + low with low in -128 … 127. */
static inline int16_t qn_packed_high(int16_t x)
{
    return (int16_t)((x + 128) >> 8);
}

#endif
