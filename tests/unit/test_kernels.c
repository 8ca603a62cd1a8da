#include "tests/unit/kernel_testing.h"

#include "core/bytes.h"
#include "model/config.h"
#include "model/kernels.h"

enum { MAX_N = 300, MAX_LEVELS = QN_CPU_AVX512 + 1 };

/* float32's unit in the last place at 1. */
#define ULP 0x1p-23

static const size_t lengths[] = {0,  1,  2,  3,  5,  7,  8,  9,   11,  15,  16,  17,  18,  23,
                                 31, 32, 33, 47, 63, 64, 65, 100, 127, 128, 129, 130, 255, 300};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

/* Input and output of one length, beside guard pages; at ends, at odd addresses mod 64. */
struct fixture {
    struct guarded x[4];
    const struct qn_kernels *levels[MAX_LEVELS];
    size_t n_levels;
    uint64_t seed;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    f->seed = 5;
    for (int level = QN_CPU_C; level < MAX_LEVELS; level++) {
        const struct qn_kernels *k = qn_kernels_of((enum qn_cpu_level)level);
        if (k)
            f->levels[f->n_levels++] = k;
    }
    for (size_t i = 0; i < 4; i++)
        f->x[i] = guarded_create(MAX_N * sizeof(float));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 4; i++)
        guarded_destroy(&f->x[i]);
    free(f);
    return 0;
}

/* The N floats of buffer I that are beside its page, filled at random. */
static float *input(struct fixture *f, size_t i, size_t n, double span)
{
    float *x = (float *)f->x[i].data + (guarded_at_front ? 0 : MAX_N - n);
    test_fill(x, n, &f->seed, span);
    return x;
}

static void for_all(struct fixture *f,
                    void (*check)(struct fixture *f, const struct qn_kernels *k, size_t n))
{
    for (size_t l = 0; l < f->n_levels; l++)
        for (size_t i = 0; i < N_LENGTHS; i++)
            check(f, f->levels[l], lengths[i]);
}

static void test_levels(void **state)
{
    struct fixture *f = *state;
    assert_true(f->n_levels >= 1);
    assert_ptr_equal(qn_kernels(), f->levels[f->n_levels - 1]);
    assert_string_equal(qn_cpu_level_name(QN_CPU_C), "c");
    assert_string_equal(qn_cpu_level_name(QN_CPU_AVX512), "avx512");
}

static void check_sums(struct fixture *f, const struct qn_kernels *k, size_t n)
{
    float *x = input(f, 0, n, 2), *y = input(f, 1, n, 2), before[MAX_N];
    memcpy(before, y, n * sizeof *y);
    k->add(y, x, n);
    for (size_t i = 0; i < n; i++)
        assert_true(y[i] == before[i] + x[i]);
    memcpy(before, y, n * sizeof *y);
    k->add_scaled(y, x, 0.37F, n);
    for (size_t i = 0; i < n; i++)
        assert_true(
            test_close((double)y[i], (double)before[i] + (double)0.37F * (double)x[i], ULP, 4));
}

static void test_sums(void **state)
{
    for_all(*state, check_sums);
}

static void check_norms(struct fixture *f, const struct qn_kernels *k, size_t n)
{
    if (n == 0)
        return;
    float *x = input(f, 0, n, 3), *w = input(f, 1, n, 2), *b = input(f, 2, n, 1);
    float *y = input(f, 3, n, 1);
    double squares = 0, mean = 0, variance = 0;
    for (size_t i = 0; i < n; i++) {
        squares += (double)x[i] * (double)x[i];
        mean += (double)x[i];
    }
    mean /= (double)n;
    for (size_t i = 0; i < n; i++)
        variance += ((double)x[i] - mean) * ((double)x[i] - mean);
    double rms = 1 / sqrt(squares / (double)n + 1e-5);
    double deviation = 1 / sqrt(variance / (double)n + 1e-5);
    k->rms_norm(y, x, w, n, 1e-5);
    for (size_t i = 0; i < n; i++)
        assert_true(test_close((double)y[i], (double)x[i] * rms * (double)w[i], ULP, 16));
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        k->layer_norm(y, x, w, with_bias ? b : NULL, n, 1e-5);
        for (size_t i = 0; i < n; i++) {
            double bias = with_bias ? (double)b[i] : 0;
            double v = ((double)x[i] - mean) * deviation * (double)w[i] + bias;
            assert_true(test_close((double)y[i], v, n < 3 ? 1e-4 : 4 * ULP, 16));
        }
    }
    float copy[MAX_N];
    k->rms_norm(y, x, w, n, 1e-5);
    memcpy(copy, y, n * sizeof *y);
    k->rms_norm(x, x, w, n, 1e-5);
    assert_memory_equal(x, copy, n * sizeof *x);
}

