#include "analyze/candidates.h"

#include "analyze/predict.h"
#include "formats/codec/search.h"

#include <math.h>

/* With many levels the error within a clip c is what high-rate theory says (Bennett 1948, "Spectra
 * of quantized signals"): a step at v = u / c is (1 + kv)^2 / ((1 + k) N), so that the sum of w
 * (step c)^2 / 12 is a polynomial in k over moments of w up to c. Outside it is sum of w (u -
 * c)^2, exactly. From a table of moments each (k, c) then costs a few operations, whatever N. */
enum {
    CLIPS = 107, /* candidates: powers of 2^(-1/16), down to 0.0101 */
    NODES = QN_MOMENT_NODES,
    MOMENTS = QN_MOMENTS,
    FEW_LEVELS = 24,   /* fewer are searched by the exact sums alone */
    MOST_STEPS = 3,    /* of a size */
    MANY_LEVELS = 120, /* with so many the table finds the clip as it is */
    FINE_SHAPES = 16,  /* steps from one neighbour of the best shape to the other */
    SHAPES = 27,       /* 0 and powers of sqrt(2) from 1/8 to 724 */
    COARSE_STEP = 4,   /* clips between two that are tried first */
};

/* What plans take (docs/plan-format.md). */
static const double least_clip = 0.01;

void qn_moment_table_fill(struct qn_moment_table *t, const struct qn_density *d, bool weighted)
{
    static const double ratio = 0x1.ea4afa2a490dap-1; /* 2^(-1/16) */
    double sums[MOMENTS] = {0}, last[3] = {0};
    for (size_t i = 0; i < NODES; i++)
        t->u[i] = i == 0 ? 1.0 : i % 16 == 0 ? t->u[i - 16] * 0.5 : t->u[i - 1] * ratio;
    for (size_t i = NODES; i-- > 0;) {
        struct qn_cumulative at;
        /* The largest value of each group, at 1 itself, is a level's and has no error. */
        qn_density_at(d, i > 0 ? t->u[i] : QN_BELOW_ONE, &at);
        const double *sum = weighted ? at.weighted : at.error;
        double m0 = sum[0] - last[0], m1 = sum[1] - last[1], m2 = sum[2] - last[2];
        double centre = m0 > 0.0 ? m1 / m0 : 0.0;
        const double m[MOMENTS] = {m0, m1, m2, m2 * centre, m2 * centre * centre};
        for (size_t k = 0; k < MOMENTS; k++)
            t->below[i][k] = sums[k] += m[k] > 0.0 ? m[k] : 0.0;
        for (size_t k = 0; k < 3; k++)
            last[k] = sum[k];
    }
    struct qn_cumulative all;
    qn_density_at(d, 1.0, &all);
    for (size_t k = 0; k < 3; k++)
        t->all[k] = weighted ? all.weighted[k] : all.error[k];
}

/* The error by the table, at clip number I. */
static double quick_error(const struct qn_moment_table *t, double n, double kappa, size_t i)
{
    static const double binomial[MOMENTS] = {1.0, 4.0, 6.0, 4.0, 1.0};
    const double c = t->u[i], *m = t->below[i];
    double sum = 0.0, power = 1.0, step = c / ((1.0 + kappa) * n);
    for (size_t k = 0; k < MOMENTS; k++) {
        sum += binomial[k] * power * m[k];
        power *= kappa / c;
    }
    double outside = (t->all[2] - m[2]) - 2.0 * c * (t->all[1] - m[1]) + c * c * (t->all[0] - m[0]);
    return sum * step * step * (1.0 / 12.0) + (outside > 0.0 ? outside : 0.0);
}

struct search {
    const struct qn_density *density;
    bool weighted;
    unsigned levels;
    double kappa, clip; /* < 0: free; else fixed */
    double best_kappa, best_clip, best_error;
};

struct look {
    double error, kappa, clip;
};

static void try_exact(struct search *s, double kappa, double clip)
{
    /* Rounded first: what is judged is what will be stored. */
    kappa = (double)(float)kappa;
    clip = (double)(float)clip;
    double error = qn_predict_grid_error(s->density, s->levels, kappa, clip, s->weighted);
    if (s->best_error < 0.0 || error < s->best_error) {
        s->best_kappa = kappa;
        s->best_clip = clip;
        s->best_error = error;
    }
}

/* The table's best clip for KAPPA, if better than the best so far. */
static void look_up(const struct search *s, const struct qn_moment_table *t, double kappa,
                    struct look *best)
{
    size_t first = 0, end = CLIPS;
    if (s->clip >= 0.0) { /* the nearest below */
        while (first + 1 < NODES && t->u[first] > s->clip)
            first++;
        end = first + 1;
    }
    for (size_t i = first; i < end; i++) {
        double error = quick_error(t, (double)s->levels, kappa, i);
        if (best->error < 0.0 || error < best->error)
            *best = (struct look){error, kappa, s->clip < 0.0 ? t->u[i] : s->clip};
    }
}

