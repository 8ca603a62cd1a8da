#include "formats/archive/userblock.h"
#include "tests/unit/archive_testing.h"

#include <float.h>
#include <zlib.h>

static const struct qn_plan_block row_blocks[] = {
    {0,
     1,
     {QN_CONTENT_QINS, QN_CODEC_STORE, 500, 0.1f, 1.0f, QN_GROUP_TENSOR, 0, QN_ROUND_NEAREST,
      QN_CLASS_HOT, 12.5, "often"},
     0.1f},
    {1, 2, {QN_CONTENT_LOSSLESS, QN_CODEC_ZSTD, .access_frequency = -1.0, .reason = "\n"}, 0},
    {2,
     4,
     {QN_CONTENT_QINS, QN_CODEC_HUFFMAN, 3, 0.0f, 0.5f, QN_GROUP_BLOCK, 77, QN_ROUND_FEEDBACK,
      QN_CLASS_COLD, 0.0, ""},
     0},
};

static const struct test_tensor samples[] = {
    {"model.embed/tokens%", QINS_BF16, 2, {50257, 768}, {QN_CONTENT_LOSSLESS, QN_CODEC_HUFFMAN}},
    {"w\xc3\xa9",
     QINS_F32,
     3,
     {4, 1 << 20, 3},
     {QN_CONTENT_QINS, QN_CODEC_BITPACK, 127, 1.1f, 0.7f, QN_GROUP_ROW, 0, .reason = "hot"},
     row_blocks,
     3},
    {"\"quoted\\\n",
     QINS_F16,
     1,
     {7},
     {QN_CONTENT_QINS, QN_CODEC_RLE_HUFFMAN, 2047, FLT_MIN, 1.0f, QN_GROUP_BLOCK, 32,
      .reason = "a \"b\""}},
    {".",
     QINS_F8_E4M3,
     2,
     {3, 3},
     {QN_CONTENT_SEED, QN_CODEC_ZSTD, 1, 1.0f / 3.0f, 1e-7f, QN_GROUP_TENSOR, 0, .reason = ""}},
    {"scalar", QINS_F64, 0, {0}, {0}},
    {"empty", QINS_I8, 2, {0, (UINT64_C(1) << 62)}, {0}},
};
enum { N_SAMPLES = sizeof samples / sizeof *samples };

static void fill(struct qn_manifest *m)
{
    struct qins_error err;
    struct qn_archive_file f = {"config.json", 123, 456, UINT64_C(0x0123456789abcdef)};
    char file_name[] = "tokenizer.json";
    m->source_format = qn_strdup("safetensors", &err);
    for (size_t i = 0; i < N_SAMPLES; i++) {
        struct qn_archive_tensor a = test_describe_tensor(&samples[i]);
        memset(a.fingerprint.bytes, (int)i + 1, sizeof a.fingerprint.bytes);
        memcpy(a.inline_data, "\x00\xff\x7f\x80\x01\x02\x03\x04", 8);
        if (a.plan.group_kind == QN_GROUP_TENSOR && a.plan.levels)
            a.tensor_scale = 0.1f;
        test_ok(qn_manifest_add(m, &a, &err), &err);
    }
    test_ok(qn_manifest_add_file(m, &f, &err), &err);
    f = (struct qn_archive_file){file_name, UINT64_C(1) << 62, 0, 0};
    test_ok(qn_manifest_add_file(m, &f, &err), &err);
}

static void check_line(const struct qn_plan_line *a, const struct qn_plan_line *b)
{
    assert_int_equal(a->content, b->content);
    assert_int_equal(a->codec, b->codec);
    assert_int_equal(a->levels, b->levels);
    assert_int_equal(qn_float_bits(a->kappa), qn_float_bits(b->kappa));
    assert_int_equal(qn_float_bits(a->clip), qn_float_bits(b->clip));
    assert_int_equal(a->group_kind, b->group_kind);
    assert_int_equal(a->group, b->group);
    assert_int_equal(a->rounding, b->rounding);
    assert_int_equal(a->access_class, b->access_class);
    assert_true(a->access_frequency == b->access_frequency);
    assert_string_equal(a->reason, b->reason);
}

