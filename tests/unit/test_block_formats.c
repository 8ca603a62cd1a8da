#include "tests/unit/testing.h"

#include "analyze/block_formats.h"

#include <math.h>
#include <string.h>

enum { N = 4096 };

static void fill(float *x, float size)
{
    uint64_t seed = 21;
    for (size_t i = 0; i < N; i++)
        x[i] = size * (float)((double)(test_random(&seed) >> 11) * 0x1p-52 - 1.0);
}

static void layouts(void **state)
{
    (void)state;
    static const double bits[QN_BLOCK_FORMATS] = {8.5, 6.5625, 5.5, 4.5, 4.5};
    for (int f = 0; f < QN_BLOCK_FORMATS; f++) {
        const struct qn_block_format_info *info = qn_block_format((enum qn_block_format)f);
        assert_true(8.0 * info->bytes / info->block == bits[f]);
    }
}

/* Decoding what was decoded changes little; errors are as finely cut as the layout says. */
static void errors(void **state)
{
    (void)state;
    static float x[N], y[N];
    /* Steps of a block of values between -1 and 1, whose square over 12 is about the error. */
    static const double steps[QN_BLOCK_FORMATS] = {2.0 / 254, 2.0 / 63, 2.0 / 31, 2.0 / 15,
                                                   2.0 / 15};
    fill(x, 1.0f);
    for (int f = 0; f < QN_BLOCK_FORMATS; f++) {
        double error = qn_block_format_error((enum qn_block_format)f, x, N, y), sum = 0.0;
        for (size_t i = 0; i < N; i++)
            sum += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
        assert_true(fabs(sum - error) <= 1e-9 * sum);
        double step = sqrt(12.0 * error / N);
        assert_true(step > 0.8 * steps[f] && step < 1.25 * steps[f]);
    }
}

static void odd_values(void **state)
{
    (void)state;
    static float x[N], y[N];
    for (int f = 0; f < QN_BLOCK_FORMATS; f++) {
        enum qn_block_format format = (enum qn_block_format)f;
        memset(x, 0, sizeof x);
        assert_true(qn_block_format_error(format, x, N, y) == 0.0);
        for (size_t i = 0; i < N; i++)
            x[i] = 0.5f;
        assert_true(qn_block_format_error(format, x, N, NULL) < 0.01 * N * 0.25);
        /* A last block that is not full. */
        fill(x, 1.0f);
        assert_true(qn_block_format_error(format, x, 257, y) > 0.0);
        assert_true(fabsf(y[256] - x[256]) < 0.15f);
        assert_true(qn_block_format_error(format, x, 0, NULL) == 0.0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts),
        cmocka_unit_test(errors),
        cmocka_unit_test(odd_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
