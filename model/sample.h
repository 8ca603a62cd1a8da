/* The next token from logits, the same everywhere for the same logits and seed. */
#ifndef QINS_MODEL_SAMPLE_H
#define QINS_MODEL_SAMPLE_H

#include "core/error.h"

struct qn_sample_options {
    double temperature; /* 0: the most probable token */
    uint32_t top_k;     /* 0: all */
    double top_p;       /* 0 < p <= 1 */
    uint64_t seed;
};

struct qn_sampler; /* one thread */

enum qins_status qn_sampler_create(struct qn_sampler **out, uint32_t vocab,
                                   const struct qn_sample_options *options, struct qins_error *err);
void qn_sampler_destroy(struct qn_sampler *s); /* accepts NULL */

/* Probabilities after temperature, top-k and top-p (in this order, renormalised) are those of
 * the tokens kept; ties go to the lower id. LOGITS[vocab] is not changed. */
uint32_t qn_sample(struct qn_sampler *s, const float *logits);

/* Those tokens and their probabilities into IDS and P, [vocab] both: likeliest first, or by id
 * where neither top-k nor top-p cuts. Returns how many; 0 where the largest logit is not finite and
 * the temperature not 0. Draws nothing. */
uint32_t qn_sample_distribution(struct qn_sampler *s, const float *logits, uint32_t *ids,
                                double *p);

#endif
