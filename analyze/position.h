/* What two models predict at one position of a text: figures. */
#ifndef QINS_ANALYZE_POSITION_H
#define QINS_ANALYZE_POSITION_H

#include "model/sample.h"

enum { QN_TOP_K = 10 };
/* Test C's sampling. */
#define QN_SAMPLING_TEMPERATURE 0.7
#define QN_SAMPLING_TOP_P       0.9

/* Plain data, so that a journal (analyze/journal.h) may keep it as bytes. Of two equal rows of
 * logits all that differs is exactly 0 and overlap[k - 1] is k. */
struct qn_position {
    double nll[2]; /* of the token that follows: model, candidate; nats, in float64 */
    double kl[2];  /* KL(model || candidate), KL(candidate || model) of softmax(logits); nats */
    double p[2];   /* probability of the token that follows */
    double sampled_p[2]; /* after temperature and top-p (model/sample.h's order and ties) */
    double sampled_tv;   /* total variation of those two distributions: half the sum of |p - q| */
    uint8_t overlap[QN_TOP_K]; /* how many of the k likeliest tokens of one are among the other's;
                                  ties go to the lower id; tokens that a vocabulary of fewer than k
                                  lacks count as common */
    uint8_t same_top1;
    uint8_t right[2]; /* the likeliest token is the one that follows */
    uint8_t pad[3];   /* 0 */
};

struct qn_position_scratch; /* one thread's, for one vocabulary */
enum qins_status qn_position_scratch_create(struct qn_position_scratch **out, uint32_t vocab,
                                            struct qins_error *err);
void qn_position_scratch_destroy(struct qn_position_scratch *s); /* accepts NULL */
/* Logits [vocab] of both; NEXT is the token that follows. A token of logit -infinity has
 * probability 0; with other logits that are not finite figures are NaN. NLL, and KL, are infinite
 * for a token that one of the models, or the second alone, gives probability 0. */
void qn_position_compare(struct qn_position_scratch *s, const float *model, const float *candidate,
                         uint32_t next, struct qn_position *out);

#endif
