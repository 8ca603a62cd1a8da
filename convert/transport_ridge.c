/* Ridge: every channel from the features of all. It solves for what split leaves over, so that a
 * large regulariser gives split. With features PHI of the fit rows and residuals R,
 *     map = split + R^T PHI (PHI^T PHI + lambda)^-1
 *         = split + R^T (PHI PHI^T + lambda)^-1 PHI     where rows are fewer than features. */
#include "convert/transport_methods.h"
#include "core/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct qn_ridge {
    struct qn_fit split;          /* with the choice of the ridge */
    size_t rows, features, order; /* order: of the Gram matrix, the lesser of both */
    double *phi;                  /* [rows][features] */
    double *gram;                 /* [order][order], upper triangle */
    double *sides;                /* [channels][order]: right sides */
    double mean_diagonal;         /* of PHI^T PHI */
};

void qn_ridge_destroy(struct qn_ridge *r)
{
    if (!r)
        return;
    qn_fit_finish(&r->split);
    free(r->phi);
    free(r->gram);
    free(r->sides);
    free(r);
}

/* PHI, the Gram matrix's diagonal, and what split leaves over, [rows][channels]. */
static enum qins_status look_at_rows(struct qn_ridge *r, const struct qn_fit_rows *in,
                                     double *residual, struct qins_error *err)
{
    const size_t n = in->channels, step = 2 * (size_t)r->split.choice.levels + 1;
    const float *x = in->x[QN_ROWS_FIT];
    double *table = qn_fit_features(&r->split);
    uint16_t *codes = malloc((n + 1) * sizeof *codes);
    double trace = 0;
    enum qins_status st;
    if (!table || !codes) {
        st = qn_fail_memory(err);
        goto done;
    }
    for (size_t i = 0; i < r->rows; i++) {
        double *phi = r->phi + i * r->features;
        qn_fit_encode(&r->split, x + i * n, n, codes);
        for (size_t f = 0; f < r->features; f++) {
            phi[f] = table[f / n * step + codes[f % n]];
            trace += phi[f] * phi[f];
        }
    }
    r->mean_diagonal = trace / (double)r->features;
    st = qn_fit_apply(&r->split, x, r->rows, residual, err);
    for (size_t i = 0; i < r->rows * n && st == QINS_OK; i++)
        residual[i] = (double)x[i] - residual[i];
done:
    free(codes);
    free(table);
    return st;
}

static void make_equations(struct qn_ridge *r, const double *residual)
{
    const size_t n = r->split.channels;
    if (r->order < r->features) {
        qn_dsyrk_rows_upper(r->rows, r->features, r->phi, r->features, r->gram, r->order);
        for (size_t i = 0; i < r->rows; i++)
            for (size_t j = 0; j < n; j++)
                r->sides[j * r->rows + i] = residual[i * n + j];
        return;
    }
    qn_dsyrk_upper(r->features, r->rows, r->phi, r->features, r->gram, r->order);
    qn_dgemm(true, false, n, r->features, r->rows, 1.0, residual, n, r->phi, r->features, 0.0,
             r->sides, r->order);
}

static enum qins_status prepare(struct qn_ridge *r, const struct qn_fit_rows *in,
                                struct qins_error *err)
{
    const size_t n = in->channels;
    double *residual = NULL;
    enum qins_status st = QINS_OK;
    r->rows = in->rows[QN_ROWS_FIT];
    r->features = n * r->split.planes;
    r->order = r->rows < r->features ? r->rows : r->features;
    if (r->features > QN_RIDGE_FEATURES)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "%zu channels in %u planes are more than the %d features of a joint fit", n,
                       r->split.planes, QN_RIDGE_FEATURES);
    if (r->rows == 0)
        return QINS_OK;
    r->phi = malloc(r->rows * r->features * sizeof *r->phi);
    r->gram = calloc(r->order * r->order, sizeof *r->gram);
    r->sides = malloc(n * r->order * sizeof *r->sides);
    residual = malloc(r->rows * n * sizeof *residual);
    if (!r->phi || !r->gram || !r->sides || !residual) {
        st = qn_fail_memory(err);
        goto done;
    }
    st = look_at_rows(r, in, residual, err);
    if (st == QINS_OK)
        make_equations(r, residual);
