#include "tests/unit/kernel_testing.h"

#include "core/linalg.h"
#include "model/linear.h"

static uint64_t seed = 29;

/* A matrix whose rows are longer than they need be, inputs and outputs likewise. */
struct layer {
    struct qn_matrix w;
    struct guarded data;
    float *values; /* the same widened, same strides */
    float *x, *bias;
    size_t rows, x_stride, y_stride, y_count;
};

static float *random_floats(size_t n, double span)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    assert_non_null(x);
    test_fill(x, n, &seed, span);
    return x;
}

static void layer_init(struct layer *l, enum qins_dtype dtype, bool transposed, size_t rows,
                       size_t out, size_t in)
{
    size_t outer = transposed ? in : out, inner = transposed ? out : in, stride = inner + 8;
    size_t count = (outer - 1) * stride + inner;
    l->rows = rows;
    l->x_stride = in + 3;
    l->y_stride = out + 5;
    l->y_count = (rows - 1) * l->y_stride + out;
    l->values = random_floats(count, 1);
    l->x = random_floats((rows - 1) * l->x_stride + in, 1);
    l->bias = random_floats(out, 2);
    l->data = guarded_create(count * (dtype == QINS_F32 ? 4 : 2));
    qn_from_f32(dtype, l->values, l->data.data, count);
    qn_to_f32(dtype, l->data.data, l->values, count);
    l->w = (struct qn_matrix){.name = "test",
                              .data = l->data.data,
                              .dtype = dtype,
                              .out = out,
                              .in = in,
                              .stride = stride,
                              .transposed = transposed,
                              .bias = l->bias};
}

static void layer_finish(struct layer *l)
{
    free(l->values);
    free(l->x);
    free(l->bias);
    guarded_destroy(&l->data);
}

static void check_values(const struct layer *l, const float *y)
{
    const struct qn_matrix *w = &l->w;
    for (size_t r = 0; r < l->rows; r++)
        for (size_t o = 0; o < w->out; o++) {
            double sum = w->bias ? (double)w->bias[o] : 0, scale = 1;
            for (size_t i = 0; i < w->in; i++) {
                size_t at = w->transposed ? i * w->stride + o : o * w->stride + i;
                double product = (double)l->values[at] * (double)l->x[r * l->x_stride + i];
                sum += product;
                scale += fabs(product);
            }
            double got = (double)y[r * l->y_stride + o];
            if (!test_close(got, sum, 0x1p-20, scale))
                fail_msg("%s%s, %zu x %zu, row %zu of %zu, output %zu: %g for %g",
                         qins_dtype_name(w->dtype), w->transposed ? " transposed" : "", w->out,
                         w->in, r, l->rows, o, got, sum);
        }
}

/* A pool of each size, and none: the same bits, and nothing written between the rows. */
static void check_layer(const struct layer *l, struct qn_pool *const *pools, size_t n_pools)
{
    float *first = random_floats(l->y_count, 1), *y = random_floats(l->y_count, 1);
    float *scratch = malloc(n_pools * qn_linear_scratch() * sizeof *scratch);
    assert_non_null(scratch);
    for (size_t p = 0; p < n_pools; p++) {
        float *to = p ? y : first;
        for (size_t i = 0; i < l->y_count; i++)
            to[i] = 77.0F;
        qn_linear(pools[p], &l->w, l->x, l->rows, l->x_stride, to, l->y_stride, scratch);
        if (p == 0)
            check_values(l, first);
        else
            assert_memory_equal(y, first, l->y_count * sizeof *y);
    }
    for (size_t r = 0; r + 1 < l->rows; r++)
        for (size_t o = l->w.out; o < l->y_stride; o++)
            assert_true(first[r * l->y_stride + o] == 77.0F);
    free(first);
    free(y);
    free(scratch);
}

