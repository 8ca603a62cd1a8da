/* Damage of every byte of a small archive that holds every coder: found if the hashes are left
 * alone, harmless if they are put right. */
#include "convert/verify.h"
#include "formats/archive/filter.h"
#include "formats/archive/reader.h"
#include "formats/archive/writer.h"
#include "tests/unit/archive_reseal.h"
#include "tests/unit/archive_testing.h"

enum { MAX_ARCHIVE = 20 << 10 };

static uint8_t *image;
static size_t image_size;
static struct test_memory_file file;
static uint8_t *decoded; /* room for a chunk of the widest type */

#define CODED(codec, levels, way)                                                                  \
    {                                                                                              \
        QN_CONTENT_QINS, codec, levels, 0.5f, 1.0f, QN_GROUP_ROW, 0, way, QN_CLASS_COLD, 0.25, ""  \
    }
static const struct qn_plan_block row_blocks[] = {
    {0, 3, CODED(QN_CODEC_HUFFMAN, 20, QN_ROUND_NEAREST), 0},
    {3, 4, {QN_CONTENT_LOSSLESS, QN_CODEC_HUFFMAN, .access_frequency = -1.0}, 0},
    {4, 12, CODED(QN_CODEC_BITPACK, 7, QN_ROUND_FEEDBACK), 0},
};

static const struct test_tensor tensors[] = {
    {"huffman", QINS_BF16, 2, {16, 40}, {QN_CONTENT_LOSSLESS, QN_CODEC_HUFFMAN}},
    {"bitpack",
     QINS_F32,
     2,
     {16, 40},
     {QN_CONTENT_QINS, QN_CODEC_BITPACK, 31, 1.5f, 1.0f, QN_GROUP_ROW, 0, .reason = ""}},
    {"coded",
     QINS_F32,
     2,
     {8, 160},
     {QN_CONTENT_QINS, QN_CODEC_HUFFMAN, 255, 0.0f, 1.0f, QN_GROUP_BLOCK, 32, .reason = ""}},
    {"seed",
     QINS_F16,
     2,
     {8, 64},
     {QN_CONTENT_SEED, QN_CODEC_ZSTD, 127, 1.0f, 1.0f, QN_GROUP_TENSOR, 0, .reason = ""}},
    {"runs", QINS_BOOL, 1, {700}, {QN_CONTENT_LOSSLESS, QN_CODEC_RLE}},
    {"coded runs", QINS_BOOL, 1, {2500}, {QN_CONTENT_LOSSLESS, QN_CODEC_RLE_HUFFMAN}},
    {"zstd", QINS_BOOL, 2, {40, 25}, {QN_CONTENT_LOSSLESS, QN_CODEC_ZSTD}},
    {"tans", QINS_BOOL, 2, {40, 25}, {QN_CONTENT_LOSSLESS, QN_CODEC_TANS}},
    {"stored", QINS_U8, 1, {200}, {QN_CONTENT_LOSSLESS, QN_CODEC_HUFFMAN}},
    {"scalar", QINS_F32, 0, {0}, {0}},
    {"empty", QINS_I64, 1, {0}, {0}},
    {"row blocks",
     QINS_F32,
     2,
     {12, 32},
     CODED(QN_CODEC_BITPACK, 7, QN_ROUND_FEEDBACK),
     row_blocks,
     3},
    {"feedback", QINS_F32, 2, {10, 32}, CODED(QN_CODEC_HUFFMAN, 15, QN_ROUND_FEEDBACK)},
};
enum { N_TENSORS = sizeof tensors / sizeof *tensors };

/* Mostly zero, so that runs and zstd pay; the samples' own bytes do for the rest. */
static void send_sparse(struct qn_sink *sink, const struct test_tensor *t)
{
    struct qn_archive_tensor a = test_describe_tensor(t);
    struct qins_error err;
    uint8_t *data = test_tensor_bytes(&a.tensor);
    for (uint64_t i = 0; i < a.tensor.n_bytes; i++)
        data[i] = i / 16 % 8 == 0 && data[i];
    test_ok(sink->begin(sink, &a, &err), &err);
    test_send_chunk(sink, &a, data, 0);
    test_ok(sink->end(sink, &err), &err);
    free(data);
}

