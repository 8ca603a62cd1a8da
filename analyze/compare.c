#include "analyze/compare.h"

#include "analyze/logarithm.h"

#include <math.h>
#include <stdlib.h>

/* What the figures of one granularity's candidates are taken from. */
struct view {
    const struct qn_tensor_study *study;
    enum qn_granularity granularity;
    double weighted_signal;
};

static double value_of(const struct view *v, const struct qn_candidate *c, enum qn_measure m)
{
    switch (m) {
    case QN_MEASURE_SQUARED:
        return c->sqnr_db;
    case QN_MEASURE_WEIGHTED:
        return qn_sqnr_db(v->weighted_signal, c->weighted_error);
    default:
        return c->p99_rel_error;
    }
}

static bool better(enum qn_measure m, double a, double b)
{
    return m == QN_MEASURE_RELATIVE ? a < b : a > b;
}

static bool takes_part(enum qn_contender who, const struct qn_candidate *c)
{
    return who == QN_CONTENDER_QINS ||
           (c->kappa == 0.0f && (who == QN_CONTENDER_INT_CLIP || c->clip == 1.0f));
}

/* The best of FIXED at LEVELS, or NULL. */
static const struct qn_candidate *winner(const struct view *v,
                                         const struct qn_candidate_list *fixed, unsigned levels,
                                         enum qn_contender who, enum qn_measure m)
{
    const struct qn_candidate *best = NULL;
    for (size_t i = 0; i < fixed->count; i++) {
        const struct qn_candidate *c = &fixed->items[i];
        if (c->granularity == v->granularity && c->levels == levels && takes_part(who, c) &&
            (!best || better(m, value_of(v, c, m), value_of(v, best, m))))
            best = c;
    }
    return best;
}

/* Points of a curve, and its hull: x is bits a weight, y falls as the measure gets better. */
struct curve {
    double *x, *y;
    size_t *hull;
    size_t n, corners;
};

static double bits_of(const struct view *v, const struct qn_candidate *c)
{
    return 8.0 * (double)c->huffman_bytes /
           (double)qn_density_count(v->study->density[v->granularity]);
}

static void add_point(struct curve *curve, const struct view *v, const struct qn_candidate *c,
                      enum qn_measure m)
{
    double value = value_of(v, c, m);
    curve->x[curve->n] = bits_of(v, c);
    curve->y[curve->n++] = m != QN_MEASURE_RELATIVE ? -value
                           : value > 0.0            ? qn_decibels(value)
                                                    : (double)-INFINITY;
}

/* At BITS, in the measure's own unit; NaN outside. */
static double curve_at(const struct curve *c, enum qn_measure m, double bits)
{
    double y = (double)NAN;
    for (size_t i = 1; i < c->corners; i++) {
        size_t a = c->hull[i - 1], b = c->hull[i];
        if (bits >= c->x[a] && bits <= c->x[b])
            y = c->y[a] + (c->y[b] - c->y[a]) * (bits - c->x[a]) / (c->x[b] - c->x[a]);
    }
    return m == QN_MEASURE_RELATIVE ? pow(10.0, y / 10.0) : -y;
}

enum { MIN_BITS = 2, MAX_BITS = 12, RATES_A_BIT = 4 };

static unsigned levels_of(unsigned bits)
{
    return (1u << (bits - 1)) - 1;
}

static void points_of(struct curve *curve, const struct view *v,
                      const struct qn_candidate_list *fixed, const struct qn_candidate_list *coded,
                      int who, enum qn_measure m)
{
    curve->n = 0;
    for (unsigned bits = MIN_BITS; who == QN_CONTENDER_QINS && bits <= MAX_BITS; bits++) {
        const struct qn_candidate *c = winner(v, fixed, levels_of(bits), QN_CONTENDER_QINS, m);
        if (c)
            add_point(curve, v, c, m);
    }
    const struct qn_candidate_list *const lists[] = {fixed, coded};
    for (size_t l = 0; who != QN_CONTENDER_QINS && l < 2; l++)
        for (size_t i = 0; i < lists[l]->count; i++) {
            const struct qn_candidate *c = &lists[l]->items[i];
            if (c->granularity == v->granularity &&
                (who == QN_CONTENDERS || takes_part((enum qn_contender)who, c)))
                add_point(curve, v, c, m);
        }
    curve->corners = qn_convex_hull(curve->x, curve->y, curve->n, curve->hull);
}

