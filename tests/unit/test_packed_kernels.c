/* Products of packed weights and inputs: the kernels of every CPU level against portable ones of
 * the same kind, and those against doubles; all memory lies between pages that nobody may touch. */
#include "tests/unit/kernel_testing.h"
#include "tests/unit/packed_checking.h"
#include "tests/unit/packed_fixed.h"

#include "formats/codec/bitpack.h"
#include "model/packed_kernels.h"

static uint64_t seed = 71;

static const enum qn_cpu_level levels[] = {QN_CPU_C, QN_CPU_AVX2, QN_CPU_AVX512};

enum {
    MAX_IN = 1208,
    MAX_OUT = 8, /* rows */
    FILL = 0xa5,
    CODES_ROOM = 2 * MAX_OUT * MAX_IN + 2 * QN_PACKED_MARGIN,
    SCALES_ROOM = (MAX_OUT * MAX_IN / 16 + QN_PACKED_LANES) * sizeof(float),
    INPUT_ROOM = 2 * MAX_IN * 16,
};

/* What kernels read and write, all of it at the beginning of its fence or at the end. */
static struct {
    struct fenced codes, scales, x, y, inputs[QN_PACKED_MAX_ROWS];
    bool at_end;
} memory;

static int create_memory(void **state)
{
    (void)state;
    memory.codes = fenced_create(CODES_ROOM);
    memory.scales = fenced_create(SCALES_ROOM);
    memory.x = fenced_create(MAX_IN * sizeof(float));
    memory.y = fenced_create(sizeof(float) * QN_PACKED_MAX_ROWS * 2 * MAX_OUT);
    for (size_t i = 0; i < QN_PACKED_MAX_ROWS; i++)
        memory.inputs[i] = fenced_create(INPUT_ROOM);
    return 0;
}

static int destroy_memory(void **state)
{
    (void)state;
    fenced_destroy(&memory.codes);
    fenced_destroy(&memory.scales);
    fenced_destroy(&memory.x);
    fenced_destroy(&memory.y);
    for (size_t i = 0; i < QN_PACKED_MAX_ROWS; i++)
        fenced_destroy(&memory.inputs[i]);
    return 0;
}

static void *place(const struct fenced *f, size_t size)
{
    assert_true(size <= f->size);
    return fenced_place(f, memory.at_end, size);
}

/* What one matrix of codes is made of. */
struct sample {
    struct qn_grid grid;
    struct qn_packed_table table;
    size_t rows, in, group, row_scales, first;
    uint16_t *codes;
    uint8_t *packed;
    float *scales;
    struct qn_packed_rows w;
};

static void sample_init(struct sample *s, unsigned n_levels, float kappa, size_t rows, size_t in,
                        size_t group, bool bytes)
{
    assert_true(qn_grid_init(&s->grid, QN_GRID_QINS, n_levels, kappa));
    assert_true(qn_packed_table_init(&s->table, &s->grid));
    if (bytes)
        s->table.bits = 8;
    s->rows = rows;
    s->in = in;
    s->group = group;
    s->row_scales = group < in ? (in + group - 1) / group : 1;
    s->first = test_random(&seed) % 3 * (test_random(&seed) % 23);
    const size_t n = s->first + rows * in;
    s->codes = malloc((n + 1) * sizeof *s->codes);
    assert_non_null(s->codes);
    for (size_t i = 0; i < n; i++)
        s->codes[i] = (uint16_t)(test_random(&seed) % (2 * n_levels + 1));
    const size_t size = qn_bitpack_size(n, s->table.bits);
    s->packed = place(&memory.codes, size + QN_PACKED_MARGIN);
    memset(s->packed, FILL, size + QN_PACKED_MARGIN);
    qn_bitpack(s->codes, n, s->table.bits, s->packed);
    const size_t n_scales = rows * s->row_scales;
    s->scales = place(&memory.scales, (n_scales + QN_PACKED_LANES) * sizeof(float));
    for (size_t i = 0; i < n_scales + QN_PACKED_LANES; i++)
        s->scales[i] = i < n_scales ? 0.5F + 0.1F * (float)(i % 7) : 0.0F;
    s->w = (struct qn_packed_rows){&s->table, s->packed, s->first,      rows,
                                   in,        s->scales, s->row_scales, group};
}

static void sample_finish(struct sample *s)
{
    free(s->codes);
}

static float scale_of(const struct sample *s, size_t row, size_t column)
{
    return s->scales[row * s->row_scales + (s->group < s->in ? column / s->group : 0)];
}

static double weight(const struct sample *s, size_t row, size_t column)
{
    const uint16_t code = s->codes[s->first + row * s->in + column];
    return (double)scale_of(s, row, column) * (double)s->grid.value[code];
}

/* N inputs as a kernel table prepares them, each exactly as large as it says. */
static void prepare(struct qn_packed_input inputs[QN_PACKED_MAX_ROWS],
                    const struct qn_packed_kernels *k, const float *x, size_t n, size_t in,
                    size_t block)
{
    for (size_t i = 0; i < n; i++) {
        const size_t size = qn_packed_input_size(in, block);
        void *at = place(&memory.inputs[i], size);
        float *row = place(&memory.x, in * sizeof *row);
        memset(at, FILL, size);
        memcpy(row, x + i * in, in * sizeof *row);
        qn_packed_input_place(&inputs[i], in, block, at);
        k->prepare(&inputs[i], row);
    }
}

