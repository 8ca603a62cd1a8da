/* The mathematics of transports (docs/transport.md): what a method makes of the rows of one point,
 * in float64. No files, no names. */
#ifndef QINS_CONVERT_TRANSPORT_FIT_H
#define QINS_CONVERT_TRANSPORT_FIT_H

#include "formats/transport.h"

/* Pseudo-rows of a channel's fit, together, and the least share of one level: DESIGN 2.5's
 * measured choices. */
#define QN_FIT_PSEUDO_ROWS 300.0
#define QN_FIT_LEVEL_FLOOR 1e-4
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
};

/* A layer's input as a method sees it. */
struct qn_fit {
    struct qn_fit_choice choice;
    size_t channels;
    float scale;
    unsigned planes;
    double *coefficients; /* [planes][channels]; QN_SPLIT and the Jacobians */
    double *map;          /* QN_RIDGE: [planes][channels features][channels]: x ~ sum phi_k map_k */
    double *mean, *spot;  /* QN_JACOBIAN_TANGENT: mean input, and z there, [channels] */
    uint64_t clamped;     /* values that a clamp changed while it was fitted: Jacobians' divisors */
};
void qn_fit_finish(struct qn_fit *f); /* a zeroed one is accepted */

/* Fits on the fit rows. Channels that are always 0 or constant are handled: everything in *OUT is
 * finite. No rows, or a scale of 0, give the decoded values' own fit. */
enum qins_status qn_fit_make(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                             struct qn_fit *out, struct qins_error *err);

/* Codes of N inputs, 0 … 2 N as formats/codec/quant.h has them; returns how many were clipped. */
size_t qn_fit_encode(const struct qn_fit *f, const float *x, size_t n, uint16_t *codes);

/* What stands for x in the product: ROWS rows of [channels], float64: W times it is the layer's
 * native output. Not for the Jacobians, whose outputs have more to them. */
enum qins_status qn_fit_apply(const struct qn_fit *f, const float *x, size_t rows, double *out,
                              struct qins_error *err);

/* Outputs of a layer W[n_out][channels] for ROWS rows by any method, y[rows][n_out], without bias.
 * For a Jacobian MEAN_OUT[n_out] (the mean output over fit rows) and OUT_ALPHA, OUT_FLOOR set the
 * output's end (formats/transport.h). */
struct qn_fit_output {
    double *scale, *offset; /* [n_out] or NULL */
    double alpha, floor;
    uint64_t clamped; /* outputs that a clamp changed, added up by qn_fit_outputs() */
};
void qn_fit_output_finish(struct qn_fit_output *o);
/* What the method does behind the product; W float32 [n_out][channels]. */
enum qins_status qn_fit_output_make(const struct qn_fit *f, const struct qn_fit_rows *r,
                                    const float *w, size_t n_out, struct qn_fit_output *out,
                                    struct qins_error *err);
enum qins_status qn_fit_outputs(const struct qn_fit *f, struct qn_fit_output *o, const float *w,
                                size_t n_out, const float *x, size_t rows, double *y,
                                struct qins_error *err);

/* Mean |y' - y| over mean |y| of [rows][n_out], sums in float64; and the squared error of it over
 * the squared norm. 0/0 is 0. */
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
