#include "tests/unit/testing.h"

#include "analyze/study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct qn_tensor describe(unsigned rank, uint64_t a, uint64_t b)
{
    static char name[] = "w";
    struct qn_tensor t = {.name = name, .dtype = QINS_F32, .rank = rank, .shape = {a, b}};
    t.n_elements = rank == 0 ? 1 : rank == 1 ? a : a * b;
    t.n_bytes = t.n_elements * sizeof(float);
    return t;
}

static void test_shapes(void **state)
{
    (void)state;
    static const float x[64] = {1.0F, -2.0F, 0.0F, 3.0F};
    static const struct {
        uint64_t rank, a, b;
        bool density[QN_GRANULARITIES];
        uint32_t rows;
    } cases[] = {
        {0, 0, 0, {false, false, false, false}, 1}, {1, 0, 0, {false, false, false, false}, 0},
        {2, 0, 5, {false, false, false, false}, 0}, {2, 5, 0, {false, false, false, false}, 0},
        {1, 1, 0, {true, true, false, false}, 1},   {2, 4, 1, {true, true, false, false}, 4},
        {2, 1, 4, {true, true, false, false}, 1},   {2, 1, 33, {true, true, false, true}, 1},
        {1, 64, 0, {true, true, false, true}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_tensor t = describe((unsigned)cases[i].rank, cases[i].a, cases[i].b);
        struct qn_tensor_study s;
        assert_int_equal(qn_study_values(&t, x, NULL, &s, NULL), QINS_OK);
        assert_int_equal(s.statistics.n, t.n_elements);
        assert_int_equal(s.statistics.rows, cases[i].rows);
        assert_int_equal(isnan(s.statistics.mean) != 0, t.n_elements == 0);
        assert_false(s.weighted);
        assert_string_equal(s.kind, "weight");
        for (int g = 0; g < QN_GRANULARITIES; g++)
            assert_int_equal(s.density[g] != NULL, cases[i].density[g]);
        qn_tensor_study_finish(&s);
        qn_tensor_study_finish(&s);
    }
}

static void test_bad_values(void **state)
{
    (void)state;
    float x[6] = {1.0F, 2.0F, NAN, 4.0F, INFINITY, 6.0F};
    struct qn_tensor t = describe(2, 2, 3);
    struct qn_tensor_study s;
    assert_int_equal(qn_study_values(&t, x, NULL, &s, NULL), QINS_OK);
    assert_true(fabs(s.first_bad - 2.0) < 0.5);
    assert_int_equal(s.statistics.n_nan, 1);
    assert_int_equal(s.statistics.n_infinite, 1);
    assert_true(fabs(s.statistics.mean - 13.0 / 4.0) < 1e-12);
    assert_true(fabs(s.statistics.max - 6.0) < 1e-12);
    for (int g = 0; g < QN_GRANULARITIES; g++)
        assert_null(s.density[g]);
    qn_tensor_study_finish(&s);
}

static void test_channel_weights(void **state)
{
    (void)state;
    static const char *const tensors[] = {"a.weight", "b.weight"};
    struct qn_calibration c = {0};
    struct qn_calibration_point *p;
    double *weights = NULL;
    uint32_t channels = 0;
    assert_int_equal(
        qn_calibration_add_point(&c, "layer:input", QN_TAP_MLP, 3, tensors, 2, &p, NULL), QINS_OK);
    assert_int_equal(qn_channel_weights(&c, "a.weight", &weights, &channels, NULL), QINS_OK);
    assert_null(weights); /* no rows yet */
    p->rows = 4;
    for (int j = 0; j < 3; j++)
        qn_point_sum(p, QN_SUM_SQUARES)[j] = 8.0 * j;
    assert_int_equal(qn_channel_weights(&c, "b.weight", &weights, &channels, NULL), QINS_OK);
    assert_int_equal(channels, 3);
    for (int j = 0; j < 3; j++)
        assert_true(fabs(weights[j] - 2.0 * j) < 1e-15);
    free(weights);
    assert_int_equal(qn_channel_weights(&c, "c.weight", &weights, &channels, NULL), QINS_OK);
    assert_null(weights);
    assert_int_equal(channels, 0);
    qn_calibration_finish(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_channel_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
