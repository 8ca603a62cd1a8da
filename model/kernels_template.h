/* The kernels, written once over vectors of 16 floats (vf), 16 int32 (vi), 16 truths (vm) and 8
 * doubles (vd), which the including file defines: model/kernels_c.c, kernels_avx2.c,
 * kernels_avx512.c. Every level adds in the same order, lane by lane; results differ between
 * levels only by the fused multiply-add, which the portable level has not. */
#include "model/config.h"

#include <float.h>
#include <math.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum { LANES = 16 };

/* Up to 16 of N remaining elements; those behind are 0 and are not touched. */
INLINE vf ld(const float *p, size_t n)
{
    return n >= LANES ? vf_load(p) : vf_load_part(p, n);
}

INLINE void st(float *p, vf a, size_t n)
{
    if (n >= LANES)
        vf_store(p, a);
    else
        vf_store_part(p, a, n);
}

/* In this order: attention takes exp2. */
#include "model/kernels_math.h"

#include "model/kernels_attend.h"

static void add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        st(y + i, vf_add(ld(y + i, n - i), ld(x + i, n - i)), n - i);
}

static void add_scaled(float *y, const float *x, float a, size_t n)
{
    vf factor = vf_set1(a);
    for (size_t i = 0; i < n; i += LANES)
        st(y + i, vf_fma(factor, ld(x + i, n - i), ld(y + i, n - i)), n - i);
}

/* Sum of x - centre, or of its squares, over N elements. */
INLINE double sum_centred(const float *x, size_t n, double centre, bool squared)
{
    vd c = vd_set1(centre), low = vd_set1(0.0), high = low;
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        vf a = vf_load(x + i);
        vd l = vd_sub(vd_low(a), c), h = vd_sub(vd_high(a), c);
        low = squared ? vd_fma(l, l, low) : vd_add(low, l);
        high = squared ? vd_fma(h, h, high) : vd_add(high, h);
    }
    double sum = vd_sum(vd_add(low, high));
    for (size_t i = whole; i < n; i++) {
        double d = (double)x[i] - centre;
        sum += squared ? d * d : d;
    }
    return sum;
}

static void rms_norm(float *y, const float *x, const float *w, size_t n, double eps)
{
    double mean = sum_centred(x, n, 0.0, true) / (double)n;
    vf factor = vf_set1((float)(1.0 / sqrt(mean + eps)));
    for (size_t i = 0; i < n; i += LANES)
        st(y + i, vf_mul(vf_mul(ld(x + i, n - i), factor), ld(w + i, n - i)), n - i);
}

static void layer_norm(float *y, const float *x, const float *w, const float *b, size_t n,
                       double eps)
{
    double mean = sum_centred(x, n, 0.0, false) / (double)n;
    double variance = sum_centred(x, n, mean, true) / (double)n;
    vf centre = vf_set1((float)mean), factor = vf_set1((float)(1.0 / sqrt(variance + eps)));
    for (size_t i = 0; i < n; i += LANES) {
        vf a = vf_mul(vf_sub(ld(x + i, n - i), centre), factor);
        vf bias = b ? ld(b + i, n - i) : vf_set1(0.0F);
        st(y + i, vf_fma(a, ld(w + i, n - i), bias), n - i);
    }
}

INLINE vf v_gelu_tanh(vf x)
{
    /* Hendrycks and Gimpel 2016: x / 2 (1 + tanh(√(2/π) (x + 0.044715 x³))) */
    vf cubic = vf_fma(vf_mul(vf_set1(0.044715F), vf_mul(x, x)), x, x);
    vf t = v_tanh(vf_mul(vf_set1(0.797884561F), cubic));
    return vf_mul(vf_mul(vf_set1(0.5F), x), vf_add(vf_set1(1.0F), t));
}

INLINE vf v_apply(int act, vf x)
{
    vf one = vf_set1(1.0F);
    switch (act) {
    case QN_ACT_SILU:
        return vf_div(x, vf_add(one, v_exp(vf_sub(vf_set1(0.0F), x))));
    case QN_ACT_GELU_ERF:
        return vf_mul(vf_mul(vf_set1(0.5F), x),
                      vf_add(one, v_erf(vf_mul(x, vf_set1(0.707106781F)))));
    case QN_ACT_GELU_TANH:
        return v_gelu_tanh(x);
    case QN_ACT_RELU:
        return vf_max(vf_set1(0.0F), x);
    case QN_MAP_EXP:
        return v_exp(x);
    case QN_MAP_TANH:
        return v_tanh(x);
    case QN_MAP_ERF:
        return v_erf(x);
    default:
        return x;
    }
}

