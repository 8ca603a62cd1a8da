/* Every entry of the codec's kernel tables against the portable one: the same bytes, and none
 * touched outside the buffers, which lie between pages that nobody may touch. */
#include "tests/unit/kernel_testing.h"

#include "core/bytes.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/kernels.h"
#include "formats/codec/level.h"

enum {
    MAX_N = 4200, /* elements; more than what makes decode() write past the caches */
    ROOM = 8 * MAX_N + 4096,
    FILL = 0xa5,
};

/* Around the widths of registers, of blocks and of streaming. */
static const size_t lengths[] = {0,   1,   2,   3,   5,   7,   8,   9,    15,   16,   17,  23,  31,
                                 32,  33,  40,  47,  63,  64,  65,  79,   95,   96,   97,  127, 128,
                                 129, 191, 193, 255, 257, 511, 512, 1023, 1024, 1055, 4199};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

enum { IN, OUT, EXPECTED, BUFFERS };

struct fixture {
    struct fenced buffer[BUFFERS];
    const struct qn_codec_kernels *c, *k; /* the reference, what is compared with it */
    bool at_end;
    uint64_t seed;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    f->seed = 7;
    f->c = qn_codec_kernels_of(QN_CPU_C);
    for (size_t i = 0; i < BUFFERS; i++)
        f->buffer[i] = fenced_create(ROOM);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < BUFFERS; i++)
        fenced_destroy(&f->buffer[i]);
    free(f);
    return 0;
}

/* CHECK for each table, length and end of the buffers, with each argument below N_ARGUMENTS. */
static void for_all(struct fixture *f, unsigned n_arguments,
                    void (*check)(struct fixture *f, size_t n, unsigned argument))
{
    for (int level = QN_CPU_C; level <= QN_CPU_AVX512; level++) {
        f->k = qn_codec_kernels_of((enum qn_cpu_level)level);
        if (!f->k)
            continue;
        for (size_t i = 0; i < N_LENGTHS; i++)
            for (unsigned argument = 0; argument < n_arguments; argument++)
                for (int end = 0; end < 2; end++) {
                    f->at_end = end;
                    check(f, lengths[i], argument);
                }
    }
}

static void *random_bytes(struct fixture *f, size_t size)
{
    uint8_t *p = fenced_place(&f->buffer[IN], f->at_end, size);
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)(test_random(&f->seed) >> 56);
    return p;
}

static uint16_t *random_codes(struct fixture *f, size_t n, unsigned most)
{
    uint16_t *p = fenced_place(&f->buffer[IN], f->at_end, n * sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint16_t)((test_random(&f->seed) >> 32) % (most + 1));
    return p;
}

/* Space for an output of either side, and all around it known. */
static void *output(struct fixture *f, int which, size_t size)
{
    memset(f->buffer[which].body, FILL, f->buffer[which].size);
    return fenced_place(&f->buffer[which], f->at_end, size);
}

static void check_outputs(struct fixture *f, const char *what, size_t n, unsigned argument)
{
    const struct fenced *a = &f->buffer[OUT], *b = &f->buffer[EXPECTED];
    if (memcmp(a->body, b->body, a->size) == 0)
        return;
    size_t i = 0;
    while (a->body[i] == b->body[i])
        i++;
    fail_msg("%s of %zu, argument %u, at the %s: byte %zu is %02x, not %02x", what, n, argument,
             f->at_end ? "end" : "beginning", i, a->body[i], b->body[i]);
}

static void test_tables(void **state)
{
    (void)state;
    assert_non_null(qn_codec_kernels_of(QN_CPU_C));
    const struct qn_codec_kernels *best = NULL;
    for (int level = QN_CPU_C; level <= QN_CPU_AVX512; level++) {
        const struct qn_codec_kernels *k = qn_codec_kernels_of((enum qn_cpu_level)level);
        best = k ? k : best;
        if ((enum qn_cpu_level)level > qn_cpu_level())
            assert_null(k);
    }
    assert_ptr_equal(qn_codec_kernels(), best);
    const enum qn_cpu_level most = qn_cpu_level();
    assert_true(qn_cpu_use(QN_CPU_C));
    assert_ptr_equal(qn_codec_kernels(), qn_codec_kernels_of(QN_CPU_C));
    assert_true(most == QN_CPU_C || !qn_codec_kernels_of(most));
    assert_true(most == QN_CPU_AVX512 || !qn_cpu_use(most + 1));
    assert_true(qn_cpu_use(most));
    assert_ptr_equal(qn_codec_kernels(), best);
    print_message("codec kernels: C%s%s\n", qn_codec_kernels_of(QN_CPU_AVX2) ? ", AVX2" : "",
                  qn_codec_kernels_of(QN_CPU_AVX512) ? ", AVX-512" : "");
}

