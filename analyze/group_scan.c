#include "analyze/group_scan.h"

#include "core/bytes.h"
#include "formats/codec/chunk.h"

#include <math.h>
#include <stdlib.h>

enum {
    TILE = QN_GROUP_TILE,
    BLOCK = 32,
    BIG_BLOCK = 128,
    LANES = 8,
    RATIO_SHIFT = 23 - QN_RATIO_BITS,
    ZERO_PLACE = 2 * QN_RATIO_CELLS,
};

enum qins_status qn_group_scan_init(struct qn_group_scan *s, uint64_t n, uint64_t row_length,
                                    const struct qn_weighting *weighting, bool room,
                                    struct qins_error *err)
{
    bool weighted = weighting->weights != NULL, ok = true;
    *s = (struct qn_group_scan){.finite = true,
                                .keep = n <= QN_DENSITY_POINTS,
                                .weighting = *weighting,
                                .stride = weighted ? 4 : 2};
    s->wanted[QN_PER_TENSOR] = s->wanted[QN_PER_ROW] = true;
    s->wanted[QN_PER_BLOCK_128] = row_length > BIG_BLOCK;
    s->wanted[QN_PER_BLOCK_32] = row_length > BLOCK;
    size_t row = (size_t)qn_min_u64(row_length, QN_CHUNK_MAX);
    s->maxima = calloc(row / BLOCK + 1, sizeof *s->maxima);
    s->maxima_128 = calloc(row / BIG_BLOCK + 1, sizeof *s->maxima_128);
    ok = s->maxima && s->maxima_128;
    for (int g = 0; g < QN_GRANULARITIES; g++) {
        if (s->wanted[g] && s->keep && room)
            ok = (s->points[g] = calloc(n + 1, sizeof *s->points[g])) && ok;
        else if (s->wanted[g] && !s->keep && g != QN_PER_TENSOR)
            ok = (s->sums[g] = calloc(QN_RATIO_PLACES * s->stride, sizeof *s->sums[g])) && ok;
    }
    if (weighted && !s->keep)
        ok = (s->weighted = calloc(QN_PATTERN_HALF, sizeof *s->weighted)) && ok;
    return ok ? QINS_OK : qn_fail_memory(err);
}

void qn_group_scan_finish(struct qn_group_scan *s)
{
    for (int g = 0; g < QN_GRANULARITIES; g++) {
        free(s->sums[g]);
        free(s->points[g]);
    }
    free(s->weighted);
    free(s->maxima);
    free(s->maxima_128);
    *s = (struct qn_group_scan){0};
}

/* h of the N <= TILE elements from FIRST on. */
static const double *weights_of(struct qn_group_scan *s, uint64_t first, size_t n)
{
    const struct qn_weighting *w = &s->weighting;
    if (!w->weights)
        return NULL;
    if (w->row_length == 0 && first % w->period + n <= w->period)
        return w->weights + first % w->period;
    for (size_t i = 0; i < n; i++)
        s->fill[i] =
            w->weights[w->row_length ? (first + i) / w->row_length : (first + i) % w->period];
    return s->fill;
}

static float block_max(const float *x, size_t n)
{
    float lane[LANES] = {0}, most = 0.0F;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            float a = fabsf(x[i + k]);
            lane[k] = a > lane[k] ? a : lane[k];
        }
    for (; i < n; i++)
        lane[0] = fabsf(x[i]) > lane[0] ? fabsf(x[i]) : lane[0];
    for (size_t k = 0; k < LANES; k++)
        most = lane[k] > most ? lane[k] : most;
    return most;
}

/* Largest magnitudes of the blocks of a row; returns the row's. */
static float find_maxima(struct qn_group_scan *s, const float *x, size_t n)
{
    float most = 0.0F;
    for (size_t b = 0; b * BLOCK < n; b++) {
        size_t left = n - b * BLOCK;
        s->maxima[b] = block_max(x + b * BLOCK, left < BLOCK ? left : BLOCK);
    }
    size_t blocks = (n + BLOCK - 1) / BLOCK;
    for (size_t b = 0; b * BIG_BLOCK < n; b++) {
        size_t begin = b * (BIG_BLOCK / BLOCK), left = blocks - begin;
        s->maxima_128[b] =
            block_max(s->maxima + begin, left < BIG_BLOCK / BLOCK ? left : BIG_BLOCK / BLOCK);
        most = s->maxima_128[b] > most ? s->maxima_128[b] : most;
    }
    return most;
}

