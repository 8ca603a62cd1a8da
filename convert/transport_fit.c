#include "convert/transport_fit.h"

#include "convert/transport_methods.h"
#include "core/linalg.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum {
    OUTPUT_BLOCK = 256, /* rows of W that are widened at a time, */
    DECODE_BLOCK = 256, /* and decoded values */
};

void qn_fit_finish(struct qn_fit *f)
{
    free(f->coefficients);
    free(f->map);
    free(f->mean);
    free(f->spot);
    *f = (struct qn_fit){0};
}

static unsigned count_planes(const struct qn_fit_choice *c)
{
    if (c->method == QN_DECODE)
        return 0;
    return qn_transport_is_jacobian(c->method) ? 1 : c->order + (c->sign_plane ? 1 : 0);
}

enum qins_status qn_fit_start(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                              struct qn_fit *out, struct qins_error *err)
{
    const float scale = c->clip * r->abs_max;
    *out = (struct qn_fit){.choice = *c, .channels = r->channels, .scale = scale};
    if (c->method != QN_SPLIT)
        out->choice.sign_plane = false;
    if (qn_transport_is_jacobian(c->method))
        out->choice.order = 1;
    if (c->method == QN_DECODE)
        out->choice.order = 0;
    out->planes = count_planes(&out->choice);
    if (c->method >= QN_TRANSPORT_METHODS || out->choice.order > QN_TRANSPORT_ORDER ||
        (c->method != QN_DECODE && out->choice.order < 1))
        return qn_fail(err, QINS_ERR_USAGE, "the order of a transport is 1 to %d",
                       QN_TRANSPORT_ORDER);
    if (c->levels < QN_MIN_LEVELS || c->levels > QN_MAX_LEVELS ||
        !(c->kappa >= 0.0F && c->kappa <= QN_MAX_KAPPA))
        return qn_fail(err, QINS_ERR_USAGE, "levels or kappa of a transport are out of range");
    if (!(scale >= 0.0F && scale <= FLT_MAX))
        return qn_fail(err, QINS_ERR_USAGE, "the scale of a transport is out of range");
    return QINS_OK;
}

void qn_fit_grid(const struct qn_fit_choice *c, struct qn_grid *g)
{
    qn_grid_init(g, QN_GRID_QINS, c->levels, c->kappa);
}

/* Of plane K at t >= 0. */
static double feature(const struct qn_fit_choice *c, unsigned k, double t)
{
    const double kappa = (double)c->kappa;
    double power = t;
    if (qn_transport_is_jacobian(c->method))
        return 1.0 - kappa * t / (1.0 + kappa);
    if (k == c->order)
        return 1.0;
    for (unsigned i = 0; i < k; i++)
        power *= t;
    return power;
}

double *qn_fit_features(const struct qn_fit *f)
{
    const size_t levels = f->choice.levels, codes = 2 * levels + 1;
    double *table = calloc(codes, (f->planes + 1) * sizeof *table);
    for (unsigned k = 0; k < f->planes && table; k++)
        for (size_t l = 0; l <= levels; l++) {
            const double phi = feature(&f->choice, k, (double)l / (double)levels);
            table[k * codes + levels - l] = -phi;
            table[k * codes + levels + l] = phi; /* also of l = 0: sgn(0) = +1 */
        }
    return table;
}

double *qn_fit_widen(const struct qn_fit_rows *r, enum qn_row_part part)
{
    const size_t n = r->rows[part] * r->channels;
    double *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n && x; i++)
        x[i] = (double)r->x[part][i];
    return x;
}

static enum qins_status make_decode(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                                    struct qn_fit *out, struct qins_error *err)
{
    return qn_fit_start(r, c, out, err);
}

static enum qins_status make_jacobian(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                                      struct qn_fit *out, struct qins_error *err)
{
    enum qins_status st = qn_fit_start(r, c, out, err);
    return st == QINS_OK ? qn_fit_jacobian(r, out, err) : st;
}

static enum qins_status make_split(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                                   struct qn_fit *out, struct qins_error *err)
{
    struct qn_fit fits[QN_TRANSPORT_ORDER] = {{.channels = 0}};
    *out = (struct qn_fit){0};
    const enum qins_status st = qn_fit_make_orders(r, c, fits, err);
    if (st == QINS_OK) {
        *out = fits[c->order - 1];
        fits[c->order - 1] = (struct qn_fit){0};
    }
    for (unsigned i = 0; i < QN_TRANSPORT_ORDER; i++)
        qn_fit_finish(&fits[i]);
    return st;
}

