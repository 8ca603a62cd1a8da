/* What a product by packed weights must come to, whatever payload they are from: for unit tests and
 * a fuzz target. */
#ifndef QINS_TESTS_PACKED_CHECKING_H
#define QINS_TESTS_PACKED_CHECKING_H

#include "model/packed.h"

#include <math.h>

/* The most that a product of a weight and an input in fixed point is off, as a share of the
 * weight's scale times the largest input. With U = QN_PACKED_UNIT: a weight's number is off by 1.5
 * at most, (0.5 + 1) / U, an input's by 0.5 / U, and what is left out, Vl Xl / 256, is up to
 * 64 * 256 / U^2. */
#define PACKED_ERROR 8e-5
/* Of sums in float32, as a share of the magnitudes of what is added: of rows up to 2^12. */
#define PACKED_ROUNDING 1e-4
/* Sums of which none is near the ends of float32. */
#define PACKED_MOST  1e36
#define PACKED_LEAST 1e-33

/* Whether Y, ROW's product with X, is as near to that of its decoded VALUES as R can be. */
static inline bool packed_product_holds(const struct qn_packed *p, const struct qn_packed_run *r,
                                        size_t row, const float *values, const float *x, float y)
{
    const float *scales = r->scales + row * r->row_scales;
    double sum = 0, magnitude = 0, largest = 0, scale = 0;
    for (size_t i = 0; i < p->in; i++) {
        const double product = (double)values[i] * (double)x[i];
        sum += product;
        magnitude += fabs(product);
        largest = fmax(largest, fabs((double)x[i]));
        scale += (double)scales[r->row_scales ? i / r->group : 0];
    }
    const double fixed = r->fixed ? scale * largest : 0;
    if (!(magnitude + fixed < PACKED_MOST))
        return true;
    return fabs((double)y - sum) <=
           PACKED_ERROR * fixed + PACKED_ROUNDING * magnitude + PACKED_LEAST;
}

/* The same of all rows, with N inputs: VALUES[out][in], X[n][in], Y[n][out]. */
static inline bool packed_products_hold(const struct qn_packed *p, const float *values,
                                        const float *x, size_t n, const float *y)
{
    for (size_t i = 0; i < p->n_runs; i++) {
        const struct qn_packed_run *r = &p->runs[i];
        for (size_t row = 0; row < r->rows; row++)
            for (size_t k = 0; k < n; k++) {
                const size_t at = r->first + row;
                if (!packed_product_holds(p, r, row, values + at * p->in, x + k * p->in,
                                          y[k * p->out + at]))
                    return false;
            }
    }
    return true;
}

#endif
