#include "analyze/moments.h"

#include <math.h>

enum { LANES = 8 }; /* independent sums, in an order that no compiler may change */

static double add_lanes(const double *lane)
{
    double sum = 0.0;
    for (size_t k = 0; k < LANES; k++)
        sum += lane[k];
    return sum;
}

static void first_moments(struct qn_central_moments *m, const double *x, size_t n)
{
    double sum[LANES] = {0}, sum_abs[LANES] = {0}, min[LANES], max[LANES];
    for (size_t k = 0; k < LANES; k++)
        min[k] = max[k] = x[0];
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            double v = x[i + k];
            sum[k] += v;
            sum_abs[k] += fabs(v);
            min[k] = v < min[k] ? v : min[k];
            max[k] = v > max[k] ? v : max[k];
        }
    for (; i < n; i++) {
        sum[0] += x[i];
        sum_abs[0] += fabs(x[i]);
        min[0] = x[i] < min[0] ? x[i] : min[0];
        max[0] = x[i] > max[0] ? x[i] : max[0];
    }
    m->mean = add_lanes(sum) / (double)n;
    m->sum_abs = add_lanes(sum_abs);
    m->min = min[0];
    m->max = max[0];
    for (size_t k = 1; k < LANES; k++) {
        m->min = min[k] < m->min ? min[k] : m->min;
        m->max = max[k] > m->max ? max[k] : m->max;
    }
}

/* Powers of the difference from a mean that is rounded, and what that rounding costs taken back. */
static void central_moments(struct qn_central_moments *m, const double *x, size_t n)
{
    double s1[LANES] = {0}, s2[LANES] = {0}, s3[LANES] = {0}, s4[LANES] = {0};
    const double mean = m->mean;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            double d = x[i + k] - mean, square = d * d;
            s1[k] += d;
            s2[k] += square;
            s3[k] += square * d;
            s4[k] += square * square;
        }
    for (; i < n; i++) {
        double d = x[i] - mean, square = d * d;
        s1[0] += d;
        s2[0] += square;
        s3[0] += square * d;
        s4[0] += square * square;
    }
    double count = (double)n, e = add_lanes(s1) / count, p2 = add_lanes(s2), p3 = add_lanes(s3);
    m->mean = mean + e;
    m->m2 = p2 - count * e * e;
    m->m3 = p3 - 3.0 * e * p2 + 2.0 * count * e * e * e;
    m->m4 = add_lanes(s4) - 4.0 * e * p3 + 6.0 * e * e * p2 - 3.0 * count * e * e * e * e;
}

void qn_central_moments_add(struct qn_central_moments *m, const double *x, size_t n)
{
    struct qn_central_moments tile = {.n = n};
    if (n == 0)
        return;
    first_moments(&tile, x, n);
    central_moments(&tile, x, n);
    qn_central_moments_merge(m, &tile);
}

/* Pebay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
 * statistical moments", Sandia report SAND2008-6212, 2008; for m2, Chan, Golub and LeVeque 1979. */
void qn_central_moments_merge(struct qn_central_moments *m, const struct qn_central_moments *other)
{
    if (other->n == 0)
        return;
    if (m->n == 0) {
        *m = *other;
        return;
    }
    double n = (double)m->n + (double)other->n;
    double a = (double)m->n / n, b = (double)other->n / n;
    double d = other->mean - m->mean, d2 = d * d;
    m->m4 += other->m4 + d2 * d2 * n * a * b * (a * a - a * b + b * b) +
             6.0 * d2 * (a * a * other->m2 + b * b * m->m2) + 4.0 * d * (a * other->m3 - b * m->m3);
    m->m3 += other->m3 + d2 * d * n * a * b * (a - b) + 3.0 * d * (a * other->m2 - b * m->m2);
    m->m2 += other->m2 + d2 * n * a * b;
    m->mean += d * b;
    m->sum_abs += other->sum_abs;
    m->min = other->min < m->min ? other->min : m->min;
    m->max = other->max > m->max ? other->max : m->max;
    m->n += other->n;
}
