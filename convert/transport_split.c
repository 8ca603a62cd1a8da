/* Split: a polynomial of the level for each channel, by least squares. What a fit needs of its
 * rows are sums by channel and level, from which the normal equations of all orders follow. */
#include "convert/transport_methods.h"

#include <math.h>
#include <stdlib.h>

enum {
    BLOCK = 64,                        /* channels whose sums by level are in cache together */
    EVEN = 2 * QN_TRANSPORT_ORDER + 1, /* powers 0 … 2 K of t, in the Gram matrix */
    ODD = QN_TRANSPORT_ORDER + 1,      /* powers 0 … K, in the right side */
    UNKNOWNS = QN_TRANSPORT_PLANES,
};

/* Sums over the rows of a channel; s is the sign, t the level over N. */
struct moments {
    double even[EVEN]; /* of t^p */
    double odd[ODD];   /* of s x t^p */
};

/* Sums over the rows of a channel, or of all, at a level. */
struct level_sums {
    double count, sx;
};

struct normal_equations {
    unsigned levels;
    double (*powers)[EVEN];   /* [levels + 1] */
    struct level_sums *sums;  /* [BLOCK][levels + 1] */
    double *pooled;           /* [levels + 1]: counts over all channels */
    struct moments *channels; /* of fit rows */
    struct moments pseudo;    /* of pseudo-rows, the same for every channel */
};

static void finish(struct normal_equations *e)
{
    free(e->powers);
    free(e->sums);
    free(e->pooled);
    free(e->channels);
}

/* False when out of memory. */
static bool init(struct normal_equations *e, unsigned levels, size_t channels)
{
    const size_t n = (size_t)levels + 1;
    *e = (struct normal_equations){.levels = levels,
                                   .powers = calloc(n, sizeof *e->powers),
                                   .sums = calloc(n * BLOCK, sizeof *e->sums),
                                   .pooled = calloc(n, sizeof *e->pooled),
                                   .channels = calloc(channels + 1, sizeof *e->channels)};
    if (!e->powers || !e->sums || !e->pooled || !e->channels)
        return false;
    for (size_t l = 0; l < n; l++) {
        e->powers[l][0] = 1.0;
        for (size_t p = 1; p < EVEN; p++)
            e->powers[l][p] = e->powers[l][p - 1] * ((double)l / (double)levels);
    }
    return true;
}

static void add_level(struct moments *m, const double *powers, struct level_sums s)
{
    for (size_t p = 0; p < EVEN; p++)
        m->even[p] += s.count * powers[p];
    for (size_t p = 0; p < ODD; p++)
        m->odd[p] += s.sx * powers[p];
}

/* COUNT channels from FIRST on, at most BLOCK. */
static void add_block(struct normal_equations *e, const struct qn_fit_rows *r,
                      const struct qn_grid *g, float scale, size_t first, size_t count)
{
    const size_t n = (size_t)e->levels + 1;
    uint16_t codes[BLOCK];
    for (size_t i = 0; i < count * n; i++)
        e->sums[i] = (struct level_sums){0, 0};
    for (size_t i = 0; i < r->rows[QN_ROWS_FIT]; i++) {
        const float *x = r->x[QN_ROWS_FIT] + i * r->channels + first;
        qn_quantise(g, scale, x, count, codes);
        for (size_t j = 0; j < count; j++) {
            const int level = (int)codes[j] - (int)e->levels;
            struct level_sums *s = e->sums + j * n + (size_t)abs(level);
            s->count += 1.0;
            s->sx += level < 0 ? -(double)x[j] : (double)x[j];
        }
    }
    for (size_t j = 0; j < count; j++)
        for (size_t l = 0; l < n; l++) {
            const struct level_sums s = e->sums[j * n + l];
            e->pooled[l] += s.count;
            if (s.count > 0)
                add_level(&e->channels[first + j], e->powers[l], s);
        }
}

/* DESIGN 2.5. The pseudo-rows of levels l and -l are symmetric, so both are at |l|. */
static void add_pseudo_rows(struct normal_equations *e, const struct qn_grid *g, float scale)
{
    const size_t n = (size_t)e->levels + 1;
    double total = 0, whole = 0;
    for (size_t l = 0; l < n; l++)
        total += e->pooled[l];
    for (size_t l = 0; l < n; l++) {
        const double signs = l ? 2.0 : 1.0;
        const double share = total > 0 ? e->pooled[l] / total / signs : 0.0;
        e->pooled[l] = signs * fmax(share, QN_FIT_LEVEL_FLOOR);
        whole += e->pooled[l];
    }
    for (size_t l = 0; l < n; l++) {
        const uint16_t code = (uint16_t)(e->levels + l);
        const double rows = QN_FIT_PSEUDO_ROWS * e->pooled[l] / whole;
        float decoded;
        qn_dequantise(g, scale, &code, 1, &decoded);
        add_level(&e->pseudo, e->powers[l], (struct level_sums){rows, rows * (double)decoded});
    }
}

