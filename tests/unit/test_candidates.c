#include "tests/unit/testing.h"

#include "analyze/compare.h"
#include "analyze/extra.h"
#include "analyze/logarithm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char name[] = "w";

static struct qn_tensor describe(unsigned rank, uint64_t rows, uint64_t columns)
{
    struct qn_tensor t = {.name = name, .dtype = QINS_F32, .rank = rank, .shape = {rows, columns}};
    t.n_elements = rank == 1 ? rows : rows * columns;
    t.n_bytes = 4 * t.n_elements;
    return t;
}

static void study(const struct qn_tensor *t, const float *x, struct qn_tensor_study *s)
{
    struct qins_error err = {0};
    assert_int_equal(qn_study_values(t, x, NULL, s, &err), QINS_OK);
}

static double uniform(uint64_t *seed)
{
    return ((double)(test_random(seed) >> 11) + 0.5) * 0x1p-53;
}

/* Box and Muller 1958. */
static float gaussian(uint64_t *seed)
{
    double radius = sqrt(-2.0 * log(uniform(seed)));
    return (float)(radius * cos(2.0 * 3.14159265358979 * uniform(seed)));
}

static void logarithms(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int i = 0; i < 100000; i++) {
        double x = ldexp(1.0 + (double)(test_random(&seed) >> 11) * 0x1p-53,
                         (int)(test_random(&seed) % 600) - 300);
        assert_true(fabs(qn_log2(x) - log2(x)) < 2e-13 * fmax(1.0, fabs(log2(x))));
    }
    assert_true(qn_log2(1.0) == 0.0 && qn_log2(1024.0) == 10.0);
}

/* All candidates, comparisons and rows of a tensor; whatever it holds, figures make sense. */
static void check_all(const struct qn_tensor *t, const float *x)
{
    struct qn_tensor_study s;
    struct qn_candidate_list fixed = {0}, coded = {0};
    struct qn_comparison comparison = {0};
    struct qn_extra_table extra;
    struct qins_error err = {0};
    study(t, x, &s);
    assert_int_equal(qn_candidates_fixed(&s, &fixed, &err), QINS_OK);
    assert_int_equal(qn_candidates_coded(&s, &coded, &err), QINS_OK);
    assert_int_equal(qn_compare(&s, &fixed, &coded, &comparison, &err), QINS_OK);
    assert_int_equal(qn_extra_compression(&s, &extra, &err), QINS_OK);
    const struct qn_candidate_list *const lists[] = {&fixed, &coded};
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->count; i++) {
            const struct qn_candidate *c = &lists[l]->items[i];
            assert_true(c->error >= 0.0 && isfinite(c->error));
            assert_true(c->weighted_error >= 0.0 && !isnan(c->sqnr_db));
            assert_true(c->entropy_bits >= 0.0 && c->entropy_bits <= 12.0);
            assert_true(c->p50_rel_error >= 0.0 && c->p50_rel_error <= c->p90_rel_error);
            assert_true(c->p90_rel_error <= c->p99_rel_error && isfinite(c->p99_rel_error));
            assert_true(c->clip > 0.0f && c->clip <= 1.0f && c->kappa >= 0.0f);
            assert_true(c->huffman_bytes > 0 && c->huffman_bytes <= c->packed_bytes);
        }
    for (size_t i = 0; i < extra.count; i++) {
        assert_true(extra.rows[i].bits > 0.0 && !isnan(extra.rows[i].sqnr_db));
        assert_true(strlen(extra.rows[i].method) > 0);
    }
    qn_comparison_finish(&comparison);
    qn_candidate_list_finish(&fixed);
    qn_candidate_list_finish(&coded);
    qn_tensor_study_finish(&s);
}

static void odd_tensors(void **state)
{
    (void)state;
    enum { N = 6000 };
    static float x[N];
    uint64_t seed = 5;
    struct qn_tensor matrix = describe(2, 60, 100), row = describe(2, 1, N),
                     column = describe(2, N, 1), vector = describe(1, N, 0),
                     one = describe(2, 1, 1);
    check_all(&matrix, x); /* all zeros */
    for (size_t i = 0; i < N; i++)
        x[i] = 0.25f;
    check_all(&matrix, x);
    check_all(&one, x);
    for (size_t i = 0; i < N; i++)
        x[i] = gaussian(&seed);
    check_all(&matrix, x);
    check_all(&row, x);
    check_all(&column, x);
    check_all(&vector, x);
    x[77] = 1e8f;
    check_all(&matrix, x);
    for (size_t i = 0; i < N; i++)
        x[i] *= 0x1p-140f;
    check_all(&matrix, x);
}

