/* Rounding with error feedback: columns in turn, each one's error is made up for by those that
 * come after it, so that sum over rows of (w - w') H (w - w')^T is small, H the Gram
 * matrix of the layer's input. Sources: Frantar et al. 2022 "GPTQ", arXiv:2210.17323; Chee et al.
 * 2023 "QuIP", arXiv:2307.13304 (LDLQ). Kernels: no allocation; + - * / in a fixed order. */
#ifndef QINS_FORMATS_CODEC_FEEDBACK_H
#define QINS_FORMATS_CODEC_FEEDBACK_H

#include "formats/codec/quant.h"

/* How the rounding error of column j spreads over columns j + 1 ... n - 1 of the same row: row j of
 * FACTOR, U[j][k] / U[j][j], where H^-1 = U^T U with U upper triangular. Read-only: threads
 * share it. */
struct qn_feedback {
    const float *factor; /* [n][n], row-major, above the diagonal; the rest is not read */
    uint32_t n;          /* input channels = row length */
};

/* Codes of one row of n elements, cut into groups of GROUP elements (the last may be shorter) with
 * SCALES, one a group. WORK holds n floats. Returns the largest |x - decoded| of the row. */
float qn_quantise_feedback(const struct qn_grid *g, const struct qn_feedback *f,
                           const float *scales, uint32_t group, const float *x, uint16_t *codes,
                           float *work);

#endif
