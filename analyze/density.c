#include "analyze/density_internal.h"

#include "core/bytes.h"

#include <math.h>
#include <stdlib.h>

const char *qn_granularity_name(enum qn_granularity g)
{
    static const char *const names[QN_GRANULARITIES] = {"tensor", "row", "128", "32"};
    return (unsigned)g < QN_GRANULARITIES ? names[g] : "?";
}

uint64_t qn_granularity_group(enum qn_granularity g, uint64_t row_length)
{
    switch (g) {
    case QN_PER_ROW:
        return row_length;
    case QN_PER_BLOCK_128:
        return qn_min_u64(128, row_length);
    case QN_PER_BLOCK_32:
        return qn_min_u64(32, row_length);
    default:
        return 0;
    }
}

uint64_t qn_density_zeros(const struct qn_density *d)
{
    return d->zeros;
}

uint64_t qn_density_count(const struct qn_density *d)
{
    return d->count;
}

uint64_t qn_density_groups(const struct qn_density *d)
{
    return d->groups;
}

void qn_density_destroy(struct qn_density *d)
{
    if (!d)
        return;
    free(d->below);
    free(d->position);
    free(d->bucket);
    free(d);
}

static uint64_t double_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double cell_begin(const struct qn_density *d, size_t i)
{
    uint64_t bits = (uint64_t)(d->base + (int64_t)i) << d->shift;
    double x;
    memcpy(&x, &bits, sizeof x);
    return i == 0 ? 0.0 : x;
}

static double cell_end(const struct qn_density *d, size_t i)
{
    return i + 1 < d->n ? cell_begin(d, i + 1) : d->scale;
}

/* The cell, of COUNT, that V > 0 lies in. */
static size_t find_cell(const struct qn_density *d, double v, size_t count)
{
    int64_t cell = (int64_t)(double_bits(v) >> d->shift) - d->base;
    if (cell < 0)
        return 0;
    return (size_t)cell < count ? (size_t)cell : count - 1;
}

static void at_point(const struct qn_density *d, double u, struct qn_cumulative *out)
{
    size_t cell = find_cell(d, u, d->buckets);
    size_t i = d->bucket[cell], end = d->bucket[cell + 1];
    while (i < end) { /* the first point above u */
        size_t middle = i + (end - i) / 2;
        if (d->position[middle] <= u)
            i = middle + 1;
        else
            end = middle;
    }
    *out = d->below[i];
}

/* Adds SHARE of what lies between two cumulative figures, evenly filled from BEGIN to END. */
static void add_part(double *sums, const double *from, const double *to, double share, double begin,
                     double end)
{
    double part = share * (to[0] - from[0]);
    sums[0] += part;
    sums[1] += part * 0.5 * (begin + end);
    sums[2] += part * (1.0 / 3.0) * (begin * begin + begin * end + end * end);
}

static void at_cell(const struct qn_density *d, double u, struct qn_cumulative *out)
{
    double v = u * d->scale;
    size_t i = find_cell(d, v, d->n);
    double begin = cell_begin(d, i), end = cell_end(d, i);
    const struct qn_cumulative *from = &d->below[i], *to = from + 1;
    double share = end > begin ? (v - begin) / (end - begin) : 1.0;
    share = share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share;
    *out = *from;
    out->count[0] += share * (to->count[0] - from->count[0]);
    out->count[1] += share * (to->count[1] - from->count[1]);
    add_part(out->error, from->error, to->error, share, begin / d->scale, u);
    add_part(out->weighted, from->weighted, to->weighted, share, begin / d->scale, u);
}

void qn_density_at(const struct qn_density *d, double u, struct qn_cumulative *out)
{
    if (u >= 1.0)
        *out = d->total;
    else if (!(u > 0.0) || d->n == 0)
        *out = (struct qn_cumulative){0};
    else if (d->position)
        at_point(d, u, out);
    else
        at_cell(d, u, out);
}

double qn_density_resolution(const struct qn_density *d, double u)
{
    if (d->position || d->n == 0 || !(u > 0.0) || u >= 1.0)
        return 0.0;
    size_t i = find_cell(d, u * d->scale, d->n);
    return (cell_end(d, i) - cell_begin(d, i)) / d->scale;
}

void qn_density_histogram(const struct qn_density *d, size_t cells, double *out)
{
    struct qn_cumulative from = {0}, to;
    size_t middle = cells / 2;
    for (size_t k = 0; k <= middle; k++) {
        qn_density_at(d, k < middle ? (2.0 * (double)k + 1.0) / (double)cells : 1.0, &to);
        out[middle + k] = to.count[0] - from.count[0];
        if (k > 0)
            out[middle - k] = to.count[1] - from.count[1];
        else
            out[middle] += to.count[1] - from.count[1] + (double)d->zeros;
        from = to;
    }
}
