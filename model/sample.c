#include "model/sample.h"

#include "core/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct candidate {
    float logit;
    uint32_t id;
};

struct qn_sampler {
    struct qn_sample_options options;
    uint32_t vocab;
    uint64_t state;
    struct candidate *heap; /* [vocab], of which these are used: */
    uint32_t candidates;
    double *weight; /* [vocab], not normalised */
};

enum qins_status qn_sampler_create(struct qn_sampler **out, uint32_t vocab,
                                   const struct qn_sample_options *options, struct qins_error *err)
{
    *out = NULL;
    if (!(options->temperature >= 0.0) || !isfinite(options->temperature))
        return qn_fail(err, QINS_ERR_USAGE, "the temperature must be a number from 0 on");
    if (!(options->top_p > 0.0 && options->top_p <= 1.0))
        return qn_fail(err, QINS_ERR_USAGE, "top-p must lie above 0 and not above 1");
    struct qn_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return qn_fail_memory(err);
    s->options = *options;
    s->vocab = vocab;
    s->state = options->seed;
    s->heap = calloc(vocab, sizeof *s->heap);
    s->weight = calloc(vocab, sizeof *s->weight);
    if (!s->heap || !s->weight) {
        qn_sampler_destroy(s);
        return qn_fail_memory(err);
    }
    *out = s;
    return QINS_OK;
}

void qn_sampler_destroy(struct qn_sampler *s)
{
    if (!s)
        return;
    free(s->heap);
    free(s->weight);
    free(s);
}

/* 1 / i!, i = 0 … 14; (ln 2 / 2)^15 / 15! < 2^-62. */
static const double inverse_factorial[] = {
    1.0,
    1.0,
    1.0 / 2,
    1.0 / 6,
    1.0 / 24,
    1.0 / 120,
    1.0 / 720,
    1.0 / 5040,
    1.0 / 40320,
    1.0 / 362880,
    1.0 / 3628800,
    1.0 / 39916800,
    1.0 / 479001600,
    1.0 / 6227020800,
    1.0 / 87178291200,
};
enum { TERMS = sizeof inverse_factorial / sizeof *inverse_factorial };

/* exp(x) for x <= 0 out of + - * alone, to a few units in the last place: libm's differs from
 * machine to machine. Below -708, near the smallest normal number, and for NaN it is 0. */
static double exp_portable(double x)
{
    /* ln 2 in two parts, the upper with 32 bits, so that k * LN2_HIGH is exact (Cody and Waite,
     * "Software manual for the elementary functions", 1980). */
    static const double LN2_HIGH = 0x1.62e42fee00000p-1, LN2_LOW = 0x1.a39ef35793c76p-33,
                        LOG2_E = 0x1.71547652b82fep+0, SMALLEST = -708.0;
    enum { BIAS = 1023, MANTISSA_BITS = 52 };
    if (!(x >= SMALLEST))
        return 0.0;
    int64_t k = (int64_t)(x * LOG2_E - 0.5); /* to nearest, x being negative */
    double r = (x - (double)k * LN2_HIGH) - (double)k * LN2_LOW, sum = inverse_factorial[TERMS - 1],
           power;
    for (int i = TERMS - 1; i > 0; i--)
        sum = inverse_factorial[i - 1] + r * sum;
    uint64_t bits = (uint64_t)(k + BIAS) << MANTISSA_BITS;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

/* Whether A stands before B: by logit, then by id. NaN stands last. */
static bool before(struct candidate a, struct candidate b)
{
    if (a.logit > b.logit || (isnan(b.logit) && !isnan(a.logit)))
        return true;
    bool after = b.logit > a.logit || (isnan(a.logit) && !isnan(b.logit));
    return !after && a.id < b.id;
}

static void sift_down(struct candidate *heap, size_t n, size_t at)
{
    struct candidate moving = heap[at];
    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], moving))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

static uint32_t most_probable(const struct qn_sampler *s, const float *logits)
{
    struct candidate best = {logits[0], 0};
    for (uint32_t i = 1; i < s->vocab; i++)
        if (logits[i] > best.logit || (isnan(best.logit) && !isnan(logits[i])))
            best = (struct candidate){logits[i], i};
    return best.id;
}

