/* A matrix of a model as a uniform grid would have it. */
#ifndef QINS_CONVERT_PERTURB_H
#define QINS_CONVERT_PERTURB_H

#include "model/weights.h"

struct qn_perturbed {
    float *data;     /* as the matrix is stored, same stride, 64-byte aligned; heap */
    unsigned levels; /* of the grid: kappa 0, one scale, the largest magnitude */
    double error;    /* sum of squared errors */
};

/* *OUT is X rounded to the nearest of the grid whose codes have an order-0 entropy as close to BITS
 * as can be. QINS_ERR_FORMAT, naming the tensor, where a weight is not finite. */
enum qins_status qn_perturb(const struct qn_matrix *x, double bits, struct qn_perturbed *out,
                            struct qins_error *err);
void qn_perturbed_finish(struct qn_perturbed *p); /* a zeroed one is accepted */

#endif
