#include "model/generate.h"

#include "core/clock.h"
#include "model/kernels.h"
#include "model/native.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct generation {
    struct qn_session *session;
    const struct qn_model *model;
    const struct qn_generate_options *options;
    struct qn_generated *out;
    struct qn_sampler *sampler;
    struct qn_text_stream stream;
    float *logits; /* [vocab] */
};

static enum qins_status report(struct generation *g, uint32_t id, struct qins_error *err)
{
    const struct qn_buf *text = &g->stream.text;
    if (!g->options->token)
        return QINS_OK;
    return g->options->token(g->options->ctx, id, (const char *)text->data, text->size, err);
}

static enum qins_status show(struct generation *g, uint32_t id, struct qins_error *err)
{
    enum qins_status st = qn_text_stream_add(&g->stream, id, err);
    return st == QINS_OK ? report(g, id, err) : st;
}

bool qn_ends_text(const struct qn_model *m, uint32_t id)
{
    for (unsigned i = 0; i < m->config.n_eos; i++)
        if (m->config.eos[i] == id)
            return true;
    return false;
}

static enum qins_status prefill(struct generation *g, const uint32_t *prompt, size_t n,
                                struct qins_error *err)
{
    double begun = qn_seconds();
    enum qins_status st = qn_session_forward(g->session, prompt, n, g->options->monitor, err);
    g->out->prefill_seconds = qn_seconds() - begun;
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        st = show(g, prompt[i], err);
    return st;
}

static enum qins_status decode(struct generation *g, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && !g->out->ended && g->out->ids.count < g->options->max_tokens) {
        double begun = qn_seconds();
        if (g->out->ids.count > 0) {
            uint32_t last = g->out->ids.data[g->out->ids.count - 1];
            st = qn_session_forward(g->session, &last, 1, g->options->monitor, err);
            if (st != QINS_OK)
                break;
            g->out->decoded++;
        }
        qn_session_logits(g->session, qn_session_last_batch(g->session) - 1, 1, g->logits);
        if (!isfinite(qn_kernels()->log_sum_exp(g->logits, g->model->config.vocab))) {
            char where[64];
            snprintf(where, sizeof where, "at position %zu", qn_session_position(g->session) - 1);
            st = qn_model_not_finite(g->model, where, err);
            break;
        }
        uint32_t id = qn_sample(g->sampler, g->logits);
        if (g->out->ids.count > 0)
            g->out->decode_seconds += qn_seconds() - begun;
        g->out->ended = qn_ends_text(g->model, id);
        st = qn_ids_append(&g->out->ids, &id, 1, err);
        if (st == QINS_OK)
            st = show(g, id, err);
        if (st == QINS_OK)
            st = qn_check_stop(g->options->monitor, err);
    }
    return st;
}

enum qins_status qn_generate(struct qn_session *session, const struct qn_model *m,
                             const uint32_t *prompt, size_t n,
                             const struct qn_generate_options *options, struct qn_generated *out,
                             struct qins_error *err)
{
    struct generation g = {.session = session, .model = m, .options = options, .out = out};
    *out = (struct qn_generated){0};
    qn_text_stream_init(&g.stream, options->tokenizer);
    enum qins_status st = qn_sampler_create(&g.sampler, m->config.vocab, &options->sample, err);
    if (st == QINS_OK) {
        g.logits = malloc(m->config.vocab * sizeof *g.logits);
        if (!g.logits)
            st = qn_fail_memory(err);
    }
    if (st == QINS_OK)
        st = prefill(&g, prompt, n, err);
    if (st == QINS_OK)
        st = decode(&g, err);
    if (st == QINS_OK)
        st = qn_text_stream_end(&g.stream, err);
    if (st == QINS_OK && g.stream.text.size > 0)
        st = report(&g, UINT32_MAX, err);
    free(g.logits);
    qn_text_stream_finish(&g.stream);
    qn_sampler_destroy(g.sampler);
    return st;
}

void qn_generated_finish(struct qn_generated *g)
{
    qn_ids_finish(&g->ids);
}
