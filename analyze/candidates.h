/* What a quantiser and a coder would make of a tensor, predicted from its densities alone.
 * The formulas are in docs/analysis.md. */
#ifndef QINS_ANALYZE_CANDIDATES_H
#define QINS_ANALYZE_CANDIDATES_H

#include "analyze/study.h"
#include "formats/codec/codec.h"

/* One way to code a whole tensor. Bytes are those of all its chunk payloads: headers, scales,
 * tables, codes; what a tensor costs in manifest and HDF5 structure is the same for all. */
struct qn_candidate {
    enum qn_granularity granularity;
    unsigned levels; /* N, per sign */
    float kappa, clip;
    double error;          /* sum of squared errors */
    double weighted_error; /* sum of h (x - x')^2; = error without a calibration */
    double sqnr_db;        /* infinite for exact */
    double p50_rel_error, p90_rel_error, p99_rel_error; /* |x - x'| / |x|, zeros apart */
    double entropy_bits;                                /* order 0, of a code */
    /* Coded: high parts by that coder, low bits raw as the encoder chooses; packed where that is
     * smaller. */
    uint64_t packed_bytes, huffman_bytes, tans_bytes;
};

/* The coders, beside bitpack, whose sizes a histogram tells. */
enum { QN_COUNTED_CODERS = 2 };
extern const enum qn_codec_id qn_counted_coders[QN_COUNTED_CODERS];

/* The predicted bytes of C, packed or by one of them; 0 for another coder. */
static inline uint64_t qn_candidate_bytes(const struct qn_candidate *c, enum qn_codec_id codec)
{
    return codec == QN_CODEC_BITPACK   ? c->packed_bytes
           : codec == QN_CODEC_HUFFMAN ? c->huffman_bytes
           : codec == QN_CODEC_TANS    ? c->tans_bytes
                                       : 0;
}

/* The one of them that makes it smallest. */
static inline enum qn_codec_id qn_candidate_best_coder(const struct qn_candidate *c)
{
    return c->tans_bytes < c->huffman_bytes ? QN_CODEC_TANS : QN_CODEC_HUFFMAN;
}

/* Which figures to compute: the others are left NaN or 0. */
enum { QN_PREDICT_ERROR = 1, QN_PREDICT_RELATIVE = 2, QN_PREDICT_RATE = 4, QN_PREDICT_ALL = 7 };

/* Predicts CANDIDATE's figures from its granularity, levels, kappa and clip. The study has that
 * density. */
void qn_predict(const struct qn_tensor_study *s, struct qn_candidate *candidate, unsigned what);

/* A table of candidates, growing. Zero-initialised is empty. */
struct qn_candidate_list {
    struct qn_candidate *items;
    size_t count, capacity;
};
void qn_candidate_list_finish(struct qn_candidate_list *list);

/* The fixed-rate study: bits 2 ... 12 (levels 2^(bits-1) - 1) x kappa grid x granularity, each with
 * clip 1 and with its best clip, and the best of any kappa and clip; all figures. */
enum qins_status qn_candidates_fixed(const struct qn_tensor_study *s, struct qn_candidate_list *out,
                                     struct qins_error *err);
/* The coded study: levels in steps of a quarter bit from 1 to 2047 x {0, a few kappa} x
 * granularity, clip 1 and, for small N, best. */
enum qins_status qn_candidates_coded(const struct qn_tensor_study *s, struct qn_candidate_list *out,
                                     struct qins_error *err);

/* Best kappa and clip for squared error (weighted where WEIGHTED) at N levels; *candidate has
 * granularity and levels; kappa and clip >= 0 there are kept. */
void qn_candidate_search(const struct qn_tensor_study *s, struct qn_candidate *candidate,
                         bool weighted);

/* The lower convex hull of (bytes, error), ascending bytes, as indices into X and Y: writes at most
 * N to HULL, returns how many. Deterministic; equal points keep the first. */
size_t qn_convex_hull(const double *x, const double *y, size_t n, size_t *hull);

#endif