/* One row for each way through a decoder: 16 levels a table, bytes or lanes. */
static const struct {
    unsigned levels, bits;
} grids[] = {{1, 2},    {3, 3},    {7, 4},     {15, 5},    {16, 6},    {31, 6},    {31, 8},
             {40, 7},   {63, 7},   {100, 8},   {127, 8},   {127, 16},  {128, 9},   {200, 9},
             {500, 10}, {800, 11}, {2047, 12}, {1500, 13}, {2047, 16}, {2000, 15}, {50, 14}};
enum { N_GRIDS = sizeof grids / sizeof *grids };

static const float factors[] = {0.37f, 1.0f, 0.0f, 3e38f, 1e-41f, 0x1p-126f};
static const size_t firsts[] = {0, 1, 3, 6, 8, 64, 77};

static void pack_reference(struct fixture *f, size_t n, unsigned bits, unsigned most,
                           struct fenced *packed)
{
    uint16_t codes[MAX_N + 128];
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint16_t)((test_random(&f->seed) >> 32) % (most + 1));
    f->c->pack(codes, n, bits, fenced_place(packed, f->at_end, qn_bitpack_size(n, bits)));
}

static void decode_both(struct fixture *f, struct qn_code_decoder *d, size_t first, size_t n)
{
    struct qn_code_range range = {UINT16_MAX, 0}, expected = range;
    const float factor = factors[(n + first) % (sizeof factors / sizeof *factors)];
    d->stream = n % 2;
    f->k->decode(d, first, n, factor, output(f, OUT, n * sizeof(float)), &range);
    f->c->decode(d, first, n, factor, output(f, EXPECTED, n * sizeof(float)), &expected);
    assert_int_equal(range.least, expected.least);
    assert_int_equal(range.most, expected.most);
}

static void check_decode(struct fixture *f, size_t n, unsigned argument)
{
    const unsigned levels = grids[argument].levels, bits = grids[argument].bits;
    struct qn_grid grid;
    struct qn_code_decoder d;
    assert_true(qn_grid_init(&grid, QN_GRID_QINS, levels, n % 3 ? 1.5f : 0.0f));
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        const size_t total = firsts[i] + n + (i % 2 ? 0 : 5), size = qn_bitpack_size(total, bits);
        pack_reference(f, total, bits, 2 * levels, &f->buffer[IN]);
        qn_code_decoder_init(&d, &grid, fenced_place(&f->buffer[IN], f->at_end, size), size, bits);
        decode_both(f, &d, firsts[i], n);
        check_outputs(f, "values", n, argument);
    }
    const unsigned all = (1U << bits) - 1; /* with codes that stand for nothing */
    if (n == 0 || all == 2 * levels)
        return;
    pack_reference(f, n, bits, all, &f->buffer[IN]);
    qn_code_decoder_init(&d, &grid,
                         fenced_place(&f->buffer[IN], f->at_end, qn_bitpack_size(n, bits)),
                         qn_bitpack_size(n, bits), bits);
    decode_both(f, &d, 0, n);
}

static void test_decode(void **state)
{
    for_all(*state, N_GRIDS, check_decode);
}

/* The reference itself, against the formula of quant.h through the 16-bit codes. */
static void test_decode_is_dequantise(void **state)
{
    struct fixture *f = *state;
    for (size_t g = 0; g < N_GRIDS; g++) {
        const unsigned bits = grids[g].bits;
        struct qn_grid grid;
        struct qn_code_decoder d;
        struct qn_code_range range = {UINT16_MAX, 0};
        float x[1000], expected[1000];
        uint8_t packed[2000];
        assert_true(qn_grid_init(&grid, QN_GRID_QINS, grids[g].levels, 2.5f));
        f->at_end = true;
        uint16_t *codes = random_codes(f, 1000, 2 * grid.levels);
        codes[500] = 0;
        qn_bitpack(codes, 1000, bits, packed);
        qn_code_decoder_init(&d, &grid, packed, qn_bitpack_size(1000, bits), bits);
        f->c->decode(&d, 0, 1000, 0.3f, x, &range);
        qn_dequantise(&grid, 0.3f, codes, 1000, expected);
        assert_memory_equal(x, expected, sizeof x);
        assert_int_equal(range.least, 0);
        assert_in_range(range.most, grid.levels, 2 * grid.levels);
    }
}

