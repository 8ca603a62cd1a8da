/* Greedy continuations of prompts by two models, one token at a time: the model's, the candidate's
 * own, and what the candidate holds likeliest at each position of the model's. */
#ifndef QINS_ANALYZE_CONTINUATION_H
#define QINS_ANALYZE_CONTINUATION_H

#include "analyze/validate_job.h"

struct qn_continuation_prompt {
    char kind[32];
    uint32_t *ids; /* [n], n >= 1; heap */
    size_t n;
};

/* What is continued. */
struct qn_continuation_job {
    const char *test; /* of the journal: static */
    const char *what; /* of progress */
    const struct qn_continuation_prompt *prompts;
    size_t n;
    size_t positions; /* a prompt and its continuation are no longer, prompts are shorter */
    size_t tokens;    /* of a continuation, at most; >= 1 */
};

/* Of one prompt; points into the journal. A continuation ends with a token of its model's
 * config.eos, or where there is no room for more. */
struct qn_continuation {
    size_t n[QN_PREDICTORS]; /* tokens, >= 1; a token that ended it is the last */
    bool ended[QN_PREDICTORS];
    const uint32_t *ids[QN_PREDICTORS]; /* [n] */
    const uint32_t *forced; /* [n of the model]: the candidate's likeliest behind the prompt and
                               the model's tokens before */
    double mean_kl, max_kl; /* KL(model || candidate) at these positions, nats */
};

/* Continues those prompts that the journal has not. Both models take the same steps, the prompt in
 * batches and then single tokens, so that equal models agree to the last bit. Prompts run in
 * parallel; what comes out does not depend on the number of threads. */
enum qins_status qn_continue_prompts(struct qn_validation *v, const struct qn_continuation_job *job,
                                     struct qins_error *err);
/* What became of prompt ITEM. QINS_ERR_FORMAT where the journal holds something else. */
enum qins_status qn_continuation_get(const struct qn_validation *v,
                                     const struct qn_continuation_job *job, size_t item,
                                     struct qn_continuation *out, struct qins_error *err);

/* Positions that both models were made for; there is a candidate. */
size_t qn_continuation_context(const struct qn_validation *v);
struct qn_digest qn_continuation_digest(const struct qn_continuation_prompt *p); /* of the ids */
void qn_continuation_prompts_free(struct qn_continuation_prompt *p, size_t n);   /* accepts NULL */

#endif
