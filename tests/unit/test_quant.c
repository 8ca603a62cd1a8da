#include "tests/unit/codec_samples.h"

#include "core/bytes.h"
#include "formats/codec/quant.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float shapes[] = {0.0f, 0.3f, 1.5f, 3.0f, 64.0f, 65536.0f};
static const unsigned sizes[] = {1, 7, 31, 127, 128, 2047};

static void code_width(void **state)
{
    (void)state;
    assert_int_equal(qn_code_bits(1), 2);
    assert_int_equal(qn_code_bits(3), 3);
    assert_int_equal(qn_code_bits(4), 4);
    assert_int_equal(qn_code_bits(127), 8);
    assert_int_equal(qn_code_bits(128), 9);
    assert_int_equal(qn_code_bits(2047), 12);
}

static void grid_bounds(void **state)
{
    (void)state;
    struct qn_grid g;
    assert_false(qn_grid_init(&g, QN_GRID_QINS, 0, 1.0f));
    assert_false(qn_grid_init(&g, QN_GRID_QINS, 2048, 1.0f));
    assert_false(qn_grid_init(&g, QN_GRID_QINS, 127, -1.0f));
    assert_false(qn_grid_init(&g, QN_GRID_QINS, 127, NAN));
    assert_false(qn_grid_init(&g, QN_GRID_QINS, 127, INFINITY));
    assert_false(qn_grid_init(&g, QN_GRID_SEED, 127, 0.0f));
    assert_false(qn_grid_init(&g, (enum qn_grid_kind)0, 127, 1.0f));
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        assert_true(qn_grid_init(&g, QN_GRID_QINS, 127, shapes[k]));
        assert_true(g.value[0] == -1.0f && g.value[254] == 1.0f);
        assert_int_equal(qn_float_bits(g.value[127]), 0);
        for (unsigned c = 1; c <= 254; c++)
            assert_true(g.value[c] > g.value[c - 1]);
    }
}

/* Decoding a code and coding the value again must give the code, whatever the scale. */
static void codes_round_trip(void **state)
{
    (void)state;
    const float scales[] = {1.0f, 0.02f, 3e5f, FLT_MAX, 1e-30f};
    static uint16_t codes[2 * QN_MAX_LEVELS + 1], again[2 * QN_MAX_LEVELS + 1];
    static float values[2 * QN_MAX_LEVELS + 1];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
            for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
                struct qn_grid g;
                size_t n = 2 * (size_t)sizes[i] + 1;
                assert_true(qn_grid_init(&g, QN_GRID_QINS, sizes[i], shapes[k]));
                for (size_t c = 0; c < n; c++)
                    codes[c] = (uint16_t)c;
                qn_dequantise(&g, scales[s], codes, n, values);
                assert_true(values[0] == -scales[s] && values[n - 1] == scales[s]);
                assert_int_equal(qn_float_bits(values[sizes[i]]), 0);
                qn_quantise(&g, scales[s], values, n, again);
                assert_memory_equal(codes, again, n * sizeof *codes);
            }
}

static void extremes(void **state)
{
    (void)state;
    struct qn_grid g;
    uint16_t c[8];
    float y[8];
    assert_true(qn_grid_init(&g, QN_GRID_QINS, 127, 1.5f));

    const float big[] = {FLT_MAX, -FLT_MAX, 0.0f, -0.0f, FLT_MIN, -FLT_TRUE_MIN, 1.0f};
    qn_quantise(&g, FLT_MAX, big, 7, c);
    const uint16_t expected[] = {254, 0, 127, 127, 127, 127, 127};
    assert_memory_equal(c, expected, sizeof expected);
    qn_dequantise(&g, FLT_MAX, c, 7, y);
    assert_true(y[0] == FLT_MAX && y[1] == -FLT_MAX);
    assert_int_equal(qn_float_bits(y[3]), 0);

    /* Clipping: everything past the scale is the scale. */
    qn_quantise(&g, FLT_TRUE_MIN, big, 2, c);
    assert_int_equal(c[0], 254);
    assert_int_equal(c[1], 0);

    const float tiny[] = {FLT_TRUE_MIN, -3 * FLT_TRUE_MIN, 2 * FLT_TRUE_MIN, 0.0f};
    qn_quantise(&g, 3 * FLT_TRUE_MIN, tiny, 4, c);
    qn_dequantise(&g, 3 * FLT_TRUE_MIN, c, 4, y);
    assert_memory_equal(tiny, y, sizeof tiny);

    qn_quantise(&g, 0.0f, big, 7, c);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(c[i], 127);
    const float nan = NAN, infinity = -INFINITY;
    qn_quantise(&g, 1.0f, &nan, 1, c);
    qn_quantise(&g, 1.0f, &infinity, 1, c + 1);
    assert_true(c[0] == 254 || c[0] == 0);
    assert_int_equal(c[1], 0);
}

