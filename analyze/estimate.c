#include "analyze/estimate.h"

#include <math.h>
#include <stdlib.h>

const double qn_quantiles[QN_QUANTILES] = {0.001, 0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999};
const char *const qn_quantile_names[QN_QUANTILES] = {"p0_1", "p1",  "p5",  "p10",  "p50",
                                                     "p90",  "p95", "p99", "p99_9"};

/* a x + b y + xx x^2 + yy y^2 + xy x y, with x and y less their centres: all that is averaged
 * here. */
struct terms {
    const double *x, *y; /* y may be NULL: 0 */
    double x_centre, y_centre, a, b, xx, yy, xy;
};

static double term(const struct terms *t, uint64_t i)
{
    const double x = t->x[i] - t->x_centre, y = t->y ? t->y[i] - t->y_centre : 0.0;
    return t->a * x + t->b * y + t->xx * (x * x) + t->yy * (y * y) + t->xy * (x * y);
}

static double mean_from(const struct terms *t, uint64_t first, uint64_t n)
{
    double sum = 0.0;
    for (uint64_t i = 0; i < n; i++)
        sum += term(t, first + i);
    return sum / (double)n;
}

double qn_mean(const double *x, uint64_t n)
{
    return mean_from(&(struct terms){.x = x, .a = 1.0}, 0, n);
}

/* Mean of the terms of N positions, and sqrt(sum of (batch mean - mean)^2 / (m (m - 1))) for the m
 * batches that are windows or single positions. */
static struct qn_estimate mean_of_terms(const struct terms *t, uint64_t n, uint64_t windows)
{
    const uint64_t batches = qn_errors_by_windows(windows) ? windows : n, each = n / batches;
    const double mean = mean_from(t, 0, n), m = (double)batches;
    double squares = 0.0;
    for (uint64_t i = 0; i < batches; i++) {
        const double d = mean_from(t, i * each, each) - mean;
        squares += d * d;
    }
    return (struct qn_estimate){mean, batches < 2 ? NAN : sqrt(squares / m / (m - 1.0))};
}

struct qn_estimate qn_estimate_mean(const double *x, uint64_t n, uint64_t windows)
{
    return mean_of_terms(&(struct terms){.x = x, .a = 1.0}, n, windows);
}

struct qn_estimate qn_estimate_rms(const double *x, uint64_t n, uint64_t windows)
{
    const struct qn_estimate square = mean_of_terms(&(struct terms){.x = x, .xx = 1.0}, n, windows);
    const double rms = sqrt(square.value); /* d sqrt(s) = ds / (2 sqrt(s)) */
    if (square.value > 0.0)
        return (struct qn_estimate){rms, square.standard_error / (2.0 * rms)};
    return (struct qn_estimate){rms, square.standard_error};
}

struct qn_estimate qn_estimate_difference(const double *x, const double *y, uint64_t n,
                                          uint64_t windows)
{
    return mean_of_terms(&(struct terms){.x = x, .y = y, .a = -1.0, .b = 1.0}, n, windows);
}

/* The influence of a position on r is z_x z_y - r (z_x^2 + z_y^2) / 2, z standardised (Devlin,
 * Gnanadesikan and Kettenring, "Robust estimation and outlier detection with correlation
 * coefficients", Biometrika 62, 1975). */
struct qn_estimate qn_estimate_correlation(const double *x, const double *y, uint64_t n,
                                           uint64_t windows)
{
    struct terms t = {.x = x, .y = y};
    t.x_centre = qn_mean(x, n);
    t.y_centre = qn_mean(y, n);
    t.xx = 1.0;
    const double xx = mean_from(&t, 0, n);
    t.xx = 0.0;
    t.yy = 1.0;
    const double yy = mean_from(&t, 0, n);
    t.yy = 0.0;
    t.xy = 1.0;
    const double root = sqrt(xx * yy), r = mean_from(&t, 0, n) / root;
    if (!(root > 0.0) || isnan(r))
        return (struct qn_estimate){NAN, NAN};
    const double bounded = fmax(-1.0, fmin(1.0, r));
    t.xy = 1.0 / root;
    t.xx = -0.5 * bounded / xx;
    t.yy = -0.5 * bounded / yy;
    return (struct qn_estimate){bounded, mean_of_terms(&t, n, windows).standard_error};
}

struct qn_estimate qn_estimate_perplexity(const double *x, uint64_t n, uint64_t windows)
{
    const struct qn_estimate nll = qn_estimate_mean(x, n, windows);
    const double perplexity = exp(nll.value); /* d exp(m) = exp(m) dm */
    return (struct qn_estimate){perplexity, perplexity * nll.standard_error};
}

struct qn_estimate qn_estimate_perplexity_difference(const double *x, const double *y, uint64_t n,
                                                     uint64_t windows)
{
    const double a = exp(qn_mean(x, n)), b = exp(qn_mean(y, n));
    const struct terms t = {.x = x, .y = y, .a = -a, .b = b};
    return (struct qn_estimate){b - a, mean_of_terms(&t, n, windows).standard_error};
}

struct qn_estimate qn_estimate_perplexity_ratio(const double *x, const double *y, uint64_t n,
                                                uint64_t windows)
{
    const struct qn_estimate d = qn_estimate_difference(x, y, n, windows);
    const double ratio = exp(d.value);
    return (struct qn_estimate){ratio, ratio * d.standard_error};
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(const double *sorted, uint64_t n, double q)
{
    const double rank = q * (double)(n - 1);
    const uint64_t low = (uint64_t)rank, high = low + 1 < n ? low + 1 : low;
    const double share = rank - (double)low;
    if (!(sorted[high] > sorted[low])) /* of two infinities too */
        return sorted[low];
    return sorted[low] + share * (sorted[high] - sorted[low]);
}

void qn_quantiles_of(double *x, uint64_t n, struct qn_quantile_figures *out)
{
    qsort(x, (size_t)n, sizeof *x, compare_doubles);
    out->min = x[0];
    out->max = x[n - 1];
    for (int i = 0; i < QN_QUANTILES; i++)
        out->quantiles[i] = quantile(x, n, qn_quantiles[i]);
}
