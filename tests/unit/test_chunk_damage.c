/* Damaged and hostile chunk payloads. */
#include "formats/codec/bitpack.h"
#include "formats/codec/chunk_layout.h"
#include "tests/unit/chunk_testing.h"

enum { N = 96 };

static struct qn_chunk_work work;

struct sample {
    struct qn_chunk_params params;
    struct qn_buf payload;
};

static struct sample samples[40];
static size_t n_samples;

enum { ROW = 32 };
static float factor[ROW * ROW];
static const struct qn_feedback feedback = {factor, NULL, ROW};

static void fill_factor(void)
{
    for (size_t j = 0; j < ROW; j++)
        for (size_t k = j + 1; k < ROW; k++)
            factor[j * ROW + k] = 0.5f / (float)(k - j + 1);
}

static struct qn_chunk_params with_feedback(enum qn_codec_id codec, uint64_t group)
{
    struct qn_chunk_params p = test_quantised(QINS_F32, codec, 7, ROW, group);
    p.rounding = QN_ROUND_FEEDBACK;
    p.feedback = &feedback;
    return p;
}

static void add_sample(struct qn_chunk_params p, const float *x)
{
    struct sample *s = &samples[n_samples++];
    uint8_t src[8 * N] = {0};
    struct qins_error err;
    assert_true(n_samples <= sizeof samples / sizeof *samples);
    if (qn_dtype_is_float(p.dtype))
        qn_from_f32(p.dtype, x, src, N);
    else
        memcpy(src, x, N);
    s->params = p;
    assert_int_equal(qn_chunk_encode(&p, src, N, &work, &s->payload, &err), QINS_OK);
}

/* One row with each of three codings. */
static void add_blocks(const float *x)
{
    struct sample *s = &samples[n_samples++];
    struct qins_error err;
    const struct qn_chunk_run runs[] = {
        {test_quantised(QINS_F32, QN_CODEC_HUFFMAN, 127, ROW, ROW), ROW},
        {test_lossless(QINS_F32, QN_CODEC_HUFFMAN), ROW},
        {with_feedback(QN_CODEC_BITPACK, ROW), ROW},
    };
    s->params = runs[0].params;
    assert_true(n_samples <= sizeof samples / sizeof *samples);
    assert_int_equal(qn_chunk_encode_runs(runs, 3, x, &work, &s->payload, &err), QINS_OK);
}

static int make_samples(void **state)
{
    (void)state;
    float x[N];
    fill_factor();
    sample_fill(SAMPLE_LAPLACE, 0.02f, x, N);
    for (size_t i = 0; i < N; i++)
        if (i % 8)
            x[i] = i % 16 < 8 ? 0.0f : 0.125f; /* so that every coder pays */
    for (size_t c = 0; c < TEST_CODECS; c++) {
        static const unsigned levels[] = {7, 127, 1000};
        for (size_t l = 0; l < 3; l++)
            add_sample(test_quantised(QINS_F32, test_codecs[c], levels[l], 32, 12), x);
        if (test_codecs[c] != QN_CODEC_BITPACK) {
            add_sample(test_lossless(QINS_F32, test_codecs[c]), x);
            add_sample(test_lossless(QINS_U8, test_codecs[c]), x);
        }
    }
    struct qn_chunk_params seed = test_quantised(QINS_BF16, QN_CODEC_HUFFMAN, 127, 1, 1);
    seed.content = QN_CONTENT_SEED;
    add_sample(seed, x);
    add_sample(with_feedback(QN_CODEC_HUFFMAN, 12), x);
    add_blocks(x);
    return 0;
}

static int free_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_samples; i++)
        qn_buf_finish(&samples[i].payload);
    qn_chunk_work_finish(&work);
    return 0;
}

/* Decodes into a block of exactly the right size; every result is whole or an error. */
static enum qins_status decode(const struct sample *s, const uint8_t *payload, size_t size)
{
    struct qins_error err = {0};
    enum qins_dtype dtype = s->params.dtype;
    void *dst = malloc(N * qins_dtype_size(qn_dtype(dtype)->view));
    assert_non_null(dst);
    enum qins_status st = qn_chunk_decode(payload, size, dtype, N, true, &work, dst, &err);
    assert_true(st == QINS_OK || err.message[0] != '\0');
    free(dst);
    return st;
}

static void every_flip_is_found(void **state)
{
    (void)state;
    for (size_t k = 0; k < n_samples; k++) {
        const struct qn_buf *p = &samples[k].payload;
        assert_int_equal(decode(&samples[k], p->data, p->size), QINS_OK);
        for (size_t i = 0; i < p->size; i++)
            for (unsigned flip = 1; flip < 256; flip = flip == 1 ? 0x80 : flip + 127) {
                p->data[i] ^= (uint8_t)flip;
                assert_int_not_equal(decode(&samples[k], p->data, p->size), QINS_OK);
                p->data[i] ^= (uint8_t)flip;
            }
    }
}

