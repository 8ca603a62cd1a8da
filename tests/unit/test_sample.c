/* Sampling against probabilities computed here with libm, and SplitMix64's published numbers. */
#include "model/sample.h"

#include "tests/unit/testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 40, DRAWS = 200000 };

static struct qn_sampler *make(uint32_t vocab, struct qn_sample_options o)
{
    struct qn_sampler *s;
    struct qins_error err;
    assert_int_equal(qn_sampler_create(&s, vocab, &o, &err), QINS_OK);
    return s;
}

static void make_logits(float *logits, uint64_t seed)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)(test_random(&seed) % 8000) / 1000.0F - 3.0F;
    logits[7] = logits[3]; /* a tie */
}

static void test_greedy(void **state)
{
    float logits[VOCAB] = {-1.0F};
    struct qn_sampler *s = make(VOCAB, (struct qn_sample_options){.top_p = 1.0});
    struct qn_sampler *one =
        make(VOCAB, (struct qn_sample_options){.temperature = 1.0, .top_k = 1, .top_p = 1.0});
    (void)state;
    logits[11] = logits[30] = 2.0F;
    assert_int_equal(qn_sample(s, logits), 11); /* the lower id of equals */
    assert_int_equal(qn_sample(one, logits), 11);
    logits[30] = 2.5F;
    assert_int_equal(qn_sample(s, logits), 30);
    for (uint64_t i = 1; i < 200; i++) {
        make_logits(logits, i);
        assert_int_equal(qn_sample(s, logits), qn_sample(one, logits));
    }
    logits[0] = NAN;
    logits[5] = 100.0F;
    logits[6] = NAN;
    assert_int_equal(qn_sample(s, logits), 5);
    assert_int_equal(qn_sample(one, logits), 5);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = NAN;
    assert_int_equal(qn_sample(s, logits), 0);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
    assert_int_equal(qn_sample(one, logits), 0);
    qn_sampler_destroy(s);
    qn_sampler_destroy(one);
}

static const float *sorted_by;

static int by_logit(const void *a, const void *b)
{
    const int i = *(const int *)a, j = *(const int *)b;
    if (sorted_by[i] > sorted_by[j])
        return -1;
    return sorted_by[i] < sorted_by[j] ? 1 : i - j;
}

/* The textbook way: all probabilities, sorted; k of them; as many as make up p; divided by what
 * is left of 1. */
static void expect(const float *logits, const struct qn_sample_options *o, double *p)
{
    int order[VOCAB], kept = o->top_k && o->top_k < VOCAB ? (int)o->top_k : VOCAB, n = 0;
    double sum = 0.0, share = 0.0;
    for (int i = 0; i < VOCAB; i++)
        order[i] = i;
    sorted_by = logits;
    qsort(order, VOCAB, sizeof *order, by_logit);
    memset(p, 0, VOCAB * sizeof *p);
    for (int i = 0; i < kept; i++)
        sum += exp((double)logits[order[i]] / o->temperature);
    while (n < kept && share < o->top_p - 1e-12) {
        p[order[n]] = exp((double)logits[order[n]] / o->temperature) / sum;
        share += p[order[n++]];
    }
    for (int i = 0; i < VOCAB; i++)
        p[i] /= share;
}