static void check_equal(const struct qn_archive_tensor *a, const struct qn_archive_tensor *b)
{
    assert_string_equal(a->tensor.name, b->tensor.name);
    assert_int_equal(a->tensor.dtype, b->tensor.dtype);
    assert_int_equal(a->tensor.rank, b->tensor.rank);
    assert_memory_equal(a->tensor.shape, b->tensor.shape, sizeof a->tensor.shape);
    assert_int_equal(a->tensor.n_elements, b->tensor.n_elements);
    assert_int_equal(a->tensor.n_bytes, b->tensor.n_bytes);
    check_line(&a->plan, &b->plan);
    assert_int_equal(qn_float_bits(a->tensor_scale), qn_float_bits(b->tensor_scale));
    assert_int_equal(a->n_blocks, b->n_blocks);
    for (size_t i = 0; i < a->n_blocks; i++) {
        const struct qn_plan_block *x = &a->blocks[i], *y = &b->blocks[i];
        assert_true(x->row_begin == y->row_begin && x->row_end == y->row_end);
        assert_int_equal(qn_float_bits(x->tensor_scale), qn_float_bits(y->tensor_scale));
        check_line(&x->line, &y->line);
    }
    assert_memory_equal(a->fingerprint.bytes, b->fingerprint.bytes, sizeof a->fingerprint.bytes);
    assert_int_equal(a->first_chunk, b->first_chunk);
    assert_int_equal(a->layout.n_chunks, b->layout.n_chunks);
    if (a->tensor.rank == 0)
        assert_memory_equal(a->inline_data, b->inline_data, 8);
}

static void round_trip(void **state)
{
    (void)state;
    struct qn_manifest m = {0}, back = {0};
    struct qn_buf packed = {0};
    struct qins_error err;
    fill(&m);
    test_ok(qn_manifest_pack(&m, &packed, &err), &err);
    test_ok(qn_manifest_unpack(packed.data, packed.size, &back, &err), &err);
    assert_string_equal(back.source_format, "safetensors");
    assert_int_equal(back.n_tensors, N_SAMPLES);
    for (size_t i = 0; i < N_SAMPLES; i++)
        check_equal(&m.tensors[i], &back.tensors[i]);
    assert_int_equal(qn_manifest_chunks(&m), qn_manifest_chunks(&back));
    assert_int_equal(back.n_files, 2);
    assert_string_equal(back.files[0].name, "config.json");
    assert_int_equal(back.files[0].offset, 123);
    assert_int_equal(back.files[0].size, 456);
    assert_true(back.files[0].hash == UINT64_C(0x0123456789abcdef));
    assert_true(back.files[1].offset == UINT64_C(1) << 62);
    qn_manifest_finish(&m);
    qn_manifest_finish(&back);
    qn_buf_finish(&packed);
}

/* Nine digits must name every float that a plan can hold. */
static void floats_are_exact(void **state)
{
    (void)state;
    uint64_t seed = 3;
    struct qins_error err;
    for (int i = 0; i < 3000; i++) {
        struct qn_archive_tensor a = test_describe_tensor(&samples[3]), back;
        uint32_t bits = (uint32_t)(test_random(&seed) >> 33);
        if (bits >= 0x7f800000)
            continue;
        a.plan.content = QN_CONTENT_QINS;
        a.plan.kappa = qn_float_from_bits(bits % (qn_float_bits(QN_MAX_KAPPA) + 1));
        a.plan.clip = qn_float_from_bits(0x00800000 + bits % 0x3f000001); /* FLT_MIN ... 1 */
        a.tensor_scale = qn_float_from_bits(bits ^ 2);
        json_t *j = qn_archive_tensor_to_json(&a);
        char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9));
        json_decref(j);
        j = qn_json_parse(text, strlen(text), 0, &err);
        test_ok(qn_archive_tensor_from_json(j, &back, &err), &err);
        check_equal(&a, &back);
        qn_archive_tensor_finish(&back);
        json_decref(j);
        free(text);
    }
}

