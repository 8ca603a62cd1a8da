/* Where the levels of the QINS grid (quant.h) and the bounds between them lie, and the squared
 * error of what falls to one: shared by all that predicts from histograms. In units of the absolute
 * maximum of a group, whose scale is CLIP times that. */
#ifndef QINS_FORMATS_CODEC_LEVEL_ERROR_H
#define QINS_FORMATS_CODEC_LEVEL_ERROR_H

/* Sums of weight * u^k over a range of u. */
struct qn_level_moments {
    double m0, m1, m2;
};

static inline double qn_level_curve(double t, double kappa, double clip)
{
    return clip * t / (1.0 + kappa * (1.0 - t));
}

/* The value of level L of N. */
static inline double qn_level_value(unsigned l, double n, double kappa, double clip)
{
    return qn_level_curve((double)l / n, kappa, clip);
}

/* What lies between this and the bound of level L - 1 becomes level L; L < N. */
static inline double qn_level_bound(unsigned l, double n, double kappa, double clip)
{
    return qn_level_curve(((double)l + 0.5) / n, kappa, clip);
}

/* Sum of weight * (u - d)^2 between two bounds, of the moments below them. */
static inline double qn_level_error(const struct qn_level_moments *from,
                                    const struct qn_level_moments *to, double d)
{
    double m0 = to->m0 - from->m0, m1 = to->m1 - from->m1, m2 = to->m2 - from->m2;
    return m2 - 2.0 * d * m1 + d * d * m0;
}

#endif