static void test_norms(void **state)
{
    for_all(*state, check_norms);
}

static double reference_activation(int act, double x)
{
    switch (act) {
    case QN_ACT_SILU:
        return x / (1 + exp(-x));
    case QN_ACT_GELU_ERF:
        return x * 0.5 * erfc(-x / sqrt(2));
    case QN_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.141592653589793) * (x + 0.044715 * x * x * x)));
    default:
        return x > 0 ? x : 0;
    }
}

static void check_activations(struct fixture *f, const struct qn_kernels *k, size_t n)
{
    for (int act = QN_ACT_SILU; act <= QN_ACT_RELU; act++) {
        float *x = input(f, 0, n, n % 2 ? 8 : 100), *up = input(f, 1, n, 2);
        float *y = input(f, 2, n, 1);
        k->activate(act, y, x, NULL, n);
        for (size_t i = 0; i < n; i++)
            assert_true(test_close((double)y[i], reference_activation(act, (double)x[i]), 4 * ULP,
                                   fabs((double)x[i])));
        float plain[MAX_N];
        memcpy(plain, y, n * sizeof *y);
        k->activate(act, x, x, up, n);
        for (size_t i = 0; i < n; i++)
            assert_true(x[i] == plain[i] * up[i]);
    }
}

static void test_activations(void **state)
{
    for_all(*state, check_activations);
}

/* Distance in units of float32's last place at EXPECTED. */
static double ulps(float value, double expected)
{
    float rounded = (float)expected;
    if (isnan(expected) || isinf(rounded))
        return (isnan(expected) && isnan(value)) || value == rounded ? 0 : HUGE_VAL;
    int exponent = fabs(expected) < 0x1p-126 ? -126 : ilogb(expected);
    return fabs((double)value - expected) / ldexp(1, exponent - 23);
}

static double reference_map(int map, double x)
{
    return map == QN_MAP_EXP ? exp(x) : map == QN_MAP_TANH ? tanh(x) : erf(x);
}

/* Every 1009th float of both signs, subnormal ones, infinities and NaN among them. */
static void test_elementary(void **state)
{
    struct fixture *f = *state;
    for (size_t l = 0; l < f->n_levels; l++)
        for (int map = QN_MAP_EXP; map <= QN_MAP_ERF; map++)
            for (uint32_t bits = 0; bits < 0x7f810000U; bits += 1009U * 64U) {
                float x[128], y[128];
                for (size_t i = 0; i < 64; i++) {
                    uint32_t b = bits + (uint32_t)i * 1009U;
                    x[2 * i] = qn_float_from_bits(b);
                    x[2 * i + 1] = qn_float_from_bits(b | 0x80000000U);
                }
                f->levels[l]->activate(map, y, x, NULL, 128);
                for (size_t i = 0; i < 128; i++)
                    if (ulps(y[i], reference_map(map, (double)x[i])) > 2)
                        fail_msg("level %zu, map %d: %a gives %a", l, map, (double)x[i],
                                 (double)y[i]);
            }
    const float special[] = {INFINITY, -INFINITY, NAN, 0.0F, 88.72283F, 88.72284F, -103.97F};
    for (size_t l = 0; l < f->n_levels; l++)
        for (int map = QN_MAP_EXP; map <= QN_MAP_ERF; map++) {
            float y[7];
            f->levels[l]->activate(map, y, special, NULL, 7);
            for (size_t i = 0; i < 7; i++)
                assert_true(ulps(y[i], reference_map(map, (double)special[i])) <= 2);
        }
}

