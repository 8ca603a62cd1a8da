#include "analyze/position.h"

#include <math.h>
#include <stdlib.h>

enum { MODEL, CANDIDATE, BOTH };

struct qn_position_scratch {
    uint32_t vocab;
    struct qn_sampler *sampler;
    double *weight[BOTH]; /* [vocab]: exp(logit - the largest one) */
    uint32_t *ids[BOTH];  /* [vocab]: tokens that may be sampled */
    double *p;            /* [vocab]: their probabilities */
    double *mass;         /* [vocab]: 0 between calls */
};

/* The likeliest tokens of a row. */
struct likeliest {
    uint32_t n, id[QN_TOP_K];
    float logit[QN_TOP_K];
};

/* A row as a distribution: token i has weight[i] / sum. */
struct row {
    const float *logits;
    const double *weight;
    double sum, log_sum; /* log_sum: of exp(logit) */
    struct likeliest best;
};

enum qins_status qn_position_scratch_create(struct qn_position_scratch **out, uint32_t vocab,
                                            struct qins_error *err)
{
    static const struct qn_sample_options sampling = {.temperature = QN_SAMPLING_TEMPERATURE,
                                                      .top_p = QN_SAMPLING_TOP_P};
    struct qn_position_scratch *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return qn_fail_memory(err);
    s->vocab = vocab;
    enum qins_status st = qn_sampler_create(&s->sampler, vocab, &sampling, err);
    bool good = (s->p = calloc(vocab, sizeof *s->p)) != NULL;
    good = (s->mass = calloc(vocab, sizeof *s->mass)) != NULL && good;
    for (int i = 0; i < BOTH; i++) {
        good = (s->weight[i] = calloc(vocab, sizeof *s->weight[i])) != NULL && good;
        good = (s->ids[i] = calloc(vocab, sizeof *s->ids[i])) != NULL && good;
    }
    if (st == QINS_OK && !good)
        st = qn_fail_memory(err);
    if (st == QINS_OK)
        *out = s;
    else
        qn_position_scratch_destroy(s);
    return st;
}

void qn_position_scratch_destroy(struct qn_position_scratch *s)
{
    if (!s)
        return;
    qn_sampler_destroy(s->sampler);
    free(s->p);
    free(s->mass);
    for (int i = 0; i < BOTH; i++) {
        free(s->weight[i]);
        free(s->ids[i]);
    }
    free(s);
}

/* NaN is less than any. */
static bool above(float a, float b)
{
    return a > b || (isnan(b) && !isnan(a));
}

/* Tokens come by ascending id, so that those of the same logit stand as they come. */
static void find_likeliest(const float *logits, uint32_t n, struct likeliest *out)
{
    uint32_t found = 0;
    *out = (struct likeliest){0};
    for (uint32_t i = 0; i < n; i++) {
        if (found == QN_TOP_K && !above(logits[i], out->logit[QN_TOP_K - 1]))
            continue;
        uint32_t at = found < QN_TOP_K ? found++ : QN_TOP_K - 1;
        for (; at > 0 && above(logits[i], out->logit[at - 1]); at--) {
            out->logit[at] = out->logit[at - 1];
            out->id[at] = out->id[at - 1];
        }
        out->logit[at] = logits[i];
        out->id[at] = i;
    }
    out->n = found;
}

static void read_row(const float *logits, uint32_t n, double *weight, struct row *out)
{
    find_likeliest(logits, n, &out->best);
    const double top = (double)out->best.logit[0];
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        weight[i] = exp((double)logits[i] - top);
        sum += weight[i];
    }
    out->logits = logits;
    out->weight = weight;
    out->sum = sum;
    out->log_sum = top + log(sum);
}

/* KL(a || b) = sum of p_a (a - b) + log_sum_b - log_sum_a, where a token of probability 0 adds
 * nothing (0 log 0 = 0); a difference that rounding made negative is 0. */
