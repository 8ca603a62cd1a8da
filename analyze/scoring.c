#include "analyze/scoring.h"

#include "model/native.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum qins_status qn_text_windows_init(struct qn_text_windows *w, const struct qn_ids *ids,
                                      size_t context, enum qn_ppl_style style, int64_t bos,
                                      struct qins_error *err)
{
    const bool qins = style == QN_PPL_QINS;
    const size_t least = qins ? 1 : 3, need = context + qins;
    const size_t have = ids->count + (!qins && bos >= 0);
    if (context < least)
        return qn_fail(err, QINS_ERR_USAGE, "a window needs %zu tokens at least, not %zu", least,
                       context);
    if (have < need)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the text has %zu token%s, one window of %zu needs %zu", have,
                       have == 1 ? "" : "s", context, need);
    *w = (struct qn_text_windows){.ids = ids,
                                  .context = context,
                                  .style = style,
                                  .bos = qins ? -1 : bos,
                                  .count = (have - qins) / context,
                                  .first = qins ? 0 : context / 2,
                                  .end = qins ? context : context - 1};
    return QINS_OK;
}

struct job {
    struct qn_scoring *s;
    uint8_t *slots; /* [threads]: records of a window */
    size_t slot_size;
};

/* Ids of a window and the target behind it, where the text has one. */
static size_t fill(void *ctx, uint64_t window, uint32_t *out)
{
    const struct qn_text_windows *w = ((const struct job *)ctx)->s->windows;
    const size_t bos = w->bos >= 0, skip = window == 0 ? bos : 0;
    const size_t from = (size_t)window * w->context + skip - bos, left = w->ids->count - from;
    const size_t n = w->context + 1 - skip < left ? w->context + 1 - skip : left;
    memcpy(out + skip, w->ids->data + from, n * sizeof *out);
    if (bos)
        out[0] = (uint32_t)w->bos;
    return w->context;
}

static void use(void *ctx, const struct qn_predicted *p)
{
    const struct job *j = ctx;
    const struct qn_scoring *s = j->s;
    const size_t vocab = s->run.models[0]->config.vocab, before = p->first - s->windows->first;
    const uint64_t at = p->window * qn_text_windows_scored(s->windows) + before;
    uint8_t *records = j->slots + p->slot * j->slot_size + before * s->record;
    for (size_t i = 0; i < p->count; i++) {
        const float *logits[QN_PREDICTORS] = {0};
        for (int k = 0; k < QN_PREDICTORS && p->logits[k]; k++)
            logits[k] = p->logits[k] + i * vocab;
        s->score(s->ctx, p->slot, at + i, logits, p->ids[p->first + i + 1],
                 records + i * s->record);
    }
}

static enum qins_status check_finite(const struct qn_scoring *s, uint64_t window,
                                     const uint8_t *records, struct qins_error *err)
{
    const size_t n = qn_text_windows_scored(s->windows);
    for (size_t i = 0; i < n; i++) {
        double nll[QN_PREDICTORS];
        memcpy(nll, records + i * s->record, s->run.models[1] ? sizeof nll : sizeof *nll);
        for (int k = 0; k < QN_PREDICTORS && s->run.models[k]; k++) {
            if (!isfinite(nll[k])) {
                char where[64];
                snprintf(where, sizeof where, "in window %" PRIu64, window);
                return qn_model_not_finite(s->run.models[k], where, err);
            }
        }
    }
    return QINS_OK;
}

static enum qins_status emit(void *ctx, unsigned slot, uint64_t window, struct qins_error *err)
{
    const struct job *j = ctx;
    struct qn_scoring *s = j->s;
    uint8_t *records = j->slots + slot * j->slot_size;
    enum qins_status st = check_finite(s, window, records, err);
    if (st == QINS_OK)
        st = s->done(s->ctx, window, records, err);
    if (st == QINS_OK)
        qn_progress_of(s->run.monitor, s->what, "tokens", (window + 1) * s->windows->context,
                       s->run.windows * s->windows->context);
    memset(records, 0, j->slot_size);
    return st;
}

enum qins_status qn_score_windows(struct qn_scoring *s, struct qins_error *err)
{
    struct job j = {.s = s, .slot_size = qn_text_windows_scored(s->windows) * s->record};
    struct qn_window_run *run = &s->run;
    run->context = s->windows->context;
    run->first = s->windows->first;
    run->end = s->windows->end;
    run->fill = fill;
    run->use = use;
    run->emit = emit;
    run->ctx = &j;
    j.slots = calloc(run->threads, j.slot_size);
    enum qins_status st = j.slots ? qn_predict_windows(run, err) : qn_fail_memory(err);
    free(j.slots);
    return st;
}
