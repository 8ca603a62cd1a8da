/* The parts of qn_predict(): one pass over the bounds of a grid's levels, then error, relative
 * error and rate of what it found. And those of qn_candidate_search(). */
#ifndef QINS_ANALYZE_PREDICT_H
#define QINS_ANALYZE_PREDICT_H

#include "analyze/candidates.h"
#include "formats/codec/huffman.h"
#include "formats/codec/quant.h"
#include "formats/codec/tans.h"

#define QN_BELOW_ONE 0x1.fffffffffffffp-1

/* Elements of each sign at or below a bound. */
struct qn_signed_counts {
    double sign[2]; /* above 0, below 0 */
};

/* What is known of a grid on a density, and scratch; about 150 KB. */
struct qn_prediction {
    const struct qn_density *density;
    unsigned levels;
    double kappa, clip;
    struct qn_signed_counts below[QN_MAX_LEVELS + 1]; /* bound of level l; the last: all */
    double error, weighted_error;
    double unevenness; /* what the entropy of the codes is overestimated by, in code counts */
    uint32_t counts[2 * QN_MAX_LEVELS + 2]; /* by code, of a chunk */
    uint32_t merged[2 * QN_MAX_LEVELS + 2];
    struct qn_huffman_lengths_work lengths;
    struct qn_tans_size_work tans;
};

/* The density's figures at every bound of the grid of C: fills *p. */
void qn_predict_pass(const struct qn_density *d, const struct qn_candidate *c,
                     struct qn_prediction *p);
/* The squared errors alone: of the weighted sums where WEIGHTED. */
double qn_predict_grid_error(const struct qn_density *d, unsigned levels, double kappa, double clip,
                             bool weighted);
/* Sets the quantiles. */
void qn_predict_relative(const struct qn_prediction *p, struct qn_candidate *c);
/* Sets entropy and bytes. */
void qn_predict_rate(const struct qn_tensor_study *s, struct qn_prediction *p,
                     struct qn_candidate *c);

/* Moments of a density below clips (candidate_search.c), the same for all searches of it. About
 * 19 KB. */
enum {
    QN_MOMENT_NODES = 385, /* powers of 2^(-1/16), down to 2^-24 */
    QN_MOMENTS = 5,        /* v^0 ... v^4 */
};
struct qn_moment_table {
    double u[QN_MOMENT_NODES];
    double below[QN_MOMENT_NODES][QN_MOMENTS];
    double all[3];
};
void qn_moment_table_fill(struct qn_moment_table *t, const struct qn_density *d, bool weighted);
/* qn_candidate_search() with the table of the candidate's density, filled with the same WEIGHTED.
 */
void qn_candidate_search_table(const struct qn_tensor_study *s, const struct qn_moment_table *t,
                               struct qn_candidate *c, bool weighted);

#endif
