/* Continuing a text: prefill, then one sampled token after the other. */
#ifndef QINS_MODEL_GENERATE_H
#define QINS_MODEL_GENERATE_H

#include "model/sample.h"
#include "model/session.h"
#include "model/text_stream.h"

struct qn_generate_options {
    struct qn_sample_options sample;
    size_t max_tokens;                    /* prompt and continuation must fit the session */
    const struct qn_tokenizer *tokenizer; /* or NULL: no text */
    /* Or NULL. Called for each token of the prompt and then of the continuation with the text
     * that it completes, in whole characters; once more, with ID UINT32_MAX, where text is left
     * at the end. An error ends generation and is returned. */
    enum qins_status (*token)(void *ctx, uint32_t id, const char *text, size_t size,
                              struct qins_error *err);
    void *ctx;
    const struct qn_monitor *monitor;
};

struct qn_generated {
    struct qn_ids ids; /* of the continuation; a token that ended it is the last */
    bool ended;        /* by a token of config.eos, before max_tokens */
    double prefill_seconds, decode_seconds;
    uint64_t decoded; /* tokens run in decode_seconds: all but the last sampled */
};

/* Runs the N >= 1 ids of PROMPT behind what SESSION holds, samples, runs what was sampled. *out
 * is to be finished whatever is returned; after a failure it holds what was made until then. */
enum qins_status qn_generate(struct qn_session *session, const struct qn_model *m,
                             const uint32_t *prompt, size_t n,
                             const struct qn_generate_options *options, struct qn_generated *out,
                             struct qins_error *err);
void qn_generated_finish(struct qn_generated *g);

/* Whether ID is one of config.eos. */
bool qn_ends_text(const struct qn_model *m, uint32_t id);

#endif
