/* What the coders really make of a candidate, by encoding, and entropies that no histogram of
 * values tells. */
#ifndef QINS_ANALYZE_ENCODE_CHECK_H
#define QINS_ANALYZE_ENCODE_CHECK_H

#include "analyze/candidates.h"

struct qn_true_sizes {
    uint64_t elements;              /* that were encoded; fewer than the tensor's: sampled */
    uint64_t bytes[QN_CODEC_COUNT]; /* payloads of them, by enum qn_codec_id */
    double bits[QN_CODEC_COUNT];    /* a weight */
    double entropy_bits;            /* order 0, of a code */
    double order1_bits;             /* of a code, given the one before it in its row */
    double run_bits;                /* of a code, runs of zero codes as one symbol and a length */
    double zero_share;              /* of codes */
    double error;                   /* sum of squared errors */
};

/* Encodes whole chunks of tensor INDEX as CANDIDATE says, evenly spread ones of about MAX_ELEMENTS
 * (0: all) together, with every coder. STUDY is the tensor's. */
enum qins_status qn_encode_check(const struct qn_source *source, size_t index,
                                 const struct qn_tensor_study *study,
                                 const struct qn_candidate *candidate, uint64_t max_elements,
                                 struct qn_true_sizes *out, struct qins_error *err);

#endif
