/* Runs models over windows of a text, each from position 0, and hands out their logits. What
 * perplexity, divergence and sensitivities have in common. */
#ifndef QINS_ANALYZE_PREDICTION_H
#define QINS_ANALYZE_PREDICTION_H

#include "model/session.h"

enum { QN_PREDICTORS = 2 };

/* Logits of COUNT positions of a window, the first of them FIRST. */
struct qn_predicted {
    unsigned slot;
    uint64_t window;
    size_t first, count;
    const uint32_t *ids;          /* of the window */
    float *logits[QN_PREDICTORS]; /* [count][vocab] of each model; may be overwritten */
};

struct qn_window_run {
    const struct qn_model *models[QN_PREDICTORS]; /* of one vocabulary; the second may be NULL */
    struct qn_kv_options kv[QN_PREDICTORS];       /* V caches of their sessions; zero: plain */
    size_t context;                               /* tokens of a window, at most */
    size_t first, end;                            /* positions of a window that are handed out */
    uint64_t skip;                                /* windows that are done already: begins there */
    uint64_t windows;
    unsigned threads;
    /* Ids of a window into IDS[context + 1], which are 0; returns how many of them are to be run.
     * From any thread, as use(). */
    size_t (*fill)(void *ctx, uint64_t window, uint32_t *ids);
    void (*use)(void *ctx, const struct qn_predicted *p);
    /* After the last use() of a window, in the order of windows, on the calling thread; may be
     * NULL. Until then no other window has that slot. */
    enum qins_status (*emit)(void *ctx, unsigned slot, uint64_t window, struct qins_error *err);
    void *ctx;
    const struct qn_monitor *monitor;
    struct qn_compute_counts counts[QN_PREDICTORS]; /* out: of all sessions together */
    struct qn_kv_counts kv_counts[QN_PREDICTORS];   /* out: the same */
    double seconds[QN_PREDICTORS]; /* out: what running each model took, of all threads together
                                      over their number */
};

/* Slots are numbered from 0 to threads - 1. Logits do not depend on the number of threads. */
enum qins_status qn_predict_windows(struct qn_window_run *p, struct qins_error *err);

#endif
