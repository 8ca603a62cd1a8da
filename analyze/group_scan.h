/* What a pass over the rows of a float tensor collects for its densities. */
#ifndef QINS_ANALYZE_GROUP_SCAN_H
#define QINS_ANALYZE_GROUP_SCAN_H

#include "analyze/density_internal.h"

enum { QN_GROUP_TILE = 1024 };

/* The calibration's h of each element. */
struct qn_weighting {
    const double *weights; /* NULL: 1 everywhere */
    uint64_t period;       /* element i has weights[i % period], */
    uint64_t row_length;   /* or weights[i / row_length] where this is not 0 */
};

/* Initialise with qn_group_scan_init(). */
struct qn_group_scan {
    bool wanted[QN_GRANULARITIES];
    bool keep;   /* all values, of a small tensor */
    bool finite; /* every value so far is, as a float32; else there is no density */
    struct qn_weighting weighting;
    uint64_t groups[QN_GRANULARITIES];
    struct qn_peak peak;
    size_t stride;                             /* of sums */
    double *sums[QN_GRANULARITIES];            /* [QN_RATIO_PLACES][stride]; not of the tensor */
    double *weighted;                          /* [QN_PATTERN_HALF] sums of h, or NULL */
    struct qn_point *points[QN_GRANULARITIES]; /* [QN_DENSITY_POINTS] */
    size_t n_points;                           /* of each */
    float *maxima;                             /* of blocks of 32 of a row */
    float *maxima_128;
    double fill[QN_GROUP_TILE];
};

/* N elements in rows of ROW_LENGTH. ROOM: for points; not needed in a scan that others are merged
 * into. */
enum qins_status qn_group_scan_init(struct qn_group_scan *s, uint64_t n, uint64_t row_length,
                                    const struct qn_weighting *weighting, bool room,
                                    struct qins_error *err);
void qn_group_scan_finish(struct qn_group_scan *s); /* a zeroed one is accepted */

/* Adds a row, or the N <= QN_CHUNK_MAX elements of it that a chunk holds (scales are a chunk's
 * own); finite values, the first of them element FIRST. */
void qn_group_scan_add(struct qn_group_scan *s, const float *x, size_t n, uint64_t first);

/* Appends FROM, which becomes empty again. The points of a small tensor come from one scan: FROM is
 * then merged into an empty s, and has no room any more. */
void qn_group_scan_merge(struct qn_group_scan *s, struct qn_group_scan *from);

/* Makes the densities of all that was wanted: NULL where values are not finite. COUNT elements;
 * zeros are those of float32. Zeros are taken from PATTERNS [QN_PATTERN_CELLS]; EXACT as for
 * qn_density_of_patterns(). */
enum qins_status qn_group_scan_densities(struct qn_group_scan *s, uint64_t count,
                                         uint64_t *patterns, bool exact,
                                         struct qn_density *out[QN_GRANULARITIES],
                                         struct qins_error *err);

#endif
