#include "tests/unit/chunk_testing.h"

#include "formats/codec/rate.h"

#include <float.h>
#include <stdio.h>

static struct qn_chunk_work work;
static struct qn_buf out;

static void encode(const struct qn_chunk_params *p, const void *src, size_t n)
{
    struct qins_error err = {0};
    out.size = 0;
    if (qn_chunk_encode(p, src, n, &work, &out, &err) != QINS_OK)
        fail_msg("encode: %s", err.message);
}

static struct qn_chunk_info inspect(void)
{
    struct qins_error err = {0};
    struct qn_chunk_info info;
    assert_int_equal(qn_chunk_inspect(out.data, out.size, &info, &err), QINS_OK);
    assert_int_equal(info.payload_size, out.size);
    return info;
}

static void *decode(enum qins_dtype dtype, size_t n, bool view)
{
    struct qins_error err = {0};
    uint8_t *payload = test_exact_copy(out.data, out.size);
    size_t size = n * qins_dtype_size(view ? qn_dtype(dtype)->view : dtype);
    void *dst = malloc(size);
    assert_non_null(dst);
    if (qn_chunk_decode(payload, out.size, dtype, n, view, &work, dst, &err) != QINS_OK)
        fail_msg("decode: %s", err.message);
    free(payload);
    return dst;
}

static void expect_compare(enum qins_dtype dtype, const void *src, size_t n, uint64_t mismatches,
                           uint64_t first)
{
    struct qins_error err = {0};
    uint64_t got, at;
    assert_int_equal(qn_chunk_compare(out.data, out.size, dtype, src, n, &work, &got, &at, &err),
                     QINS_OK);
    assert_int_equal(got, mismatches);
    assert_int_equal(at, mismatches ? first : 0);
}

/* Random bit patterns, among them NaNs with payloads, infinities, subnormals and both zeros;
 * the second half like weights. */
static uint8_t *patterns(enum qins_dtype dtype, size_t n)
{
    const size_t width = qins_dtype_size(dtype);
    uint8_t *src = malloc(n * width);
    assert_non_null(src);
    uint64_t state = 99;
    for (size_t i = 0; i < n * width; i++)
        src[i] = (uint8_t)(test_random(&state) >> 40);
    static const uint64_t f32[] = {0x7fc00001, 0xff800001, 0x7f800000, 0xff800000,
                                   0x80000000, 0,          1,          0x807fffff};
    for (size_t i = 0; i < n && i < 8 && width == 4; i++)
        qn_store32(src + 4 * i, (uint32_t)f32[i]);
    for (size_t i = n / 2; i < n && qn_dtype_is_float(dtype); i++) {
        float x = 0.02f * (float)sample_normal(&state);
        qn_from_f32(dtype, &x, src + i * width, 1);
    }
    return src;
}

static void check_lossless(enum qins_dtype dtype, enum qn_codec_id codec, uint8_t *src, size_t n)
{
    const size_t width = qins_dtype_size(dtype);
    struct qn_chunk_params p = test_lossless(dtype, codec);
    encode(&p, src, n);
    struct qn_chunk_info info = inspect();
    assert_true(info.content == QN_CONTENT_LOSSLESS && info.dtype == dtype);
    assert_true(info.codec == codec || info.codec == QN_CODEC_STORE ||
                (codec == QN_CODEC_TANS && info.codec == QN_CODEC_HUFFMAN));
    assert_int_equal(info.n_elements, n);
    assert_true(out.size <= QN_CHUNK_HEADER_SIZE + width * (n + 5));

    void *same = decode(dtype, n, false);
    assert_memory_equal(same, src, n * width);
    free(same);
    expect_compare(dtype, src, n, 0, 0);
    src[(n - 1) * width] ^= 1;
    expect_compare(dtype, src, n, 1, n - 1);
    src[(n - 1) * width] ^= 1;

    if (qn_dtype(dtype)->view == QINS_F32) {
        float *seen = decode(dtype, n, true), *expected = malloc(n * sizeof(float));
        assert_non_null(expected);
        qn_to_f32(dtype, src, expected, n);
        assert_memory_equal(seen, expected, n * sizeof(float));
        free(seen);
        free(expected);
    }
}

static void lossless(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 9, 1000, 70000};
    for (int dtype = QINS_F64; dtype < QINS_DTYPE_COUNT; dtype++)
        for (size_t c = 0; c < TEST_CODECS; c++)
            for (size_t k = 0; k < 5; k++) {
                if (test_codecs[c] == QN_CODEC_BITPACK)
                    continue;
                uint8_t *src = patterns((enum qins_dtype)dtype, sizes[k]);
                check_lossless((enum qins_dtype)dtype, test_codecs[c], src, sizes[k]);
                free(src);
            }
}

