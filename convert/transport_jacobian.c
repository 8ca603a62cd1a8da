/* The Jacobian formulas, about the mean input of the fit rows. With d = 1 + alpha |x|,
 *     E(x) = sgn(x) / d,  J_E(x) = -alpha / d^2,  J_D(E(x)) = -d^2 / alpha = 1 / J_E(x). */
#include "convert/transport_methods.h"

#include <math.h>
#include <stdlib.h>

/* The least |z| that is divided by: as in the printed formula's own code. */
#define LEAST_Z 1e-12

static double sign(double x)
{
    return x < 0 ? -1.0 : 1.0;
}

static double encode(double x, double alpha)
{
    return sign(x) / (1.0 + alpha * fabs(x));
}

/* J_D where z = E(x); *CLAMPED counts. */
static double decode_slope(double x, double alpha, uint64_t *clamped)
{
    double z = fabs(encode(x, alpha));
    if (!(z >= LEAST_Z)) {
        z = LEAST_Z;
        ++*clamped;
    }
    return -1.0 / (alpha * z * z);
}

static void means(const double *x, size_t rows, size_t n, double *mean)
{
    for (size_t j = 0; j < n; j++)
        mean[j] = 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            mean[j] += x[i * n + j];
    for (size_t j = 0; j < n && rows > 0; j++)
        mean[j] /= (double)rows;
}

static double input_alpha(const struct qn_fit *f)
{
    return (double)f->choice.kappa / (double)f->scale;
}

/* Where there is nothing to be tangent to, inputs count for nothing. */
static bool is_empty(const struct qn_fit *f, const struct qn_fit_rows *r)
{
    return !(f->scale > 0.0F) || r->rows[QN_ROWS_FIT] == 0;
}

enum qins_status qn_fit_jacobian(const struct qn_fit_rows *r, struct qn_fit *f,
                                 struct qins_error *err)
{
    const size_t n = f->channels;
    if (!(f->choice.kappa > 0.0F))
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "the Jacobian methods need a kappa above 0: at 0, z is only a sign");
    double *x = qn_fit_widen(r, QN_ROWS_FIT);
    f->coefficients = calloc(n + 1, sizeof *f->coefficients);
    f->mean = calloc(n + 1, sizeof *f->mean);
    f->spot = calloc(n + 1, sizeof *f->spot);
    if (!x || !f->coefficients || !f->mean || !f->spot) {
        free(x);
        return qn_fail_memory(err);
    }
    means(x, r->rows[QN_ROWS_FIT], n, f->mean);
    free(x);
    for (size_t j = 0; j < n && !is_empty(f, r); j++) {
        const double alpha = input_alpha(f);
        const double slope = decode_slope(f->mean[j], alpha, &f->clamped);
        f->spot[j] = encode(f->mean[j], alpha);
        f->coefficients[j] = slope;
        if (f->choice.method == QN_JACOBIAN_LITERAL && !f->choice.square)
            f->coefficients[j] *= slope; /* J_D / J_E */
    }
    return QINS_OK;
}

/* Outputs of the fit rows: their means and largest magnitude. */
static enum qins_status look_at_outputs(const struct qn_fit_rows *r, const float *w, size_t n_out,
                                        double *mean, double *largest, struct qins_error *err)
{
    const size_t rows = r->rows[QN_ROWS_FIT];
    double *x = qn_fit_widen(r, QN_ROWS_FIT);
    double *y = malloc((rows * n_out + 1) * sizeof *y);
    enum qins_status st;
    if (!x || !y) {
        st = qn_fail_memory(err);
        goto done;
    }
    st = qn_fit_products(x, rows, r->channels, w, n_out, y, err);
    if (st != QINS_OK)
        goto done;
    *largest = 0;
    for (size_t i = 0; i < rows * n_out; i++)
        *largest = fmax(*largest, fabs(y[i]));
    means(y, rows, n_out, mean);
done:
    free(y);
    free(x);
    return st;
}

/* z_y = E(mean) + J_E(mean) W J_D (z - spot), output by output. */
static void make_tangent(const struct qn_fit *f, const float *w, size_t n_out, const double *mean,
                         struct qn_fit_output *out)
{
    for (size_t i = 0; i < n_out && out->alpha > 0; i++) {
        const double z = encode(mean[i], out->alpha);
        double at_spot = 0;
        for (size_t j = 0; j < f->channels; j++)
            at_spot += (double)w[i * f->channels + j] * f->coefficients[j] * f->spot[j];
        out->scale[i] = -out->alpha * z * z;
        out->offset[i] = z - out->scale[i] * at_spot;
    }
}

static enum qins_status make_literal(const struct qn_fit *f, const struct qn_fit_rows *r,
                                     size_t n_out, struct qn_fit_output *out,
                                     struct qins_error *err)
{
    const bool empty = is_empty(f, r);
    uint64_t clamped = 0; /* the same as the fit's own */
    if (!f->choice.square) {
        free(out->scale);
        out->scale = NULL;
        return QINS_OK;
    }
    if (n_out != f->channels)
        return qn_fail(err, QINS_ERR_USAGE,
                       "a layer of %zu inputs and %zu outputs was fitted as square", f->channels,
                       n_out);
    for (size_t i = 0; i < n_out && !empty; i++)
        out->scale[i] = decode_slope(f->mean[i], input_alpha(f), &clamped);
    return QINS_OK;
}

enum qins_status qn_fit_jacobian_output(const struct qn_fit *f, const struct qn_fit_rows *r,
                                        const float *w, size_t n_out, struct qn_fit_output *out,
                                        struct qins_error *err)
{
    const bool tangent = f->choice.method == QN_JACOBIAN_TANGENT;
    double largest = 0;
    double *mean = calloc(n_out + 1, sizeof *mean);
    out->scale = calloc(n_out + 1, sizeof *out->scale);
    out->offset = tangent ? calloc(n_out + 1, sizeof *out->offset) : NULL;
    enum qins_status st = QINS_OK;
    if (!mean || !out->scale || (tangent && !out->offset)) {
        st = qn_fail_memory(err);
        goto done;
    }
    if (!is_empty(f, r))
        st = look_at_outputs(r, w, n_out, mean, &largest, err);
    if (st == QINS_OK && largest > 0) {
        out->alpha = tangent ? (double)f->choice.kappa / largest : input_alpha(f);
        out->floor = 1.0 / (1.0 + out->alpha * largest);
    }
    if (st == QINS_OK && tangent)
        make_tangent(f, w, n_out, mean, out);
    else if (st == QINS_OK)
        st = make_literal(f, r, n_out, out, err);
done:
    free(mean);
    return st;
}
