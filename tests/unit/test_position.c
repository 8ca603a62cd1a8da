/* Figures of a position against naive ones (everything sorted, long double), and estimates against
 * numbers made by hand. Whole reports are compared with numpy in tests/e2e/test_validate_oracle.py.
 */
#include "analyze/position.h"

#include "tests/unit/testing.h"

#include "analyze/divergence.h"
#include "analyze/sampling_report.h"

#include <math.h>
#include <string.h>

enum { MOST = 64 };

/* A row as sorted tokens and probabilities, by id and by order. */
struct naive {
    uint32_t n, order[MOST];
    double log_p[MOST], sampled[MOST];
};

static bool naive_before(const float *logits, uint32_t a, uint32_t b)
{
    if (isnan(logits[a]) || isnan(logits[b]))
        return isnan(logits[a]) == isnan(logits[b]) ? a < b : isnan(logits[b]);
    return logits[a] > logits[b] || (!(logits[a] < logits[b]) && a < b);
}

static void read_naively(const float *logits, uint32_t n, struct naive *out)
{
    long double sum = 0.0L, warm = 0.0L, kept = 0.0L;
    *out = (struct naive){.n = n};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rank = 0;
        for (uint32_t k = 0; k < n; k++)
            rank += k != i && naive_before(logits, k, i);
        out->order[rank] = i;
    }
    const long double top = (long double)logits[out->order[0]];
    for (uint32_t i = 0; i < n; i++) {
        sum += expl((long double)logits[i] - top);
        warm += expl(((long double)logits[i] - top) / 0.7L);
    }
    for (uint32_t i = 0; i < n; i++)
        out->log_p[i] = (double)((long double)logits[i] - top - logl(sum));
    uint32_t last = 0;
    while (last < n && kept < 0.9L * warm)
        kept += expl(((long double)logits[out->order[last++]] - top) / 0.7L);
    for (uint32_t i = 0; i < last; i++) {
        const uint32_t id = out->order[i];
        out->sampled[id] = (double)(expl(((long double)logits[id] - top) / 0.7L) / kept);
    }
}

static double naive_kl(const struct naive *a, const struct naive *b)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < a->n; i++)
        if (exp(a->log_p[i]) > 0.0)
            sum += exp(a->log_p[i]) * (a->log_p[i] - b->log_p[i]);
    return sum;
}

static unsigned naive_overlap(const struct naive *a, const struct naive *b, uint32_t k)
{
    unsigned common = 0;
    for (uint32_t i = 0; i < k && i < a->n; i++)
        for (uint32_t j = 0; j < k && j < a->n; j++)
            common += a->order[i] == b->order[j];
    return a->n < k ? common + k - a->n : common;
}

static bool near(double a, double b)
{
    return a == b || fabs(a - b) < 1e-10 * (1.0 + fabs(b));
}

static void check_naively(const float *model, const float *candidate, uint32_t n, uint32_t next)
{
    struct qn_position_scratch *s;
    struct qn_position p;
    struct naive a, b;
    double variation = 0.0;
    check_ok(qn_position_scratch_create(&s, n, &e_));
    for (int again = 0; again < 2; again++) /* the scratch is as it was */
        qn_position_compare(s, model, candidate, next, &p);
    qn_position_scratch_destroy(s);
    read_naively(model, n, &a);
    read_naively(candidate, n, &b);
    for (uint32_t i = 0; i < n; i++)
        variation += 0.5 * fabs(a.sampled[i] - b.sampled[i]);
    assert_true(near(p.nll[0], -a.log_p[next]) && near(p.nll[1], -b.log_p[next]));
    assert_true(near(p.p[0], exp(a.log_p[next])) && near(p.p[1], exp(b.log_p[next])));
    assert_true(near(p.kl[0], naive_kl(&a, &b)) && near(p.kl[1], naive_kl(&b, &a)));
    assert_true(near(p.sampled_p[0], a.sampled[next]) && near(p.sampled_p[1], b.sampled[next]));
    assert_true(near(p.sampled_tv, variation));
    for (uint32_t k = 1; k <= QN_TOP_K; k++)
        assert_int_equal(p.overlap[k - 1], naive_overlap(&a, &b, k));
    assert_int_equal(p.same_top1, a.order[0] == b.order[0]);
    assert_int_equal(p.right[0], a.order[0] == next);
    assert_int_equal(p.right[1], b.order[0] == next);
}