static void check_rope(struct fixture *f, const struct qn_kernels *k, size_t half)
{
    if (2 * half > MAX_N)
        return;
    float *c = input(f, 1, half, 1), *s = input(f, 2, half, 1), before[MAX_N];
    for (int pairs = 0; pairs < 2; pairs++) {
        float *x = input(f, 0, 2 * half, 1);
        memcpy(before, x, 2 * half * sizeof *x);
        if (pairs)
            k->rope_pairs(x, c, s, half);
        else
            k->rope_halves(x, c, s, half);
        for (size_t i = 0; i < half; i++) {
            size_t at = pairs ? 2 * i : i, with = pairs ? 2 * i + 1 : i + half;
            double a = (double)before[at], b = (double)before[with];
            double cosine = (double)c[i], sine = (double)s[i];
            assert_true(test_close((double)x[at], a * cosine - b * sine, ULP, 1));
            assert_true(test_close((double)x[with], b * cosine + a * sine, ULP, 1));
        }
    }
}

static void test_rope(void **state)
{
    for_all(*state, check_rope);
}

static void check_softmax(struct fixture *f, const struct qn_kernels *k, size_t n)
{
    if (n == 0)
        return;
    float *x = input(f, 0, n, n % 3 ? 20 : 200);
    double max = -HUGE_VAL, sum = 0;
    size_t best = 0;
    for (size_t i = 0; i < n; i++)
        if ((double)x[i] > max) {
            max = (double)x[i];
            best = i;
        }
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - max);
    assert_int_equal(k->argmax(x, n), best);
    assert_true(test_close(k->log_sum_exp(x, n), max + log(sum), 2 * ULP, 1));
    float y[MAX_N];
    memcpy(y, x, n * sizeof *y);
    k->softmax(x, n);
    for (size_t i = 0; i < n; i++) {
        /* the difference from the largest is rounded before exp sees it */
        double p = exp((double)y[i] - max) / sum, d = max - (double)y[i];
        assert_true(test_close((double)x[i], p, ULP, p * (4 + d) + 0x1p-126));
    }
}

static void test_softmax(void **state)
{
    for_all(*state, check_softmax);
}

static void test_extremes_of_logits(void **state)
{
    struct fixture *f = *state;
    for (size_t l = 0; l < f->n_levels; l++) {
        const struct qn_kernels *k = f->levels[l];
        float x[40];
        for (size_t i = 0; i < 40; i++)
            x[i] = -INFINITY;
        assert_true(k->log_sum_exp(x, 40) == -HUGE_VAL);
        assert_int_equal(k->argmax(x, 40), 0);
        assert_true(k->log_sum_exp(x, 0) == -HUGE_VAL);
        assert_int_equal(k->argmax(x, 0), 0);
        x[17] = x[33] = 3.0F;
        assert_int_equal(k->argmax(x, 40), 17);
        assert_true(k->log_sum_exp(x, 40) == 3.0 + log(2.0));
        x[5] = NAN;
        assert_int_equal(k->argmax(x, 40), 17);
        assert_true(isnan(k->log_sum_exp(x, 40)));
        x[5] = INFINITY;
        assert_int_equal(k->argmax(x, 40), 5);
        assert_true(k->log_sum_exp(x, 40) == HUGE_VAL);
        x[39] = NAN;
        assert_true(isnan(k->log_sum_exp(x, 40)));
    }
}

static const enum qins_dtype weight_types[] = {QINS_F32, QINS_F16, QINS_BF16};