static void find_peak(struct qn_group_scan *s, const float *x, size_t n, uint64_t first, float most)
{
    if (most < s->peak.value || !(most > 0.0F))
        return;
    if (most > s->peak.value)
        s->peak = (struct qn_peak){.value = most};
    for (size_t begin = 0; begin < n; begin += TILE) {
        size_t part = n - begin < TILE ? n - begin : TILE;
        const double *h = weights_of(s, first + begin, part);
        for (size_t i = begin; i < begin + part; i++)
            if (fabsf(x[i]) >= most) {
                s->peak.count[x[i] < 0.0F]++;
                s->peak.weighted += h ? h[i - begin] : 1.0;
            }
    }
}

/* Places of N values of one group in its sums: of |x| / scale, sign lowest; zeros go behind. */
static inline void find_places(const float *restrict x, float scale, uint32_t *restrict place,
                               size_t n)
{
    static const float least = 1.0F / (1 << QN_RATIO_OCTAVES);
    const uint32_t least_bits = (127u - QN_RATIO_OCTAVES) << 23;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = qn_float_bits(x[i]);
        float u = fabsf(x[i]) / scale;
        u = u > least ? u : least;
        uint32_t cell = (qn_float_bits(u) - least_bits) >> RATIO_SHIFT;
        uint32_t zero = ZERO_PLACE / 2 + (uint32_t)(i % (QN_RATIO_SPARE / 2));
        place[i] = 2 * (bits << 1 == 0 ? zero : cell) + (bits >> 31);
    }
}

/* Adds N values, places known, of groups of GROUP whose scales are SCALES. */
static inline void add_places(double *restrict sums, const uint32_t *restrict place, size_t n,
                              size_t group, const float *restrict scales, const double *restrict h,
                              bool weighted)
{
    for (size_t begin = 0, g = 0; begin < n; begin += group, g++) {
        size_t end = n - begin < group ? n : begin + group;
        double square = (double)scales[g] * (double)scales[g];
        for (size_t i = begin; i < end; i++) {
            double *p = sums + (size_t)place[i] * (weighted ? 4 : 2);
            p[0] += 1.0;
            p[1] += square;
            if (weighted)
                p[2] += h[i] * square;
        }
    }
}

static inline void add_tile(double *sums, const float *x, size_t n, size_t group,
                            const float *scales, const double *h)
{
    uint32_t place[TILE];
    for (size_t begin = 0, g = 0; begin < n; begin += group, g++)
        find_places(x + begin, scales[g], place + begin, n - begin < group ? n - begin : group);
    if (h)
        add_places(sums, place, n, group, scales, h, true);
    else
        add_places(sums, place, n, group, scales, NULL, false);
}

static void keep_tile(struct qn_group_scan *s, const float *x, size_t n, size_t begin,
                      float row_max, const double *h)
{
    for (size_t i = 0; i < n; i++) {
        const float scale[QN_GRANULARITIES] = {
            1.0F, row_max, s->maxima_128[(begin + i) / BIG_BLOCK], s->maxima[(begin + i) / BLOCK]};
        if (!(fabsf(x[i]) > 0.0F))
            continue;
        for (int g = 0; g < QN_GRANULARITIES; g++)
            if (s->wanted[g]) {
                double square = (double)scale[g] * (double)scale[g];
                s->points[g][s->n_points] =
                    (struct qn_point){x[i] / scale[g], square, h ? h[i] * square : square};
            }
        s->n_points++;
    }
}

static void sum_tile(struct qn_group_scan *s, const float *x, size_t n, size_t begin, float row_max,
                     const double *h)
{
    if (h)
        for (size_t i = 0; i < n; i++)
            if (fabsf(x[i]) > 0.0F)
                s->weighted[qn_float_bits(fabsf(x[i])) >> QN_PATTERN_SHIFT] += h[i];
    add_tile(s->sums[QN_PER_ROW], x, n, n, &row_max, h);
    if (s->wanted[QN_PER_BLOCK_128])
        add_tile(s->sums[QN_PER_BLOCK_128], x, n, BIG_BLOCK, s->maxima_128 + begin / BIG_BLOCK, h);
    if (s->wanted[QN_PER_BLOCK_32])
        add_tile(s->sums[QN_PER_BLOCK_32], x, n, BLOCK, s->maxima + begin / BLOCK, h);
}

