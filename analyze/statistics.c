#include "analyze/statistics.h"

#include "analyze/logarithm.h"
#include "analyze/value_scan.h"
#include "core/bytes.h"
#include "core/tensor.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

enum {
    NEAR_ZERO_EXPONENT = -10,
    SUBCELLS = 1 << QN_PATTERN_SHIFT,
    EXPONENT_SHIFT = 23 - QN_PATTERN_SHIFT, /* of a pattern cell */
    F32_EXPONENTS = 255,                    /* of finite values */
};

/* Order-0 entropy of a symbol, in bits; NaN where there is none. */
static double entropy(const uint64_t *counts, size_t cells)
{
    double total = 0.0, sum = 0.0;
    for (size_t i = 0; i < cells; i++)
        total += (double)counts[i];
    for (size_t i = 0; i < cells; i++)
        if (counts[i] > 0)
            sum += (double)counts[i] * qn_log2(total / (double)counts[i]);
    return total > 0.0 ? sum / total : NAN;
}

/* The two upper bytes of F32, rotated left by one: exponent, and upper mantissa bits, which a
 * pattern's cell knows. */
static void upper_bytes(const struct qn_value_scan *s, const uint64_t *patterns,
                        uint64_t *exponents, uint64_t *mantissas)
{
    for (size_t i = 0; i < QN_PATTERN_CELLS; i++) {
        if (!s->octaves[i >> EXPONENT_SHIFT]) {
            i |= (1u << EXPONENT_SHIFT) - 1;
            continue;
        }
        size_t cell = i % QN_PATTERN_HALF;
        exponents[cell >> EXPONENT_SHIFT] += patterns[i];
        mantissas[cell >> (EXPONENT_SHIFT - 8) & 255] += patterns[i];
    }
}

/* Elements of at most BOUND >= 0 in magnitude: exact where BOUND is below all cells but that of
 * zeros or values are EXACT, else to a part of a cell. */
static uint64_t count_below(const struct qn_value_scan *s, const uint64_t *patterns, float bound)
{
    uint32_t bits = qn_float_bits(bound);
    size_t cell = bits >> QN_PATTERN_SHIFT;
    uint64_t n = 0;
    bool exact = s->or_bits % SUBCELLS == 0;
    for (size_t i = 0; i < cell; i++) {
        size_t octave = i >> EXPONENT_SHIFT;
        if (!s->octaves[octave] && !s->octaves[octave + QN_OCTAVES / 2])
            i |= (1u << EXPONENT_SHIFT) - 1;
        else
            n += patterns[i] + patterns[i + QN_PATTERN_HALF];
    }
    uint64_t cut = patterns[cell] + patterns[cell + QN_PATTERN_HALF];
    double share = exact ? 1.0 : ((double)(bits % SUBCELLS) + 1.0) / SUBCELLS;
    uint64_t whole = cell == 0 ? s->zeros : 0;
    return n + whole + (uint64_t)(share * (double)(cut - whole) + 0.5);
}

static void moments_figures(const struct qn_central_moments *m, struct qn_statistics *out)
{
    double n = (double)m->n, variance = m->m2 / n;
    out->min = m->min;
    out->max = m->max;
    out->abs_max = fmax(fabs(m->min), fabs(m->max));
    out->mean = m->mean;
    out->mean_abs = m->sum_abs / n;
    if (!(m->min < m->max)) { /* constant: no rounding errors taken for a spread */
        out->mean = m->min;
        variance = 0.0;
    }
    out->variance = variance;
    out->rms = sqrt(variance + out->mean * out->mean);
    if (variance > 0.0) {
        out->skewness = m->m3 / n / (variance * sqrt(variance));
        out->kurtosis = m->m4 / n / (variance * variance);
    }
}

static enum qins_dtype fitting_type(const struct qn_value_scan *s)
{
    bool wide = s->dtype == QINS_F64;
    if ((s->dtype != QINS_F32 && !wide) || s->moments.n == 0 || !s->fits_f32)
        return s->dtype;
    if ((s->or_bits & 0xffffu) == 0)
        return QINS_BF16;
    return s->fits_f16 ? QINS_F16 : QINS_F32;
}

void qn_value_scan_figures(const struct qn_value_scan *s, const uint64_t *patterns,
                           struct qn_statistics *out)
{
    uint64_t exponents[QN_EXPONENTS] = {0}, upper[2][256] = {{0}};
    *out = (struct qn_statistics){.n = s->n,
                                  .n_nan = s->n_nan,
                                  .n_infinite = s->n_infinite,
                                  .zeros = s->zeros,
                                  .negative_zeros = s->negative_zeros,
                                  .zero_runs = s->zero_runs,
                                  .longest_zero_run = s->longest_zero_run,
                                  .equal_neighbours = s->equal_neighbours,
                                  .element_bytes = (unsigned)qins_dtype_size(s->dtype)};
    out->min = out->max = out->abs_max = out->mean = out->mean_abs = out->rms = NAN;
    out->variance = out->skewness = out->kurtosis = out->exponent_entropy_bits = NAN;
    if (s->moments.n > 0) {
        moments_figures(&s->moments, out);
        float bound = (float)fmin(ldexp(out->abs_max, NEAR_ZERO_EXPONENT), FLT_MAX);
        out->near_zeros = count_below(s, patterns, bound);
    }
    upper_bytes(s, patterns, exponents, upper[1]);
    for (size_t v = 0; v < 256; v++)
        upper[0][v] = exponents[v];
    for (unsigned k = 0; k < 8; k++) {
        const uint64_t *bytes = s->bytes[(out->element_bytes - 1 - k) % 8];
        if (s->dtype == QINS_F32 && k < 2)
            bytes = upper[k];
        out->byte_entropy_bits[k] = k < out->element_bytes ? entropy(bytes, 256) : NAN;
    }
    if (s->dtype == QINS_F32 || s->dtype == QINS_BF16)
        out->exponent_entropy_bits = entropy(exponents, F32_EXPONENTS);
    else if (qn_dtype_is_float(s->dtype))
        out->exponent_entropy_bits = entropy(s->exponents, QN_EXPONENTS);
    out->fits_dtype = fitting_type(s);
    out->distinct_values = (uint32_t)qn_value_set_count(&s->values);
}

char *qn_statistics_remark(const struct qn_statistics *s, enum qins_dtype dtype, char *buf,
                           size_t size)
{
    char width[96] = "", few[64] = "";
    unsigned bits = 8 * s->element_bytes,
             needed = 8 * (unsigned)qins_dtype_size(s->fits_dtype ? s->fits_dtype : dtype);
    if (s->fits_dtype && s->fits_dtype != dtype && needed < bits)
        snprintf(width, sizeof width, "%s values stored as %s: %u of %u bits say nothing",
                 qins_dtype_name(s->fits_dtype), qins_dtype_name(dtype), bits - needed, bits);
    if (s->distinct_values > 0 && s->distinct_values <= 256 && bits > 8 &&
        s->n > s->distinct_values)
        snprintf(few, sizeof few, "only %u different values", s->distinct_values);
    if (size > 0)
        snprintf(buf, size, "%s%s%s", width, width[0] && few[0] ? "; " : "", few);
    return buf;
}