static int setup(void **state)
{
    struct qn_archive_writer *w;
    struct qn_attachment_list attachments = {0};
    struct qn_buf whole = {0};
    struct qins_error err;
    if (test_folder_setup(state) != 0 || !test_memory_file_open(&file))
        return -1;
    test_ok(qn_archive_writer_create(&w, test_file("small.qins"), "test", &err), &err);
    for (size_t i = 0; i < N_TENSORS; i++)
        if (tensors[i].dtype == QINS_BOOL)
            send_sparse(qn_archive_writer_sink(w), &tensors[i]);
        else
            test_send(qn_archive_writer_sink(w), &tensors[i]);
    test_ok(qn_attachment_add(&attachments, "config.json", "{}", 2, &err), &err);
    test_ok(qn_archive_writer_commit(w, &attachments, NULL, &err), &err);
    qn_archive_writer_destroy(w);
    qn_attachment_list_finish(&attachments);
    test_ok(qn_read_whole(test_file("small.qins"), 1 << 20, &whole, &err), &err);
    image = whole.data;
    image_size = whole.size;
    decoded = malloc((size_t)QN_CHUNK_MAX * 8);
    return decoded ? 0 : -1;
}

static int teardown(void **state)
{
    free(image);
    free(decoded);
    close(file.fd);
    return test_folder_teardown(state);
}

static enum qins_status decode_tensor(const struct qn_archive *a, size_t i,
                                      struct qn_chunk_work *work, struct qn_buf *payload)
{
    const struct qn_archive_tensor *t = &a->manifest.tensors[i];
    enum qins_status st = QINS_OK, worst = QINS_OK;
    uint64_t first = 0, count = t->tensor.n_elements ? 1 : 0;
    if (t->layout.n_chunks == 0)
        return qn_archive_decode(a, i, 0, count, true, work, payload, decoded, NULL);
    for (uint64_t k = 0; k < t->layout.n_chunks; k++) {
        qn_layout_chunk(&t->layout, k, &first, &count);
        st = qn_archive_decode(a, i, first, count, k % 2 == 0, work, payload, decoded, NULL);
        worst = st == QINS_OK ? worst : st;
    }
    return worst;
}

static enum qins_status decode_all(const struct qn_archive *a)
{
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    enum qins_status st, worst = QINS_OK;
    for (size_t i = 0; i < a->manifest.n_tensors; i++) {
        st = decode_tensor(a, i, &work, &payload);
        worst = st == QINS_OK ? worst : st;
    }
    for (size_t i = 0; i < a->manifest.n_files; i++) {
        payload.size = 0;
        st = qn_archive_file_read(a, i, &payload, NULL);
        worst = st == QINS_OK ? worst : st;
    }
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
    return worst;
}

/* Opens, lists and decodes everything, damaged chunks or not, which `qins verify` would end at. */
static enum qins_status decode_image(const uint8_t *data, size_t size)
{
    struct qn_archive *a = NULL;
    assert_true(test_memory_file_set(&file, data, size));
    enum qins_status st = qn_archive_open(&a, file.path, NULL);
    if (st == QINS_OK)
        st = decode_all(a);
    qn_archive_destroy(a);
    return st;
}

/* `qins verify` itself. */
static enum qins_status run_verify(const uint8_t *data, size_t size)
{
    assert_true(test_memory_file_set(&file, data, size));
    return qn_verify(file.path, NULL, 1, NULL, NULL, NULL);
}

static struct qn_archive *open_sound(void)
{
    struct qn_archive *a;
    struct qins_error err;
    assert_true(test_memory_file_set(&file, image, image_size));
    test_ok(qn_archive_open(&a, file.path, &err), &err);
    return a;
}