static double kl_of_sum(double weighted_sum, const struct row *a, const struct row *b)
{
    const double kl = weighted_sum / a->sum + (b->log_sum - a->log_sum);
    return kl > 0.0 || isnan(kl) ? kl : 0.0;
}

static void divergences(const struct row *a, const struct row *b, uint32_t n, double kl[BOTH])
{
    double forward = 0.0, backward = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const double d = (double)a->logits[i] - (double)b->logits[i];
        forward += a->weight[i] > 0.0 ? a->weight[i] * d : 0.0;
        backward -= b->weight[i] > 0.0 ? b->weight[i] * d : 0.0;
    }
    kl[MODEL] = kl_of_sum(forward, a, b);
    kl[CANDIDATE] = kl_of_sum(backward, b, a);
}

static bool among(const uint32_t *ids, uint32_t n, uint32_t id)
{
    while (n > 0 && ids[n - 1] != id)
        n--;
    return n > 0;
}

/* Where the vocabulary has fewer than k tokens, all of both are common. */
static void overlaps(const struct likeliest *a, const struct likeliest *b, uint8_t out[QN_TOP_K])
{
    unsigned common = 0;
    for (uint32_t k = 0; k < QN_TOP_K; k++) {
        if (k < a->n)
            common += among(b->id, k + 1, a->id[k]) + (unsigned)among(a->id, k, b->id[k]);
        else
            common++;
        out[k] = (uint8_t)common;
    }
}

/* Total variation of the distributions that are sampled from, and what they give the next token. */
static void compare_sampled(struct qn_position_scratch *s, const struct row rows[BOTH],
                            uint32_t next, struct qn_position *out)
{
    double apart = 0.0;
    uint32_t n[BOTH];
    n[MODEL] = qn_sample_distribution(s->sampler, rows[MODEL].logits, s->ids[MODEL], s->p);
    for (uint32_t i = 0; i < n[MODEL]; i++)
        s->mass[s->ids[MODEL][i]] = s->p[i];
    out->sampled_p[MODEL] = s->mass[next];
    out->sampled_p[CANDIDATE] = 0.0;
    n[CANDIDATE] =
        qn_sample_distribution(s->sampler, rows[CANDIDATE].logits, s->ids[CANDIDATE], s->p);
    for (uint32_t i = 0; i < n[CANDIDATE]; i++) {
        const uint32_t id = s->ids[CANDIDATE][i];
        if (id == next)
            out->sampled_p[CANDIDATE] = s->p[i];
        apart += fabs(s->p[i] - s->mass[id]);
        s->mass[id] = 0.0;
    }
    for (uint32_t i = 0; i < n[MODEL]; i++) { /* what the model alone keeps */
        apart += s->mass[s->ids[MODEL][i]];
        s->mass[s->ids[MODEL][i]] = 0.0;
    }
    out->sampled_tv = apart < 2.0 ? apart / 2.0 : 1.0;
}

void qn_position_compare(struct qn_position_scratch *s, const float *model, const float *candidate,
                         uint32_t next, struct qn_position *out)
{
    const float *const logits[BOTH] = {model, candidate};
    struct row rows[BOTH];
    *out = (struct qn_position){.sampled_tv = NAN, .sampled_p = {NAN, NAN}};
    for (int i = 0; i < BOTH; i++) {
        read_row(logits[i], s->vocab, s->weight[i], &rows[i]);
        out->nll[i] = rows[i].log_sum - (double)logits[i][next];
        out->p[i] = s->weight[i][next] / rows[i].sum;
        out->right[i] = rows[i].best.id[0] == next;
    }
    divergences(&rows[MODEL], &rows[CANDIDATE], s->vocab, out->kl);
    overlaps(&rows[MODEL].best, &rows[CANDIDATE].best, out->overlap);
    out->same_top1 = out->overlap[0];
    if (isfinite(rows[MODEL].log_sum) && isfinite(rows[CANDIDATE].log_sum))
        compare_sampled(s, rows, next, out);
}