static void every_truncation_is_found(void **state)
{
    (void)state;
    for (size_t k = 0; k < n_samples; k++) {
        const struct qn_buf *p = &samples[k].payload;
        for (size_t size = 0; size < p->size; size++) {
            uint8_t *cut = test_exact_copy(p->data, size);
            assert_int_not_equal(decode(&samples[k], cut, size), QINS_OK);
            test_reseal(cut, size);
            assert_int_not_equal(decode(&samples[k], cut, size), QINS_OK);
            if (size >= QN_CHUNK_HEADER_SIZE) { /* the header's word changed too */
                qn_store32(cut + 20, (uint32_t)size);
                test_reseal(cut, size);
                assert_int_not_equal(decode(&samples[k], cut, size), QINS_OK);
            }
            free(cut);
        }
    }
}

/* The sanitizers judge: a resealed flip may decode to other values, never out of bounds. */
static void resealed_flips(void **state)
{
    (void)state;
    static const uint8_t flips[] = {1, 2, 0x10, 0x80, 0xff};
    for (size_t k = 0; k < n_samples; k++) {
        const struct qn_buf *p = &samples[k].payload;
        for (size_t i = 8; i < p->size; i++)
            for (size_t f = 0; f < sizeof flips; f++) {
                uint8_t *copy = test_exact_copy(p->data, p->size);
                copy[i] ^= flips[f];
                test_reseal(copy, p->size);
                enum qins_status st = decode(&samples[k], copy, p->size);
                /* No field of the header is without meaning, but the shape of the grid, the
                 * rounding with its bound and, for equal counts, the geometry, may take other
                 * valid values. */
                bool free_field = (i >= 24 && i < 26) || (i >= 27 && i < 32) ||
                                  (i >= 36 && i < 44) || (i >= 48 && i < 52);
                if (i < QN_CHUNK_HEADER_SIZE && !free_field && i != 13 && i != 15)
                    assert_int_not_equal(st, QINS_OK);
                free(copy);
            }
    }
}

/* Puts right the hashes of a chunk of blocks, its parts' first. */
static void reseal_parts(uint8_t *payload, size_t size)
{
    for (size_t at = QN_CHUNK_HEADER_SIZE; at + QN_CHUNK_HEADER_SIZE <= size;) {
        size_t part = qn_load32(payload + at + 20);
        if (part < QN_CHUNK_HEADER_SIZE || part > size - at)
            break;
        test_reseal(payload + at, part);
        at += part;
    }
    test_reseal(payload, size);
}

/* Flips inside the parts, where every hash is right again; the sanitizers judge. */
static void resealed_parts(void **state)
{
    (void)state;
    const struct sample *s = &samples[n_samples - 1];
    const struct qn_buf *p = &s->payload;
    for (size_t i = 8; i < p->size; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            struct qins_error err;
            float src[N] = {0};
            uint64_t mismatches, first;
            uint8_t *copy = test_exact_copy(p->data, p->size);
            copy[i] ^= (uint8_t)(1u << bit);
            reseal_parts(copy, p->size);
            enum qins_status st = decode(s, copy, p->size);
            assert_int_equal(
                qn_chunk_compare(copy, p->size, QINS_F32, src, N, &work, &mismatches, &first, &err),
                st);
            free(copy);
        }
}

/* BYTES bytes of VALUE at AT of the blocks' payload, sealed anew, are refused. */
static void expect_bad_blocks(size_t at, uint32_t value, unsigned bytes)
{
    const struct sample *s = &samples[n_samples - 1];
    uint8_t *copy = test_exact_copy(s->payload.data, s->payload.size);
    for (unsigned i = 0; i < bytes; i++)
        copy[at + i] = (uint8_t)(value >> (8 * i));
    reseal_parts(copy, s->payload.size);
    assert_int_equal(decode(s, copy, s->payload.size), QINS_ERR_FORMAT);
    free(copy);
}

static void hostile_blocks(void **state)
{
    (void)state;
    const uint8_t *p = samples[n_samples - 1].payload.data;
    const size_t second = QN_CHUNK_HEADER_SIZE + qn_load32(p + QN_CHUNK_HEADER_SIZE + 20);
    assert_int_equal(p[13], QN_CONTENT_BLOCKS);
    expect_bad_blocks(15, QN_CODEC_ZSTD, 1); /* not the first part's */
    expect_bad_blocks(24, 7, 2);             /* levels */
    expect_bad_blocks(27, 1, 1);             /* rounding */
    expect_bad_blocks(32, 0, 4);             /* parts */
    expect_bad_blocks(32, 1, 4);
    expect_bad_blocks(32, 2, 4);
    expect_bad_blocks(32, 4, 4);
    expect_bad_blocks(32, 0xffffffff, 4);
    expect_bad_blocks(36, ROW, 4);        /* row length */
    expect_bad_blocks(48, 0x3f800000, 4); /* error bound */
    expect_bad_blocks(16, N - 1, 4);      /* elements */
    expect_bad_blocks(16, N + 1, 4);
    expect_bad_blocks(second + 13, 3, 1);        /* parts of a part */
    expect_bad_blocks(second + 14, QINS_I32, 1); /* another type */
    expect_bad_blocks(second + 16, ROW + 1, 4);  /* more elements than are left */
    expect_bad_blocks(second + 16, 1u << 20, 4);
    expect_bad_blocks(second + 20, 63, 4);         /* smaller than its header */
    expect_bad_blocks(second + 20, 0xffffffff, 4); /* beyond the end */
}