/* Enough products for a mean of their errors: of few a single small weight may be all there is. */
enum { MANY_PRODUCTS = 64 };

/* Each is within the bound of packed_checking.h, all together within MOST of what they come to. */
static void check_products(const struct sample *s, const float *x, size_t n, const float *y,
                           size_t stride, double most)
{
    for (size_t k = 0; k < n; k++) {
        double noise = 0, power = 0;
        for (size_t r = 0; r < s->rows; r++) {
            double sum = 0, squares = 0, scales = 0, magnitude = 0, largest = 0;
            for (size_t i = 0; i < s->in; i++) {
                const double input = (double)x[k * s->in + i], product = weight(s, r, i) * input;
                sum += product;
                squares += product * product;
                scales += (double)scale_of(s, r, i);
                magnitude += fabs(product);
                largest = fmax(largest, fabs(input));
            }
            const double d = (double)y[k * stride + r] - sum;
            if (fabs(d) >
                PACKED_ERROR * scales * largest + PACKED_ROUNDING * magnitude + PACKED_LEAST)
                fail_msg("%u levels, %zu x %zu, group %zu: off by %g", s->grid.levels, s->rows,
                         s->in, s->group, d);
            noise += d * d;
            power += squares;
        }
        if (s->rows * s->in >= MANY_PRODUCTS && noise > most * most * power)
            fail_msg("%u levels, %zu x %zu, group %zu: error %g", s->grid.levels, s->rows, s->in,
                     s->group, sqrt(noise / power));
    }
}

static size_t output_size(size_t rows, size_t n, size_t stride)
{
    return (n ? (n - 1) * stride + rows : 0) * sizeof(float);
}

/* Where N products of ROWS rows go, STRIDE from one to the next, and all around it known. */
static float *output(size_t rows, size_t n, size_t stride)
{
    memset(memory.y.body, FILL, memory.y.size);
    return place(&memory.y, output_size(rows, n, stride));
}

/* Products of S, all that is around them too, to PRODUCTS[memory.y.size]. */
static void multiply(const struct sample *s, const struct qn_packed_kernels *k, const float *x,
                     size_t n, uint8_t *products)
{
    struct qn_packed_input inputs[QN_PACKED_MAX_ROWS];
    const size_t block = qn_packed_block(s->in, s->group);
    assert_true(block > 0);
    prepare(inputs, k, x, n, s->in, block);
    k->multiply(&s->w, inputs, n, output(s->rows, n, s->rows + 3), s->rows + 3);
    memcpy(products, memory.y.body, memory.y.size);
}

/* The portable kernels of both kinds against doubles: MOST is the error as a share of what products
 * come to that are independent. All levels against those of their kind to the bit. */
static void check_sample(const struct sample *s, const float *x, size_t n, double most)
{
    const struct qn_packed_kernels *portable[] = {qn_packed_kernels_of(QN_CPU_C), &packed_fixed};
    uint8_t *expected[2], *products = malloc(memory.y.size);
    assert_non_null(products);
    for (size_t kind = 0; kind < 2; kind++) {
        expected[kind] = malloc(memory.y.size);
        assert_non_null(expected[kind]);
        assert_int_equal(portable[kind]->fixed, kind);
        multiply(s, portable[kind], x, n, expected[kind]);
        const float *y = place(&memory.y, output_size(s->rows, n, s->rows + 3));
        check_products(s, x, n, y, s->rows + 3, most);
    }
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        const struct qn_packed_kernels *k = qn_packed_kernels_of(levels[l]);
        if (!k)
            continue;
        multiply(s, k, x, n, products);
        if (memcmp(expected[k->fixed], products, memory.y.size) != 0)
            fail_msg(
                "%s: %u levels in %u bits, %zu x %zu, group %zu, %zu rows of inputs, at the %s",
                qn_cpu_level_name(levels[l]), s->grid.levels, s->table.bits, s->rows, s->in,
                s->group, n, memory.at_end ? "end" : "beginning");
    }
    for (size_t kind = 0; kind < 2; kind++)
        free(expected[kind]);
    free(products);
}

static void fill_normal(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = test_uniform(&seed, 1) + test_uniform(&seed, 1) + test_uniform(&seed, 1);
}

static void check_shape(unsigned n_levels, float kappa, size_t rows, size_t in, size_t group,
                        size_t n)
{
    struct sample s;
    float *x = malloc((n * in + 1) * sizeof *x);
    assert_non_null(x);
    fill_normal(x, n * in);
    for (unsigned way = 0; way < 4; way++) {
        memory.at_end = way & 1;
        sample_init(&s, n_levels, kappa, rows, in, group, way & 2);
        check_sample(&s, x, n, 2e-4);
        sample_finish(&s);
    }
    free(x);
}

