#include "bench/passes.h"

#include <stdlib.h>

enum qins_status qn_passes_init(struct qn_passes *p, const struct qn_model *m,
                                const struct qn_ids *ids, const struct qn_passes_options *options,
                                struct qins_error *err)
{
    const size_t most = options->tokens < QN_PASSES_BATCH ? options->tokens : QN_PASSES_BATCH;
    p->ids = ids;
    p->options = *options;
    if (p->options.batch == 0)
        p->options.batch = most;
    const struct qn_session_options o = {.positions = options->tokens,
                                         .batch = p->options.batch,
                                         .pool = options->pool,
                                         .kv = options->kv,
                                         .listener = options->listener};
    const size_t before = options->tokens - options->decoded;
    p->logits = malloc(m->config.vocab * sizeof *p->logits);
    enum qins_status st = p->logits ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_session_create(&p->prefill, m, &o, err);
    if (st == QINS_OK)
        st = qn_session_create(&p->decode, m, &o, err);
    if (st == QINS_OK && before > 0)
        st = qn_session_forward(p->decode, ids->data, before, NULL, err);
    return st;
}

void qn_passes_finish(struct qn_passes *p)
{
    qn_session_destroy(p->prefill);
    qn_session_destroy(p->decode);
    free(p->logits);
    *p = (struct qn_passes){0};
}

static enum qins_status pass(const struct qn_passes_run *r, struct qn_session *s, size_t first,
                             size_t n, struct qins_error *err)
{
    enum qins_status st = r->before ? r->before(r->ctx, err) : QINS_OK;
    return st == QINS_OK ? qn_session_forward(s, r->passes->ids->data + first, n, NULL, err) : st;
}

enum qins_status qn_run_prefill(void *ctx, struct qins_error *err)
{
    const struct qn_passes_run *r = ctx;
    const struct qn_passes *p = r->passes;
    const size_t batch = p->options.batch;
    enum qins_status st = QINS_OK;
    qn_session_reset(p->prefill);
    for (size_t i = 0; i < p->options.tokens && st == QINS_OK; i += batch) {
        const size_t left = p->options.tokens - i;
        st = pass(r, p->prefill, i, left < batch ? left : batch, err);
    }
    if (st == QINS_OK)
        qn_session_logits(p->prefill, qn_session_last_batch(p->prefill) - 1, 1, p->logits);
    return st;
}

enum qins_status qn_run_decode(void *ctx, struct qins_error *err)
{
    const struct qn_passes_run *r = ctx;
    const struct qn_passes *p = r->passes;
    const size_t before = p->options.tokens - p->options.decoded;
    enum qins_status st = QINS_OK;
    if (before > 0)
        qn_session_truncate(p->decode, before);
    else
        qn_session_reset(p->decode);
    for (size_t i = before; i < p->options.tokens && st == QINS_OK; i++) {
        st = pass(r, p->decode, i, 1, err);
        if (st == QINS_OK)
            qn_session_logits(p->decode, 0, 1, p->logits);
    }
    return st;
}
