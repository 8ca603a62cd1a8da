/* The QINS quantiser: a one-parameter Moebius curve of the magnitude. Kernels: no allocation.
 *
 * A group of weights has one scale s > 0 (or 0: every weight is zero). With N levels a sign,
 *   encode  u = min(|x| / s, 1),  t = (1 + k) u / (1 + k u),  l = round(N t)
 *   decode  |x| = s * T[l],  T[l] = t / (1 + k (1 - t)),  t = l / N
 * in binary32 arithmetic in exactly the order that quant.c spells, so that codes and values
 * are the same on every machine. A code is N + l for x >= 0 and N - l for x < 0, so zero has
 * one code, N, and codes lie in 0 ... 2N.
 *
 * The seed grid (studies only) is uniform in z = 1/(1 + alpha |x|) between 0 and 1:
 *   l = min(round(N alpha|x| / (1 + alpha|x|)), N - 1),  |x| = T[l] / alpha, T[l] = t / (1-t).
 */
#ifndef QINS_FORMATS_CODEC_QUANT_H
#define QINS_FORMATS_CODEC_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QN_MIN_LEVELS = 1,    /* 2 bits: -1 0 1 */
    QN_MAX_LEVELS = 2047, /* 12 bits; codes 0 ... 4094 */
};

/* Bounds of kappa and of the seed grid's alpha: wide for any weights, and no intermediate of
 * quant.c overflows within them. */
#define QN_MAX_KAPPA 65536.0f
#define QN_MIN_ALPHA 0x1p-64f
#define QN_MAX_ALPHA 0x1p+64f

enum qn_grid_kind { QN_GRID_QINS = 1, QN_GRID_SEED = 2 };

struct qn_grid {
    enum qn_grid_kind kind;
    unsigned levels; /* N */
    float kappa;     /* 0 ... QN_MAX_KAPPA; for the seed grid alpha */
    /* By code: T[l] with the sign of x; for the seed grid divided by alpha. The seed grid's
     * pole, codes 0 and 2 * levels, is 0 here. */
    float value[2 * QN_MAX_LEVELS + 1];
};

/* False if a parameter is out of range or not finite. */
bool qn_grid_init(struct qn_grid *g, enum qn_grid_kind kind, unsigned levels, float kappa);

/* Largest magnitude; *finite is cleared if any value is NaN or infinite (then the result is
 * unspecified). */
float qn_abs_max(const float *x, size_t n, bool *finite);

/* Codes of N values of one group. SCALE is finite, >= 0; for the seed grid it is ignored. A
 * NaN gets the code of a large magnitude: callers who mind look at qn_abs_max() first. */
void qn_quantise(const struct qn_grid *g, float scale, const float *x, size_t n, uint16_t *codes);
/* Values of N codes of one group; codes must be <= 2 * levels, and neither 0 nor 2 * levels for
 * the seed grid. */
void qn_dequantise(const struct qn_grid *g, float scale, const uint16_t *codes, size_t n, float *x);

/* Bits that hold the codes 0 ... 2 * levels. */
unsigned qn_code_bits(unsigned levels);

#endif