/* gemv, and gemv_columns on the transposed matrix, with rows and columns of a wider matrix. */
static void check_gemv(struct fixture *f, enum qins_dtype dtype, size_t rows, size_t n)
{
    size_t stride = n + 3, size = dtype == QINS_F32 ? 4 : 2;
    struct guarded w = guarded_create(((rows - 1) * stride + n) * size);
    struct guarded y = guarded_create(rows * sizeof(float));
    size_t count = (rows - 1) * stride + n;
    float *values = malloc(count * sizeof *values), *out = y.data;
    assert_non_null(values);
    test_fill(values, count, &f->seed, 1);
    qn_from_f32(dtype, values, w.data, count);
    qn_to_f32(dtype, w.data, values, count);
    float *x = input(f, 0, n, 1), *bias = input(f, 1, rows, 1);
    for (size_t l = 0; l < f->n_levels; l++)
        for (int with_bias = 0; with_bias < 2; with_bias++) {
            f->levels[l]->gemv(dtype, out, w.data, stride, rows, n, x, with_bias ? bias : NULL);
            for (size_t r = 0; r < rows; r++) {
                double sum = with_bias ? (double)bias[r] : 0, scale = 1;
                for (size_t i = 0; i < n; i++) {
                    sum += (double)values[r * stride + i] * (double)x[i];
                    scale += fabs((double)values[r * stride + i] * (double)x[i]);
                }
                assert_true(test_close((double)out[r], sum, ULP, scale));
                float alone;
                f->levels[l]->gemv(dtype, &alone, (char *)w.data + r * stride * size, stride, 1, n,
                                   x, with_bias ? bias + r : NULL);
                assert_true(alone == out[r]);
            }
            float *by_column = input(f, 2, n, 1), *factors = input(f, 3, rows, 1);
            const float *start = with_bias ? x : NULL;
            f->levels[l]->gemv_columns(dtype, by_column, w.data, stride, rows, n, factors, start);
            for (size_t c = 0; c < n; c++) {
                double sum = with_bias ? (double)x[c] : 0, scale = 1;
                for (size_t r = 0; r < rows; r++) {
                    sum += (double)values[r * stride + c] * (double)factors[r];
                    scale += fabs((double)values[r * stride + c] * (double)factors[r]);
                }
                assert_true(test_close((double)by_column[c], sum, 4 * ULP, scale));
            }
        }
    free(values);
    guarded_destroy(&w);
    guarded_destroy(&y);
}

static void test_gemv(void **state)
{
    static const size_t rows[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17};
    for (size_t t = 0; t < 3; t++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (size_t i = 0; i < N_LENGTHS; i++)
                if (lengths[i] > 0)
                    check_gemv(*state, weight_types[t], rows[r], lengths[i]);
}

/* Every pattern of 16 bits, against the codec's own widening; at all lengths, unaligned. */
static void test_widen(void **state)
{
    struct fixture *f = *state;
    enum { ALL = 1 << 16 };
    struct guarded src = guarded_create(sizeof(uint16_t) * ALL);
    struct guarded dst = guarded_create(sizeof(float) * ALL);
    float *expected = malloc(sizeof(float) * ALL), *y = dst.data;
    assert_non_null(expected);
    for (uint32_t i = 0; i < ALL; i++)
        qn_store16((char *)src.data + 2 * (size_t)i, (uint16_t)i);
    for (size_t t = 1; t < 3; t++) {
        qn_to_f32(weight_types[t], src.data, expected, ALL);
        for (size_t l = 0; l < f->n_levels; l++) {
            f->levels[l]->widen(weight_types[t], y, src.data, ALL);
            for (size_t i = 0; i < ALL; i++)
                if (isnan(expected[i]) ? !isnan(y[i])
                                       : qn_float_bits(y[i]) != qn_float_bits(expected[i]))
                    fail_msg("type %zu, level %zu: pattern %zx", t, l, i);
            for (size_t i = 0; i < N_LENGTHS; i++) {
                size_t n = lengths[i], at = guarded_at_front ? 0 : ALL - n;
                f->levels[l]->widen(weight_types[t], y + at, (char *)src.data + 2 * at, n);
            }
        }
    }
    free(expected);
    guarded_destroy(&src);
    guarded_destroy(&dst);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sums, setup, teardown),
        cmocka_unit_test_setup_teardown(test_norms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_activations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_elementary, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rope, setup, teardown),
        cmocka_unit_test_setup_teardown(test_softmax, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extremes_of_logits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gemv, setup, teardown),
        cmocka_unit_test_setup_teardown(test_widen, setup, teardown),
    };
    const int failed = cmocka_run_group_tests_name("before guard pages", tests, NULL, NULL);
    guarded_at_front = true;
    return failed + cmocka_run_group_tests_name("behind guard pages", tests, NULL, NULL);
}