/* The best by the table, tried exactly. */
static void search_quick(struct search *s, const struct qn_moment_table *t)
{
    struct look best = {.error = -1.0};
    unsigned at = 0;
    for (unsigned k = 0; s->kappa < 0.0 && k < SHAPES; k++) {
        double before = best.error;
        look_up(s, t, qn_search_kappa(k), &best);
        at = best.error != before ? k : at;
    }
    double low = qn_search_kappa(at > 0 ? at - 1 : 0), high = qn_search_kappa(at + 1);
    for (unsigned k = 1; s->kappa < 0.0 && k < FINE_SHAPES; k++)
        look_up(s, t, low + (high - low) * (double)k / FINE_SHAPES, &best);
    if (s->kappa >= 0.0)
        look_up(s, t, s->kappa, &best);
    try_exact(s, best.kappa, best.clip);
}

/* Every fourth clip for every shape, with the exact sums. */
static void search_coarse(struct search *s, const struct qn_moment_table *t)
{
    unsigned shapes = s->kappa < 0.0 ? SHAPES : 1;
    size_t clips = s->clip < 0.0 ? CLIPS : 1;
    for (unsigned k = 0; k < shapes; k += 2)
        for (size_t i = 0; i < clips; i += COARSE_STEP)
            try_exact(s, s->kappa < 0.0 ? qn_search_kappa(k) : s->kappa,
                      s->clip < 0.0 ? t->u[i] : s->clip);
}

/* One step to either side of the best so far; false if neither is better. */
static bool step(struct search *s, double size)
{
    const double before = s->best_error, kappa = s->best_kappa, clip = s->best_clip;
    for (int up = 0; up < 2 && s->clip < 0.0; up++) {
        double next = up ? clip * (1.0 + size) : clip / (1.0 + size);
        if (next <= 1.0 && next >= least_clip)
            try_exact(s, kappa, next);
    }
    const double chosen = s->best_clip;
    for (int up = 0; up < 2 && s->kappa < 0.0; up++) {
        double factor = 1.0 + 3.0 * size;
        double next = (up ? (1.0 + kappa) * factor : (1.0 + kappa) / factor) - 1.0;
        if ((next > 0.0 || kappa > 0.0) && next <= (double)QN_MAX_KAPPA)
            try_exact(s, next > 0.0 ? next : 0.0, chosen);
    }
    return s->best_error < before;
}

/* Around the best so far, in ever smaller steps; with many levels, which take long and whose table
 * is good, in few. */
static void refine(struct search *s)
{
    static const double fine[] = {0.2, 0.08, 0.03, 0.012}, rough[] = {0.2, 0.06};
    const bool few = s->levels < MANY_LEVELS;
    const size_t n = few ? sizeof fine / sizeof *fine : sizeof rough / sizeof *rough;
    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < MOST_STEPS && step(s, few ? fine[i] : rough[i]); k++)
            ;
}

static bool is_given(const struct qn_candidate *c)
{
    return c->kappa >= 0.0f && c->clip >= 0.0f;
}

void qn_candidate_search_table(const struct qn_tensor_study *study, const struct qn_moment_table *t,
                               struct qn_candidate *c, bool weighted)
{
    struct search s = {.density = study->density[c->granularity],
                       .weighted = weighted,
                       .levels = c->levels,
                       .kappa = (double)c->kappa,
                       .clip = (double)c->clip,
                       .best_kappa = c->kappa >= 0.0f ? (double)c->kappa : 0.0,
                       .best_clip = c->clip >= 0.0f ? (double)c->clip : 1.0,
                       .best_error = -1.0};
    if (is_given(c))
        return;
    if (c->levels < FEW_LEVELS)
        search_coarse(&s, t);
    else
        search_quick(&s, t);
    if (c->levels < MANY_LEVELS || s.kappa < 0.0)
        refine(&s);
    /* Nothing cut off where that is as good. */
    if (s.clip < 0.0)
        try_exact(&s, s.best_kappa, 1.0);
    c->kappa = (float)s.best_kappa;
    c->clip = (float)s.best_clip;
}

void qn_candidate_search(const struct qn_tensor_study *study, struct qn_candidate *c, bool weighted)
{
    struct qn_moment_table table;
    if (is_given(c))
        return;
    qn_moment_table_fill(&table, study->density[c->granularity], weighted);
    qn_candidate_search_table(study, &table, c, weighted);
}
