/* Compression beyond 8 bits a weight by the means that are commonly named: sparsity, Huffman codes,
 * a dictionary of clustered values, fewer bits; each alone and together, with what it does to the
 * values. */
#ifndef QINS_ANALYZE_EXTRA_H
#define QINS_ANALYZE_EXTRA_H

#include "analyze/candidates.h"

enum { QN_EXTRA_ROWS = 24 };

struct qn_extra_row {
    char method[64];    /* in words: "drop the smallest 50 %, Huffman" */
    const char *family; /* "baseline", "sparsity", "huffman", "dictionary", "bits", "combined" */
    double bits;        /* a weight, tables, scales and headers included */
    double ratio;       /* to FP32 */
    double extra;       /* to the 8-bit baseline */
    double sqnr_db;
    double claimed_low, claimed_high; /* extra ratio claimed for the family, or of the whole to FP32
                                         ("combined"); 0: no claim */
};

struct qn_extra_table {
    struct qn_extra_row rows[QN_EXTRA_ROWS];
    size_t count;
    size_t honest; /* the smallest row that loses at most QN_EXTRA_LOSS_DB to the baseline */
};
#define QN_EXTRA_LOSS_DB 1.0

/* From the densities; needs those of the whole tensor and of rows where rows have one. */
enum qins_status qn_extra_compression(const struct qn_tensor_study *s, struct qn_extra_table *out,
                                      struct qins_error *err);

/* The best values for K clusters of a density of one scale (Lloyd 1982, "Least squares
 * quantization in PCM"), as multiples of the scale, ascending; deterministic. Returns the summed
 * squared error. */
double qn_cluster_values(const struct qn_density *d, unsigned k, double *values);

#endif
