#include "tests/unit/testing.h"

#include "analyze/density_internal.h"
#include "analyze/study.h"

#include <math.h>
#include <stdlib.h>

enum { LARGE_ROWS = 300, SMALL_ROWS = 40, ROW = 1000 };

static void fill(float *x, size_t n)
{
    uint64_t seed = 5;
    for (size_t i = 0; i < n; i++) {
        double u = 0.0;
        for (int k = 0; k < 4; k++)
            u += (double)(test_random(&seed) >> 11) * 0x1p-53 - 0.5;
        x[i] = (float)(u * u * u); /* many small ones */
    }
    x[n / 2] = 0.0F;
}

static struct qn_tensor describe(size_t rows, size_t row)
{
    static char name[] = "w";
    struct qn_tensor t = {.name = name, .dtype = QINS_F32, .rank = 2, .shape = {rows, row}};
    t.n_elements = rows * row;
    t.n_bytes = t.n_elements * sizeof(float);
    return t;
}

static double group_max(const float *x, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i]));
    return most;
}

/* The definition, element by element, up to U; x as rows of ROW. */
static void direct(const float *x, size_t n, size_t group, const double *h, double u,
                   struct qn_cumulative *out)
{
    *out = (struct qn_cumulative){0};
    for (size_t row = 0; row < n; row += group == n ? n : ROW)
        for (size_t at = row; at < (group == n ? n : row + ROW); at += group) {
            size_t end = group == n ? n : at + group < row + ROW ? at + group : row + ROW;
            double s = group_max(x + at, end - at);
            for (size_t i = at; i < end; i++) {
                double v = fabs((double)x[i]) / s, weight = s * s;
                if (!(v > 0.0) || v > u)
                    continue;
                out->count[x[i] < 0.0F] += 1.0;
                for (int k = 0; k < 3; k++) {
                    out->error[k] += weight;
                    out->weighted[k] += h[i % ROW] * weight;
                    weight *= v;
                }
            }
        }
}

static bool between(double low, double x, double high, double slack)
{
    return low * (1.0 - slack) <= x && x <= high * (1.0 + slack);
}

/* At bounds that are apart from the cells': what lies within one cell may count or not. */
static void check(const struct qn_density *d, const float *x, size_t n, size_t group,
                  const double *h, double cell)
{
    static const double bounds[] = {1e-4, 0.003, 0.07, 0.4, 0.81, 1.0};
    for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++) {
        struct qn_cumulative low, high, at;
        double above = bounds[b] * (1.0 + cell);
        direct(x, n, group, h, bounds[b] < 1.0 ? bounds[b] * (1.0 - cell) : 1.0, &low);
        direct(x, n, group, h, above < 1.0 || bounds[b] >= 1.0 ? above : 0.9999999, &high);
        qn_density_at(d, bounds[b], &at);
        double slack = 1e-6 + 2.0 * cell; /* u is a float32 */
        for (int k = 0; k < 2; k++)
            assert_true(between(low.count[k], at.count[k], high.count[k], 1e-9));
        for (int k = 0; k < 3; k++) {
            assert_true(between(low.error[k], at.error[k], high.error[k], slack));
            assert_true(between(low.weighted[k], at.weighted[k], high.weighted[k], slack));
        }
    }
}

static void check_all(size_t rows, double cell)
{
    size_t n = rows * ROW;
    float *x = malloc(n * sizeof *x);
    double *h = malloc(ROW * sizeof *h);
    struct qn_tensor t = describe(rows, ROW);
    struct qn_tensor_study s;
    assert_non_null(x);
    assert_non_null(h);
    fill(x, n);
    for (size_t i = 0; i < ROW; i++)
        h[i] = 0.5 + (double)(i % 7);
    assert_int_equal(qn_study_values(&t, x, h, &s, NULL), QINS_OK);
    assert_true(s.weighted);
    for (int g = 0; g < QN_GRANULARITIES; g++) {
        const struct qn_density *d = s.density[g];
        uint64_t group = qn_granularity_group((enum qn_granularity)g, ROW);
        group = group ? group : n;
        assert_non_null(d);
        assert_int_equal(qn_density_count(d), n);
        assert_int_equal(qn_density_zeros(d), 1);
        assert_int_equal(qn_density_groups(d), group == n ? 1 : rows * ((ROW + group - 1) / group));
        assert_true(qn_density_resolution(d, 0.7) <= cell);
        assert_true((qn_density_resolution(d, 0.7) > 0.0) == (cell > 0.0));
        check(d, x, n, (size_t)group, h, cell);
    }
    qn_tensor_study_finish(&s);
    free(x);
    free(h);
}