static enum qins_status make_ridge(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                                   struct qn_fit *out, struct qins_error *err)
{
    struct qn_ridge *ridge = NULL;
    *out = (struct qn_fit){0};
    enum qins_status st = qn_ridge_create(r, c, &ridge, err);
    if (st == QINS_OK)
        st = qn_ridge_solve(ridge, c->ridge, out, err);
    qn_ridge_destroy(ridge);
    return st;
}

enum qins_status qn_fit_make(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                             struct qn_fit *out, struct qins_error *err)
{
    switch (c->method) {
    case QN_SPLIT:
        return make_split(r, c, out, err);
    case QN_RIDGE:
        return make_ridge(r, c, out, err);
    case QN_JACOBIAN_LITERAL:
    case QN_JACOBIAN_TANGENT:
        return make_jacobian(r, c, out, err);
    default:
        return make_decode(r, c, out, err);
    }
}

size_t qn_fit_encode(const struct qn_fit *f, const float *x, size_t n, uint16_t *codes)
{
    struct qn_grid grid;
    size_t clipped = 0;
    qn_fit_grid(&f->choice, &grid);
    qn_quantise(&grid, f->scale, x, n, codes);
    for (size_t i = 0; i < n; i++)
        clipped += fabsf(x[i]) > f->scale;
    return clipped;
}

/* Of one row, features looked up in TABLE. */
static void combine(const struct qn_fit *f, const double *table, const uint16_t *codes, double *out)
{
    const size_t n = f->channels, step = 2 * (size_t)f->choice.levels + 1;
    for (size_t j = 0; j < n; j++)
        out[j] = 0;
    for (unsigned k = 0; k < f->planes; k++)
        for (size_t j = 0; j < n; j++)
            out[j] += f->coefficients[k * n + j] * table[k * step + codes[j]];
}

/* PHI[planes][channels] of one row. */
static void look_up(const struct qn_fit *f, const double *table, const uint16_t *codes, double *phi)
{
    const size_t n = f->channels, step = 2 * (size_t)f->choice.levels + 1;
    for (unsigned k = 0; k < f->planes; k++)
        for (size_t j = 0; j < n; j++)
            phi[k * n + j] = table[k * step + codes[j]];
}

static void decode_row(const struct qn_fit *f, const struct qn_grid *g, const uint16_t *codes,
                       double *out)
{
    float values[DECODE_BLOCK];
    for (size_t j = 0; j < f->channels; j += DECODE_BLOCK) {
        const size_t count = f->channels - j < DECODE_BLOCK ? f->channels - j : DECODE_BLOCK;
        qn_dequantise(g, f->scale, codes + j, count, values);
        for (size_t i = 0; i < count; i++)
            out[j + i] = (double)values[i];
    }
}

enum qins_status qn_fit_apply(const struct qn_fit *f, const float *x, size_t rows, double *out,
                              struct qins_error *err)
{
    const size_t n = f->channels, features = f->planes * n;
    struct qn_grid grid;
    uint16_t *codes = malloc((n + 1) * sizeof *codes);
    double *table = qn_fit_features(f);
    double *phi = f->map ? malloc((rows * features + 1) * sizeof *phi) : NULL;
    enum qins_status st = QINS_OK;

    qn_fit_grid(&f->choice, &grid);
    if (!codes || !table || (f->map && !phi))
        st = qn_fail_memory(err);
    for (size_t i = 0; i < rows && st == QINS_OK; i++) {
        qn_quantise(&grid, f->scale, x + i * n, n, codes);
        if (f->map)
            look_up(f, table, codes, phi + i * features);
        else if (f->choice.method == QN_DECODE)
            decode_row(f, &grid, codes, out + i * n);
        else
            combine(f, table, codes, out + i * n);
    }
    if (st == QINS_OK && f->map && rows > 0)
        qn_dgemm(false, true, rows, n, features, 1.0, phi, features, f->map, features, 0.0, out, n);
    free(phi);
    free(table);
    free(codes);
    return st;
}

enum qins_status qn_fit_products(const double *x, size_t rows, size_t channels, const float *w,
                                 size_t n_out, double *y, struct qins_error *err)
{
    double *block = malloc((OUTPUT_BLOCK * channels + 1) * sizeof *block);
    if (!block)
        return qn_fail_memory(err);
    for (size_t first = 0; first < n_out && rows > 0; first += OUTPUT_BLOCK) {
        const size_t count = n_out - first < OUTPUT_BLOCK ? n_out - first : OUTPUT_BLOCK;
        for (size_t i = 0; i < count * channels; i++)
            block[i] = (double)w[first * channels + i];
        qn_dgemm(false, true, rows, count, channels, 1.0, x, channels, block, channels, 0.0,
                 y + first, n_out);
    }
    free(block);
    return QINS_OK;
}
