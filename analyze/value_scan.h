/* What a pass over a run of elements finds out about single values and their neighbours. Runs are
 * merged in order. */
#ifndef QINS_ANALYZE_VALUE_SCAN_H
#define QINS_ANALYZE_VALUE_SCAN_H

#include "analyze/density_internal.h"
#include "analyze/moments.h"
#include "analyze/statistics.h"
#include "analyze/value_set.h"
#include "formats/codec/histogram.h"

#include <stdatomic.h>

enum {
    QN_EXPONENTS = 2048,
    QN_OCTAVES = 512 /* of float32, sign included */,
    QN_LOW_TABLES = 2,
    QN_PLANE_TILE = 4096
};

/* Initialise with qn_value_scan_init(). */
struct qn_value_scan {
    enum qins_dtype dtype;
    uint64_t n, n_nan, n_infinite, zeros, negative_zeros, equal_neighbours;
    uint64_t first_bad;         /* index of the first NaN or infinity; UINT64_MAX: none */
    uint64_t leading, trailing; /* zeros at either end; both n where all are */
    uint64_t zero_runs, longest_zero_run;
    uint64_t first_bits, last_bits; /* the outermost elements */
    struct qn_central_moments moments;
    uint64_t bytes[8][256];           /* by place in the element, least significant first; of F32
                                         only the lower two */
    uint64_t exponents[QN_EXPONENTS]; /* of finite F16, F8 and F64; others' follow from patterns */
    uint32_t or_bits;                 /* of the finite values' float32 patterns */
    bool fits_f32, fits_f16;          /* all finite values so far are exact in it */
    bool brief;                       /* bytes, distinct values and what fits are not asked for */
    struct qn_value_set values;
    atomic_bool *many_values;    /* shared by all scans of a tensor: no need to count them */
    uint8_t octaves[QN_OCTAVES]; /* 0 where there are no patterns: need not be looked
                                    at, which is most of the table */
    uint32_t *patterns;          /* [QN_PATTERN_CELLS], float32 patterns, zeros included */
    uint32_t low[2][QN_LOW_TABLES][256]; /* bytes 0 and 1 of F32, not yet in `bytes` */
    struct qn_histogram_work histogram;
    uint8_t planes[8 * QN_PLANE_TILE];
};

/* At most 2^31 elements go into one scan. */
enum qins_status qn_value_scan_init(struct qn_value_scan *s, enum qins_dtype dtype, bool brief,
                                    atomic_bool *many_values, struct qins_error *err);
void qn_value_scan_finish(struct qn_value_scan *s); /* a zeroed one is accepted */

/* Adds N elements at RAW, FIRST the index of the first of them. X receives them as float32
 * (rounded, where they are wider); it may be RAW for F32. */
enum qins_status qn_value_scan_add(struct qn_value_scan *s, const void *raw, float *x, size_t n,
                                   uint64_t first, struct qins_error *err);

/* Appends FROM, which becomes empty again, to s, and its patterns to PATTERNS[QN_PATTERN_CELLS];
 * those of s are not used. */
enum qins_status qn_value_scan_merge(struct qn_value_scan *s, uint64_t *patterns,
                                     struct qn_value_scan *from, struct qins_error *err);

/* The figures of all but rows. */
void qn_value_scan_figures(const struct qn_value_scan *s, const uint64_t *patterns,
                           struct qn_statistics *out);

#endif
