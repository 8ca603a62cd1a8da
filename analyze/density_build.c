#include "analyze/density_internal.h"

#include "core/bytes.h"

#include <stdlib.h>

enum {
    RATIO_SHIFT = 52 - QN_RATIO_BITS, /* of a binary64 pattern */
    PATTERN_BITS = 23 - QN_PATTERN_SHIFT,
    PATTERN_OCTAVES = 32, /* kept below the largest magnitude; the rest is one cell */
    RADIX_BITS = 11,
    RADIX = 1 << RADIX_BITS,
    RADIX_PASSES = 3,
};

_Static_assert(sizeof(struct qn_cumulative) == 64, "a power of 2, as alignments are");

static int64_t cell_number(double v, unsigned shift)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (int64_t)(bits >> shift);
}

/* Room for N cells, or points. */
static struct qn_density *create(const struct qn_density_head *head, size_t n, bool points,
                                 struct qins_error *err)
{
    struct qn_density *d = calloc(1, sizeof *d);
    if (d) {
        d->granularity = head->granularity;
        d->count = head->count;
        d->zeros = head->zeros;
        d->groups = head->groups;
        d->scale = 1.0;
        d->n = n;
        d->below = aligned_alloc(sizeof *d->below, (n + 1) * sizeof *d->below);
        d->position = points ? calloc(n + 1, sizeof *d->position) : NULL;
    }
    if (!d || !d->below || (points && !d->position)) {
        qn_density_destroy(d);
        qn_fail_memory(err);
        return NULL;
    }
    memset(d->below, 0, (n + 1) * sizeof *d->below);
    return d;
}

/* Adds WEIGHT, evenly spread from BEGIN to END, to sums of u^k. */
static void add_even(double *sums, double weight, double begin, double end)
{
    sums[0] += weight;
    sums[1] += weight * 0.5 * (begin + end);
    sums[2] += weight * (1.0 / 3.0) * (begin * begin + begin * end + end * end);
}

static void add_cumulative(struct qn_cumulative *sum, const struct qn_cumulative *x)
{
    for (int k = 0; k < 2; k++)
        sum->count[k] += x->count[k];
    for (int k = 0; k < 3; k++) {
        sum->error[k] += x->error[k];
        sum->weighted[k] += x->weighted[k];
    }
}

/* below[] holds, in count and in element 0 of the sums, what lies in each cell; makes the
 * cumulative figures of it. The largest magnitude's elements, PEAK, are apart. */
static void accumulate(struct qn_density *d, const struct qn_cumulative *peak)
{
    struct qn_cumulative sum = {0};
    double begin = 0.0;
    for (size_t i = 0; i < d->n; i++) {
        struct qn_cumulative cell = d->below[i];
        uint64_t bits = (uint64_t)(d->base + (int64_t)i + 1) << d->shift;
        double end = d->scale;
        if (i + 1 < d->n)
            memcpy(&end, &bits, sizeof end);
        end /= d->scale;
        d->below[i] = sum;
        sum.count[0] += cell.count[0];
        sum.count[1] += cell.count[1];
        add_even(sum.error, cell.error[0], begin, end);
        add_even(sum.weighted, cell.weighted[0], begin, end);
        begin = end;
    }
    d->below[d->n] = sum;
    add_cumulative(&sum, peak);
    d->total = sum;
}

enum qins_status qn_density_of_ratios(struct qn_density **out, const struct qn_density_head *head,
                                      const double *sums, size_t stride, struct qins_error *err)
{
    struct qn_density *d = create(head, QN_RATIO_CELLS - 1, false, err);
    if (!d)
        return QINS_ERR_MEMORY;
    struct qn_cumulative peak = {0};
    d->shift = RATIO_SHIFT;
    d->base = cell_number(1.0, RATIO_SHIFT) - (QN_RATIO_CELLS - 1);
    for (size_t i = 0; i < 2 * (size_t)QN_RATIO_CELLS; i++) {
        const double *place = sums + i * stride;
        struct qn_cumulative *cell = i / 2 < d->n ? &d->below[i / 2] : &peak;
        cell->count[i % 2] += place[0];
        cell->error[0] += place[1];
        cell->weighted[0] += stride > 2 ? place[2] : place[1];
    }
    for (int k = 1; k < 3; k++) { /* u = 1 */
        peak.error[k] = peak.error[0];
        peak.weighted[k] = peak.weighted[0];
    }
    accumulate(d, &peak);
    *out = d;
    return QINS_OK;
}