static void holds_every_coder(void **state)
{
    (void)state;
    unsigned seen = 0, contents = 0, feedback = 0;
    struct qn_archive *a = open_sound();
    for (uint64_t i = 0; i < qn_manifest_chunks(&a->manifest); i++) {
        struct qn_chunk_info info;
        struct qins_error err;
        test_ok(qn_chunk_inspect(image + a->chunks[i].offset, a->chunks[i].size, &info, &err),
                &err);
        seen |= 1u << info.codec;
        contents |= 1u << info.content;
        feedback += info.rounding == QN_ROUND_FEEDBACK;
    }
    assert_int_equal(seen, (1u << QN_CODEC_COUNT) - 1);
    assert_int_equal(contents, (1u << (QN_CONTENT_BLOCKS + 1)) - 1);
    assert_int_equal(feedback, 1);
    qn_archive_destroy(a);
    printf("the archive has %zu bytes\n", image_size);
    assert_in_range(image_size, 1, MAX_ARCHIVE);
    assert_int_equal(run_verify(image, image_size), QINS_OK);
}

static void every_flip_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < image_size; i++) {
        uint8_t flip = (uint8_t)(1u << i % 8);
        image[i] ^= flip;
        if (run_verify(image, image_size) == QINS_OK)
            fail_msg("a flip of byte %zu goes unnoticed", i);
        image[i] ^= flip;
    }
}

static void every_truncation_is_found(void **state)
{
    (void)state;
    for (size_t size = 0; size < image_size; size += 64)
        if (run_verify(image, size) == QINS_OK)
            fail_msg("a cut to %zu bytes goes unnoticed", size);
}

/* The deepest hash around byte I: deeper seals make no difference. */
static enum test_seal deepest_seal(const struct qn_archive *a, size_t i)
{
    uint64_t table = qn_load64(image + 48), manifest = qn_load64(image + 24);
    if (i - table < qn_load64(image + 56) * QN_CHUNK_ENTRY_SIZE ||
        i - manifest < qn_load64(image + 32))
        return SEAL_INDEX;
    for (uint64_t k = 0; k < qn_manifest_chunks(&a->manifest); k++)
        if (i - a->chunks[k].offset < a->chunks[k].size)
            return SEAL_ALL;
    return SEAL_OUTER;
}

/* Whatever is sealed again, nothing but a status comes of it (the sanitizers watch). */
static void resealed_flips_do_no_harm(void **state)
{
    (void)state;
    struct qn_archive *sound = open_sound();
    uint8_t *copy = malloc(image_size);
    assert_non_null(copy);
    for (size_t i = 0; i < image_size; i++) {
        const enum test_seal seals[] = {SEAL_OUTER, deepest_seal(sound, i)};
        for (int k = 0; k < (seals[1] == SEAL_OUTER ? 1 : 2); k++) {
            memcpy(copy, image, image_size);
            copy[i] ^= (uint8_t)(0x80u >> i % 8);
            test_reseal(copy, image_size, seals[k]);
            enum qins_status st = decode_image(copy, image_size);
            if (st == QINS_OK && seals[1] == SEAL_ALL)
                fail_msg("a flip of byte %zu goes unnoticed by its payload", i);
        }
    }
    for (size_t size = QN_USERBLOCK_SIZE; size < image_size; size += 64) {
        memcpy(copy, image, size);
        qn_store64(copy + 16, size);
        test_reseal(copy, size, SEAL_ALL);
        decode_image(copy, size);
    }
    free(copy);
    qn_archive_destroy(sound);
}

/* The HDF5 filter on a payload of N bytes. */
static size_t run_filter(const uint8_t *payload, size_t n, const struct qn_archive_tensor *t)
{
    unsigned values[QN_FILTER_VALUES] = {QN_ARCHIVE_VERSION,
                                         (unsigned)qins_dtype_size(qn_dtype(t->tensor.dtype)->view),
                                         (unsigned)(t->layout.step * t->layout.inner)};
    void *buf = malloc(n ? n : 1);
    size_t buf_size = n;
    assert_non_null(buf);
    memcpy(buf, payload, n);
    size_t got = qn_filter(QN_FILTER_READING, QN_FILTER_VALUES, values, n, &buf_size, &buf);
    if (got == 0)
        assert_int_equal(buf_size, n);
    else
        memcpy(decoded, buf, got);
    free(buf);
    return got;
}

