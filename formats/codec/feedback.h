/* Rounding with error feedback: columns in turn, each one's error is made up for by those that
 * come after it, so that the sum over rows of (w - w') H (w - w')^T is small, H the Gram matrix of
 * the layer's input. Sources: Frantar et al. 2022 "GPTQ", arXiv:2210.17323; Chee et al. 2023
 * "QuIP", arXiv:2307.13304 (LDLQ). Kernels: no allocation; + - * / in a fixed order. */
#ifndef QINS_FORMATS_CODEC_FEEDBACK_H
#define QINS_FORMATS_CODEC_FEEDBACK_H

#include "formats/codec/quant.h"

/* How the rounding error of the j-th column spreads over those after it, of the same row: row j of
 * FACTOR, U[j][k] / U[j][j], where H^-1 = U^T U with U upper triangular, rows and columns of H
 * taken in ORDER. Read-only: threads share it. */
struct qn_feedback {
    const float *factor;   /* [n][n], row-major, above the diagonal; the rest is not read */
    const uint32_t *order; /* [n]: order[j] is the j-th column to be rounded; NULL: as they stand */
    uint32_t n;            /* input channels = row length */
};

/* Floats of work memory for rows of N elements. */
size_t qn_feedback_work(uint32_t n);

/* Codes of ROWS rows of n elements, each cut into groups of GROUP elements (the last may be
 * shorter). SCALES has one for each group, row by row, each finite and >= 0; the seed grid ignores
 * them, and SCALES may then be NULL. X is finite. For each row v = x (in ORDER), and for j = 0, 1
 * ... n - 1, in binary32, each operation rounded:
 *   codes[j] = qn_quantise(v[j]);  e = v[j] - qn_dequantise(codes[j]);
 *   for k = j + 1 ... n - 1:  v[k] = v[k] - e * factor[j][k].
 * What is pushed beyond the scale gets the outermost level, and its error feeds on. A row's codes
 * do not depend on the other rows. Returns the largest |x - decoded| of all. WORK holds
 * qn_feedback_work(n) floats. */
float qn_quantise_feedback(const struct qn_grid *g, const struct qn_feedback *f, const float *x,
                           size_t rows, const float *scales, uint32_t group, uint16_t *codes,
                           float *work);

#endif
