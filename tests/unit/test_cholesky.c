#include "tests/unit/testing.h"

#include "core/cholesky.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Around the size of tiles, and of several. */
static const size_t sizes[] = {0, 1, 2, 3, 5, 63, 64, 65, 128, 131, 200};
enum { SIZES = sizeof sizes / sizeof *sizes };

static const double untouched = -7.25;

/* Symmetric, its diagonal outweighing each row; the upper triangle marked. */
static double *make_matrix(size_t n, uint64_t seed)
{
    double *a = malloc((n * n + 1) * sizeof *a);
    assert_non_null(a);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double x = (double)(int64_t)test_random(&seed) * 0x1p-63;
            a[i * n + j] = j > i ? untouched : i == j ? (double)n + x : x;
        }
    return a;
}

static double *copy_matrix(const double *a, size_t n)
{
    double *b = malloc((n * n + 1) * sizeof *b);
    assert_non_null(b);
    memcpy(b, a, n * n * sizeof *b);
    return b;
}

/* The textbook's loops, whose order of operations the library keeps. */
static void factor_plainly(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double x = a[i * n + j];
            for (size_t k = 0; k < j; k++)
                x -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = i == j ? sqrt(x) : x / a[j * n + j];
        }
}

static void invert_plainly(const double *l, double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            double sum = 0;
            for (size_t k = j; k < i; k++)
                sum -= l[i * n + k] * x[k * n + j];
            x[i * n + j] = sum / l[i * n + i];
        }
        x[i * n + i] = 1 / l[i * n + i];
    }
}

static void test_same_as_plain_loops(void **state)
{
    (void)state;
    for (size_t s = 0; s < SIZES; s++) {
        const size_t n = sizes[s];
        double *a = make_matrix(n, 3 + s), *plain = copy_matrix(a, n);
        assert_true(qn_cholesky(a, n));
        factor_plainly(plain, n);
        assert_memory_equal(a, plain, n * n * sizeof *a);
        double *inverse = copy_matrix(a, n);
        qn_cholesky_invert(inverse, n);
        invert_plainly(a, plain, n);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                if (!(inverse[i * n + j] == plain[i * n + j]))
                    fail_msg("n = %zu: inverse [%zu][%zu] is %a, not %a", n, i, j,
                             inverse[i * n + j], plain[i * n + j]);
        free(a);
        free(plain);
        free(inverse);
    }
}

/* L L^T is the matrix, and L times its inverse the identity. */
static void test_products(void **state)
{
    (void)state;
    const size_t n = 131;
    double *a = make_matrix(n, 11), *l = copy_matrix(a, n);
    assert_true(qn_cholesky(l, n));
    double *inverse = copy_matrix(l, n);
    qn_cholesky_invert(inverse, n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double product = 0, identity = 0;
            for (size_t k = 0; k <= j; k++)
                product += l[i * n + k] * l[j * n + k];
            for (size_t k = j; k <= i; k++)
                identity += l[i * n + k] * inverse[k * n + j];
            assert_true(fabs(product - a[i * n + j]) < 1e-12 * (double)n);
            assert_true(fabs(identity - (i == j)) < 1e-14 * (double)n);
        }
    free(a);
    free(l);
    free(inverse);
}

static void test_refuses(void **state)
{
    (void)state;
    enum { N = 100 };
    static const double bad[] = {-1.0, 0.0, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t at = 0; at < N; at += 33) {
            double *a = make_matrix(N, 5);
            a[at * N + at] = bad[i];
            assert_false(qn_cholesky(a, N));
            free(a);
        }
    double *a = make_matrix(N, 5);
    a[90 * N + 3] = NAN;
    assert_false(qn_cholesky(a, N));
    for (size_t i = 0; i < (size_t)N * N; i++)
        a[i] = 1; /* of rank one */
    assert_false(qn_cholesky(a, N));
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_plain_loops),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
