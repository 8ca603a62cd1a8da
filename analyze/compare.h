/* QINS against uniform quantisers (INT: kappa 0) on the candidates of one tensor: at a fixed rate,
 * and at equal entropy-coded rates. INT comes twice: with the absolute maximum as its scale, as it
 * is used, and with the best clip. */
#ifndef QINS_ANALYZE_COMPARE_H
#define QINS_ANALYZE_COMPARE_H

#include "analyze/candidates.h"

/* What is compared. */
enum qn_measure {
    QN_MEASURE_SQUARED,  /* SQNR, dB */
    QN_MEASURE_WEIGHTED, /* the same of calibration-weighted error and signal, dB */
    QN_MEASURE_RELATIVE, /* 99th percentile of |x - x'| / |x| */
    QN_MEASURES,
};

enum qn_contender {
    QN_CONTENDER_QINS,       /* any kappa and clip: at a fixed rate the best; at an equal coded rate
                                what is the best at its fixed rate, then coded */
    QN_CONTENDER_INT_ABSMAX, /* kappa 0, clip 1 */
    QN_CONTENDER_INT_CLIP,   /* kappa 0, best clip */
    QN_CONTENDERS,
};

/* The winner of each kind at one granularity and fixed width. */
struct qn_fixed_comparison {
    enum qn_granularity granularity;
    unsigned bits; /* of codes */
    struct qn_candidate best[QN_CONTENDERS][QN_MEASURES];
    double value[QN_CONTENDERS][QN_MEASURES];
};

/* What each reaches at one coded rate; NaN outside of what its candidates cover. */
struct qn_rate_comparison {
    enum qn_granularity granularity;
    double bits; /* a weight, Huffman-coded, chunk headers and scales included */
    double value[QN_CONTENDERS][QN_MEASURES];
    double any[QN_MEASURES]; /* the best of all candidates */
};

struct qn_comparison {
    struct qn_fixed_comparison *fixed; /* by granularity, then bits */
    size_t n_fixed;
    struct qn_rate_comparison *coded; /* by granularity, then rate, in steps of 1/4 bit */
    size_t n_coded;
};
void qn_comparison_finish(struct qn_comparison *c); /* a zeroed one is accepted */

/* Of the candidates that qn_candidates_fixed() and qn_candidates_coded() made of S. Between two
 * candidates a curve is straight on its hull over (bits, value in logarithmic measure). */
enum qins_status qn_compare(const struct qn_tensor_study *s, const struct qn_candidate_list *fixed,
                            const struct qn_candidate_list *coded, struct qn_comparison *out,
                            struct qins_error *err);

#endif
