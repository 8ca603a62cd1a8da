/* How far a model's predictions are from another's on the same tokens. */
#ifndef QINS_ANALYZE_DIVERGENCE_H
#define QINS_ANALYZE_DIVERGENCE_H

#include "model/ids.h"
#include "model/session.h"

struct qn_divergence_options {
    size_t context; /* tokens of a window; the same windows as qn_perplexity() in QN_PPL_QINS */
    uint64_t max_windows; /* 0: all */
    unsigned threads;
};

/* KL(model || candidate) of the next token's distribution, in nats, over all positions. */
struct qn_divergence {
    double mean_kl, standard_error; /* of mean_kl, by windows where there are ten or more, else by
                                       tokens */
    double same_top1;               /* share of positions */
    double quantiles[9];            /* 0.1 1 5 10 50 90 95 99 99.9 % */
    double max_kl;
    uint64_t windows, tokens;
};

/* Both models have one vocabulary. Does not depend on the number of threads. */
enum qins_status qn_divergence(const struct qn_model *model, const struct qn_model *candidate,
                               const struct qn_ids *ids,
                               const struct qn_divergence_options *options,
                               const struct qn_monitor *monitor, struct qn_divergence *out,
                               struct qins_error *err);

#endif
