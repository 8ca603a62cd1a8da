/* The mathematics of transports (docs/transport.md): what a method makes of the rows of one point,
 * in float64. No files, no names. */
#ifndef QINS_CONVERT_TRANSPORT_FIT_H
#define QINS_CONVERT_TRANSPORT_FIT_H

#include "formats/transport.h"

/* Pseudo-rows of a channel's fit, together, and the least share of one signed level. Measured: a
 * floor of 1e-4 gives levels that next to no rows reach a fortieth of the pseudo-rows, and order 4
 * at kappa 3 errs by a tenth more on test rows. */
#define QN_FIT_PSEUDO_ROWS 300.0
#define QN_FIT_LEVEL_FLOOR 1e-6
/* n_in * order of a joint fit at most: its Gram matrix is 512 MiB. */
enum { QN_RIDGE_FEATURES = 8192 };

/* Rows of one point, float32 [rows][channels], by part of the kept rows. */
struct qn_fit_rows {
    const float *x[3]; /* by enum qn_row_part */
    size_t rows[3];
    size_t channels;
    float abs_max; /* over all rows that the calibration saw, kept or not */
};

struct qn_fit_choice {
    enum qn_transport_method method;
    unsigned order; /* 1 … QN_TRANSPORT_ORDER */
    bool sign_plane;
    unsigned levels;
    float kappa;
    float clip;   /* scale = clip * abs_max */
    double ridge; /* QN_RIDGE: lambda over the mean diagonal of the features' Gram matrix */
    /* QN_JACOBIAN_LITERAL: every layer of the input is square, so that J_D acts on outputs; else
     * both Jacobians act on the input. */
    bool square;
};

/* A layer's input as a method sees it. */
struct qn_fit {
    struct qn_fit_choice choice;
    size_t channels;
    float scale;
    unsigned planes;
    double *coefficients; /* [planes][channels]; QN_SPLIT and the Jacobians */
    double *map;          /* QN_RIDGE: [channels][planes][channels features]: x ~ map phi */
    double *mean, *spot;  /* QN_JACOBIAN_TANGENT: mean input, and z there, [channels] */
    uint64_t clamped;     /* values that a clamp changed while it was fitted: Jacobians' divisors */
};
void qn_fit_finish(struct qn_fit *f); /* a zeroed one is accepted */

/* Fits on the fit rows. Channels that are always 0 or constant are handled: everything in *OUT is
 * finite. No rows, or a scale of 0, give the decoded values' own fit; of the Jacobians outputs of
 * 0. QINS_ERR_UNSUPPORTED for a Jacobian at kappa 0, where z is a mere sign, and for a ridge of
 * more than QN_RIDGE_FEATURES features. *OUT is to be finished, on failure too. Safe from several
 * threads on different *OUT. QN_RIDGE, and everything below that makes products, needs
 * qn_linalg_init() before. */
enum qins_status qn_fit_make(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                             struct qn_fit *out, struct qins_error *err);

/* QN_SPLIT of every order 1 … c->order for the price of the last: OUT[order - 1]. */
enum qins_status qn_fit_make_orders(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                                    struct qn_fit *out, struct qins_error *err);

/* QN_RIDGE for several lambdas: what they share is made once. c->ridge is not looked at. */
struct qn_ridge;
enum qins_status qn_ridge_create(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                                 struct qn_ridge **out, struct qins_error *err);
/* LAMBDA as in struct qn_fit_choice, >= 0; infinity gives split. A Gram matrix that is not
 * positive definite with it gets as much more as it needs. One thread at a time for each *R. */
enum qins_status qn_ridge_solve(struct qn_ridge *r, double lambda, struct qn_fit *out,
                                struct qins_error *err);
void qn_ridge_destroy(struct qn_ridge *r); /* accepts NULL */

/* Codes of N inputs, 0 … 2 N as formats/codec/quant.h has them; returns how many were clipped. */
size_t qn_fit_encode(const struct qn_fit *f, const float *x, size_t n, uint16_t *codes);

/* What stands for x in the product: ROWS rows of [channels], float64: W times it is the layer's
 * native output. Of the Jacobians, whose outputs have more to them, z times the coefficients. */
enum qins_status qn_fit_apply(const struct qn_fit *f, const float *x, size_t rows, double *out,
                              struct qins_error *err);

/* The end of a layer behind the product (formats/transport.h). With an alpha set to 0 it leaves
 * out D: the second figure of QN_JACOBIAN_LITERAL. */
struct qn_fit_output {
    double *scale, *offset; /* [n_out] or NULL for 1 and 0 */
    double alpha, floor;
    uint64_t clamped; /* outputs that a clamp changed, added up by qn_fit_outputs() */
};
void qn_fit_output_finish(struct qn_fit_output *o); /* a zeroed one is accepted */
/* What the method does behind the product; W float32 [n_out][channels]. The floor of |z| is that
 * of the largest output of fit rows. *OUT is to be finished, on failure too. */
enum qins_status qn_fit_output_make(const struct qn_fit *f, const struct qn_fit_rows *r,
                                    const float *w, size_t n_out, struct qn_fit_output *out,
                                    struct qins_error *err);
/* Outputs of a layer for ROWS rows by any method, y[rows][n_out], without bias; O may be NULL for
 * methods that have no end. */
enum qins_status qn_fit_outputs(const struct qn_fit *f, struct qn_fit_output *o, const float *w,
                                size_t n_out, const float *x, size_t rows, double *y,
                                struct qins_error *err);

/* Mean |y' - y| over mean |y| of [rows][n_out], sums in float64; and the squared error of it over
 * the squared norm. 0/0 is 0; more than DBL_MAX, as anything over 0, is DBL_MAX. */
struct qn_fit_error {
    double relative; /* mean |dy| / mean |y| */
    double squared;  /* sum dy^2 / sum y^2 */
};
struct qn_fit_error qn_fit_compare(const double *y, const double *native, size_t n);

/* Puts the fit into IN (method, order, …, coefficients as float32; name is the caller's) and, for
 * a layer, planes (QN_RIDGE: W times the map; any method with MATERIALIZE) and output's end into
 * LAYER. */
enum qins_status qn_fit_store_input(const struct qn_fit *f, struct qn_transport_input *in,
                                    struct qins_error *err);
enum qins_status qn_fit_store_layer(const struct qn_fit *f, const struct qn_fit_output *o,
                                    const float *w, size_t n_out, bool materialize,
                                    struct qn_transport_layer *layer, struct qins_error *err);

#endif
