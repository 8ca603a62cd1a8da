#include "tests/unit/testing.h"

#include "analyze/statistics.h"
#include "analyze/value_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 4000 };

static void near(double x, double expected, double tolerance)
{
    assert_true(fabs(x - expected) <= tolerance * fabs(expected));
}

/* Far from zero, where sums of powers of x would have lost every digit. */
static void test_moments(void **state)
{
    (void)state;
    static double x[N];
    struct qn_central_moments whole = {0}, parts = {0}, part;
    uint64_t seed = 3;
    for (int i = 0; i < N; i++) {
        double u = (double)(test_random(&seed) >> 11) * 0x1p-53;
        x[i] = 1e7 + u * u;
    }
    for (size_t i = 0; i < N; i += QN_MOMENTS_TILE) {
        size_t n = N - i < QN_MOMENTS_TILE ? N - i : QN_MOMENTS_TILE;
        qn_central_moments_add(&whole, x + i, n);
    }
    for (size_t i = 0; i < N; i += 500) {
        part = (struct qn_central_moments){0};
        qn_central_moments_add(&part, x + i, 300);
        qn_central_moments_add(&part, x + i + 300, 200);
        qn_central_moments_merge(&parts, &part);
    }
    double mean = 0.0, m[5] = {0};
    for (int i = 0; i < N; i++)
        mean += (x[i] - 1e7) / N;
    for (int i = 0; i < N; i++)
        for (int k = 2; k < 5; k++)
            m[k] += pow(x[i] - 1e7 - mean, k);
    const struct qn_central_moments *all[] = {&whole, &parts};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(all[i]->n, N);
        near(all[i]->mean, 1e7 + mean, 1e-15);
        near(all[i]->m2, m[2], 1e-8);
        near(all[i]->m3, m[3], 1e-7);
        near(all[i]->m4, m[4], 1e-7);
    }
    qn_central_moments_merge(&whole, &(struct qn_central_moments){0});
    assert_int_equal(whole.n, N);
}

static void test_value_set(void **state)
{
    (void)state;
    struct qn_value_set a = {0}, b = {0};
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(qn_value_set_note(&a, i % 100, NULL), QINS_OK);
        assert_int_equal(qn_value_set_note(&b, 50 + i % 100, NULL), QINS_OK);
    }
    assert_int_equal(qn_value_set_count(&a), 100);
    assert_int_equal(qn_value_set_merge(&a, &b, NULL), QINS_OK);
    assert_int_equal(qn_value_set_count(&a), 150);
    qn_value_set_clear(&a);
    assert_int_equal(qn_value_set_count(&a), 0);
    for (uint64_t i = 0; i < QN_VALUES_MOST; i++)
        assert_int_equal(qn_value_set_note(&a, i << 40, NULL), QINS_OK);
    assert_int_equal(qn_value_set_count(&a), QN_VALUES_MOST);
    assert_false(a.many);
    assert_int_equal(qn_value_set_note(&a, 1, NULL), QINS_OK);
    assert_true(a.many);
    assert_int_equal(qn_value_set_count(&a), 0);
    assert_int_equal(qn_value_set_merge(&b, &a, NULL), QINS_OK);
    assert_true(b.many);
    qn_value_set_finish(&a);
    qn_value_set_finish(&b);
}

static void test_digest_set(void **state)
{
    (void)state;
    struct qn_digest_set s = {0};
    bool known;
    for (uint64_t i = 0; i < 6000; i++) {
        uint64_t value = i % 4000;
        struct qn_digest d = qn_hash128(&value, sizeof value);
        assert_int_equal(qn_digest_set_add(&s, &d, &known, NULL), QINS_OK);
        assert_int_equal(known, i >= 4000);
    }
    assert_int_equal(s.count, 4000);
    qn_digest_set_finish(&s);
}

/* Runs of zeros and equal neighbours that reach over the border of two scans. */
static void test_borders(void **state)
{
    (void)state;
    static float x[] = {0, -0.0F, 0, 5, 5, 0, 0, 0, 0, 0, 7, 7, 7, 0};
    enum { COUNT = sizeof x / sizeof *x };
    uint64_t *patterns = calloc(QN_PATTERN_CELLS, sizeof *patterns);
    assert_non_null(patterns);
    for (size_t cut = 0; cut <= COUNT; cut++) {
        atomic_bool many = false;
        struct qn_value_scan sum, part;
        struct qn_statistics s;
        memset(patterns, 0, QN_PATTERN_CELLS * sizeof *patterns);
        assert_int_equal(qn_value_scan_init(&sum, QINS_F32, false, &many, NULL), QINS_OK);
        assert_int_equal(qn_value_scan_init(&part, QINS_F32, false, &many, NULL), QINS_OK);
        assert_int_equal(qn_value_scan_add(&part, x, x, cut, 0, NULL), QINS_OK);
        assert_int_equal(qn_value_scan_merge(&sum, patterns, &part, NULL), QINS_OK);
        assert_int_equal(qn_value_scan_add(&part, x + cut, x + cut, COUNT - cut, cut, NULL),
                         QINS_OK);
        assert_int_equal(qn_value_scan_merge(&sum, patterns, &part, NULL), QINS_OK);
        qn_value_scan_figures(&sum, patterns, &s);
        assert_int_equal(s.n, COUNT);
        assert_int_equal(s.zeros, 9);
        assert_int_equal(s.negative_zeros, 1);
        assert_int_equal(s.zero_runs, 3);
        assert_int_equal(s.longest_zero_run, 5);
        assert_int_equal(s.equal_neighbours, 7); /* bits: -0 differs from 0 */
        assert_int_equal(s.distinct_values, 3);
        assert_int_equal(s.fits_dtype, QINS_BF16);
        assert_int_equal(s.near_zeros, 9);
        near(s.mean, 31.0 / COUNT, 1e-15);
        qn_value_scan_finish(&sum);
        qn_value_scan_finish(&part);
    }
    free(patterns);
}

static void test_remark(void **state)
{
    (void)state;
    char text[200], brief[8];
    struct qn_statistics s = {
        .n = 1000, .element_bytes = 4, .fits_dtype = QINS_BF16, .distinct_values = 200};
    qn_statistics_remark(&s, QINS_F32, text, sizeof text);
    assert_string_equal(text, "BF16 values stored as F32: 16 of 32 bits say nothing; only 200 "
                              "different values");
    qn_statistics_remark(&s, QINS_F32, brief, sizeof brief);
    assert_string_equal(brief, "BF16 va");
    s.fits_dtype = QINS_F32;
    s.distinct_values = 257;
    assert_string_equal(qn_statistics_remark(&s, QINS_F32, text, sizeof text), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments),    cmocka_unit_test(test_value_set),
        cmocka_unit_test(test_digest_set), cmocka_unit_test(test_borders),
        cmocka_unit_test(test_remark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