/* One element or several of magnitude U. */
static struct qn_cumulative at_one_place(double u, const double count[2], double error,
                                         double weighted)
{
    struct qn_cumulative c = {{count[0], count[1]},
                              {error, error * u, error * u * u},
                              {weighted, weighted * u, weighted * u * u}};
    return c;
}

/* The buckets of points whose positions are set. */
static enum qins_status index_points(struct qn_density *d, struct qins_error *err)
{
    d->shift = RATIO_SHIFT;
    d->base = cell_number(1.0, RATIO_SHIFT) - (QN_RATIO_CELLS - 1);
    d->buckets = QN_RATIO_CELLS;
    d->bucket = calloc(d->buckets + 1, sizeof *d->bucket);
    if (!d->bucket)
        return qn_fail_memory(err);
    size_t i = 0;
    for (size_t k = 1; k < d->buckets; k++) {
        while (i < d->n && cell_number(d->position[i], d->shift) - d->base < (int64_t)k)
            i++;
        d->bucket[k] = (uint32_t)i;
    }
    d->bucket[d->buckets] = (uint32_t)d->n;
    return QINS_OK;
}

/* What an array of pattern counts says of magnitude cell I, the peak's elements taken out. */
struct pattern_source {
    const uint64_t *counts;
    const double *weighted;
    const struct qn_peak *peak;
    size_t peak_cell;
};

static bool pattern_cell(const struct pattern_source *s, size_t i, double scale,
                         struct qn_cumulative *out)
{
    uint64_t n[2] = {s->counts[i], s->counts[i + QN_PATTERN_HALF]};
    double weighted = s->weighted ? s->weighted[i] : 0.0;
    if (i == s->peak_cell) {
        n[0] -= s->peak->count[0];
        n[1] -= s->peak->count[1];
        weighted = n[0] + n[1] > 0 ? weighted - s->peak->weighted : 0.0;
        weighted = weighted < 0.0 ? 0.0 : weighted;
    }
    *out = (struct qn_cumulative){.count = {(double)n[0], (double)n[1]}};
    out->error[0] = (double)(n[0] + n[1]) * (scale * scale);
    out->weighted[0] = s->weighted ? weighted * (scale * scale) : out->error[0];
    return n[0] + n[1] > 0;
}

static double pattern_value(size_t cell)
{
    return (double)qn_float_from_bits((uint32_t)cell << QN_PATTERN_SHIFT);
}

/* Where in the octaves a cell is; those of subnormal numbers are wider than what stands for
 * them. */
static int64_t pattern_place(size_t cell, double scale, unsigned shift)
{
    static const double normal = 0x1p-126;
    double begin = pattern_value(cell);
    if (begin >= normal)
        return cell_number(begin, shift);
    double end = pattern_value(cell + 1);
    return cell_number(0.5 * (begin + (end < scale ? end : scale)), shift);
}

/* Every cell is one value. */
static enum qins_status patterns_as_points(struct qn_density **out,
                                           const struct qn_density_head *head,
                                           const struct pattern_source *s, double scale,
                                           const struct qn_cumulative *peak, struct qins_error *err)
{
    struct qn_cumulative cell, sum = {0};
    size_t n = 0;
    for (size_t i = 0; i <= s->peak_cell; i++)
        n += pattern_cell(s, i, scale, &cell);
    struct qn_density *d = create(head, n, true, err);
    if (!d)
        return QINS_ERR_MEMORY;
    for (size_t i = 0, k = 0; i <= s->peak_cell; i++) {
        if (!pattern_cell(s, i, scale, &cell))
            continue;
        double u = pattern_value(i) / scale;
        d->position[k] = u;
        d->below[k++] = sum;
        cell = at_one_place(u, cell.count, cell.error[0], cell.weighted[0]);
        add_cumulative(&sum, &cell);
    }
    d->below[n] = sum;
    add_cumulative(&sum, peak);
    d->total = sum;
    enum qins_status st = index_points(d, err);
    if (st == QINS_OK)
        *out = d;
    else
        qn_density_destroy(d);
    return st;
}