/* Every bit pattern of the 8- and 16-bit types. */
static void lossless_exhaustive(void **state)
{
    (void)state;
    static const enum qins_dtype types[] = {QINS_F16,     QINS_BF16,    QINS_I16,
                                            QINS_F8_E4M3, QINS_F8_E5M2, QINS_U8};
    enum { N = 65536 };
    static uint8_t all[2 * N];
    for (size_t t = 0; t < 6; t++) {
        for (unsigned i = 0; i < N; i++)
            if (qins_dtype_size(types[t]) == 2)
                qn_store16(all + 2 * (size_t)i, (uint16_t)i);
            else
                all[i] = (uint8_t)i;
        check_lossless(types[t], QN_CODEC_HUFFMAN, all, N);
        check_lossless(types[t], QN_CODEC_TANS, all, N);
    }
}

static void constant_planes_are_tiny(void **state)
{
    (void)state;
    enum { N = 1 << 18 };
    uint8_t *zeros = calloc(N, 8);
    assert_non_null(zeros);
    for (size_t c = 0; c < TEST_CODECS; c++) {
        if (test_codecs[c] == QN_CODEC_BITPACK || test_codecs[c] == QN_CODEC_STORE)
            continue;
        struct qn_chunk_params p = test_lossless(QINS_F64, test_codecs[c]);
        encode(&p, zeros, N);
        printf("%s: %zu bytes for %d zeros\n", qn_codec_name(test_codecs[c]), out.size, N);
        assert_true(out.size < 1000);
        void *same = decode(QINS_F64, N, false);
        assert_memory_equal(same, zeros, (size_t)N * 8);
        free(same);
    }
    free(zeros);
}

struct geometry {
    size_t n;
    uint64_t row_length, group;
    uint32_t n_scales;
    uint32_t first_sizes[3]; /* of the first groups; 0: none */
};

static const struct geometry geometries[] = {
    {6000, 1000, 1000, 6, {1000, 1000, 1000}},
    {6000, 1000, 300, 24, {300, 300, 300}},
    {1000, 4000, 4000, 1, {1000, 0, 0}},
    {1000, 4000, 600, 2, {600, 400, 0}},
    {12, 4, 3, 6, {3, 1, 3}},
    {7, 7, 100, 1, {7, 0, 0}},
    {1, 1, 1, 1, {1, 0, 0}},
    {64, 64, 1, 64, {1, 1, 1}},
};

/* Groups and scales are where the contract says, and values what the quantiser makes of them. */
static void check_groups(const struct geometry *g, const float *x)
{
    struct qn_chunk_params p =
        test_quantised(QINS_F32, QN_CODEC_BITPACK, 127, g->row_length, g->group);
    struct qn_grid grid;
    assert_true(qn_grid_init(&grid, QN_GRID_QINS, p.levels, p.kappa));
    encode(&p, x, g->n);
    assert_int_equal(inspect().n_scales, g->n_scales);
    float *y = decode(QINS_F32, g->n, true);
    size_t begin = 0;
    for (size_t k = 0; k < 3 && g->first_sizes[k]; k++) {
        bool finite = true;
        uint16_t codes[1000];
        float expected[1000];
        float scale = qn_abs_max(x + begin, g->first_sizes[k], &finite);
        assert_true(scale == qn_float_from_bits(qn_load32(out.data + 64 + 4 * k)));
        qn_quantise(&grid, scale, x + begin, g->first_sizes[k], codes);
        qn_dequantise(&grid, scale, codes, g->first_sizes[k], expected);
        assert_memory_equal(expected, y + begin, g->first_sizes[k] * sizeof(float));
        begin += g->first_sizes[k];
    }
    free(y);
    expect_compare(QINS_F32, x, g->n, 0, 0);
}

static void groups(void **state)
{
    (void)state;
    static float x[6000];
    sample_fill(SAMPLE_LAPLACE, 0.5f, x, 6000);
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++)
        check_groups(&geometries[i], x);
}