/* All tokens, or with LEAST > 0 those whose weight is not less, into the heap's place. */
static void gather(struct qn_sampler *s, const float *logits, double least)
{
    s->candidates = 0;
    for (uint32_t i = 0; i < s->vocab; i++)
        if (!(least > 0.0) || s->weight[i] >= least)
            s->heap[s->candidates++] = (struct candidate){logits[i], i};
}

/* Moves the first KEEP of the candidates, in order, behind the heap's end, and their weights into
 * `weight`, first to last; ends sooner where the weights reach ENOUGH. Returns how many. */
static uint32_t take_best(struct qn_sampler *s, double top, uint32_t keep, double enough)
{
    const uint32_t all = s->candidates;
    double sum = 0.0;
    uint32_t n = 0;
    for (uint32_t i = all / 2; i-- > 0;)
        sift_down(s->heap, all, i);
    while (n < keep && n < all && sum < enough) {
        uint32_t left = all - n - 1;
        struct candidate best = s->heap[0];
        s->heap[0] = s->heap[left];
        s->heap[left] = best;
        sift_down(s->heap, left, 0);
        s->weight[n] = exp_portable(((double)best.logit - top) / s->options.temperature);
        sum += s->weight[n++];
    }
    return n;
}

static double sum_of(const double *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

/* How many of N weights, largest first, it takes to make up SHARE of their sum. */
static uint32_t share_of(const double *weight, uint32_t n, double share)
{
    double enough = share * sum_of(weight, n), sum = 0.0;
    uint32_t kept = 0;
    while (kept < n && sum < enough)
        sum += weight[kept++];
    return kept;
}

/* Index of the weight in which the share U of their sum lies. */
static uint32_t draw(const double *weight, uint32_t n, double u)
{
    double target = u * sum_of(weight, n), sum = 0.0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += weight[i];
        if (weight[i] > 0.0)
            last = i;
        if (sum > target)
            break;
    }
    return last;
}

/* Tokens that may be drawn, at a temperature above 0. */
struct kept {
    uint32_t n;    /* 0: the largest logit is not finite */
    bool by_order; /* they stand behind the heap's end; else they are all, by id */
};

/* Fills `weight`; TOP is the largest logit. */
static struct kept keep(struct qn_sampler *s, const float *logits, double top)
{
    const struct qn_sample_options *o = &s->options;
    uint32_t n = s->vocab;
    if (!isfinite(top))
        return (struct kept){0, false};
    if (o->top_k > 0 && o->top_k < s->vocab) {
        gather(s, logits, 0.0);
        n = take_best(s, top, o->top_k, INFINITY);
        return (struct kept){share_of(s->weight, n, o->top_p), true};
    }
    for (uint32_t i = 0; i < n; i++)
        s->weight[i] = exp_portable(((double)logits[i] - top) / o->temperature);
    if (o->top_p >= 1.0)
        return (struct kept){n, false};
    /* All that weigh less than this are together not half of what top-p leaves out. */
    const double sum = sum_of(s->weight, n), least = 0.5 * (1.0 - o->top_p) * sum / (double)n;
    gather(s, logits, least);
    return (struct kept){take_best(s, top, n, o->top_p * sum), true};
}

static uint32_t kept_id(const struct qn_sampler *s, struct kept kept, uint32_t i)
{
    return kept.by_order ? s->heap[s->candidates - 1 - i].id : i;
}

uint32_t qn_sample(struct qn_sampler *s, const float *logits)
{
    static const double UNIT = 0x1p-53; /* of the 53 bits of a double */
    const uint32_t best = most_probable(s, logits);
    if (s->options.temperature <= 0.0)
        return best;
    const double u = (double)(qn_random_u64(&s->state) >> 11) * UNIT;
    const struct kept kept = keep(s, logits, (double)logits[best]);
    return kept.n == 0 ? best : kept_id(s, kept, draw(s->weight, kept.n, u));
}

uint32_t qn_sample_distribution(struct qn_sampler *s, const float *logits, uint32_t *ids, double *p)
{
    const uint32_t best = most_probable(s, logits);
    struct kept kept = {.n = 1};
    ids[0] = best;
    p[0] = 1.0;
    if (s->options.temperature > 0.0) {
        kept = keep(s, logits, (double)logits[best]);
        const double sum = sum_of(s->weight, kept.n);
        for (uint32_t i = 0; i < kept.n; i++) {
            ids[i] = kept_id(s, kept, i);
            p[i] = s->weight[i] / sum;
        }
    }
    return kept.n;
}