static enum qins_status unpack_text(const char *text, size_t size, struct qins_error *err)
{
    struct qn_manifest m;
    uLongf packed_size = compressBound((uLong)size);
    uint8_t *packed = malloc(packed_size);
    assert_non_null(packed);
    assert_int_equal(compress2(packed, &packed_size, (const Bytef *)text, (uLong)size, 9), Z_OK);
    enum qins_status st = qn_manifest_unpack(packed, packed_size, &m, err);
    qn_manifest_finish(&m);
    free(packed);
    return st;
}

#define VERSIONED(version)                                                                         \
    "{\"schema\":\"qins-archive-manifest-1\",\"format_version\":" version                          \
    ",\"source_format\":\"npy\",\"files\":["
#define HEAD  VERSIONED("1")
#define PRINT "\"fingerprint\":\"00000000000000000000000000000000\""
#define TENSOR(name, dtype, shape, rest)                                                           \
    "{\"name\":" name ",\"dtype\":" dtype ",\"shape\":" shape "," rest "\"reason\":\"\"," PRINT "}"
#define LOSSLESS  "\"content\":\"lossless\",\"codec\":\"store\","
#define QUANTISED "\"content\":\"qins\",\"codec\":\"bitpack\",\"group\":\"row\","
#define BLOCK(begin, end, rest)                                                                    \
    "{\"row_begin\":" begin ",\"row_end\":" end                                                    \
    ",\"content\":\"lossless\",\"codec\":\"rle\"," rest "\"reason\":\"\"}"