/* All narrow types, levels and coders: the same values as bit packing gives. */
static void quantised(void **state)
{
    (void)state;
    static const unsigned levels[] = {1, 7, 100, 127, 128, 500, 2047};
    enum { N = 12000, ROW = 600 };
    static float x[N];
    static uint8_t src[4 * N];
    sample_fill(SAMPLE_GAUSSIAN, 0.1f, x, N);
    memset(x + ROW, 0, ROW * sizeof *x); /* a group of zeros */
    for (int dtype = QINS_F32; dtype <= QINS_F8_E5M2; dtype++)
        for (size_t l = 0; l < 7; l++) {
            enum qins_dtype d = (enum qins_dtype)dtype;
            float *expected = NULL;
            qn_from_f32(d, x, src, N);
            for (size_t c = 0; c < TEST_CODECS; c++) {
                struct qn_chunk_params p =
                    test_quantised(d, test_codecs[(c + 1) % TEST_CODECS], levels[l], ROW, 200);
                encode(&p, src, N);
                struct qn_chunk_info info = inspect();
                assert_true(info.levels == levels[l] && info.n_scales == 60);
                expect_compare(d, src, N, 0, 0);
                float *y = decode(d, N, true);
                void *narrow = decode(d, N, false), *rounded = malloc(N * sizeof(float));
                assert_non_null(rounded);
                qn_from_f32(d, y, rounded, N);
                assert_memory_equal(narrow, rounded, N * qins_dtype_size(d));
                if (expected)
                    assert_memory_equal(y, expected, N * sizeof *y);
                for (size_t i = 0; i < ROW; i++)
                    assert_int_equal(qn_float_bits(y[ROW + i]), 0);
                free(narrow);
                free(rounded);
                free(expected);
                expected = y;
            }
            free(expected);
        }
}

static void scales(void **state)
{
    (void)state;
    const float x[] = {1.0f, -2.0f, 0.5f, 4.0f};
    struct qn_chunk_params p = test_quantised(QINS_F32, QN_CODEC_BITPACK, 7, 4, 4);
    p.clip = 0.75f;
    encode(&p, x, 4);
    assert_true(qn_float_from_bits(qn_load32(out.data + 64)) == 3.0f);
    p.tensor_scale = 2.5f;
    p.row_length = p.group = 0; /* ignored */
    encode(&p, x, 4);
    assert_true(inspect().n_scales == 1);
    assert_true(qn_float_from_bits(qn_load32(out.data + 64)) == 2.5f);

    /* clip * max rounds to 0: the maximum itself serves. */
    const float tiny[] = {FLT_TRUE_MIN, 0.0f};
    p = test_quantised(QINS_F32, QN_CODEC_BITPACK, 7, 2, 2);
    p.clip = 0.3f;
    encode(&p, tiny, 2);
    assert_true(qn_float_from_bits(qn_load32(out.data + 64)) == FLT_TRUE_MIN);

    p.content = QN_CONTENT_SEED;
    p.kappa = 1.0f;
    encode(&p, x, 4);
    assert_true(inspect().n_scales == 0 && inspect().content == QN_CONTENT_SEED);
    expect_compare(QINS_F32, x, 4, 0, 0);
}

static void compare_finds(void **state)
{
    (void)state;
    enum { N = 1000 };
    static float x[N];
    sample_fill(SAMPLE_GAUSSIAN, 1.0f, x, N);
    memset(x + 500, 0, 100 * sizeof *x);
    struct qn_chunk_params p = test_quantised(QINS_F32, QN_CODEC_HUFFMAN, 127, 100, 100);
    encode(&p, x, N);
    expect_compare(QINS_F32, x, N, 0, 0);
    x[10] = NAN;
    x[250] = -x[250];
    x[510] = 1e-20f; /* in a group that the payload says is all zero */
    x[999] = INFINITY;
    expect_compare(QINS_F32, x, N, 4, 10);
}

static void expect_refusal(const struct qn_chunk_params *p, const void *src, size_t n,
                           enum qins_status status, int64_t offset)
{
    struct qins_error err = {0};
    out.size = 0;
    assert_int_equal(qn_chunk_encode(p, src, n, &work, &out, &err), status);
    assert_int_equal(out.size, 0);
    assert_int_equal(err.offset, offset);
    assert_true(err.message[0] != '\0');
}