/* Each flip inside a payload is caught by the payload's own hash, when every hash around it is
 * put right, and by the plugin, which has no other. */
static void payloads_defend_themselves(void **state)
{
    (void)state;
    struct qn_archive *a = open_sound();
    for (size_t i = 0; i < a->manifest.n_tensors; i++) {
        const struct qn_archive_tensor *t = &a->manifest.tensors[i];
        if (t->layout.n_chunks == 0)
            continue;
        struct qn_chunk_work work = {0};
        const struct qn_chunk_entry *e = &a->chunks[t->first_chunk];
        uint8_t *payload = malloc(e->size);
        assert_non_null(payload);
        memcpy(payload, image + e->offset, e->size);
        assert_true(run_filter(payload, e->size, t) > 0);
        for (size_t k = 0; k < e->size; k++) {
            payload[k] ^= (uint8_t)(1u << k % 8);
            struct qn_chunk_info info;
            if (qn_chunk_decode(payload, e->size, t->tensor.dtype, (size_t)t->tensor.n_elements,
                                true, &work, decoded, NULL) == QINS_OK ||
                qn_chunk_inspect(payload, e->size, &info, NULL) == QINS_OK ||
                run_filter(payload, e->size, t) != 0)
                fail_msg("%s: a flip of the payload's byte %zu goes unnoticed", t->tensor.name, k);
            payload[k] ^= (uint8_t)(1u << k % 8);
        }
        for (size_t n = 0; n < e->size; n++) {
            uint8_t *cut = malloc(n + 1); /* of its own, so that a read behind it is seen */
            assert_non_null(cut);
            memcpy(cut, payload, n);
            assert_int_equal(run_filter(cut, n, t), 0);
            free(cut);
        }
        free(payload);
        qn_chunk_work_finish(&work);
    }
    qn_archive_destroy(a);
}

/* The filter refuses what HDF5 should not ask it. */
static void filter_arguments(void **state)
{
    (void)state;
    struct qn_archive *a = open_sound();
    const struct qn_chunk_entry *e = &a->chunks[0];
    static const struct {
        unsigned flags;
        size_t n;
        unsigned values[QN_FILTER_VALUES];
        bool fine;
    } cases[] = {
        {QN_FILTER_READING, 3, {1, 4, 640}, true},
        {QN_FILTER_READING, 3, {1, 4, 641}, true}, /* an edge chunk */
        {QN_FILTER_READING, 3, {1, 4, QN_CHUNK_MAX}, true},
        {QN_FILTER_READING, 3, {1, 4, QN_CHUNK_MAX + 1}, false},
        {QN_FILTER_READING, 3, {1, 4, 639}, false},
        {QN_FILTER_READING, 3, {1, 2, 640}, false},
        {QN_FILTER_READING, 3, {1, 0, 640}, false},
        {QN_FILTER_READING, 3, {2, 4, 640}, false},
        {QN_FILTER_READING, 2, {1, 4, 640}, false},
        {QN_FILTER_READING, 0, {0, 0, 0}, false},
        {0, 3, {1, 4, 640}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *buf = malloc(e->size);
        size_t buf_size = e->size;
        assert_non_null(buf);
        memcpy(buf, image + e->offset, e->size);
        size_t got =
            qn_filter(cases[i].flags, cases[i].n, cases[i].values, e->size, &buf_size, &buf);
        assert_int_equal(got, cases[i].fine ? 4 * (size_t)cases[i].values[2] : 0);
        if (cases[i].fine)
            for (size_t k = 2560; k < got; k++)
                assert_int_equal(((uint8_t *)buf)[k], 0);
        free(buf);
    }
    qn_archive_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_every_coder),          cmocka_unit_test(every_flip_is_found),
        cmocka_unit_test(every_truncation_is_found),  cmocka_unit_test(resealed_flips_do_no_harm),
        cmocka_unit_test(payloads_defend_themselves), cmocka_unit_test(filter_arguments),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