static void test_cells(void **state)
{
    (void)state;
    check_all(LARGE_ROWS, 1.0 / (1 << QN_RATIO_BITS));
}

static void test_points(void **state)
{
    (void)state;
    check_all(SMALL_ROWS, 0.0);
}

static void test_histogram(void **state)
{
    (void)state;
    static const float x[] = {0.0F, -0.0F, 1.0F, -1.0F, 0.1F, 0.5F, 0.65F, -0.5F};
    struct qn_tensor t = describe(1, 8);
    struct qn_tensor_study s;
    double bins[5];
    static const double expected[5] = {1, 1, 3, 1, 2}; /* edges at 0.2 and 0.6 */
    assert_int_equal(qn_study_values(&t, x, NULL, &s, NULL), QINS_OK);
    qn_density_histogram(s.density[QN_PER_TENSOR], 5, bins);
    for (int i = 0; i < 5; i++)
        assert_true(fabs(bins[i] - expected[i]) < 1e-9);
    qn_tensor_study_finish(&s);
}

static void test_edges(void **state)
{
    (void)state;
    struct qn_cumulative at;
    float *x = calloc((size_t)LARGE_ROWS * ROW, sizeof *x);
    struct qn_tensor t = describe(LARGE_ROWS, ROW);
    struct qn_tensor_study s;
    assert_non_null(x);
    assert_int_equal(qn_study_values(&t, x, NULL, &s, NULL), QINS_OK);
    for (int g = 0; g < QN_GRANULARITIES; g++) { /* all zeros */
        qn_density_at(s.density[g], 1.0, &at);
        assert_true(at.count[0] + at.count[1] + at.error[0] + at.error[2] <= 0.0);
        assert_int_equal(qn_density_zeros(s.density[g]), LARGE_ROWS * ROW);
        assert_true(qn_density_resolution(s.density[g], 0.5) < 0.01);
    }
    qn_tensor_study_finish(&s);
    for (size_t i = 0; i < (size_t)LARGE_ROWS * ROW; i++)
        x[i] = i % 2 ? -0.1F : 0.1F;
    x[7] = 1e8F;
    assert_int_equal(qn_study_values(&t, x, NULL, &s, NULL), QINS_OK);
    qn_density_at(s.density[QN_PER_TENSOR], 0.5e-9, &at);
    assert_true(at.count[0] + at.count[1] <= 0.0);
    qn_density_at(s.density[QN_PER_TENSOR], 0.999, &at); /* the outlier is no part of a cell */
    assert_true(at.count[0] + at.count[1] + 1.0 >= (double)LARGE_ROWS * ROW);
    assert_true(at.error[2] < 0.02 * LARGE_ROWS * ROW);
    qn_density_at(s.density[QN_PER_TENSOR], 2.0, &at);
    assert_true(at.error[2] >= 1e16);
    qn_density_at(s.density[QN_PER_ROW], (double)NAN, &at);
    assert_true(at.error[0] <= 0.0);
    qn_tensor_study_finish(&s);
    free(x);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(qn_granularity_name(QN_PER_TENSOR), "tensor");
    assert_string_equal(qn_granularity_name(QN_PER_BLOCK_32), "32");
    assert_string_equal(qn_granularity_name(QN_GRANULARITIES), "?");
    assert_int_equal(qn_granularity_group(QN_PER_TENSOR, 77), 0);
    assert_int_equal(qn_granularity_group(QN_PER_ROW, 77), 77);
    assert_int_equal(qn_granularity_group(QN_PER_BLOCK_128, 77), 77);
    assert_int_equal(qn_granularity_group(QN_PER_BLOCK_32, 77), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells),     cmocka_unit_test(test_points),
        cmocka_unit_test(test_histogram), cmocka_unit_test(test_edges),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