done:
    free(residual);
    return st;
}

enum qins_status qn_ridge_create(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                                 struct qn_ridge **out, struct qins_error *err)
{
    struct qn_ridge *ridge = calloc(1, sizeof *ridge);
    struct qn_fit_choice split = *c;
    *out = NULL;
    if (!ridge)
        return qn_fail_memory(err);
    split.method = QN_SPLIT;
    split.sign_plane = false;
    enum qins_status st = qn_fit_make(r, &split, &ridge->split, err);
    if (st == QINS_OK)
        st = prepare(ridge, r, err);
    if (st == QINS_OK)
        *out = ridge;
    else
        qn_ridge_destroy(ridge);
    return st;
}

/* X[channels][order] (PHI^T PHI or PHI PHI^T + *LAMBDA) = sides. */
static enum qins_status solve(const struct qn_ridge *r, double *gram, double *lambda, double *x,
                              struct qins_error *err)
{
    const double least = 0x1p-48 * r->mean_diagonal; /* some roundings of the diagonal */
    const size_t n = r->order, count = r->split.channels * n;
    enum qins_status st = QINS_OK;
    for (bool done = false; !done && st == QINS_OK;) {
        memcpy(gram, r->gram, n * n * sizeof *gram);
        memcpy(x, r->sides, count * sizeof *x);
        for (size_t i = 0; i < n; i++)
            gram[i * n + i] += *lambda;
        st = qn_dposv(n, r->split.channels, gram, n, x, n, &done, err);
        for (size_t i = 0; i < count && done; i++)
            done = isfinite(x[i]);
        if (!done)
            *lambda = fmax(least, 4.0 * *lambda);
    }
    return st;
}

/* Adds to the map what split leaves over. */
static enum qins_status add_solution(const struct qn_ridge *r, double *lambda, double *map,
                                     struct qins_error *err)
{
    const size_t n = r->order, channels = r->split.channels;
    const bool dual = n < r->features;
    double *gram = malloc(n * n * sizeof *gram);
    double *x = dual ? malloc(channels * n * sizeof *x) : map;
    enum qins_status st = gram && x ? solve(r, gram, lambda, x, err) : qn_fail_memory(err);
    if (st == QINS_OK && dual)
        qn_dgemm(false, false, channels, r->features, n, 1.0, x, n, r->phi, r->features, 0.0, map,
                 r->features);
    if (dual)
        free(x);
    free(gram);
    return st;
}

enum qins_status qn_ridge_solve(struct qn_ridge *r, double lambda, struct qn_fit *out,
                                struct qins_error *err)
{
    const struct qn_fit *split = &r->split;
    const size_t channels = split->channels;
    double scaled = fmax(lambda, 0.0) * r->mean_diagonal;
    enum qins_status st = QINS_OK;
    *out = *split;
    out->coefficients = NULL;
    out->choice.method = QN_RIDGE;
    out->choice.ridge = lambda;
    out->map = calloc(channels * r->features + 1, sizeof *out->map);
    if (!out->map)
        return qn_fail_memory(err);
    if (r->rows > 0 && r->mean_diagonal > 0 && isfinite(scaled)) {
        st = add_solution(r, &scaled, out->map, err);
        out->choice.ridge = scaled / r->mean_diagonal;
    }
    for (size_t j = 0; j < channels && st == QINS_OK; j++)
        for (unsigned k = 0; k < split->planes; k++)
            out->map[j * r->features + k * channels + j] += split->coefficients[k * channels + j];
    return st;
}