/* L of A[n][n] + JITTER, in place; false where that is not positive definite. */
static bool factor(double a[UNKNOWNS][UNKNOWNS], size_t n, double jitter)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double x = a[i][j] + (i == j ? jitter : 0.0);
            for (size_t k = 0; k < j; k++)
                x -= a[i][k] * a[j][k];
            if (j < i)
                a[i][j] = x / a[j][j];
            else if (!(x > 0))
                return false;
            else
                a[i][i] = sqrt(x);
        }
    return true;
}

static void substitute(const double l[UNKNOWNS][UNKNOWNS], size_t n, double *b)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++)
            b[i] -= l[i][k] * b[k];
        b[i] /= l[i][i];
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++)
            b[i] -= l[k][i] * b[k];
        b[i] /= l[i][i];
    }
}

/* Solves A x = B, B overwritten, with A's diagonal scaled to 1. A feature that is always 0 gets 0.
 */
static void solve(const double a[UNKNOWNS][UNKNOWNS], size_t n, double *b)
{
    const double first_jitter = 0x1p-48; /* some roundings of a diagonal of 1 */
    double unit[UNKNOWNS], scaled[UNKNOWNS][UNKNOWNS];
    bool done = false;
    for (size_t i = 0; i < n; i++)
        unit[i] = a[i][i] > 0 ? 1.0 / sqrt(a[i][i]) : 0.0;
    for (double jitter = 0; !done; jitter = jitter > 0 ? 4.0 * jitter : first_jitter) {
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j <= i; j++)
                scaled[i][j] = i == j ? 1.0 : a[i][j] * unit[i] * unit[j];
        done = factor(scaled, n, jitter) || jitter > (double)UNKNOWNS;
    }
    for (size_t i = 0; i < n; i++)
        b[i] *= unit[i];
    substitute((const double(*)[UNKNOWNS])scaled, n, b);
    for (size_t i = 0; i < n; i++)
        b[i] *= unit[i];
}

/* Coefficients of channel J. The powers of the features: 1 … order, and 0 of the sign. */
static void solve_channel(const struct normal_equations *e, size_t j, struct qn_fit *f)
{
    const struct moments *m = &e->channels[j], *pseudo = &e->pseudo;
    double a[UNKNOWNS][UNKNOWNS] = {{0}}, b[UNKNOWNS] = {0};
    size_t power[UNKNOWNS] = {0};
    for (size_t k = 0; k < f->choice.order; k++)
        power[k] = k + 1;
    for (size_t i = 0; i < f->planes; i++) {
        b[i] = m->odd[power[i]] + pseudo->odd[power[i]];
        for (size_t k = 0; k <= i; k++)
            a[i][k] = m->even[power[i] + power[k]] + pseudo->even[power[i] + power[k]];
    }
    solve((const double(*)[UNKNOWNS])a, f->planes, b);
    for (size_t i = 0; i < f->planes; i++)
        f->coefficients[i * f->channels + j] = b[i];
}

static enum qins_status solve_order(const struct normal_equations *e, struct qn_fit *f,
                                    struct qins_error *err)
{
    f->coefficients = calloc(f->channels + 1, f->planes * sizeof *f->coefficients);
    if (!f->coefficients)
        return qn_fail_memory(err);
    for (size_t j = 0; j < f->channels && f->scale > 0.0F; j++)
        solve_channel(e, j, f);
    return QINS_OK;
}

enum qins_status qn_fit_make_orders(const struct qn_fit_rows *r, const struct qn_fit_choice *c,
                                    struct qn_fit *out, struct qins_error *err)
{
    struct normal_equations e = {0};
    struct qn_fit_choice choice = *c;
    struct qn_fit whole;
    struct qn_grid grid;
    choice.method = QN_SPLIT;
    for (unsigned i = 0; i < c->order && i < QN_TRANSPORT_ORDER; i++)
        out[i] = (struct qn_fit){0};
    enum qins_status st = qn_fit_start(r, &choice, &whole, err);
    if (st != QINS_OK)
        return st;
    if (!init(&e, c->levels, r->channels)) {
        st = qn_fail_memory(err);
        goto done;
    }
    qn_fit_grid(&choice, &grid);
    for (size_t j = 0; j < r->channels; j += BLOCK)
        add_block(&e, r, &grid, whole.scale, j, r->channels - j < BLOCK ? r->channels - j : BLOCK);
    add_pseudo_rows(&e, &grid, whole.scale);
    for (unsigned i = 0; i < c->order && st == QINS_OK; i++) {
        choice.order = i + 1;
        st = qn_fit_start(r, &choice, &out[i], err);
        if (st == QINS_OK)
            st = solve_order(&e, &out[i], err);
    }
done:
    finish(&e);
    return st;
}
