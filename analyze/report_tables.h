/* Columns of the tables of entropy_analysis.h5. */
#ifndef QINS_ANALYZE_REPORT_TABLES_H
#define QINS_ANALYZE_REPORT_TABLES_H

/* Of "candidates", a row a candidate; QN_TABLE_HEADS names them. Bits are those of a weight. */
enum qn_table_column {
    QN_COLUMN_SET,         /* 0: fixed-rate study, 1: coded study */
    QN_COLUMN_GRANULARITY, /* enum qn_granularity */
    QN_COLUMN_LEVELS,
    QN_COLUMN_KAPPA,
    QN_COLUMN_CLIP,
    QN_COLUMN_ENTROPY_BITS,
    QN_COLUMN_PACKED_BITS,
    QN_COLUMN_HUFFMAN_BITS,
    QN_COLUMN_SQNR_DB,
    QN_COLUMN_WEIGHTED_SQNR_DB,
    QN_COLUMN_P50_REL_ERROR,
    QN_COLUMN_P90_REL_ERROR,
    QN_COLUMN_P99_REL_ERROR,
    QN_COLUMN_TANS_BITS,
    QN_TABLE_COLUMNS,
};
#define QN_TABLE_HEADS                                                                             \
    "set granularity levels kappa clip entropy_bits packed_bits huffman_bits sqnr_db "             \
    "weighted_sqnr_db p50_rel_error p90_rel_error p99_rel_error tans_bits"

/* Of "coded_rates": for each rate what QINS, INT and the best of all reach, by squared error and by
 * calibration-weighted error in dB, by relative error as its 99th percentile. */
enum { QN_RATE_COLUMNS = 11 };
#define QN_RATE_HEADS                                                                              \
    "granularity bits qins_sqnr_db int_sqnr_db any_sqnr_db qins_weighted_sqnr_db "                 \
    "int_weighted_sqnr_db any_weighted_sqnr_db qins_p99_rel_error int_p99_rel_error "              \
    "any_p99_rel_error"

/* Of "histogram": the middle of a cell of x / scale, then counts by granularity (tensor, row, 128,
 * 32; only those that the tensor has). */
enum { QN_HISTOGRAM_CELLS = 201 };

#endif
