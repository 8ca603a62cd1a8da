#include "tests/unit/testing.h"

#include "analyze/quality.h"
#include "core/bytes.h"

#include <math.h>
#include <stdlib.h>

enum { N = 10007 };

struct fixture {
    struct qn_quality whole, left, right;
    float x[N], y[N];
    double relative[N];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    uint64_t seed = 11;
    for (size_t i = 0; i < N; i++) {
        double u = (double)(test_random(&seed) >> 11) * 0x1p-53;
        double v = (double)(test_random(&seed) >> 11) * 0x1p-53;
        f->x[i] = (float)(2.0 * u - 1.0);
        f->y[i] = f->x[i] + (float)(0.01 * (v - 0.5));
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void near(double value, double expected, double tolerance)
{
    assert_true(fabs(value - expected) <= tolerance * fabs(expected));
}

static void test_against_plain_sums(void **state)
{
    struct fixture *f = *state;
    double e2 = 0, x2 = 0, y2 = 0, xy = 0, worst = 0;
    for (size_t i = 0; i < N; i++) {
        double a = (double)f->x[i], b = (double)f->y[i];
        e2 += (a - b) * (a - b);
        x2 += a * a;
        y2 += b * b;
        xy += a * b;
        worst = fmax(worst, fabs(a - b));
        f->relative[i] = fabs(a - b) / (fabs(a) + 1e-8);
    }
    qsort(f->relative, N, sizeof *f->relative, compare);
    qn_quality_add(&f->whole, f->x, f->y, N);
    struct qn_quality_figures q;
    qn_quality_figures(&f->whole, &q);
    assert_int_equal(q.n, N);
    near(q.max_abs_error, worst, 0.0);
    near(q.mse, e2 / N, 1e-12);
    near(q.cosine, xy / sqrt(x2 * y2), 1e-12);
    near(q.sqnr_db, 10 * log10(x2 / e2), 1e-12);
    near(q.p50_rel_error, f->relative[(N + 1) / 2 - 1], 0.01);
    near(q.p99_rel_error, f->relative[(size_t)ceil(0.99 * N) - 1], 0.01);
}

static void test_merge_adds_parts(void **state)
{
    struct fixture *f = *state;
    qn_quality_add(&f->whole, f->x, f->y, N);
    qn_quality_add(&f->left, f->x, f->y, 5000);
    qn_quality_add(&f->right, f->x + 5000, f->y + 5000, N - 5000);
    qn_quality_merge(&f->left, &f->right);
    struct qn_quality_figures a, b;
    qn_quality_figures(&f->whole, &a);
    qn_quality_figures(&f->left, &b);
    assert_int_equal(a.n, b.n);
    near(a.p99_rel_error, b.p99_rel_error, 0.0);
    near(a.max_abs_error, b.max_abs_error, 0.0);
    near(a.sqnr_db, b.sqnr_db, 1e-12);
}

static void test_exact_values(void **state)
{
    struct fixture *f = *state;
    f->x[3] = NAN;
    f->x[700] = -INFINITY;
    qn_quality_add(&f->whole, f->x, f->x, N);
    qn_quality_add_exact(&f->whole, 5);
    struct qn_quality_figures q;
    qn_quality_figures(&f->whole, &q);
    assert_int_equal(q.n, N + 5);
    assert_true(q.max_abs_error <= 0.0 && q.p99_rel_error <= 0.0 && q.mse <= 0.0);
    assert_true(isinf(q.sqnr_db));
    near(q.cosine, 1.0, 0.0);
}

static void test_undefined_and_empty(void **state)
{
    struct fixture *f = *state;
    struct qn_quality_figures q;
    qn_quality_figures(&f->whole, &q);
    assert_int_equal(q.n, 0);
    assert_true(isinf(q.sqnr_db));
    f->y[9] = NAN;
    qn_quality_add(&f->whole, f->x, f->y, N);
    qn_quality_figures(&f->whole, &q);
    assert_true(isnan(q.sqnr_db) && isnan(q.cosine) && isnan(q.max_abs_error));
}

static void test_zeros_decoded_to_zero(void **state)
{
    struct fixture *f = *state;
    float x[2] = {0.0F, 2.0F}, y[2] = {-0.0F, 1.0F};
    qn_quality_add(&f->whole, x, y, 2);
    struct qn_quality_figures q;
    qn_quality_figures(&f->whole, &q);
    assert_true(q.p50_rel_error <= 0.0);
    near(q.p99_rel_error, 0.5, 0.01);
    near(q.cosine, 1.0, 1e-15);
}

/* All errors lie in one cell, whose end is above them. */
static void test_no_quantile_above_the_largest(void **state)
{
    struct fixture *f = *state;
    const float zero[2] = {0.0F, 0.0F}, x[2] = {1.0F, 2.0F};
    qn_quality_add(&f->whole, x, zero, 2);
    struct qn_quality_figures q;
    qn_quality_figures(&f->whole, &q);
    assert_true(q.p50_rel_error <= q.max_rel_error && q.p99_rel_error <= q.max_rel_error);
    near(q.p99_rel_error, 1.0, 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_against_plain_sums, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merge_adds_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exact_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_undefined_and_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_zeros_decoded_to_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_quantile_above_the_largest, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
