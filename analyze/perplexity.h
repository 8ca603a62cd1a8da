/* How well a model predicts a text. */
#ifndef QINS_ANALYZE_PERPLEXITY_H
#define QINS_ANALYZE_PERPLEXITY_H

#include "analyze/divergence.h"
#include "model/native.h"

/* Which tokens are predicted from what, in consecutive windows of N ids, each from position 0:
 * QN_PPL_QINS       all N positions predict the token that follows, the last one the first of the
 *                   next window; nothing is added. A tail shorter than a window, or a last window
 *                   without a token behind it, is left out.
 * QN_PPL_LLAMA_CPP  as llama-perplexity does it: the BOS, if any, comes before the first id and in
 *                   place of each window's first; positions N / 2 to N - 2 are scored. */
enum qn_ppl_style { QN_PPL_QINS, QN_PPL_LLAMA_CPP };

struct qn_perplexity_options {
    size_t context; /* N */
    enum qn_ppl_style style;
    int64_t bos; /* -1: none; QN_PPL_LLAMA_CPP only */
    unsigned threads;
    bool each;            /* keep the NLL of each token */
    uint64_t max_windows; /* 0: all; else so many of them, spread over the text */
};

struct qn_perplexity {
    double mean_nll;          /* natural logarithm */
    double standard_error;    /* of mean_nll, tokens taken as independent; NaN for less than two */
    double perplexity;        /* exp(mean_nll) */
    uint64_t windows, tokens; /* tokens predicted */
    double seconds;           /* of two models that run side by side, this one's part */
    double tokens_per_s;      /* tokens run, predicted or not */
    struct qn_compute_counts compute; /* what its forward passes did */
    double *each;                     /* [tokens], in the order of the text; heap, or NULL */
};
void qn_perplexity_finish(struct qn_perplexity *p);

/* Windows that IDS holds in a style. QINS_ERR_FORMAT where there is none, QINS_ERR_USAGE where a
 * window of that context scores no token. */
enum qins_status qn_perplexity_windows(const struct qn_ids *ids,
                                       const struct qn_perplexity_options *options,
                                       uint64_t *windows, struct qins_error *err);

/* What two models make of the same tokens: the second one's NLL less the first one's. */
struct qn_perplexity_difference {
    double mean_nll;
    double standard_error; /* of mean_nll, from the differences token by token; NaN for less than
                              two */
    double ratio;          /* of the perplexities: exp(mean_nll) */
};
/* Both with `each`, of the same ids and options. */
void qn_perplexity_compare(const struct qn_perplexity *first, const struct qn_perplexity *second,
                           struct qn_perplexity_difference *out);

/* Figures do not depend on the number of threads. Reports progress in tokens, as WHAT. *OUT is
 * the caller's to finish after QINS_OK. */
enum qins_status qn_perplexity(const struct qn_model *m, const struct qn_ids *ids,
                               const struct qn_perplexity_options *options, const char *what,
                               const struct qn_monitor *monitor, struct qn_perplexity *out,
                               struct qins_error *err);

/* The same of two models on the same tokens in one pass, the candidate second in OUT, and how far
 * the candidate is from the model. */
enum qins_status qn_perplexity_pair(const struct qn_model *model, const struct qn_model *candidate,
                                    const struct qn_ids *ids,
                                    const struct qn_perplexity_options *options, const char *what,
                                    const struct qn_monitor *monitor, struct qn_perplexity out[2],
                                    struct qn_divergence *divergence, struct qins_error *err);

#endif