static void refusals(void **state)
{
    (void)state;
    float x[40] = {0};
    struct qn_chunk_params good = test_quantised(QINS_F32, QN_CODEC_BITPACK, 127, 10, 4), p = good;
    for (size_t i = 0; i < 40; i++) {
        const float bad[] = {NAN, -INFINITY};
        x[i] = bad[i % 2];
        expect_refusal(&good, x, 40, QINS_ERR_UNSUPPORTED, (int64_t)i);
        x[i] = 0.0f;
    }
    expect_refusal(&good, x, 0, QINS_ERR_USAGE, -1);
    expect_refusal(&good, x, QN_CHUNK_MAX + 1, QINS_ERR_USAGE, -1);
    expect_refusal(&good, x, 25, QINS_ERR_USAGE, -1); /* neither whole rows nor part of one */
    p.levels = 2048;
    expect_refusal(&p, x, 40, QINS_ERR_USAGE, -1);
    p = good;
    p.clip = 1.5f;
    expect_refusal(&p, x, 40, QINS_ERR_USAGE, -1);
    p = good;
    p.kappa = NAN;
    expect_refusal(&p, x, 40, QINS_ERR_USAGE, -1);
    p = good;
    p.tensor_scale = INFINITY;
    expect_refusal(&p, x, 40, QINS_ERR_USAGE, -1);
    p = good;
    p.group = 0;
    expect_refusal(&p, x, 40, QINS_ERR_USAGE, -1);
    p = good;
    for (int dtype = QINS_F64; dtype < QINS_DTYPE_COUNT; dtype++) {
        p.dtype = (enum qins_dtype)dtype;
        if (!qn_dtype_is_quantisable(p.dtype))
            expect_refusal(&p, x, 20, QINS_ERR_USAGE, -1);
    }
    p = test_lossless(QINS_F32, QN_CODEC_BITPACK);
    expect_refusal(&p, x, 40, QINS_ERR_USAGE, -1);
}

/* Codes that fill their range evenly do not compress: the payload is no larger than packed. */
static void fallback(void **state)
{
    (void)state;
    enum { N = 50000 };
    static float x[N];
    uint64_t random = 5;
    for (size_t i = 0; i < N; i++)
        x[i] = (float)(2.0 * sample_uniform(&random) - 1.0);
    static const unsigned levels[] = {7, 127, 128, 2047};
    for (size_t c = 0; c < TEST_CODECS; c++)
        for (size_t l = 0; l < 4; l++) {
            struct qn_chunk_params p = test_quantised(QINS_F32, test_codecs[c], levels[l], N, N);
            p.kappa = 0.0f;
            encode(&p, x, N);
            struct qn_chunk_info info = inspect();
            size_t packed = (N * qn_code_bits(levels[l]) + 7) / 8;
            if (test_codecs[c] != QN_CODEC_STORE)
                assert_true(out.size <= 64 + 4 + packed);
            if (levels[l] == 7 && test_codecs[c] == QN_CODEC_RLE)
                assert_int_equal(info.codec, QN_CODEC_BITPACK);
            free(decode(QINS_F32, N, true));
        }
}

/* Chunks need not be aligned in memory. */
static void unaligned(void **state)
{
    (void)state;
    enum { N = 300 };
    static float x[N];
    static uint8_t src[4 * N + 1], dst[4 * N + 1];
    sample_fill(SAMPLE_GAUSSIAN, 1.0f, x, N);
    memcpy(src + 1, x, sizeof x);
    struct qn_chunk_params p = test_quantised(QINS_F32, QN_CODEC_ZSTD, 31, 100, 100);
    encode(&p, src + 1, N);
    struct qins_error err;
    float *y = decode(QINS_F32, N, true);
    assert_int_equal(qn_chunk_decode(out.data, out.size, QINS_F32, N, true, &work, dst + 1, &err),
                     QINS_OK);
    assert_memory_equal(y, dst + 1, sizeof x);
    free(y);
    expect_compare(QINS_F32, src + 1, N, 0, 0);
}

static void rates(void **state)
{
    (void)state;
    uint64_t random = 77;
    for (int i = 0; i < 20000; i++) {
        uint32_t v = (uint32_t)(test_random(&random) >> (32 + i % 31));
        v += v == 0;
        double exact = log2((double)v) * 65536.0, got = (double)qn_log2_fixed(v);
        assert_true(got <= exact + 1e-6 && got > exact - 2.0);
    }
    uint32_t counts[256] = {0};
    counts[9] = 1000;
    assert_int_equal(qn_entropy_bits(counts, 256, 1000), 0);
    counts[3] = 1000;
    assert_int_equal(qn_entropy_bits(counts, 256, 2000), 2000);

    /* Codes whose two lowest bits are noise over four high values. */
    static uint32_t wide[1 << 12];
    for (size_t i = 0; i < 4096; i++)
        wide[i] = i >> 2 == 500 || i >> 2 == 77 ? 1000 : 0;
    unsigned raw = qn_choose_raw_bits(wide, 12, 8000);
    assert_true(raw >= 4 && raw <= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lossless),      cmocka_unit_test(lossless_exhaustive),
        cmocka_unit_test(groups),        cmocka_unit_test(constant_planes_are_tiny),
        cmocka_unit_test(quantised),     cmocka_unit_test(scales),
        cmocka_unit_test(compare_finds), cmocka_unit_test(refusals),
        cmocka_unit_test(fallback),      cmocka_unit_test(unaligned),
        cmocka_unit_test(rates),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    qn_chunk_work_finish(&work);
    qn_buf_finish(&out);
    return failed;
}
