#include "analyze/predict.h"

#include "formats/codec/level_error.h"

static struct qn_moments moments(const double sums[3])
{
    struct qn_moments m = {sums[0], sums[1], sums[2]};
    return m;
}

/* What lies at a bound itself is rounded up: values that are whole multiples of each other are
 * common among small tensors. */
static double bound_of(unsigned l, double n, double kappa, double clip)
{
    static const double just_below = 1.0 - 0x1p-40;
    return qn_level_bound(l, n, kappa, clip) * just_below;
}

void qn_predict_pass(const struct qn_density *d, const struct qn_candidate *c,
                     struct qn_prediction *p)
{
    const unsigned levels = c->levels;
    const double n = (double)levels, kappa = (double)c->kappa, clip = (double)c->clip;
    struct qn_moments plain = {0}, weighted = {0};
    p->density = d;
    p->levels = levels;
    p->kappa = kappa;
    p->clip = clip;
    p->error = p->weighted_error = 0.0;
    for (unsigned l = 0; l <= levels; l++) {
        struct qn_cumulative at;
        qn_density_at(d, l < levels ? bound_of(l, n, kappa, clip) : 1.0, &at);
        struct qn_moments to = moments(at.error), weighted_to = moments(at.weighted);
        double value = qn_level_value(l, n, kappa, clip);
        p->error += qn_level_error(&plain, &to, value);
        p->weighted_error += qn_level_error(&weighted, &weighted_to, value);
        p->below[l] = (struct qn_signed_counts){{at.count[0], at.count[1]}};
        plain = to;
        weighted = weighted_to;
    }
    /* What rounding of the sums left may be below 0. */
    p->error = p->error > 0.0 ? p->error : 0.0;
    p->weighted_error = p->weighted_error > 0.0 ? p->weighted_error : 0.0;
}

double qn_predict_grid_error(const struct qn_density *d, unsigned levels, double kappa, double clip,
                             bool weighted)
{
    const double n = (double)levels;
    struct qn_moments from = {0};
    double error = 0.0;
    for (unsigned l = 0; l <= levels; l++) {
        struct qn_cumulative at;
        qn_density_at(d, l < levels ? bound_of(l, n, kappa, clip) : 1.0, &at);
        struct qn_moments to = moments(weighted ? at.weighted : at.error);
        error += qn_level_error(&from, &to, qn_level_value(l, n, kappa, clip));
        from = to;
    }
    return error > 0.0 ? error : 0.0;
}