static void check_pack(struct fixture *f, size_t n, unsigned argument)
{
    const unsigned bits = argument + 1;
    const size_t size = qn_bitpack_size(n, bits);
    const uint16_t *codes = random_codes(f, n, (1U << bits) - 1);
    f->k->pack(codes, n, bits, output(f, OUT, size));
    f->c->pack(codes, n, bits, output(f, EXPECTED, size));
    check_outputs(f, "packed codes", n, bits);
    memcpy(fenced_place(&f->buffer[IN], f->at_end, size),
           fenced_place(&f->buffer[OUT], f->at_end, size), size);
    const uint8_t *packed = fenced_place(&f->buffer[IN], f->at_end, size);
    f->k->unpack(packed, n, bits, output(f, OUT, n * sizeof(uint16_t)));
    f->c->unpack(packed, n, bits, output(f, EXPECTED, n * sizeof(uint16_t)));
    check_outputs(f, "unpacked codes", n, bits);
}

static void test_pack(void **state)
{
    for_all(*state, QN_BITPACK_MAX_BITS, check_pack);
}

static void check_codes(struct fixture *f, size_t n, unsigned argument)
{
    const unsigned raw_bits = argument;
    const uint16_t *codes = random_codes(f, n, argument % 2 ? 4095 : UINT16_MAX);
    const struct qn_code_range a = f->k->range(codes, n), b = f->c->range(codes, n);
    assert_int_equal(a.least, b.least);
    assert_int_equal(a.most, b.most);
    f->k->split_symbols(codes, n, raw_bits, output(f, OUT, n));
    f->c->split_symbols(codes, n, raw_bits, output(f, EXPECTED, n));
    check_outputs(f, "symbols", n, raw_bits);
    const uint8_t *symbols = random_bytes(f, n);
    uint16_t *joined = output(f, OUT, n * sizeof *joined);
    uint16_t *expected = output(f, EXPECTED, n * sizeof *expected);
    for (size_t i = 0; i < n; i++)
        joined[i] = expected[i] = (uint16_t)(i * 40503U & ((1U << raw_bits) - 1));
    f->k->join_symbols(symbols, n, raw_bits, joined);
    f->c->join_symbols(symbols, n, raw_bits, expected);
    check_outputs(f, "codes of symbols", n, raw_bits);
}

static void test_codes(void **state)
{
    for_all(*state, 12, check_codes);
}

/* Any bits, or weights, or weights with the worst of values among them. */
static float *random_floats(struct fixture *f, size_t n, unsigned kind)
{
    static const uint32_t worst[] = {0x7fc00000, 0xffffffff, 0x7f800000, 0xff800000, 0x80000000, 0,
                                     1,          0x80000001, 0x7f7fffff, 0xff7fffff, 0x7f800001};
    float *x = fenced_place(&f->buffer[IN], f->at_end, n * sizeof *x);
    if (kind == 0)
        random_bytes(f, n * sizeof *x);
    else
        test_fill(x, n, &f->seed, 2);
    if (kind == 2)
        for (size_t i = 0; i < n; i += 3)
            x[i] = qn_float_from_bits(worst[i / 3 % (sizeof worst / sizeof *worst)]);
    return x;
}

static void check_quantise(struct fixture *f, size_t n, unsigned argument)
{
    static const struct {
        unsigned levels;
        float kappa, scale;
    } shapes[] = {{127, 0.0f, 2.0f}, {127, 1.5f, 1.3f},     {31, 65536.0f, 2.0f},
                  {1, 3.0f, 1e-42f}, {2047, 0.7f, 3.4e38f}, {7, 2.0f, 0x1p-126f}};
    const unsigned shape = argument % (sizeof shapes / sizeof *shapes);
    const unsigned kind = argument / (sizeof shapes / sizeof *shapes);
    const float *x = random_floats(f, n, kind);
    struct qn_grid grid;
    assert_int_equal(f->k->abs_max(x, n), f->c->abs_max(x, n));
    assert_true(qn_grid_init(&grid, QN_GRID_QINS, shapes[shape].levels, shapes[shape].kappa));
    const float scale = shapes[shape].scale;
    uint16_t *codes = output(f, OUT, n * sizeof(uint16_t));
    f->k->quantise_qins(&grid, scale, x, n, codes);
    f->c->quantise_qins(&grid, scale, x, n, output(f, EXPECTED, n * sizeof(uint16_t)));
    check_outputs(f, "codes of values", n, argument);
    for (size_t i = 0; f->k == f->c && i < n; i++)
        assert_int_equal(codes[i], qn_qins_code(qn_grid_shape(&grid), scale, x[i]));
    assert_true(qn_grid_init(&grid, QN_GRID_SEED, shapes[shape].levels,
                             shapes[shape].scale < 1 ? 0x1p+64f : 20.0f));
    f->k->quantise_seed(&grid, x, n, output(f, OUT, n * sizeof(uint16_t)));
    f->c->quantise_seed(&grid, x, n, output(f, EXPECTED, n * sizeof(uint16_t)));
    check_outputs(f, "codes on the seed grid", n, argument);
}

