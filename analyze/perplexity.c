#include "analyze/perplexity.h"

#include "model/kernels.h"

#include <math.h>

struct job {
    const struct qn_kernels *kernels;
    size_t vocab, scored;
    double sum;
};

static void score(void *ctx, unsigned slot, uint64_t at, const float *const logits[QN_PREDICTORS],
                  uint32_t next, void *record)
{
    const struct job *j = ctx;
    double *nll = record;
    (void)slot;
    (void)at;
    *nll = j->kernels->log_sum_exp(logits[0], j->vocab) - (double)logits[0][next];
}

static enum qins_status add(void *ctx, uint64_t window, const void *records, struct qins_error *err)
{
    struct job *j = ctx;
    const double *nll = records;
    double sum = 0.0;
    (void)window;
    (void)err;
    for (size_t i = 0; i < j->scored; i++)
        sum += nll[i];
    j->sum += sum;
    return QINS_OK;
}

enum qins_status qn_perplexity(const struct qn_model *m, const struct qn_text_windows *windows,
                               unsigned threads, const struct qn_monitor *monitor,
                               struct qn_perplexity *out, struct qins_error *err)
{
    struct job j = {.kernels = qn_kernels(),
                    .vocab = m->config.vocab,
                    .scored = qn_text_windows_scored(windows)};
    struct qn_scoring s = {
        .windows = windows,
        .run = {.models = {m}, .windows = windows->count, .threads = threads, .monitor = monitor},
        .what = "perplexity",
        .score = score,
        .record = sizeof(double),
        .done = add,
        .ctx = &j,
    };
    enum qins_status st = qn_score_windows(&s, err);
    const uint64_t tokens = windows->count * j.scored;
    if (st == QINS_OK)
        *out = (struct qn_perplexity){.mean_nll = j.sum / (double)tokens,
                                      .perplexity = exp(j.sum / (double)tokens),
                                      .tokens = tokens};
    return st;
}
