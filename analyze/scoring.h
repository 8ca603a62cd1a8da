/* A text cut into windows of which positions are scored: how models predict the token that follows.
 * What perplexities and the figures of positions have in common. */
#ifndef QINS_ANALYZE_SCORING_H
#define QINS_ANALYZE_SCORING_H

#include "analyze/prediction.h"
#include "model/ids.h"

/* Which tokens are predicted from what, in consecutive windows of N ids, each from position 0:
 * QN_PPL_QINS       all N positions predict the token that follows, the last one the first of the
 *                   next window; nothing is added. A tail shorter than a window, or a last window
 *                   without a token behind it, is left out.
 * QN_PPL_LLAMA_CPP  as llama-perplexity does it: the BOS, if any, comes before the first id and in
 *                   place of each window's first; positions N / 2 to N - 2 are scored. */
enum qn_ppl_style { QN_PPL_QINS, QN_PPL_LLAMA_CPP };

struct qn_text_windows {
    const struct qn_ids *ids;
    size_t context; /* N */
    enum qn_ppl_style style;
    int64_t bos;       /* that is put in, or -1 */
    uint64_t count;    /* of windows, >= 1 */
    size_t first, end; /* positions of a window that are scored */
};

/* BOS -1: the tokenizer has none; with QN_PPL_QINS it is not looked at. QINS_ERR_FORMAT where IDS
 * hold no window, QINS_ERR_USAGE where a window of that context scores no token. */
enum qins_status qn_text_windows_init(struct qn_text_windows *w, const struct qn_ids *ids,
                                      size_t context, enum qn_ppl_style style, int64_t bos,
                                      struct qins_error *err);
/* Positions of a window that are scored. */
static inline size_t qn_text_windows_scored(const struct qn_text_windows *w)
{
    return w->end - w->first;
}

struct qn_scoring {
    const struct qn_text_windows *windows;
    /* The caller's to set: models, kv, skip, windows, threads, monitor; counts and seconds come
     * out. */
    struct qn_window_run run;
    const char *what; /* a phrase for the progress */
    /* Makes a record of RECORD bytes, zeroed and 8-byte aligned, of scored position AT of the text:
     * the logits of each model, and the token that follows. It begins with the NLL of each model, a
     * double. From any thread; one at a time for each slot. */
    void (*score)(void *ctx, unsigned slot, uint64_t at, const float *const logits[QN_PREDICTORS],
                  uint32_t next, void *record);
    size_t record;
    /* The records of a window, in the order of windows, on the calling thread. */
    enum qins_status (*done)(void *ctx, uint64_t window, const void *records,
                             struct qins_error *err);
    void *ctx;
};

/* Records do not depend on the number of threads. QINS_ERR_FORMAT for a model whose NLL of a
 * position is not finite. */
enum qins_status qn_score_windows(struct qn_scoring *s, struct qins_error *err);

#endif