/* Cells of values that the scale bounds, of larger ones and of zeros. */
static void check_cells(struct fixture *f, size_t n, unsigned argument)
{
    static const float scales[] = {1.0f, 0.37f, 1e-30f, 2.5e38f};
    float *x = fenced_place(&f->buffer[IN], f->at_end, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = test_random(&f->seed) % 5 ? test_uniform(&f->seed, 1.1) : i % 2 ? -0.0f : 0.0f;
    uint32_t zeros = f->k->cells(scales[argument], x, n, output(f, OUT, n * sizeof(uint16_t)));
    assert_int_equal(
        zeros, f->c->cells(scales[argument], x, n, output(f, EXPECTED, n * sizeof(uint16_t))));
    check_outputs(f, "cells", n, argument);
}

static void test_cells(void **state)
{
    struct fixture *f = *state;
    struct qn_hist expected = {0}, h;
    uint32_t counts[QN_HIST_CELLS];
    for_all(f, 4, check_cells);
    for (size_t i = 0; i < QN_HIST_CELLS; i++) {
        counts[i] = (uint32_t)(test_random(&f->seed) >> 33) >> i % 31;
        expected.weight[i] = (double)i / 3.0;
        expected.count[i] = UINT64_MAX / 3 + i;
    }
    h = expected;
    f->c->merge_cells(counts, 0.1234, &expected);
    for (int level = QN_CPU_C + 1; level <= QN_CPU_AVX512; level++) {
        const struct qn_codec_kernels *k = qn_codec_kernels_of((enum qn_cpu_level)level);
        struct qn_hist found = h;
        if (!k)
            continue;
        k->merge_cells(counts, 0.1234, &found);
        assert_memory_equal(&found, &expected, sizeof found);
    }
}

static void test_quantise(void **state)
{
    for_all(*state, 18, check_quantise);
}

static void check_counts(struct fixture *f, size_t n, unsigned argument)
{
    static const unsigned limits[] = {2, 30, 62, 254, 255, 256, 510, 4095};
    static struct qn_histogram_work work;
    const uint8_t *bytes = random_bytes(f, n);
    f->k->histogram(bytes, n, output(f, OUT, 256 * sizeof(uint32_t)), &work);
    uint32_t *expected = output(f, EXPECTED, 256 * sizeof(uint32_t));
    memset(expected, 0, 256 * sizeof *expected);
    for (size_t i = 0; i < n; i++)
        expected[bytes[i]]++;
    check_outputs(f, "counts of bytes", n, argument);
    const size_t size = (limits[argument] + 1) * sizeof(uint32_t);
    const uint16_t *codes = random_codes(f, n, limits[argument]);
    f->k->count_codes(codes, n, limits[argument], output(f, OUT, size));
    expected = output(f, EXPECTED, size);
    memset(expected, 0, size);
    for (size_t i = 0; i < n; i++)
        expected[codes[i]]++;
    check_outputs(f, "counts of codes", n, argument);
}

static void test_counts(void **state)
{
    for_all(*state, 8, check_counts);
}

/* Bytes of which many or all are alike, or all but those that the kernel takes for a sample. */
static void fill_alike(struct fixture *f, uint8_t *bytes, size_t n, unsigned kind)
{
    enum { SAMPLE = 2048 };
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(test_random(&f->seed) >> 56);
    if (kind == 1)
        memset(bytes, 0x5a, n);
    for (size_t i = 0; kind == 2 && i < n; i += 2)
        bytes[i] = 0;
    for (size_t i = SAMPLE; kind == 3 && i < n; i++)
        bytes[i] = 0xff;
}

/* Lengths from which pairs of bytes are counted, in counters of 16 bits (AVX-512) and of 32. */
static void test_histogram_of_pairs(void **state)
{
    enum { PAIRED = 1 << 16, FULL = 2 * 65532, LONG = 1 << 18, MOST = 2048 + LONG + 4096 };
    static const size_t sizes[] = {PAIRED - 1,
                                   PAIRED,
                                   PAIRED + 1,
                                   PAIRED + 2048 + 7,
                                   2048 + FULL + PAIRED,
                                   2048 + FULL + PAIRED - 1,
                                   LONG,
                                   2048 + LONG - 1,
                                   2048 + LONG,
                                   2048 + LONG + 7,
                                   MOST};
    struct fixture *f = *state;
    struct fenced area = fenced_create(MOST);
    static struct qn_histogram_work work;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned kind = 0; kind < 4; kind++) {
            uint8_t *bytes = fenced_place(&area, (i + kind) % 2, sizes[i]);
            uint32_t want[256] = {0}, got[256];
            fill_alike(f, bytes, sizes[i], kind);
            for (size_t j = 0; j < sizes[i]; j++)
                want[bytes[j]]++;
            for (int level = QN_CPU_C; level <= QN_CPU_AVX512; level++) {
                const struct qn_codec_kernels *k = qn_codec_kernels_of((enum qn_cpu_level)level);
                if (!k)
                    continue;
                memset(got, FILL, sizeof got);
                k->histogram(bytes, sizes[i], got, &work);
                assert_memory_equal(got, want, sizeof got);
            }
        }
    fenced_destroy(&area);
}