/* Logits of few values, so that there are ties, some of them -infinity. */
static void fill(float *x, uint32_t n, bool masked, uint64_t *random)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = (float)(test_random(random) % 13) / 2.0F - 3.0F;
        if (masked && test_random(random) % 4 == 0)
            x[i] = -INFINITY;
    }
    x[test_random(random) % n] = 1.0F;
}

static void test_vocabularies(void **state)
{
    uint64_t random = 11;
    (void)state;
    for (uint32_t n = 1; n <= MOST; n += n < 20 ? 1 : 11)
        for (int i = 0; i < 40; i++) {
            float model[MOST], candidate[MOST];
            fill(model, n, i % 4 == 1, &random);
            fill(candidate, n, false, &random);
            for (uint32_t k = 0; k < n; k++) /* sampled from alike */
                candidate[k] += i % 2 == 0 ? 0.0F : model[k];
            check_naively(model, candidate, n, (uint32_t)(test_random(&random) % n));
        }
}

/* Nothing differs, to the last bit. */
static void test_equal_rows(void **state)
{
    uint64_t random = 3;
    (void)state;
    for (uint32_t n = 1; n <= MOST; n += 3)
        for (int i = 0; i < 20; i++) {
            float x[MOST];
            struct qn_position_scratch *s;
            struct qn_position p;
            fill(x, n, i % 2 == 1, &random);
            for (uint32_t k = 0; k < n; k++)
                x[k] *= 1.0F + (float)(test_random(&random) % 1000) / 997.0F;
            check_ok(qn_position_scratch_create(&s, n, &e_));
            qn_position_compare(s, x, x, n / 2, &p);
            qn_position_scratch_destroy(s);
            assert_true(p.kl[0] == 0.0 && p.kl[1] == 0.0 && p.sampled_tv == 0.0);
            assert_true(p.nll[0] == p.nll[1] && p.p[0] == p.p[1]);
            assert_true(p.sampled_p[0] == p.sampled_p[1] && p.right[0] == p.right[1]);
            assert_true(p.nll[0] == qn_log_sum_exp(x, n) - (double)x[n / 2]);
            for (int k = 1; k <= QN_TOP_K; k++)
                assert_int_equal(p.overlap[k - 1], k);
        }
}

static void test_ties(void **state)
{
    /* All alike: the lower ids are the likelier ones; of 30 tokens 27 make up nine tenths. */
    enum { N = 30 };
    float flat[N] = {0.0F}, other[N] = {0.0F};
    struct qn_position_scratch *s;
    struct qn_position p;
    (void)state;
    for (int i = 10; i < N; i++)
        other[i] = 5.0F;
    check_ok(qn_position_scratch_create(&s, N, &e_));
    qn_position_compare(s, flat, other, 29, &p);
    assert_true(p.sampled_p[0] == 0.0 && p.sampled_p[1] == 0.0);
    assert_int_equal(p.overlap[9], 0);
    qn_position_compare(s, flat, other, 26, &p);
    assert_true(near(p.sampled_p[0], 1.0 / 27.0));
    qn_position_compare(s, flat, flat, 0, &p);
    assert_true(p.right[0] && p.right[1] && p.overlap[9] == 10);
    qn_position_scratch_destroy(s);
}

static void test_not_finite(void **state)
{
    const float good[4] = {1.0F, 2.0F, 3.0F, 4.0F}, nan_row[4] = {1.0F, NAN, 3.0F, 4.0F},
                infinite[4] = {1.0F, INFINITY, 3.0F, 4.0F},
                none[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY},
                masked[4] = {1.0F, 2.0F, -INFINITY, 4.0F};
    const float *const bad[] = {nan_row, infinite, none};
    struct qn_position_scratch *s;
    struct qn_position p;
    (void)state;
    check_ok(qn_position_scratch_create(&s, 4, &e_));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qn_position_compare(s, bad[i], good, 3, &p);
        assert_true(isnan(p.nll[0]) && isnan(p.p[0]) && isfinite(p.nll[1]));
        assert_true(isnan(p.kl[0]) && isnan(p.kl[1]));
        assert_true(isnan(p.sampled_tv) && isnan(p.sampled_p[0]) && isnan(p.sampled_p[1]));
    }
    qn_position_compare(s, nan_row, nan_row, 1, &p);
    assert_true(isnan(p.nll[0]) && isnan(p.nll[1]) && p.overlap[3] == 4);
    qn_position_compare(s, good, masked, 2, &p); /* the candidate rules out what follows */
    assert_true(isinf(p.nll[1]) && isinf(p.kl[0]) && isfinite(p.kl[1]) && p.p[1] == 0.0);
    qn_position_compare(s, good, good, 2, &p); /* and leaves nothing behind */
    assert_true(p.kl[0] == 0.0 && p.sampled_tv == 0.0);
    qn_position_scratch_destroy(s);
}