INLINE void activate_by(int act, float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf a = v_apply(act, ld(gate + i, n - i));
        st(y + i, up ? vf_mul(a, ld(up + i, n - i)) : a, n - i);
    }
}

/* A loop for each function, so that none is chosen inside a loop. */
static void activate(int act, float *y, const float *gate, const float *up, size_t n)
{
    switch (act) {
#define ACTIVATE(which)                                                                            \
    case which:                                                                                    \
        activate_by(which, y, gate, up, n);                                                        \
        break;
        ACTIVATE(QN_ACT_SILU)
        ACTIVATE(QN_ACT_GELU_ERF)
        ACTIVATE(QN_ACT_GELU_TANH)
        ACTIVATE(QN_ACT_RELU)
        ACTIVATE(QN_MAP_EXP)
        ACTIVATE(QN_MAP_TANH)
        ACTIVATE(QN_MAP_ERF)
#undef ACTIVATE
    default:
        break;
    }
}

static void rope_halves(float *x, const float *cosines, const float *sines, size_t half)
{
    for (size_t i = 0; i < half; i += LANES) {
        size_t left = half - i;
        vf a = ld(x + i, left), b = ld(x + half + i, left);
        vf c = ld(cosines + i, left), s = ld(sines + i, left);
        st(x + i, vf_sub(vf_mul(a, c), vf_mul(b, s)), left);
        st(x + half + i, vf_add(vf_mul(b, c), vf_mul(a, s)), left);
    }
}

static void rope_pairs(float *x, const float *cosines, const float *sines, size_t half)
{
    for (size_t i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cosines[i] - b * sines[i];
        x[2 * i + 1] = b * cosines[i] + a * sines[i];
    }
}

/* -INFINITY for none; NaN is passed over. */
static float largest(const float *x, size_t n)
{
    vf m = vf_set1(-INFINITY);
    size_t i = 0;
    for (; n - i >= LANES; i += LANES)
        m = vf_max(vf_load(x + i), m);
    float lanes[LANES], best = -INFINITY;
    vf_store(lanes, m);
    for (size_t j = 0; j < LANES; j++)
        best = lanes[j] > best ? lanes[j] : best;
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

/* x = exp(x - max), or only the sum of these. */
INLINE double sum_of_exp(const float *x, float *out, float max, size_t n)
{
    vf m = vf_set1(max);
    vd low = vd_set1(0.0), high = low;
    for (size_t i = 0; i < n; i += LANES) {
        vf e = v_exp(vf_sub(ld(x + i, n - i), m));
        if (out)
            st(out + i, e, n - i);
        if (n - i < LANES)
            e = vi_as_float(vi_keep(vi_gt(vi_set1((int32_t)(n - i)), vi_lanes()), vf_bits(e)));
        low = vd_add(low, vd_low(e));
        high = vd_add(high, vd_high(e));
    }
    return vd_sum(vd_add(low, high));
}

static double log_sum_exp(const float *x, size_t n)
{
    float max = largest(x, n);
    if (isinf(max)) {
        for (size_t i = 0; i < n; i++)
            if (isnan(x[i]))
                return (double)NAN;
        return (double)max;
    }
    return (double)max + log(sum_of_exp(x, NULL, max, n));
}

static void softmax(float *x, size_t n)
{
    float max = largest(x, n);
    vf factor = vf_set1((float)(1.0 / sum_of_exp(x, x, max, n)));
    for (size_t i = 0; i < n; i += LANES)
        st(x + i, vf_mul(ld(x + i, n - i), factor), n - i);
}

static size_t argmax(const float *x, size_t n)
{
    float max = largest(x, n);
    vf m = vf_set1(max);
    size_t i = 0;
    while (n - i >= LANES && !vm_any(vf_eq(vf_load(x + i), m)))
        i += LANES;
    while (i < n && !(x[i] == max))
        i++;
    return i < n ? i : 0;
}

/* 16 elements from element I on, of which N are left. */
INLINE vf ld_as(enum qins_dtype dtype, const void *base, size_t i, size_t n)
{
    if (dtype == QINS_F32)
        return ld((const float *)base + i, n);
    return vf_load16(dtype, (const char *)base + i * sizeof(uint16_t), n);
}

INLINE const void *row_of(enum qins_dtype dtype, const void *base, size_t elements)
{
    return (const char *)base + elements * (dtype == QINS_F32 ? sizeof(float) : sizeof(uint16_t));
}

/* COUNT (a constant) rows at once; each has sums of its own, so its result is the same in any
 * company. */
INLINE void dot_rows(enum qins_dtype dtype, size_t count, float *y, const void *w, size_t stride,
                     size_t n, const float *x, const float *bias)
{
    vf sum[GEMV_ROWS];
    const void *row[GEMV_ROWS];
    UNROLL for (size_t r = 0; r < count; r++)
    {
        sum[r] = vf_set1(0.0F);
        row[r] = row_of(dtype, w, r * stride);
    }
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        vf a = vf_load(x + i);
        UNROLL for (size_t r = 0; r < count; r++) sum[r] =
            vf_fma(ld_as(dtype, row[r], i, LANES), a, sum[r]);
    }
    if (whole < n) {
        vf a = ld(x + whole, n - whole);
        UNROLL for (size_t r = 0; r < count; r++) sum[r] =
            vf_fma(ld_as(dtype, row[r], whole, n - whole), a, sum[r]);
    }
    for (size_t r = 0; r < count; r++)
        y[r] = vf_sum(sum[r]) + (bias ? bias[r] : 0.0F);
}