/* Planes one behind the other, of which those with a set bit in LEFT_OUT are NULL. */
static void planes_at(uint8_t *bytes, size_t n, unsigned size, unsigned left_out, uint8_t **planes)
{
    for (unsigned k = 0; k < size; k++)
        planes[k] = left_out >> k & 1 ? NULL : bytes + k * n;
}

static void check_planes(struct fixture *f, size_t n, unsigned argument)
{
    const unsigned size = 2U << argument / 2, left_out = (unsigned)(n >> 1) & 0x5a;
    const bool turn = argument % 2;
    const uint8_t *elements = random_bytes(f, n * size);
    uint8_t *planes[8];
    const uint8_t *in[8];
    planes_at(output(f, EXPECTED, n * size), n, size, left_out, planes);
    f->c->split_planes(size, turn, elements, n, planes);
    planes_at(output(f, OUT, n * size), n, size, left_out, planes);
    f->k->split_planes(size, turn, elements, n, planes);
    check_outputs(f, "planes", n, argument);

    planes_at(output(f, OUT, n * size), n, size, 0, planes);
    f->k->split_planes(size, turn, elements, n, planes);
    uint8_t *copy = fenced_place(&f->buffer[EXPECTED], f->at_end, n * size);
    uint8_t *split = fenced_place(&f->buffer[IN], f->at_end, n * size);
    memcpy(copy, elements, n * size);
    memcpy(split, fenced_place(&f->buffer[OUT], f->at_end, n * size), n * size);
    for (unsigned k = 0; k < size; k++)
        in[k] = split + k * n;
    f->k->merge_planes(size, turn, in, n, output(f, OUT, n * size));
    check_outputs(f, "elements", n, argument);
}

static void test_planes(void **state)
{
    for_all(*state, 6, check_planes);
}

static void check_match(struct fixture *f, size_t n, unsigned argument)
{
    uint8_t *bytes = random_bytes(f, n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = bytes[i] < 100 ? (uint8_t)(0x80 * argument) : bytes[i];
    const size_t words = (n + 63) / 64;
    f->k->match(bytes, n, (uint8_t)(0x80 * argument), output(f, OUT, words * sizeof(uint64_t)));
    uint64_t *expected = output(f, EXPECTED, words * sizeof(uint64_t));
    memset(expected, 0, words * sizeof *expected);
    for (size_t i = 0; i < n; i++)
        expected[i / 64] |= (uint64_t)(bytes[i] == 0x80 * argument) << i % 64;
    check_outputs(f, "matches", n, argument);
}

static void test_match(void **state)
{
    for_all(*state, 2, check_match);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test_setup_teardown(test_decode, setup, teardown),
        cmocka_unit_test_setup_teardown(test_decode_is_dequantise, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pack, setup, teardown),
        cmocka_unit_test_setup_teardown(test_codes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quantise, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cells, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_histogram_of_pairs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_planes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_match, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
