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

/* N <= QN_PACKED_MAX_BLOCK inputs to fixed point, zeros behind them up to SIZE; the scale that
 * takes a sum of products back. */
static inline float qn_packed_quantise(const float *x, size_t n, size_t size, int16_t *fixed)
{
    const float unit = QN_PACKED_UNIT;
    const float to_nearest = 0x1.8p23f; /* x + it has no fraction: the low bits are the integer */
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = qn_float_bits(x[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    const float magnitude = qn_float_from_bits(most);
    const bool finite = most < 0x7f800000u;
    const bool zero = !finite || magnitude < QN_PACKED_LEAST;
    const float factor = zero ? 0.0f : unit / magnitude;
    memset(fixed, 0, size * sizeof *fixed);
    for (size_t i = 0; !zero && i < n; i++)
        fixed[i] = (int16_t)(uint16_t)qn_float_bits(x[i] * factor + to_nearest);
    if (!finite)
        return qn_float_from_bits(0x7fc00000u);
    return zero ? 0.0f : magnitude * (256.0f / (unit * unit));
}

/* X = 256 high + low with low in -128 … 127. */
static inline int16_t qn_packed_high(int16_t x)
{
    return (int16_t)((x + 128) >> 8);
}

#endif