static void test_levels(void **state)
{
    static const unsigned counts[] = {1, 2, 3, 5, 7, 10, 15, 20, 31, 33, 63, 64, 100, 127};
    static const float kappas[] = {0.0F, 1.5F, 8.0F};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (size_t k = 0; k < sizeof kappas / sizeof *kappas; k++)
            check_shape(counts[i], kappas[k], 5, 200 + i, 1 << 20, 1 + i % 8);
}

static void test_lengths(void **state)
{
    static const size_t ins[] = {1,  2,   3,   4,   15,  16,  17,  31,  32,  33,  63,  64,
                                 65, 127, 128, 129, 255, 256, 257, 300, 511, 513, 1000};
    (void)state;
    for (size_t i = 0; i < sizeof ins / sizeof *ins; i++)
        for (size_t n = 1; n <= QN_PACKED_MAX_ROWS; n++)
            check_shape(n % 2 ? 127 : 31, 1.5F, n % 3, ins[i], ins[i], n);
}

static void test_groups(void **state)
{
    static const size_t groups[] = {16, 32, 64, 128, 192, 256, 512, 1000};
    (void)state;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        for (size_t in = 48; in < 1200; in += 167)
            if (qn_packed_block(in, groups[i]) > 0)
                check_shape(in % 2 ? 127 : 31, 1.5F, 4, in, groups[i], 1 + in % 8);
    assert_int_equal(qn_packed_block(1000, 48), 0);
    assert_int_equal(qn_packed_block(1000, 100), 0);
    assert_int_equal(qn_packed_block(1000, 8), 0);
    assert_int_equal(qn_packed_block(1000, 192), 64);
    assert_int_equal(qn_packed_block(1000, 384), 128);
}

/* One of a thousand inputs a hundred times as large, tiny ones, zeros, and what is not finite. */
static void test_inputs(void **state)
{
    enum { IN = 700, ROWS = 6 };
    (void)state;
    float x[IN];
    struct sample s;
    sample_init(&s, 127, 1.5F, ROWS, IN, IN, false);
    fill_normal(x, IN);
    x[100] = 300.0F;
    x[600] = -250.0F;
    check_sample(&s, x, 1, 2e-4);
    for (size_t i = 0; i < IN; i++)
        x[i] *= 1e-20F;
    check_sample(&s, x, 1, 2e-4);
    memset(x, 0, sizeof x);
    check_sample(&s, x, 1, 2e-4);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        const struct qn_packed_kernels *k = qn_packed_kernels_of(levels[l]);
        static const float odd[] = {INFINITY, -INFINITY, NAN};
        for (size_t i = 0; k && i < sizeof odd / sizeof *odd; i++) {
            struct qn_packed_input input[QN_PACKED_MAX_ROWS];
            float y[ROWS] = {0};
            fill_normal(x, IN);
            x[300 + i] = odd[i];
            prepare(input, k, x, 1, IN, qn_packed_block(IN, IN));
            k->multiply(&s.w, input, 1, y, ROWS);
            for (size_t r = 0; r < ROWS; r++)
                assert_true(isnan(y[r]));
        }
    }
    sample_finish(&s);
}

/* Code N is zero, exactly; a code that is none reads nothing outside. */
static void check_codes(unsigned n_levels, bool bytes)
{
    enum { IN = 320, ROWS = 3 };
    float x[IN];
    struct sample s;
    sample_init(&s, n_levels, 1.5F, ROWS, IN, 64, bytes);
    fill_normal(x, IN);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        const struct qn_packed_kernels *k = qn_packed_kernels_of(levels[l]);
        struct qn_packed_input input[QN_PACKED_MAX_ROWS];
        float y[ROWS];
        if (!k)
            continue;
        prepare(input, k, x, 1, IN, 64);
        for (unsigned c = 0; c < 256; c++) {
            memset(s.packed, (int)c, qn_bitpack_size(s.first + (size_t)ROWS * IN, s.table.bits));
            k->multiply(&s.w, input, 1, y, ROWS);
            if (c == n_levels && s.table.bits == 8)
                for (size_t r = 0; r < ROWS; r++)
                    assert_true(y[r] == 0.0F);
        }
    }
    sample_finish(&s);
}

static void test_codes(void **state)
{
    static const unsigned counts[] = {1, 2, 4, 8, 16, 40, 100};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (unsigned way = 0; way < 4; way++) {
            memory.at_end = way & 1;
            check_codes(counts[i], way & 2);
        }
}

/* No rows, no inputs, rows of nothing: what is not there is neither read nor written. */
static void test_nothing(void **state)
{
    (void)state;
    for (size_t rows = 0; rows < 3; rows++)
        for (size_t n = 0; n < 3; n++) {
            check_shape(31, 1.5F, rows, 0, 1 << 20, n);
            check_shape(127, 1.5F, rows, 0, 1 << 20, n);
            check_shape(31, 1.5F, rows, n ? 77 : 64, 32, 0);
            check_shape(127, 1.5F, rows, n ? 77 : 64, 1 << 20, 0);
            check_shape(127, 1.5F, 0, 64 * rows + 1, 64, n);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_groups), cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_codes),  cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, create_memory, destroy_memory);
}