static void test_estimates(void **state)
{
    enum { N = 40 };
    double x[N], y[N], one[N];
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = i % 2;
        const int window = i / 4;
        y[i] = 2.0 * x[i] + window;
        one[i] = 1.0;
    }
    struct qn_estimate e = qn_estimate_mean(x, N, 4); /* of 40 coins: sqrt(1/4 / 39) */
    assert_true(e.value == 0.5 && near(e.standard_error, sqrt(0.25 / 39.0)));
    e = qn_estimate_mean(x, N, 10); /* windows are all alike */
    assert_true(e.value == 0.5 && e.standard_error == 0.0);
    e = qn_estimate_difference(x, y, N, 10); /* window means 0.5 + 0 … 9, variance 55/6 */
    assert_true(near(e.value, 5.0) && near(e.standard_error, sqrt(55.0 / 6.0 / 10.0)));
    e = qn_estimate_correlation(x, x, N, 1);
    assert_true(e.value == 1.0 && e.standard_error == 0.0);
    e = qn_estimate_correlation(x, one, N, 1);
    assert_true(isnan(e.value) && isnan(e.standard_error));
    e = qn_estimate_perplexity_ratio(y, y, N, 10);
    assert_true(e.value == 1.0 && e.standard_error == 0.0);
    e = qn_estimate_perplexity_difference(y, y, N, 10);
    assert_true(e.value == 0.0 && e.standard_error == 0.0);
    e = qn_estimate_perplexity(x, N, 4);
    assert_true(near(e.value, exp(0.5)) && near(e.standard_error, exp(0.5) * sqrt(0.25 / 39.0)));
    e = qn_estimate_rms(x, N, 4); /* mean square 1/2 */
    assert_true(near(e.value, sqrt(0.5)));
    assert_true(near(e.standard_error, sqrt(0.25 / 39.0) / (2.0 * sqrt(0.5))));
    for (int i = 0; i < N; i++)
        x[i] = 0.0;
    e = qn_estimate_rms(x, N, 10);
    assert_true(e.value == 0.0 && e.standard_error == 0.0);
    e = qn_estimate_mean(y, 1, 1);
    assert_true(e.value == 0.0 && isnan(e.standard_error));
}

static void test_quantiles(void **state)
{
    double x[1001], endless[3] = {INFINITY, 1.0, INFINITY};
    struct qn_quantile_figures q;
    (void)state;
    for (int i = 0; i < 1001; i++)
        x[i] = (double)(i * 8 % 1001);
    qn_quantiles_of(x, 1001, &q);
    assert_true(q.min == 0.0 && q.max == 1000.0);
    for (int i = 0; i < QN_QUANTILES; i++)
        assert_true(near(q.quantiles[i], 1000.0 * qn_quantiles[i]));
    qn_quantiles_of(endless, 3, &q);
    assert_true(q.min == 1.0 && isinf(q.quantiles[QN_QUANTILES - 1]) && isinf(q.max));
}

static void test_sampling_report(void **state)
{
    struct qn_position p[30];
    const void *tenths[10], *whole[] = {p};
    const struct qn_positions ten = {tenths, 10, 3}, one = {whole, 1, 30};
    json_t *j = NULL;
    (void)state;
    for (size_t i = 0; i < 30; i++) {
        p[i] = (struct qn_position){.kl = {0.01, 0.02}, .sampled_p = {0.5, 0.5}};
        for (int k = 0; k < QN_TOP_K; k++)
            p[i].overlap[k] = (uint8_t)(k + 1);
    }
    for (int i = 0; i < 10; i++) /* in memory they lie the other way round */
        tenths[i] = p + (size_t)(9 - i) * 3;
    assert_ptr_equal(qn_position_at(&ten, 4), p + 25);
    check_ok(qn_sampling_report(&ten, &j, &e_));
    assert_true(json_is_true(json_object_get(j, "passed")));
    assert_string_equal(json_string_value(json_object_get(j, "errors_by")), "windows");
    json_decref(j);
    p[3].kl[0] = INFINITY; /* one token that the candidate rules out */
    check_ok(qn_sampling_report(&one, &j, &e_));
    assert_true(json_is_false(json_object_get(j, "passed")));
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabularies),
        cmocka_unit_test(test_equal_rows),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_estimates),
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_sampling_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
