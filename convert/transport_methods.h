/* What the parts of convert/transport_fit.h share. */
#ifndef QINS_CONVERT_TRANSPORT_METHODS_H
#define QINS_CONVERT_TRANSPORT_METHODS_H

#include "convert/transport_fit.h"
#include "formats/codec/quant.h"

/* Sets what a choice decides; nothing is fitted, nothing allocated. */
enum qins_status qn_fit_start(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                              struct qn_fit *out, struct qins_error *err);
/* C's grid, which qn_fit_start() has checked. */
void qn_fit_grid(const struct qn_fit_choice *c, struct qn_grid *g);

/* The features of C by code, float64 [planes][2 N + 1]; NULL when out of memory. */
double *qn_fit_features(const struct qn_fit *f);

/* Y[rows][n_out] = X[rows][channels] W[n_out][channels]^T in float64. */
enum qins_status qn_fit_products(const double *x, size_t rows, size_t channels, const float *w,
                                 size_t n_out, double *y, struct qins_error *err);

/* X of part PART, widened; NULL when out of memory. */
double *qn_fit_widen(const struct qn_fit_rows *r, enum qn_row_part part);

/* f->coefficients and what else the Jacobians have, of a fit that was started. */
enum qins_status qn_fit_jacobian(const struct qn_fit_rows *r, struct qn_fit *f,
                                 struct qins_error *err);
enum qins_status qn_fit_jacobian_output(const struct qn_fit *f, const struct qn_fit_rows *r,
                                        const float *w, size_t n_out, struct qn_fit_output *out,
                                        struct qins_error *err);

#endif