#define BLOCKED(shape, blocks)                                                                     \
    HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", shape,                                       \
                                  LOSSLESS "\"blocks\":[" blocks "],") "]}"

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum qins_status status;
    } cases[] = {
        {HEAD "],\"tensors\":[]}", QINS_OK},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]", LOSSLESS) "]}", QINS_OK},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]",
                                       QUANTISED "\"levels\":7,\"kappa\":0,\"clip\":1,") "]}",
         QINS_OK},
        {BLOCKED("[2,3]", BLOCK("0", "1", "") "," BLOCK("1", "2", "")), QINS_OK},
        {BLOCKED("[2,3]", BLOCK("0", "2", "\"class\":\"cold\",\"access_frequency\":null,")),
         QINS_OK},
        {BLOCKED("[2,3]", ""), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", "1"), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", BLOCK("0", "1", "")), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", BLOCK("0", "3", "")), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", BLOCK("0", "1", "") "," BLOCK("0", "2", "")), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", BLOCK("0", "0", "") "," BLOCK("0", "2", "")), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", BLOCK("1", "2", "") "," BLOCK("0", "1", "")), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", BLOCK("-1", "2", "")), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", BLOCK("0", "9223372036854775807", "")), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", BLOCK("0", "2", "\"class\":\"warm\",")), QINS_ERR_FORMAT},
        {BLOCKED("[2,3]", BLOCK("0", "2", "\"access_frequency\":-1,")), QINS_ERR_FORMAT},
        {BLOCKED("[2]", BLOCK("0", "2", "")), QINS_ERR_FORMAT},
        {BLOCKED("[]", BLOCK("0", "1", "")), QINS_ERR_FORMAT},
        {BLOCKED("[2,0]", BLOCK("0", "2", "")), QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]",
                                       QUANTISED "\"levels\":7,\"kappa\":0,\"clip\":1,"
                                                 "\"rounding\":\"feedback\",") "]}",
         QINS_OK},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]",
                                       QUANTISED "\"levels\":7,\"kappa\":0,\"clip\":1,"
                                                 "\"rounding\":\"up\",") "]}",
         QINS_ERR_FORMAT},
        {VERSIONED("2") "],\"tensors\":[]}", QINS_ERR_FORMAT},
        {VERSIONED("\"1\"") "],\"tensors\":[]}", QINS_ERR_FORMAT},
        {"[]", QINS_ERR_FORMAT},
        {"", QINS_ERR_FORMAT},
        {"{", QINS_ERR_FORMAT},
        {HEAD "]}", QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":{}}", QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[1]}", QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[],\"tensors\":[]}", QINS_ERR_FORMAT},
        {HEAD "{\"name\":\"../x\",\"offset\":1,\"size\":1,\"xxh3_64\":\"0000000000000000\"}"
              "],\"tensors\":[]}",
         QINS_ERR_FORMAT},
        {HEAD "{\"name\":\"x\",\"offset\":-1,\"size\":1,\"xxh3_64\":\"0000000000000000\"}"
              "],\"tensors\":[]}",
         QINS_ERR_FORMAT},
        {HEAD "{\"name\":\"x\",\"offset\":1,\"size\":1,\"xxh3_64\":\"000000000000000G\"}"
              "],\"tensors\":[]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]", LOSSLESS) "," TENSOR(
             "\"a\"", "\"F32\"", "[2]", LOSSLESS) "]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"\"", "\"F32\"", "[2]", LOSSLESS) "]}", QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("7", "\"F32\"", "[2]", LOSSLESS) "]}", QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F31\"", "[2]", LOSSLESS) "]}", QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[-2]", LOSSLESS) "]}", QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2.5]", LOSSLESS) "]}",
         QINS_ERR_FORMAT},
        {HEAD
         "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[4294967296,4294967296]", LOSSLESS) "]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"",
                                       "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
                                       "1,1,1,1,1]",
                                       LOSSLESS) "]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[]", LOSSLESS) "]}", QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"I32\"", "[2]",
                                       QUANTISED "\"levels\":7,\"kappa\":0,\"clip\":1,") "]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]",
                                       QUANTISED "\"levels\":2048,\"kappa\":0,\"clip\":1,") "]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]",
                                       QUANTISED "\"levels\":7,\"kappa\":1e39,\"clip\":1,") "]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]",
                                       QUANTISED "\"levels\":7,\"kappa\":-1,\"clip\":1,") "]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]",
                                       QUANTISED "\"levels\":7,\"kappa\":65537,\"clip\":1,") "]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]",
                                       QUANTISED "\"levels\":7,\"kappa\":0,\"clip\":0,") "]}",
         QINS_ERR_FORMAT},
        {HEAD "],\"tensors\":[" TENSOR("\"a\"", "\"F32\"", "[2]",
                                       QUANTISED "\"levels\":7,\"kappa\":0,\"clip\":1.5,") "]}",
         QINS_ERR_FORMAT},
    };
    struct qins_error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (unpack_text(cases[i].text, strlen(cases[i].text), &err) != cases[i].status)
            fail_msg("case %zu: %s", i, test_error(&err));
}

static void deep_nesting(void **state)
{
    (void)state;
    enum { DEPTH = 1 << 20 };
    struct qins_error err;
    char *text = malloc(DEPTH);
    assert_non_null(text);
    memset(text, '[', DEPTH);
    assert_int_equal(unpack_text(text, DEPTH, &err), QINS_ERR_FORMAT);
    free(text);
}

static void bomb(void **state)
{
    (void)state;
    enum { SIZE = 64 << 20 };
    struct qins_error err;
    char *text = malloc(SIZE);
    assert_non_null(text);
    memset(text, ' ', SIZE);
    assert_int_equal(unpack_text(text, SIZE, &err), QINS_ERR_FORMAT);
    assert_non_null(strstr(err.message, "inflates too far"));
    free(text);
}

