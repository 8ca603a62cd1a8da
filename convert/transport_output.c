/* What comes behind the product; errors; and fits as transports store them. */
#include "convert/transport_methods.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

void qn_fit_output_finish(struct qn_fit_output *o)
{
    free(o->scale);
    free(o->offset);
    *o = (struct qn_fit_output){0};
}

enum qins_status qn_fit_output_make(const struct qn_fit *f, const struct qn_fit_rows *r,
                                    const float *w, size_t n_out, struct qn_fit_output *out,
                                    struct qins_error *err)
{
    *out = (struct qn_fit_output){0};
    if (!qn_transport_is_jacobian(f->choice.method))
        return QINS_OK;
    return qn_fit_jacobian_output(f, r, w, n_out, out, err);
}

/* D of Z, its magnitude clamped. */
static double decode(struct qn_fit_output *o, double z)
{
    const double given = fabs(z), m = fmin(fmax(given, o->floor), 1.0);
    const double x = (1.0 - m) / (o->alpha * m);
    o->clamped += m != given;
    return z < 0 ? -x : x;
}

static void finish_outputs(struct qn_fit_output *o, size_t n_out, size_t rows, double *y)
{
    for (size_t i = 0; i < rows * n_out; i++) {
        const size_t j = i % n_out;
        if (o->scale)
            y[i] *= o->scale[j];
        if (o->offset)
            y[i] += o->offset[j];
        if (o->alpha > 0)
            y[i] = decode(o, y[i]);
    }
}

enum qins_status qn_fit_outputs(const struct qn_fit *f, struct qn_fit_output *o, const float *w,
                                size_t n_out, const float *x, size_t rows, double *y,
                                struct qins_error *err)
{
    double *values = malloc((rows * f->channels + 1) * sizeof *values);
    enum qins_status st = QINS_OK;
    if (!values)
        st = qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_fit_apply(f, x, rows, values, err);
    if (st == QINS_OK)
        st = qn_fit_products(values, rows, f->channels, w, n_out, y, err);
    if (st == QINS_OK && o && (o->scale || o->offset || o->alpha > 0))
        finish_outputs(o, n_out, rows, y);
    free(values);
    return st;
}

/* 0/0 is 0; anything else stays finite. */
static double ratio(double a, double b)
{
    if (a == 0)
        return 0;
    return b > 0 ? fmin(a / b, DBL_MAX) : DBL_MAX;
}

struct qn_fit_error qn_fit_compare(const double *y, const double *native, size_t n)
{
    double error = 0, sum = 0, squared_error = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = native[i] - y[i];
        error += fabs(d);
        sum += fabs(y[i]);
        squared_error += d * d;
        squares += y[i] * y[i];
    }
    return (struct qn_fit_error){ratio(error, sum), ratio(squared_error, squares)};
}

/* N float32 of X into *OUT; NULL stays NULL. */
static enum qins_status store(const double *x, size_t n, float **out, struct qins_error *err)
{
    *out = NULL;
    if (!x)
        return QINS_OK;
    *out = malloc((n + 1) * sizeof **out);
    if (!*out)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = qn_transport_narrow(x[i]);
    return QINS_OK;
}

enum qins_status qn_fit_store_input(const struct qn_fit *f, struct qn_transport_input *in,
                                    struct qins_error *err)
{
    in->channels = (uint32_t)f->channels;
    in->method = f->choice.method;
    in->order = f->choice.order;
    in->sign_plane = f->choice.sign_plane;
    in->levels = f->choice.levels;
    in->kappa = f->choice.kappa;
    in->scale = f->scale;
    return store(f->coefficients, f->planes * f->channels, &in->coefficients, err);
}

/* W diag(c_k), as where they are made from stored coefficients (model/native.c). */
static void split_planes(const struct qn_fit *f, const float *w, size_t n_out, float *planes)
{
    const size_t n = f->channels, features = n * f->planes;
    for (size_t i = 0; i < n_out; i++)
        for (size_t k = 0; k < features; k++)
            planes[i * features + k] =
                qn_transport_product(w[i * n + k % n], qn_transport_narrow(f->coefficients[k]));
}

/* W times the map, [channels][features]. */
static enum qins_status ridge_planes(const struct qn_fit *f, const float *w, size_t n_out,
                                     float *planes, struct qins_error *err)
{
    const size_t n = f->channels, features = n * f->planes;
    double *columns = calloc(features * n + 1, sizeof *columns); /* the map's, as rows */
    double *product = malloc((features * n_out + 1) * sizeof *product);
    enum qins_status st;
    if (!columns || !product) {
        st = qn_fail_memory(err);
        goto done;
    }
    for (size_t i = 0; i < features; i++)
        for (size_t j = 0; j < n; j++)
            columns[i * n + j] = f->map[j * features + i];
    st = qn_fit_products(columns, features, n, w, n_out, product, err);
    for (size_t i = 0; i < n_out && st == QINS_OK; i++)
        for (size_t k = 0; k < features; k++)
            planes[i * features + k] = qn_transport_narrow(product[k * n_out + i]);
done:
    free(product);
    free(columns);
    return st;
}

static enum qins_status store_planes(const struct qn_fit *f, const float *w, size_t n_out,
                                     float **out, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    float *planes = malloc((n_out * f->channels * f->planes + 1) * sizeof *planes);
    if (!planes)
        return qn_fail_memory(err);
    if (f->map)
        st = ridge_planes(f, w, n_out, planes, err);
    else
        split_planes(f, w, n_out, planes);
    if (st == QINS_OK)
        *out = planes;
    else
        free(planes);
    return st;
}

enum qins_status qn_fit_store_layer(const struct qn_fit *f, const struct qn_fit_output *o,
                                    const float *w, size_t n_out, bool materialize,
                                    struct qn_transport_layer *layer, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    layer->out = (uint32_t)n_out;
    if (f->map || (materialize && f->planes > 0))
        st = store_planes(f, w, n_out, &layer->planes, err);
    if (st == QINS_OK && o)
        st = store(o->scale, n_out, &layer->output_scale, err);
    if (st == QINS_OK && o)
        st = store(o->offset, n_out, &layer->output_offset, err);
    if (o) {
        layer->output_alpha = qn_transport_narrow(o->alpha);
        layer->output_floor = qn_transport_narrow(o->floor);
    }
    return st;
}