static void test_distribution(void **state)
{
    static const struct qn_sample_options cases[] = {
        {.temperature = 1.0, .top_p = 1.0, .seed = 1},
        {.temperature = 0.6, .top_p = 1.0, .seed = 2},
        {.temperature = 2.5, .top_k = 5, .top_p = 1.0, .seed = 3},
        {.temperature = 1.3, .top_p = 0.7, .seed = 4},
        {.temperature = 0.9, .top_k = 12, .top_p = 0.8, .seed = 5},
        {.temperature = 1.0, .top_k = VOCAB + 5, .top_p = 0.05, .seed = 6},
    };
    float logits[VOCAB], copy[VOCAB];
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct qn_sampler *s = make(VOCAB, cases[k]);
        double p[VOCAB], chi2 = 0.0;
        int count[VOCAB] = {0}, cells = 0;
        make_logits(logits, 77 + k);
        memcpy(copy, logits, sizeof copy);
        expect(logits, &cases[k], p);
        for (int i = 0; i < DRAWS; i++)
            count[qn_sample(s, logits)]++;
        assert_memory_equal(copy, logits, sizeof copy);
        for (int i = 0; i < VOCAB; i++) {
            if (p[i] <= 0.0) {
                assert_int_equal(count[i], 0);
                continue;
            }
            double d = count[i] - DRAWS * p[i];
            chi2 += d * d / (DRAWS * p[i]);
            cells++;
        }
        /* Mean cells - 1, variance twice that; six deviations. The seeds are fixed. */
        assert_true(chi2 <= cells - 1 + 6.0 * sqrt(2.0 * cells));
        qn_sampler_destroy(s);
    }
}

/* With 1024 equal logits a draw is the upper 10 bits of the generator's number. Those are the
 * numbers of SplitMix64 from seed 1234567, as published with its tests in several languages. */
static void test_generator(void **state)
{
    static const uint64_t numbers[] = {6457827717110365317ULL, 3203168211198807973ULL,
                                       9817491932198370423ULL, 4593380528125082431ULL,
                                       16408922859458223821ULL};
    static float logits[1024];
    struct qn_sampler *s =
        make(1024, (struct qn_sample_options){.temperature = 1.0, .top_p = 1.0, .seed = 1234567});
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        assert_int_equal(qn_sample(s, logits), numbers[i] >> 54);
    qn_sampler_destroy(s);
}

static void test_seeds(void **state)
{
    struct qn_sample_options o = {.temperature = 1.0, .top_p = 0.9, .seed = 9};
    struct qn_sampler *a = make(VOCAB, o), *b = make(VOCAB, o);
    o.seed++;
    struct qn_sampler *c = make(VOCAB, o);
    float logits[VOCAB];
    int differences = 0;
    (void)state;
    for (uint64_t i = 1; i <= 500; i++) {
        make_logits(logits, i);
        uint32_t id = qn_sample(a, logits);
        assert_int_equal(id, qn_sample(b, logits));
        differences += id != qn_sample(c, logits);
    }
    assert_true(differences > 100);
    qn_sampler_destroy(a);
    qn_sampler_destroy(b);
    qn_sampler_destroy(c);
}

/* Whatever comes, the id is one of the vocabulary. */
static void test_extremes(void **state)
{
    static const double temperatures[] = {1e-300, 1e-3, 1e6};
    static const float values[] = {-INFINITY, INFINITY, NAN, -3.4e38F, 3.4e38F, 0.0F};
    uint64_t seed = 5;
    (void)state;
    for (size_t t = 0; t < 3; t++)
        for (uint32_t k = 0; k < 4; k++) {
            struct qn_sampler *s =
                make(9, (struct qn_sample_options){temperatures[t], k, k % 2 ? 1e-9 : 1.0, 3});
            for (int i = 0; i < 2000; i++) {
                float logits[9];
                for (int j = 0; j < 9; j++)
                    logits[j] = values[test_random(&seed) % 6];
                assert_true(qn_sample(s, logits) < 9);
            }
            qn_sampler_destroy(s);
        }
}

static void test_options(void **state)
{
    static const struct qn_sample_options bad[] = {
        {.temperature = -1.0, .top_p = 1.0},     {.temperature = NAN, .top_p = 1.0},
        {.temperature = INFINITY, .top_p = 1.0}, {.temperature = 1.0, .top_p = 0.0},
        {.temperature = 1.0, .top_p = 1.5},      {.temperature = 1.0, .top_p = NAN},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct qn_sampler *s;
        struct qins_error err = {0};
        assert_int_equal(qn_sampler_create(&s, 5, &bad[i], &err), QINS_ERR_USAGE);
        assert_null(s);
    }
    qn_sampler_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),    cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_generator), cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_extremes),  cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
