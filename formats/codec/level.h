/* The code of one value on the QINS grid: quant.h's formula, shared by all that rounds to it. */
#ifndef QINS_FORMATS_CODEC_LEVEL_H
#define QINS_FORMATS_CODEC_LEVEL_H

#include "formats/codec/magnitude.h"
#include "formats/codec/quant.h"

/* N + l or N - l by the sign bit of X; both are N for l = 0. */
static inline uint16_t qn_signed_code(float x, int32_t level, int32_t levels)
{
    int32_t mask = -(int32_t)(qn_float_bits(x) >> 31);
    return (uint16_t)(levels + ((level ^ mask) - mask));
}

/* What the grid's parameters come to. */
struct qn_qins_shape {
    int32_t levels;
    float kappa, gain; /* gain: levels (1 + kappa) */
};

static inline struct qn_qins_shape qn_grid_shape(const struct qn_grid *g)
{
    return (struct qn_qins_shape){(int32_t)g->levels, g->kappa,
                                  (float)(int32_t)g->levels * (1.0f + g->kappa)};
}

/* SCALE > 0; for 0 the result is some code. */
static inline uint16_t qn_qins_code(struct qn_qins_shape s, float scale, float x)
{
    float u = qn_bounded(qn_magnitude(x) / scale, 1.0f);
    float q = (s.gain * u) / (1.0f + s.kappa * u);
    int32_t level = (int32_t)(q + 0.5f);
    return qn_signed_code(x, level < s.levels ? level : s.levels, s.levels);
}

#endif
