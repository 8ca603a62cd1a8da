#include "tests/unit/testing.h"

#include "analyze/candidates.h"

#include <math.h>
#include <stdlib.h>

/* The least y at X of any mixture of two points of the set, by trying all. */
static double lowest(const double *x, const double *y, size_t n, double at)
{
    double least = INFINITY;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            if (x[i] > at || (x[j] < at && x[i] < at))
                continue;
            double share = x[j] > x[i] ? (at - x[i]) / (x[j] - x[i]) : 0.0;
            if (x[j] >= at || i == j)
                least = fmin(least, y[i] + share * (y[j] - y[i]));
        }
    return least;
}

static void hulls_of_random_points(void **state)
{
    (void)state;
    enum { N = 40 };
    uint64_t seed = 7;
    for (int round = 0; round < 200; round++) {
        double x[N], y[N];
        size_t hull[N], n = 1 + test_random(&seed) % N;
        /* Small whole numbers: equal points and straight lines occur. */
        for (size_t i = 0; i < n; i++) {
            x[i] = (double)(test_random(&seed) % 12);
            y[i] = (double)(test_random(&seed) % 12);
        }
        size_t corners = qn_convex_hull(x, y, n, hull);
        assert_in_range(corners, 1, n);
        for (size_t i = 0; i < corners; i++) {
            assert_true(y[hull[i]] <= lowest(x, y, n, x[hull[i]]) + 1e-12);
            assert_true(i == 0 || (x[hull[i]] > x[hull[i - 1]] && y[hull[i]] < y[hull[i - 1]]));
            /* Strictly convex. */
            assert_true(i < 2 ||
                        (y[hull[i]] - y[hull[i - 1]]) * (x[hull[i - 1]] - x[hull[i - 2]]) >
                            (y[hull[i - 1]] - y[hull[i - 2]]) * (x[hull[i]] - x[hull[i - 1]]));
            for (size_t j = 0; j < hull[i]; j++) /* of equal points the first */
                assert_false(x[j] == x[hull[i]] && y[j] == y[hull[i]]);
        }
        /* Ends: the smallest x, and the smallest y. */
        for (size_t i = 0; i < n; i++) {
            assert_true(x[hull[0]] <= x[i]);
            assert_true(y[hull[corners - 1]] <= y[i]);
        }
    }
}

static void what_is_not_finite_is_left_out(void **state)
{
    (void)state;
    const double x[] = {1.0, 2.0, NAN, 3.0}, y[] = {5.0, NAN, 1.0, -INFINITY};
    size_t hull[4];
    assert_int_equal(qn_convex_hull(x, y, 4, hull), 1);
    assert_int_equal(hull[0], 0);
    assert_int_equal(qn_convex_hull(x, y, 0, hull), 0);
    assert_int_equal(qn_convex_hull(x + 2, y + 2, 1, hull), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hulls_of_random_points),
        cmocka_unit_test(what_is_not_finite_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
