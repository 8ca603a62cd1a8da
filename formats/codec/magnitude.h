/* Float magnitudes by way of the integers that encode them, which order alike. Compilers
 * vectorise these, where a float comparison, which might trap, stays scalar. */
#ifndef QINS_FORMATS_CODEC_MAGNITUDE_H
#define QINS_FORMATS_CODEC_MAGNITUDE_H

#include "core/bytes.h"

static inline float qn_magnitude(float x)
{
    return qn_float_from_bits(qn_float_bits(x) & 0x7fffffffu);
}

/* The lesser of two values whose sign bit is clear; BOUND for a NaN. */
static inline float qn_bounded(float x, float bound)
{
    int32_t a = (int32_t)qn_float_bits(x), b = (int32_t)qn_float_bits(bound);
    return qn_float_from_bits((uint32_t)(a < b ? a : b));
}

#endif
