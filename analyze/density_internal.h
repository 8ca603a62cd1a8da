/* How densities are collected and what they become. Cells are log-linear: as many to each octave
 * of a magnitude, so that a cell is a few leading bits of its floating-point pattern. They resolve
 * what lies near zero however large the largest value is, and can be counted before the largest
 * value is known. Small tensors keep every value instead: predictions for fine grids then have no
 * cut cells. */
#ifndef QINS_ANALYZE_DENSITY_INTERNAL_H
#define QINS_ANALYZE_DENSITY_INTERNAL_H

#include "analyze/density.h"

enum {
    /* Elements up to which values are kept. At n = 2^17, N = 2047 a level's 30 values lie in two
     * cells or so, and cutting those moves the entropy by less than 0.003 bit. */
    QN_DENSITY_POINTS = 1 << 17,

    /* Of |x| / s for groups of elements: 20 octaves of 512 cells below 1, which has one of its own;
     * the lowest cell begins at 0. Sums of each cell and sign are QN_CELL_SUMS numbers: count,
     * sum of s^2, and where there are calibration weights sum of h s^2 and padding. */
    QN_RATIO_BITS = 9,
    QN_RATIO_OCTAVES = 20,
    QN_RATIO_CELLS = (QN_RATIO_OCTAVES << QN_RATIO_BITS) + 1,
    QN_RATIO_SPARE = 8, /* places behind the cells where zeros go, several so that equal neighbours
                           do not wait for each other */
    QN_RATIO_PLACES = 2 * QN_RATIO_CELLS + QN_RATIO_SPARE,

    /* Of x itself: the float32 pattern without its 13 lowest bits, 1024 cells an octave; values of
     * BF16 and F16 have one cell each. */
    QN_PATTERN_SHIFT = 13,
    QN_PATTERN_CELLS = 1 << (32 - QN_PATTERN_SHIFT), /* sign included */
    QN_PATTERN_HALF = QN_PATTERN_CELLS / 2,
};

/* One element of a small tensor. */
struct qn_point {
    float value;            /* x / s; x for one scale a tensor */
    double error, weighted; /* s^2 and h s^2; 1 and h for one scale a tensor */
};

/* All elements of the largest magnitude. */
struct qn_peak {
    float value; /* >= 0 */
    uint64_t count[2];
    double weighted;
};

struct qn_density {
    enum qn_granularity granularity;
    uint64_t count, zeros, groups;
    double scale; /* bounds of cells are of u * scale */
    /* Cells: those of the binary64 pattern >> SHIFT from BASE on; the first one begins at 0, the
     * last one ends at SCALE. below[i]: what cells before i hold. */
    unsigned shift;
    int64_t base;
    size_t n;
    struct qn_cumulative *below; /* [n + 1], each in a cache line of its own */
    /* Or points: distinct values of u, ascending, below[i] what those before i hold; bucket[k] the
     * first in or behind cell k of BUCKETS, bounds as for cells of u. */
    double *position; /* [n], or NULL for cells */
    uint32_t *bucket; /* [buckets + 1] */
    size_t buckets;
    struct qn_cumulative total;
};

struct qn_density_head {
    enum qn_granularity granularity;
    uint64_t count, zeros, groups;
};

/* From sums[QN_RATIO_PLACES][stride], STRIDE 2 without calibration weights, else 4. */
enum qins_status qn_density_of_ratios(struct qn_density **out, const struct qn_density_head *head,
                                      const double *sums, size_t stride, struct qins_error *err);
/* From counts of float32 patterns [QN_PATTERN_CELLS], zeros not among them, and the sums of h by
 * magnitude [QN_PATTERN_HALF] or NULL. EXACT: the bits that patterns lack were 0 in all values. */
enum qins_status qn_density_of_patterns(struct qn_density **out, const struct qn_density_head *head,
                                        const uint64_t *counts, const double *weighted,
                                        const struct qn_peak *peak, bool exact,
                                        struct qins_error *err);
/* From N elements other than 0, which are sorted; SCALE is 1, or the largest magnitude where
 * values are not yet divided by it. */
enum qins_status qn_density_of_points(struct qn_density **out, const struct qn_density_head *head,
                                      struct qn_point *points, size_t n, double scale,
                                      struct qins_error *err);
void qn_density_destroy(struct qn_density *d); /* accepts NULL */

#endif
