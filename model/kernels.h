/* The vector kernels of the forward pass, one table for each CPU level; each is compared with the
 * portable table by tests. They neither allocate nor fail. Sums run in float32 over 16 lanes
 * unless said otherwise. Pointers need not be aligned; outputs do not overlap inputs unless said.
 */
#ifndef QINS_MODEL_KERNELS_H
#define QINS_MODEL_KERNELS_H

#include "core/cpu.h"
#include "core/tensor.h"

/* Keys are cached transposed, in blocks of this many positions: block b of a head is
 * [head_dim][QN_KEY_BLOCK] floats at k + b * head_dim * QN_KEY_BLOCK. */
enum { QN_KEY_BLOCK = 64, QN_QUERY_BLOCK = 32 };

/* Causal attention of up to QN_QUERY_BLOCK consecutive queries of one head. */
struct qn_attend {
    const float *q; /* [n_q] rows of head_dim, q_stride apart */
    const float *k; /* blocks as above */
    const float *v; /* [positions] rows of head_dim, v_stride apart */
    float *out;     /* [n_q] rows of head_dim, out_stride apart */
    size_t q_stride, v_stride, out_stride;
    size_t n_q, head_dim;
    size_t position; /* of the first query; it sees keys 0 … position */
    size_t window;   /* 0, or how many keys a query sees, itself included */
    float scale;
    float *scratch; /* qn_attend_scratch(position + n_q) floats, 64-byte aligned */
};
/* Heads of at most this many elements are treated many queries at a time. */
enum { QN_LANE_HEAD = 256 };
static inline size_t qn_attend_scratch(size_t positions)
{
    size_t one_row = ((positions + QN_KEY_BLOCK - 1) / QN_KEY_BLOCK + 1) * QN_KEY_BLOCK;
    return one_row + (size_t)QN_QUERY_BLOCK * (QN_KEY_BLOCK + 2 * QN_LANE_HEAD);
}

/* Running figures of one channel block; see model/moments.h for what they add up to. */
struct qn_moment_sums {
    double *sum, *sum_abs, *sum_squares; /* [channels], added to */
    float *min, *max;                    /* [channels], updated */
    uint64_t *histogram;                 /* [QN_ABS_CELLS], of |x|, zero apart; added to */
    uint64_t counts[3];                  /* negative, zero, positive; added to */
};

/* |x| is sorted by the top bits of its float32 pattern: exponent and 5 bits of mantissa, so 32
 * cells an octave; cell = bits >> 18 (bits without sign), 0x1fe0 cells for finite numbers. */
enum { QN_ABS_SHIFT = 18, QN_ABS_CELLS = 0x1fe0 };

/* Elementary functions that activate() takes beside enum qn_activation. */
enum { QN_MAP_EXP = 64, QN_MAP_TANH, QN_MAP_ERF };

struct qn_kernels {
    /* y = x / sqrt(mean x² + eps) * w; y may be x. The mean is taken in float64. */
    void (*rms_norm)(float *y, const float *x, const float *w, size_t n, double eps);
    /* y = (x - mean) / sqrt(var + eps) * w + b; y may be x; b may be NULL. */
    void (*layer_norm)(float *y, const float *x, const float *w, const float *b, size_t n,
                       double eps);
    void (*add)(float *y, const float *x, size_t n);                 /* y += x */
    void (*add_scaled)(float *y, const float *x, float a, size_t n); /* y += a x */
    /* y = act(gate) * up, element by element; up NULL: y = act(gate); y may be gate. ACT is
     * enum qn_activation or QN_MAP_…. exp, tanh and erf to 4 ulp. NaN stays NaN. */
    void (*activate)(int act, float *y, const float *gate, const float *up, size_t n);
    /* In place over the first 2 * half elements of x; cos and sin hold half each. */
    void (*rope_halves)(float *x, const float *cos, const float *sin, size_t half);
    void (*rope_pairs)(float *x, const float *cos, const float *sin, size_t half);
    void (*attend)(const struct qn_attend *a);
    /* max, and sum of exp(x - max) in float64: log-sum-exp of logits. -INFINITY for n = 0. */
    double (*log_sum_exp)(const float *x, size_t n);
    void (*softmax)(float *x, size_t n);
    size_t (*argmax)(const float *x, size_t n); /* the first of equals; NaN is passed over */
    /* y[r] = row r of W · x + bias[r], r < rows; W of DTYPE F32, F16 or BF16, STRIDE elements
     * between rows; bias may be NULL. */
    void (*gemv)(enum qins_dtype dtype, float *y, const void *w, size_t stride, size_t rows,
                 size_t n, const float *x, const float *bias);
    /* The same from columns: y[c] = Σ x[r] W[r][c] + bias[c], c < n, r < rows. */
    void (*gemv_columns)(enum qins_dtype dtype, float *y, const void *w, size_t stride, size_t rows,
                         size_t n, const float *x, const float *bias);
    /* Widens n elements of F16 or BF16; a signalling NaN may come out quiet. */
    void (*widen)(enum qins_dtype dtype, float *dst, const void *src, size_t n);
    /* Adds ROWS rows of CHANNELS values, STRIDE apart; float64 sums in order of rows, the same
     * bits at each CPU level. Infinite values and NaN go into the sums, which show them for
     * good, but neither into the histogram nor into the counts; NaN not into min and max. */
    void (*moments)(struct qn_moment_sums *m, const float *x, size_t rows, size_t channels,
                    size_t stride);
};

/* The table for qn_cpu_level(). */
const struct qn_kernels *qn_kernels(void);
/* That of one level, NULL if this build or processor has it not. */
const struct qn_kernels *qn_kernels_of(enum qn_cpu_level level);

#endif