/* Objects take far more memory than text. */
static void bomb_of_objects(void **state)
{
    (void)state;
    enum { COUNT = 3 << 20, SIZE = 3 * COUNT + 1 };
    static const char object[3] = {'{', '}', ','};
    char *text = malloc(SIZE);
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 0; i < COUNT; i++)
        memcpy(text + 1 + sizeof object * i, object, sizeof object);
    text[SIZE - 1] = ']';
    assert_true(qn_json_memory(text, SIZE) > (uint64_t)COUNT * 200);
    assert_true(qn_json_memory(text, SIZE) < (uint64_t)SIZE * 80);
    assert_true(qn_json_fits(text, SIZE, SIZE));
    assert_false(qn_json_fits(text, SIZE, SIZE / 64));
    free(text);
}

/* What compresses better than a reader accepts is stored. */
static void compressible_manifest(void **state)
{
    (void)state;
    struct qn_manifest m = {0}, back = {0};
    struct qn_buf packed = {0};
    struct qins_error err;
    char name[60001];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    m.source_format = qn_strdup("npz", &err);
    for (int i = 0; i < 60; i++) {
        struct test_tensor t = {name, QINS_F32, 1, {3}, {0}};
        struct qn_archive_tensor a = test_describe_tensor(&t);
        name[i] = 'm';
        test_ok(qn_manifest_add(&m, &a, &err), &err);
    }
    test_ok(qn_manifest_pack(&m, &packed, &err), &err);
    test_ok(qn_manifest_unpack(packed.data, packed.size, &back, &err), &err);
    assert_int_equal(back.n_tensors, 60);
    qn_manifest_finish(&m);
    qn_manifest_finish(&back);
    qn_buf_finish(&packed);
}

static void extents_beyond_json(void **state)
{
    (void)state;
    struct qn_manifest m = {0};
    struct qins_error err;
    struct test_tensor t = {"t", QINS_F32, 2, {0, UINT64_MAX}, {0}};
    struct qn_archive_tensor a = test_describe_tensor(&t);
    assert_int_equal(qn_manifest_add(&m, &a, &err), QINS_ERR_UNSUPPORTED);
    qn_manifest_finish(&m);
}

static void userblock(void **state)
{
    (void)state;
    struct qn_userblock u = {10000, 600, 70, 1, 700, 10, 2, {{3}}}, back;
    uint8_t block[QN_USERBLOCK_SIZE];
    struct qins_error err;
    qn_userblock_pack(&u, block);
    assert_memory_equal(block, "QINSARC", 8);
    test_ok(qn_userblock_unpack(block, sizeof block, 10000, &back, &err), &err);
    assert_memory_equal(&u, &back, sizeof u);
    assert_int_equal(qn_userblock_unpack(block, sizeof block, 9999, &back, &err), QINS_ERR_FORMAT);
    assert_int_equal(qn_userblock_unpack(block, 511, 10000, &back, &err), QINS_ERR_FORMAT);
    for (size_t i = 0; i < 8 * sizeof block; i++) {
        block[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_not_equal(qn_userblock_unpack(block, sizeof block, 10000, &back, &err), QINS_OK);
        block[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    u.n_chunks = UINT64_MAX / 24 + 2; /* the table's size overflows */
    qn_userblock_pack(&u, block);
    assert_int_equal(qn_userblock_unpack(block, sizeof block, 10000, &back, &err), QINS_ERR_FORMAT);
    u.n_chunks = 0;
    u.manifest_offset = 511;
    qn_userblock_pack(&u, block);
    assert_int_equal(qn_userblock_unpack(block, sizeof block, 10000, &back, &err), QINS_ERR_FORMAT);
    block[8] = 2; /* a later version, sealed */
    qn_store64(block + 504, qn_hash64(block, 504));
    assert_int_equal(qn_userblock_unpack(block, sizeof block, 10000, &back, &err),
                     QINS_ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(floats_are_exact),
        cmocka_unit_test(refusals),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(bomb),
        cmocka_unit_test(bomb_of_objects),
        cmocka_unit_test(compressible_manifest),
        cmocka_unit_test(extents_beyond_json),
        cmocka_unit_test(userblock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