static void test_all(void **state)
{
    (void)state;
    static const enum qins_dtype types[] = {QINS_F32, QINS_F16, QINS_BF16};
    static const size_t outs[] = {1, 17, 128, 300};
    static const size_t ins[] = {1, 7, 130, 2060};
    static const size_t rows[] = {1, 3, 4, 5, 16, 35};
    enum { POOLS = 3 };
    struct qn_pool *pools[POOLS] = {NULL};
    assert_int_equal(qn_linalg_init(NULL), QINS_OK);
    for (unsigned i = 1; i < POOLS; i++)
        assert_int_equal(qn_pool_create(&pools[i], i + 1, NULL), QINS_OK);
    unsigned number = 0;
    for (size_t t = 0; t < 3; t++)
        for (size_t o = 0; o < sizeof outs / sizeof *outs; o++)
            for (size_t i = 0; i < sizeof ins / sizeof *ins; i++)
                for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
                    struct layer l;
                    layer_init(&l, types[t], number % 2, rows[r], outs[o], ins[i]);
                    if (number++ / 2 % 2)
                        l.w.bias = NULL;
                    check_layer(&l, pools, POOLS);
                    layer_finish(&l);
                }
    for (unsigned i = 0; i < POOLS; i++)
        qn_pool_destroy(pools[i]);
}

/* More rows than one product takes, more inputs than one panel, as prefill has them. */
static void test_large(void **state)
{
    (void)state;
    struct qn_pool *pools[2] = {NULL};
    assert_int_equal(qn_linalg_init(NULL), QINS_OK);
    assert_int_equal(qn_pool_create(&pools[1], 2, NULL), QINS_OK);
    for (int transposed = 0; transposed < 2; transposed++)
        for (int narrow = 0; narrow < 2; narrow++) {
            struct layer l;
            layer_init(&l, narrow ? QINS_BF16 : QINS_F32, transposed, 1100, 20, 33);
            check_layer(&l, pools, 2);
            layer_finish(&l);
            layer_init(&l, narrow ? QINS_F16 : QINS_F32, transposed, 6, 40, 3000);
            check_layer(&l, pools, 2);
            layer_finish(&l);
        }
    qn_pool_destroy(pools[1]);
}

/* The outputs of one matrix and those of the same rows inside a fused one, bit for bit, where our
 * own dot products make them. */
static void test_rows_of_a_fused_matrix(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 2, 3, 4};
    enum { OUT = 700, FIRST = 384, PART = 192 };
    assert_int_equal(qn_linalg_init(NULL), QINS_OK);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct layer l;
        layer_init(&l, QINS_F32, false, rows[r], OUT, 128);
        float *y = random_floats(l.y_count, 1), *part = random_floats(rows[r] * PART, 1);
        qn_linear(NULL, &l.w, l.x, l.rows, l.x_stride, y, l.y_stride, NULL);
        struct qn_matrix w = l.w;
        w.out = PART;
        w.data = (const float *)w.data + FIRST * w.stride;
        w.bias += FIRST;
        qn_linear(NULL, &w, l.x, l.rows, l.x_stride, part, PART, NULL);
        for (size_t i = 0; i < rows[r]; i++)
            assert_memory_equal(part + i * PART, y + i * l.y_stride + FIRST, PART * sizeof *part);
        free(y);
        free(part);
        layer_finish(&l);
    }
}

static void test_row(void **state)
{
    (void)state;
    static const enum qins_dtype types[] = {QINS_F32, QINS_F16, QINS_BF16};
    for (size_t t = 0; t < 3; t++) {
        struct layer l;
        layer_init(&l, types[t], false, 1, 9, 37);
        float row[37];
        for (size_t r = 0; r < 9; r++) {
            qn_matrix_row(&l.w, r, row);
            assert_memory_equal(row, l.values + r * l.w.stride, sizeof row);
        }
        layer_finish(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_rows_of_a_fused_matrix),
        cmocka_unit_test(test_row),
    };
    const int failed = cmocka_run_group_tests_name("before guard pages", tests, NULL, NULL);
    guarded_at_front = true;
    return failed + cmocka_run_group_tests_name("behind guard pages", tests, NULL, NULL);
}