void qn_group_scan_add(struct qn_group_scan *s, const float *x, size_t n, uint64_t first)
{
    float row_max = find_maxima(s, x, n);
    s->groups[QN_PER_TENSOR] = 1;
    s->groups[QN_PER_ROW]++;
    s->groups[QN_PER_BLOCK_128] += qn_div_up(n, BIG_BLOCK);
    s->groups[QN_PER_BLOCK_32] += qn_div_up(n, BLOCK);
    s->finite = s->finite && isfinite(row_max);
    if (!s->finite)
        return;
    find_peak(s, x, n, first, row_max);
    for (size_t begin = 0; begin < n; begin += TILE) {
        size_t part = n - begin < TILE ? n - begin : TILE;
        const double *h = weights_of(s, first + begin, part);
        if (s->keep)
            keep_tile(s, x + begin, part, begin, row_max, h);
        else
            sum_tile(s, x + begin, part, begin, row_max, h);
    }
}

static void merge_peak(struct qn_peak *peak, const struct qn_peak *from)
{
    if (from->value > peak->value) {
        *peak = *from;
    } else if (from->value >= peak->value) {
        peak->count[0] += from->count[0];
        peak->count[1] += from->count[1];
        peak->weighted += from->weighted;
    }
}

static void move_sums(double *restrict to, double *restrict from, size_t n)
{
    if (!to)
        return;
    for (size_t i = 0; i < n; i++)
        to[i] += from[i];
    memset(from, 0, n * sizeof *from);
}

void qn_group_scan_merge(struct qn_group_scan *s, struct qn_group_scan *from)
{
    s->finite = s->finite && from->finite;
    merge_peak(&s->peak, &from->peak);
    move_sums(s->weighted, from->weighted, QN_PATTERN_HALF);
    for (int g = 0; g < QN_GRANULARITIES; g++) {
        s->groups[g] = g == QN_PER_TENSOR ? 1 : s->groups[g] + from->groups[g];
        from->groups[g] = 0;
        move_sums(s->sums[g], from->sums[g], QN_RATIO_PLACES * s->stride);
        struct qn_point *points = s->points[g];
        s->points[g] = from->points[g]; /* a tensor that is kept is one item */
        from->points[g] = points;
    }
    s->n_points = from->n_points;
    from->n_points = 0;
    from->peak = (struct qn_peak){0};
}

/* Zeros of either sign: what went to the spare places. */
static void count_zeros(const struct qn_group_scan *s, uint64_t zeros[2])
{
    zeros[0] = zeros[1] = 0;
    for (size_t k = 0; k < QN_RATIO_SPARE; k++)
        zeros[k % 2] += (uint64_t)s->sums[QN_PER_ROW][(ZERO_PLACE + k) * s->stride];
}

enum qins_status qn_group_scan_densities(struct qn_group_scan *s, uint64_t count,
                                         uint64_t *patterns, bool exact,
                                         struct qn_density *out[QN_GRANULARITIES],
                                         struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    uint64_t zeros = count - s->n_points;
    if (!s->keep && s->finite) {
        uint64_t signs[2];
        count_zeros(s, signs);
        zeros = signs[0] + signs[1];
        patterns[0] -= signs[0];
        patterns[QN_PATTERN_HALF] -= signs[1];
    }
    for (int g = 0; g < QN_GRANULARITIES && s->finite && st == QINS_OK; g++) {
        struct qn_density_head head = {(enum qn_granularity)g, count, zeros, s->groups[g]};
        if (!s->wanted[g])
            continue;
        if (s->keep)
            st = qn_density_of_points(&out[g], &head, s->points[g], s->n_points,
                                      g == QN_PER_TENSOR ? (double)s->peak.value : 1.0, err);
        else if (g == QN_PER_TENSOR)
            st =
                qn_density_of_patterns(&out[g], &head, patterns, s->weighted, &s->peak, exact, err);
        else
            st = qn_density_of_ratios(&out[g], &head, s->sums[g], s->stride, err);
    }
    return st;
}