static enum qins_status patterns_as_cells(struct qn_density **out,
                                          const struct qn_density_head *head,
                                          const struct pattern_source *s, double scale,
                                          const struct qn_cumulative *peak, struct qins_error *err)
{
    const unsigned shift = 52 - PATTERN_BITS;
    int64_t top = cell_number(scale, shift);
    struct qn_cumulative cell;
    size_t first = 0;
    while (first < s->peak_cell && !pattern_cell(s, first, scale, &cell))
        first++;
    /* One cell lower than need be: the first one begins at 0. */
    int64_t base = pattern_place(first, scale, shift) - 1;
    int64_t lowest = top - ((int64_t)PATTERN_OCTAVES << PATTERN_BITS);
    base = base < lowest ? lowest : base;
    struct qn_density *d = create(head, (size_t)(top - base + 1), false, err);
    if (!d)
        return QINS_ERR_MEMORY;
    d->shift = shift;
    d->base = base;
    d->scale = scale;
    for (size_t i = first; i <= s->peak_cell; i++) {
        if (!pattern_cell(s, i, scale, &cell))
            continue;
        int64_t place = pattern_place(i, scale, shift) - base;
        add_cumulative(&d->below[place < 0 ? 0 : place], &cell);
    }
    accumulate(d, peak);
    *out = d;
    return QINS_OK;
}

enum qins_status qn_density_of_patterns(struct qn_density **out, const struct qn_density_head *head,
                                        const uint64_t *counts, const double *weighted,
                                        const struct qn_peak *peak, bool exact,
                                        struct qins_error *err)
{
    double scale = (double)peak->value, square = scale * scale;
    double n[2] = {(double)peak->count[0], (double)peak->count[1]};
    double error = (n[0] + n[1]) * square;
    struct qn_cumulative at_peak =
        at_one_place(1.0, n, error, weighted ? peak->weighted * square : error);
    struct pattern_source s = {counts, weighted, peak,
                               qn_float_bits(peak->value) >> QN_PATTERN_SHIFT};
    struct qn_density *none;
    if (scale > 0.0)
        return exact ? patterns_as_points(out, head, &s, scale, &at_peak, err)
                     : patterns_as_cells(out, head, &s, scale, &at_peak, err);
    none = create(head, 0, false, err); /* all zeros */
    *out = none;
    return none ? QINS_OK : QINS_ERR_MEMORY;
}

static uint32_t magnitude_bits(const struct qn_point *p)
{
    return qn_float_bits(p->value) & 0x7fffffffu;
}

/* By magnitude; equal ones keep their order. The result is in POINTS; SPARE has room for N. */
static void sort_points(struct qn_point *points, struct qn_point *spare, size_t n)
{
    struct qn_point *from = points, *to = spare;
    for (unsigned pass = 0; pass < RADIX_PASSES; pass++) {
        size_t begin[RADIX + 1] = {0};
        unsigned shift = pass * RADIX_BITS;
        for (size_t i = 0; i < n; i++)
            begin[(magnitude_bits(&from[i]) >> shift & (RADIX - 1)) + 1]++;
        for (size_t k = 0; k < RADIX; k++)
            begin[k + 1] += begin[k];
        for (size_t i = 0; i < n; i++)
            to[begin[magnitude_bits(&from[i]) >> shift & (RADIX - 1)]++] = from[i];
        struct qn_point *swap = from;
        from = to;
        to = swap;
    }
    if (n > 0)
        memcpy(points, spare, n * sizeof *points); /* an odd number of passes */
}

enum qins_status qn_density_of_points(struct qn_density **out, const struct qn_density_head *head,
                                      struct qn_point *points, size_t n, double scale,
                                      struct qins_error *err)
{
    struct qn_cumulative sum = {0};
    struct qn_density *d = create(head, n, true, err);
    struct qn_point *spare = calloc(n + 1, sizeof *spare);
    if (!d || !spare) {
        qn_density_destroy(d);
        free(spare);
        return qn_fail_memory(err);
    }
    sort_points(points, spare, n);
    free(spare);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        double u = (double)qn_float_from_bits(magnitude_bits(&points[i])) / scale;
        bool negative = points[i].value < 0.0F;
        double count[2] = {negative ? 0.0 : 1.0, negative ? 1.0 : 0.0}, square = scale * scale;
        struct qn_cumulative one =
            at_one_place(u, count, points[i].error * square, points[i].weighted * square);
        if (i == 0 || magnitude_bits(&points[i]) != magnitude_bits(&points[i - 1])) {
            d->position[k] = u;
            d->below[k++] = sum;
        }
        add_cumulative(&sum, &one);
    }
    d->n = k;
    d->below[k] = d->total = sum;
    enum qins_status st = index_points(d, err);
    if (st == QINS_OK)
        *out = d;
    else
        qn_density_destroy(d);
    return st;
}