static void expect_bad(const struct sample *s, size_t at, uint32_t value, unsigned bytes)
{
    uint8_t *copy = test_exact_copy(s->payload.data, s->payload.size);
    for (unsigned i = 0; i < bytes; i++)
        copy[at + i] = (uint8_t)(value >> (8 * i));
    test_reseal(copy, s->payload.size);
    assert_int_equal(decode(s, copy, s->payload.size), QINS_ERR_FORMAT);
    free(copy);
}

static void hostile_fields(void **state)
{
    (void)state;
    const struct sample *s = &samples[6];
    assert_true(s->params.codec == QN_CODEC_BITPACK && s->params.levels == 127);
    expect_bad(s, 16, 0, 4);
    expect_bad(s, 16, 0xffffffff, 4);           /* elements */
    expect_bad(s, 24, 0, 2);                    /* levels */
    expect_bad(s, 24, 2048, 2);                 /* levels */
    expect_bad(s, 26, 4, 1);                    /* raw bits without a coder */
    expect_bad(s, 28, 0x7fc00000, 4);           /* kappa: NaN */
    expect_bad(s, 28, 0xbf800000, 4);           /* kappa: -1 */
    expect_bad(s, 32, 0, 4);                    /* scales */
    expect_bad(s, 32, 0xffffffff, 4);           /* scales */
    expect_bad(s, 36, 0, 4);                    /* row length */
    expect_bad(s, 36, 33, 4);                   /* row length that does not divide */
    expect_bad(s, 40, 0, 4);                    /* group */
    expect_bad(s, 40, 33, 4);                   /* group longer than a row */
    expect_bad(s, 44, 0xffffffc0, 4);           /* coded size */
    expect_bad(s, 64, 0x7f800000, 4);           /* scale: infinity */
    expect_bad(s, 64, 0x80000001, 4);           /* scale: negative */
    expect_bad(s, s->payload.size - 1, 255, 1); /* code 255 of 0 … 254 */
}

/* With eleven raw bits a symbol above one makes a code of more than sixteen bits. */
static void code_beyond_sixteen_bits(void **state)
{
    (void)state;
    uint8_t symbols[N], payload[QN_CHUNK_HEADER_SIZE + 4 + 4096] = {0};
    uint8_t *section = payload + QN_CHUNK_HEADER_SIZE + 4;
    static uint64_t scratch[1 << 16];
    const struct qn_codec *huffman = qn_codec(QN_CODEC_HUFFMAN);
    assert_true(huffman->scratch(N) <= sizeof scratch);
    float dst[N];
    struct qins_error err;
    static const uint8_t tops[] = {1, 2, 32};
    for (size_t i = 0; i < sizeof tops; i++) {
        memset(symbols, tops[i], N);
        size_t coded = huffman->encode(symbols, N, section, 2048, scratch);
        size_t raw = qn_bitpack_size(N, 11), size = QN_CHUNK_HEADER_SIZE + 4 + coded + raw;
        assert_true(coded > 0);
        memset(section + coded, 0, raw);
        struct qn_chunk_header h = {.info = {.content = QN_CONTENT_QINS,
                                             .dtype = QINS_F32,
                                             .codec = QN_CODEC_HUFFMAN,
                                             .levels = 2047,
                                             .raw_bits = 11,
                                             .n_elements = N,
                                             .n_scales = 1,
                                             .payload_size = size},
                                    .groups = {N, N, N},
                                    .coded_size = (uint32_t)coded};
        qn_chunk_seal(&h, payload);
        assert_int_equal(qn_chunk_decode(payload, size, QINS_F32, N, true, &work, dst, &err),
                         tops[i] == 1 ? QINS_OK : QINS_ERR_FORMAT);
    }
}

static void wrong_expectation(void **state)
{
    (void)state;
    const struct sample *s = &samples[0];
    struct qins_error err;
    float dst[N + 1];
    const struct qn_buf *p = &s->payload;
    assert_int_equal(qn_chunk_decode(p->data, p->size, QINS_F32, N + 1, true, &work, dst, &err),
                     QINS_ERR_FORMAT);
    assert_int_equal(qn_chunk_decode(p->data, p->size, QINS_F32, N - 1, true, &work, dst, &err),
                     QINS_ERR_FORMAT);
    assert_int_equal(qn_chunk_decode(p->data, p->size, QINS_F16, N, true, &work, dst, &err),
                     QINS_ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flip_is_found), cmocka_unit_test(every_truncation_is_found),
        cmocka_unit_test(resealed_flips),      cmocka_unit_test(hostile_fields),
        cmocka_unit_test(wrong_expectation),   cmocka_unit_test(code_beyond_sixteen_bits),
        cmocka_unit_test(resealed_parts),      cmocka_unit_test(hostile_blocks),
    };
    return cmocka_run_group_tests(tests, make_samples, free_samples);
}
