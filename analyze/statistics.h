/* What one pass over a tensor finds out about its values, before any quantiser. */
#ifndef QINS_ANALYZE_STATISTICS_H
#define QINS_ANALYZE_STATISTICS_H

#include "core/error.h"

#include <stdint.h>

/* NaN where a figure is undefined. Of finite values, n - n_nan - n_infinite of them; zeros, runs,
 * neighbours, rows and bytes are of all elements. */
struct qn_statistics {
    uint64_t n, n_nan, n_infinite;
    uint64_t zeros, negative_zeros; /* exact; the latter are among the former */
    uint64_t near_zeros;            /* |x| <= 2^-10 of the largest magnitude, zeros included; up to
                                       those within 0.1 % of that bound */
    double min, max, abs_max, mean, mean_abs, rms, variance, skewness,
        kurtosis;                             /* kurtosis 3 for a Gaussian */
    uint64_t zero_runs, longest_zero_run;     /* maximal runs of exact zeros, row-major */
    uint64_t equal_neighbours;                /* elements whose bits are those before them */
    uint64_t rows, duplicate_rows, zero_rows; /* rows equal to an earlier one (by XXH3-128) */
    uint64_t compared_rows;      /* that duplicate_rows is about: the first 2^20 at most */
    double byte_entropy_bits[8]; /* order 0, of each byte of an element, most significant first;
                                    floats rotated left by one, so that the exponent is whole (as
                                    lossless content is coded) */
    unsigned element_bytes;
    double exponent_entropy_bits; /* sign left out */
    /* What the bits reveal: the narrowest type that holds every value exactly (BF16, F16, F32, of
     * F64 F32), and the number of distinct values where it is at most 65536, else 0: values
     * of 8 bits stored as floats show as at most 256. */
    enum qins_dtype fits_dtype;
    uint32_t distinct_values;
};

/* One sentence where the values are narrower than their type ("BF16 values stored as F32: 16
 * of 32 bits are zero", "at most 256 values"), or "". Returns buf. */
char *qn_statistics_remark(const struct qn_statistics *s, enum qins_dtype dtype, char *buf,
                           size_t size);

#endif