static void largest_magnitude(void **state)
{
    (void)state;
    bool finite = true;
    float x[37] = {0};
    assert_true(qn_abs_max(x, 37, &finite) == 0.0f && finite);
    x[36] = -FLT_TRUE_MIN;
    assert_true(qn_abs_max(x, 37, &finite) == FLT_TRUE_MIN && finite);
    x[3] = -FLT_MAX;
    assert_true(qn_abs_max(x, 37, &finite) == FLT_MAX && finite);
    for (size_t i = 0; i < 37; i++) {
        float kept = x[i];
        const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};
        for (size_t k = 0; k < 4; k++) {
            x[i] = bad[k];
            finite = true;
            qn_abs_max(x, 37, &finite);
            assert_false(finite);
        }
        x[i] = kept;
    }
}

/* The reference in binary64: a code may differ where the exact value lies on a boundary, and
 * by one level at most. */
static void close_to_exact(void **state)
{
    (void)state;
    enum { N = 20000 };
    static float x[N];
    static uint16_t codes[N];
    sample_fill(SAMPLE_STUDENT_T5, 0.02f, x, N);
    bool finite = true;
    const float scale = qn_abs_max(x, N, &finite);
    for (size_t k = 0; k < 5; k++) {
        struct qn_grid g;
        size_t differing = 0;
        assert_true(qn_grid_init(&g, QN_GRID_QINS, 2047, shapes[k]));
        qn_quantise(&g, scale, x, N, codes);
        for (size_t i = 0; i < N; i++) {
            double u = fabs((double)x[i]) / (double)scale, kappa = (double)shapes[k];
            long l = lround(2047.0 * (1.0 + kappa) * u / (1.0 + kappa * u));
            long code = 2047 + (x[i] < 0.0f ? -l : l);
            assert_true(labs(code - codes[i]) <= 1);
            differing += code != codes[i];
        }
        assert_true(differing < N / 500);
    }
}

static void seed_grid(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    static float x[N], y[N];
    static uint16_t codes[N];
    static const struct {
        enum sample_law law;
        double least, most;
    } cases[] = {{SAMPLE_GAUSSIAN, 18.0, 22.0},
                 {SAMPLE_LAPLACE, 18.0, 25.0},
                 {SAMPLE_STUDENT_T5, 18.0, 24.0}};
    struct qn_grid g;
    assert_true(qn_grid_init(&g, QN_GRID_SEED, 127, 1.0f));
    for (size_t i = 0; i < 3; i++) {
        sample_fill(cases[i].law, 0.02f, x, N);
        qn_quantise(&g, 0.0f, x, N, codes);
        qn_dequantise(&g, 0.0f, codes, N, y);
        double sqnr = sample_sqnr(x, y, N);
        printf("seed grid, law %zu: %.2f dB\n", i, sqnr);
        assert_true(sqnr > cases[i].least && sqnr < cases[i].most);
    }
    const float far[] = {FLT_MAX, -FLT_MAX, 0.0f, -0.0f};
    qn_quantise(&g, 0.0f, far, 4, codes);
    assert_true(codes[0] == 253 && codes[1] == 1 && codes[2] == 127 && codes[3] == 127);
    assert_true(qn_grid_init(&g, QN_GRID_SEED, 1, QN_MAX_ALPHA));
    qn_quantise(&g, 0.0f, far, 4, codes);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(codes[i], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_width),        cmocka_unit_test(grid_bounds),
        cmocka_unit_test(codes_round_trip),  cmocka_unit_test(extremes),
        cmocka_unit_test(largest_magnitude), cmocka_unit_test(close_to_exact),
        cmocka_unit_test(seed_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
