#include "analyze/predict.h"

#include "formats/codec/level_error.h"

/* With more elements a level than this, chance moves the entropy by less than 0.0005 bit. */
static const double enough_elements = 1000.0;

/* What differences of large sums leave of a small one may be below 0. */
static double level_error(const struct qn_level_moments *from, const struct qn_level_moments *to,
                          double d)
{
    double error = qn_level_error(from, to, d);
    return error > 0.0 ? error : 0.0;
}

static struct qn_level_moments moments(const double sums[3])
{
    struct qn_level_moments m = {sums[0], sums[1], sums[2]};
    return m;
}

/* What lies at a bound itself is rounded up: values that are whole multiples of each other are
 * common among small tensors. */
static double bound_of(unsigned l, double n, double kappa, double clip)
{
    static const double just_below = 1.0 - 0x1p-40;
    return qn_level_bound(l, n, kappa, clip) * just_below;
}

/* A cell that a bound cuts is taken as evenly filled, but its elements fall to either side by
 * chance: a level of COUNT elements differs from what is expected by a variance of COUNT times
 * this, R the widths of levels in cells. Averaged over where the cells' ends lie: within one cell
 * each element is the level's or not; of a wide level, cells at two ends are cut, 1/6 of a cell
 * each. */
static double relative_variance(double r)
{
    return r < 1.0 ? 1.0 - r + r * r * (1.0 / 3.0) : 1.0 / (3.0 * r);
}

/* The sum of that over a level's two codes between FROM and TO. */
static double unevenness(const struct qn_density *d, const struct qn_cumulative *from,
                         const struct qn_cumulative *to, double begin, double end)
{
    double cell = qn_density_resolution(d, 0.5 * (begin + end)), sum = 0.0;
    if (!(cell > 0.0) || !(end > begin))
        return 0.0;
    for (int sign = 0; sign < 2; sign++)
        if (to->count[sign] - from->count[sign] >= 2.0)
            sum += relative_variance((end - begin) / cell);
    return sum;
}

void qn_predict_pass(const struct qn_density *d, const struct qn_candidate *c,
                     struct qn_prediction *p)
{
    const unsigned levels = c->levels;
    const double n = (double)levels, kappa = (double)c->kappa, clip = (double)c->clip;
    struct qn_level_moments plain = {0}, weighted = {0};
    struct qn_cumulative from = {0};
    const bool uneven = n * enough_elements > (double)qn_density_count(d);
    double begin = 0.0;
    p->error = p->weighted_error = p->unevenness = 0.0;
    p->density = d;
    p->levels = levels;
    p->kappa = kappa;
    p->clip = clip;
    for (unsigned l = 0; l <= levels; l++) {
        struct qn_cumulative at;
        double end = l < levels ? bound_of(l, n, kappa, clip) : 1.0;
        qn_density_at(d, end, &at);
        struct qn_level_moments to = moments(at.error), weighted_to = moments(at.weighted);
        double value = qn_level_value(l, n, kappa, clip);
        p->error += level_error(&plain, &to, value);
        p->weighted_error += level_error(&weighted, &weighted_to, value);
        p->below[l] = (struct qn_signed_counts){{at.count[0], at.count[1]}};
        if (uneven)
            p->unevenness += unevenness(d, &from, &at, begin, end);
        from = at;
        begin = end;
        plain = to;
        weighted = weighted_to;
    }
}

double qn_predict_grid_error(const struct qn_density *d, unsigned levels, double kappa, double clip,
                             bool weighted)
{
    const double n = (double)levels;
    struct qn_level_moments from = {0};
    double error = 0.0;
    for (unsigned l = 0; l <= levels; l++) {
        struct qn_cumulative at;
        qn_density_at(d, l < levels ? bound_of(l, n, kappa, clip) : 1.0, &at);
        struct qn_level_moments to = moments(weighted ? at.weighted : at.error);
        error += level_error(&from, &to, qn_level_value(l, n, kappa, clip));
        from = to;
    }
    return error > 0.0 ? error : 0.0;
}