static void clusters(void **state)
{
    (void)state;
    enum { N = 40000 };
    static float x[N];
    static const float centres[4] = {-0.9f, -0.1f, 0.1f, 0.9f};
    uint64_t seed = 9;
    struct qn_tensor t = describe(2, 200, 200);
    struct qn_tensor_study s;
    double values[256], before = INFINITY;
    for (size_t i = 0; i < N; i++)
        x[i] = centres[test_random(&seed) % 4];
    study(&t, x, &s);
    assert_true(qn_cluster_values(s.density[QN_PER_TENSOR], 4, values) < 1e-6);
    for (size_t i = 0; i < 4; i++)
        assert_true(fabs(values[i] - (double)centres[i] / (double)0.9f) < 1e-6);
    qn_tensor_study_finish(&s);

    double signal = 0.0;
    for (size_t i = 0; i < N; i++) {
        x[i] = gaussian(&seed);
        signal += (double)x[i] * (double)x[i];
    }
    study(&t, x, &s);
    for (unsigned k = 2; k <= 256; k *= 2) {
        double error = qn_cluster_values(s.density[QN_PER_TENSOR], k, values);
        assert_true(error < before);
        before = error;
        for (unsigned i = 1; i < k; i++)
            assert_true(values[i] >= values[i - 1]);
        /* Max 1960, "Quantizing for minimum distortion": 16 levels for a Gaussian. */
        if (k == 16)
            assert_true(fabs(error / signal - 0.009497) < 4e-4);
    }
    qn_tensor_study_finish(&s);
}

/* The finding that a study must be able to draw: QINS wins at a fixed rate, INT under a coder. */
static void comparison(void **state)
{
    (void)state;
    enum { ROWS = 64, COLUMNS = 4096 };
    float *x = malloc((size_t)ROWS * COLUMNS * sizeof *x);
    uint64_t seed = 11;
    struct qn_tensor t = describe(2, ROWS, COLUMNS);
    struct qn_tensor_study s;
    struct qn_candidate_list fixed = {0}, coded = {0};
    struct qn_comparison c = {0};
    struct qins_error err = {0};
    assert_non_null(x);
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++)
        x[i] = gaussian(&seed);
    study(&t, x, &s);
    assert_int_equal(qn_candidates_fixed(&s, &fixed, &err), QINS_OK);
    assert_int_equal(qn_candidates_coded(&s, &coded, &err), QINS_OK);
    assert_int_equal(qn_compare(&s, &fixed, &coded, &c, &err), QINS_OK);
    assert_int_equal(c.n_fixed, QN_GRANULARITIES * 11);
    size_t found = 0;
    for (size_t i = 0; i < c.n_fixed; i++) {
        const struct qn_fixed_comparison *f = &c.fixed[i];
        for (int m = 0; m < QN_MEASURES; m++) {
            double sign = m == QN_MEASURE_RELATIVE ? -1.0 : 1.0;
            const double(*v)[QN_MEASURES] = f->value;
            assert_true(sign * v[QN_CONTENDER_QINS][m] >= sign * v[QN_CONTENDER_INT_CLIP][m]);
            assert_true(sign * v[QN_CONTENDER_INT_CLIP][m] >= sign * v[QN_CONTENDER_INT_ABSMAX][m]);
        }
        if (f->granularity == QN_PER_ROW && f->bits == 8) {
            const double margin = f->value[QN_CONTENDER_QINS][QN_MEASURE_SQUARED] -
                                  f->value[QN_CONTENDER_INT_CLIP][QN_MEASURE_SQUARED];
            assert_true(margin > 1.0);
            found++;
        }
    }
    for (size_t i = 0; i < c.n_coded; i++) {
        const struct qn_rate_comparison *r = &c.coded[i];
        if (r->granularity == QN_PER_ROW && r->bits == 7.5) {
            assert_true(r->value[QN_CONTENDER_INT_ABSMAX][QN_MEASURE_SQUARED] >
                        r->value[QN_CONTENDER_QINS][QN_MEASURE_SQUARED] + 0.6);
            found++;
        }
    }
    assert_int_equal(found, 2);
    qn_comparison_finish(&c);
    qn_candidate_list_finish(&fixed);
    qn_candidate_list_finish(&coded);
    qn_tensor_study_finish(&s);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logarithms),
        cmocka_unit_test(odd_tensors),
        cmocka_unit_test(clusters),
        cmocka_unit_test(comparison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
