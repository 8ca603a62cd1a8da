/* What tensors come to together: sizes, and QINS against INT. Sums in the order of tensors. */
#ifndef QINS_ANALYZE_REPORT_SUMS_H
#define QINS_ANALYZE_REPORT_SUMS_H

#include "analyze/report_figures.h"

enum {
    QN_SUM_MIN_BITS = 2,
    QN_SUM_MAX_BITS = 12,
    QN_SUM_WIDTHS = QN_SUM_MAX_BITS - QN_SUM_MIN_BITS + 1,
    QN_SUM_RATES = 13 * 4 + 1, /* of codes, in steps of a quarter bit */
    /* Smaller tensors stay as they are: scales and tables would outweigh the gain. */
    QN_SUM_MIN_ELEMENTS = 4096,
};

/* Mean, least and largest of what tensors have, weighted by elements. */
struct qn_mean {
    double sum, weight, min, max;
};
void qn_mean_add(struct qn_mean *s, double value, double weight);
json_t *qn_mean_to_json(const struct qn_mean *s);

struct qn_fixed_sum {
    double error[QN_CONTENDERS], packed_bytes[QN_CONTENDERS], coded_bytes;
    struct qn_mean gain_over_absmax, gain_over_clip, weighted_gain, p99[QN_CONTENDERS];
};
struct qn_rate_sum {
    double error[2], any; /* of QINS, of INT; NaN where a tensor does not reach this rate */
    struct qn_mean gain;
    size_t tensors, any_tensors;
};

/* Zero-initialised is empty. */
struct qn_report_sums {
    size_t tensors, matrices;
    double float_elements, matrix_elements, signal;
    double fp32_bytes, stored_bytes; /* of all tensors */
    /* Matrices as 8-bit QINS packed, the same codes by Huffman and by tans, INT of no more error by
     * Huffman; the rest as it is stored. */
    double packed_bytes, coded_bytes, tans_bytes, int_coded_bytes;
    struct qn_fixed_sum fixed[QN_SUM_WIDTHS];
    struct qn_rate_sum rates[QN_SUM_RATES];
    double reference_error[QN_BLOCK_FORMATS];
    bool references; /* all matrices have them */
};

/* A tensor of which all is known. */
struct qn_sum_input {
    const struct qn_tensor_study *study;
    const struct qn_comparison *comparison;     /* or NULL: it stays as it is stored */
    const struct qn_candidate_list *coded;      /* the coded study; with the former */
    const struct qn_reference_line *references; /* or NULL */
};

/* Whether a tensor counts among those that are quantised. */
bool qn_report_is_matrix(const struct qn_tensor *t);
void qn_report_sums_add(struct qn_report_sums *s, const struct qn_sum_input *in);

/* 10 log10 of the ratio; NaN where one is not above 0. */
double qn_report_decibels(double signal, double error);

/* "comparison" of the report. */
json_t *qn_report_comparison(const struct qn_report_sums *s);
/* "sizes": stages from FP32 on; PLAN and ARCHIVE bytes, <= 0 where there are none. */
json_t *qn_report_sizes(const struct qn_report_sums *s, double plan, double archive);

#endif