static void compare_fixed(const struct view *v, const struct qn_candidate_list *fixed,
                          struct qn_comparison *out)
{
    for (unsigned bits = MIN_BITS; bits <= MAX_BITS; bits++) {
        struct qn_fixed_comparison *f = &out->fixed[out->n_fixed];
        bool complete = true;
        *f = (struct qn_fixed_comparison){.granularity = v->granularity, .bits = bits};
        for (int who = 0; who < QN_CONTENDERS; who++)
            for (int m = 0; m < QN_MEASURES; m++) {
                const struct qn_candidate *c =
                    winner(v, fixed, levels_of(bits), (enum qn_contender)who, (enum qn_measure)m);
                complete = complete && c;
                if (!c)
                    continue;
                f->best[who][m] = *c;
                f->value[who][m] = value_of(v, c, (enum qn_measure)m);
            }
        out->n_fixed += complete;
    }
}

static void compare_coded(const struct view *v, const struct qn_candidate_list *fixed,
                          const struct qn_candidate_list *coded, struct curve *curve,
                          struct qn_comparison *out)
{
    struct qn_rate_comparison *rates = out->coded + out->n_coded;
    const size_t n = (size_t)MAX_BITS * RATES_A_BIT;
    for (size_t i = 0; i < n; i++)
        rates[i] = (struct qn_rate_comparison){.granularity = v->granularity,
                                               .bits = (double)(i + 1) * (1.0 / RATES_A_BIT)};
    for (int m = 0; m < QN_MEASURES; m++)
        for (int who = 0; who <= QN_CONTENDERS; who++) {
            points_of(curve, v, fixed, coded, who, (enum qn_measure)m);
            for (size_t i = 0; i < n; i++) {
                double at = curve_at(curve, (enum qn_measure)m, rates[i].bits);
                if (who < QN_CONTENDERS)
                    rates[i].value[who][m] = at;
                else
                    rates[i].any[m] = at;
            }
        }
    out->n_coded += n;
}

void qn_comparison_finish(struct qn_comparison *c)
{
    free(c->fixed);
    free(c->coded);
    *c = (struct qn_comparison){0};
}

enum qins_status qn_compare(const struct qn_tensor_study *s, const struct qn_candidate_list *fixed,
                            const struct qn_candidate_list *coded, struct qn_comparison *out,
                            struct qins_error *err)
{
    const size_t n = fixed->count + coded->count + 1;
    const size_t widths = MAX_BITS - MIN_BITS + 1, rates = (size_t)MAX_BITS * RATES_A_BIT;
    struct curve curve = {.x = calloc(n, sizeof *curve.x),
                          .y = calloc(n, sizeof *curve.y),
                          .hull = calloc(n, sizeof *curve.hull)};
    *out = (struct qn_comparison){.fixed = calloc(QN_GRANULARITIES * widths, sizeof *out->fixed),
                                  .coded = calloc(QN_GRANULARITIES * rates, sizeof *out->coded)};
    bool ok = curve.x && curve.y && curve.hull && out->fixed && out->coded;
    for (int g = 0; ok && g < QN_GRANULARITIES; g++) {
        struct qn_cumulative all;
        if (!s->density[g])
            continue;
        qn_density_at(s->density[g], 1.0, &all);
        struct view v = {s, (enum qn_granularity)g, s->weighted ? all.weighted[2] : all.error[2]};
        compare_fixed(&v, fixed, out);
        compare_coded(&v, fixed, coded, &curve, out);
    }
    free(curve.x);
    free(curve.y);
    free(curve.hull);
    if (ok)
        return QINS_OK;
    qn_comparison_finish(out);
    return qn_fail_memory(err);
}