INLINE void gemv_of(enum qins_dtype dtype, float *y, const void *w, size_t stride, size_t rows,
                    size_t n, const float *x, const float *bias)
{
    size_t r = 0;
    for (; rows - r >= GEMV_ROWS; r += GEMV_ROWS)
        dot_rows(dtype, GEMV_ROWS, y + r, row_of(dtype, w, r * stride), stride, n, x,
                 bias ? bias + r : NULL);
    for (; r < rows; r++)
        dot_rows(dtype, 1, y + r, row_of(dtype, w, r * stride), stride, n, x,
                 bias ? bias + r : NULL);
}

static void gemv(enum qins_dtype dtype, float *y, const void *w, size_t stride, size_t rows,
                 size_t n, const float *x, const float *bias)
{
    if (dtype == QINS_F32)
        gemv_of(QINS_F32, y, w, stride, rows, n, x, bias);
    else if (dtype == QINS_BF16)
        gemv_of(QINS_BF16, y, w, stride, rows, n, x, bias);
    else
        gemv_of(QINS_F16, y, w, stride, rows, n, x, bias);
}

enum { COLUMN_ROWS = 4 };

/* y += Σ x[r] row r over COUNT (a constant) rows. */
INLINE void add_rows(enum qins_dtype dtype, size_t count, float *y, const void *w, size_t stride,
                     size_t n, const float *x)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf sum = ld(y + i, n - i);
        UNROLL for (size_t r = 0; r < count; r++) sum =
            vf_fma(vf_set1(x[r]), ld_as(dtype, row_of(dtype, w, r * stride), i, n - i), sum);
        st(y + i, sum, n - i);
    }
}

INLINE void gemv_columns_of(enum qins_dtype dtype, float *y, const void *w, size_t stride,
                            size_t rows, size_t n, const float *x, const float *bias)
{
    for (size_t i = 0; i < n; i += LANES)
        st(y + i, bias ? ld(bias + i, n - i) : vf_set1(0.0F), n - i);
    size_t r = 0;
    for (; rows - r >= COLUMN_ROWS; r += COLUMN_ROWS)
        add_rows(dtype, COLUMN_ROWS, y, row_of(dtype, w, r * stride), stride, n, x + r);
    for (; r < rows; r++)
        add_rows(dtype, 1, y, row_of(dtype, w, r * stride), stride, n, x + r);
}

static void gemv_columns(enum qins_dtype dtype, float *y, const void *w, size_t stride, size_t rows,
                         size_t n, const float *x, const float *bias)
{
    if (dtype == QINS_F32)
        gemv_columns_of(QINS_F32, y, w, stride, rows, n, x, bias);
    else if (dtype == QINS_BF16)
        gemv_columns_of(QINS_BF16, y, w, stride, rows, n, x, bias);
    else
        gemv_columns_of(QINS_F16, y, w, stride, rows, n, x, bias);
}

INLINE void widen_of(enum qins_dtype dtype, float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        st(dst + i, ld_as(dtype, src, i, n - i), n - i);
}

static void widen(enum qins_dtype dtype, float *dst, const void *src, size_t n)
{
    if (dtype == QINS_BF16)
        widen_of(QINS_BF16, dst, src, n);
    else
        widen_of(QINS_F16, dst, src, n);
}

#include "model/kernels_moments.h"

const struct qn_kernels QN_KERNEL_TABLE = {
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add = add,
    .add_scaled = add_scaled,
    .activate = activate,
    .rope_halves = rope_halves,
    .rope_pairs = rope_pairs,
    .attend = attend,
    .log_sum_exp = log_sum_exp,
    .softmax = softmax,
    .argmax = argmax,
    .gemv = gemv,
    .gemv_columns = gemv_columns,
    .widen = widen,
    .moments = moments,
};
