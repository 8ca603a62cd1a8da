#include "core/bytes.h"
#include "formats/gguf.h"
#include "tests/unit/checkpoint_testing.h"

static void reads_plain_types(void **state)
{
    static const char *const names[] = {"all.gguf", "aligned.gguf"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct qn_checkpoint *ck = test_open(&qn_gguf_ops, test_path("%s", names[i]));
        test_matches_description(ck, test_path("%s.expect", names[i]));
        assert_non_null(qn_attachment_find(&ck->attachments, QN_GGUF_METADATA));
        qn_gguf_ops.destroy(ck);
    }
}

static void lists_quantised_types(void **state)
{
    (void)state;
    struct qn_checkpoint *ck = test_open(&qn_gguf_ops, test_path("quantised.gguf"));
    const struct qn_tensor *t = ck->tensors.items;
    assert_int_equal(ck->tensors.count, 4);
    assert_int_equal(t[0].dtype, QINS_DTYPE_INVALID);
    assert_string_equal(t[0].foreign_type, "Q4_K");
    assert_int_equal(t[0].n_bytes, 288);
    assert_int_equal(t[0].shape[0], 2);
    assert_int_equal(t[0].shape[1], 256);
    assert_int_equal(t[1].dtype, QINS_F32);
    assert_string_equal(t[2].foreign_type, "ggml-type-99");
    assert_int_equal(t[2].n_bytes, 0);
    assert_string_equal(t[3].foreign_type, "Q8_0");
    assert_int_equal(t[3].n_bytes, 272);
    qn_gguf_ops.destroy(ck);
}

static void round_trip_is_byte_identical(void **state)
{
    static const char *const names[] = {"all.gguf", "aligned.gguf"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct qins_error err;
        struct qn_checkpoint *ck = test_open(&qn_gguf_ops, test_path("%s", names[i]));
        assert_int_equal(test_write(&qn_gguf_writer_ops, ck, test_path("out.gguf"), &err), QINS_OK);
        qn_gguf_ops.destroy(ck);
        test_files_equal(test_path("%s", names[i]), test_path("out.gguf"));
    }
}

static void vocabulary_without_tensors(void **state)
{
    (void)state;
    char path[512];
    struct qins_error err;
    snprintf(path, sizeof path, "%s/tricky/ggml-vocab-phi-3.gguf",
             test_env("QINS_SHARED_DATA", ""));
    if (!qn_exists(path)) {
        print_message("skipped: QINS_SHARED_DATA has no %s\n", qn_path_base(path));
        return;
    }
    struct qn_checkpoint *ck = test_open(&qn_gguf_ops, path);
    assert_int_equal(ck->tensors.count, 0);
    assert_int_equal(test_write(&qn_gguf_writer_ops, ck, test_path("out.gguf"), &err), QINS_OK);
    qn_gguf_ops.destroy(ck);
    test_files_equal(path, test_path("out.gguf"));
}

static void llama_models_are_mapped(void **state)
{
    static const char *const names[] = {"llama", "llama16"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct qins_error err;
        struct qn_checkpoint *ck =
            test_open(&qn_safetensors_ops, test_path("%s/model.safetensors", names[i]));
        assert_int_equal(test_write(&qn_gguf_writer_ops, ck, test_path("out.gguf"), &err), QINS_OK);
        qn_safetensors_ops.destroy(ck);
        test_python("fixtures_safetensors_gguf.py", "check-llama %s %s", test_path("out.gguf"),
                    test_path("%s", names[i]));
    }
}

static void write_to_gguf(const char *source, const char *config, enum qins_status status,
                          const char *tensor)
{
    struct qins_error err = {0};
    struct qn_checkpoint *ck = test_open(&qn_safetensors_ops, source);
    if (config)
        assert_int_equal(
            qn_attachment_add(&ck->attachments, "config.json", config, strlen(config), &err),
            QINS_OK);
    assert_int_equal(test_write(&qn_gguf_writer_ops, ck, test_path("plain.gguf"), &err), status);
    if (tensor)
        assert_string_equal(err.tensor, tensor);
    qn_safetensors_ops.destroy(ck);
}

static void other_models_become_plain_containers(void **state)
{
    static const char *const configs[] = {
        NULL,
        "{",
        "[1]",
        "{\"model_type\":\"bert\"}",
        "{\"model_type\":\"llama\"}",
        "{\"model_type\":\"llama\",\"num_attention_heads\":-1}",
        "{\"model_type\":\"llama\",\"hidden_size\":1e99,\"head_dim\":3}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        write_to_gguf(test_path("nometa.safetensors"), configs[i], QINS_OK, NULL);
        struct qn_checkpoint *ck = test_open(&qn_gguf_ops, test_path("plain.gguf"));
        const struct qn_attachment *a = qn_attachment_find(&ck->attachments, QN_GGUF_METADATA);
        test_matches_description(ck, test_path("nometa.safetensors.expect"));
        assert_non_null(memmem(a->data, a->size, "Plain container", 15));
        qn_gguf_ops.destroy(ck);
    }
}

static void types_without_gguf_form_are_refused(void **state)
{
    (void)state;
    write_to_gguf(test_path("all.safetensors"), NULL, QINS_ERR_UNSUPPORTED, "t.U64");
    assert_false(qn_exists(test_path("never.gguf")));
}

/* A GGUF file built by hand, to be broken. */
struct bytes {
    uint8_t data[4096];
    size_t size;
};

static void put(struct bytes *b, const void *data, size_t size)
{
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void put32(struct bytes *b, uint32_t v)
{
    qn_store32(b->data + b->size, v);
    b->size += 4;
}

static void put64(struct bytes *b, uint64_t v)
{
    qn_store64(b->data + b->size, v);
    b->size += 8;
}

static void put_text(struct bytes *b, const char *text)
{
    put64(b, strlen(text));
    put(b, text, strlen(text));
}

static struct bytes begin(uint64_t n_tensors, uint64_t n_keys)
{
    struct bytes b = {.size = 0};
    put(&b, "GGUF", 4);
    put32(&b, 3);
    put64(&b, n_tensors);
    put64(&b, n_keys);
    return b;
}

static void put_info(struct bytes *b, const char *name, uint64_t d0, uint64_t d1, uint32_t type,
                     uint64_t offset)
{
    put_text(b, name);
    put32(b, 2);
    put64(b, d0);
    put64(b, d1);
    put32(b, type);
    put64(b, offset);
}

static void refuse(struct bytes *b, size_t data, enum qins_status status, const char *message)
{
    if (data) {
        b->size = (b->size + 31) / 32 * 32;
        b->size += data;
    }
    test_refused(&qn_gguf_ops, "bad.gguf", b->data, b->size, status, message);
}

static void refuses_bad_headers(void **state)
{
    (void)state;
    struct bytes b = begin(0, 0);
    b.size = 10;
    refuse(&b, 0, QINS_ERR_FORMAT, "truncated");
    b = begin(0, 0);
    b.data[4] = 1;
    refuse(&b, 0, QINS_ERR_UNSUPPORTED, "version 1");
    b = begin(0, 0);
    qn_store32(b.data + 4, 3u << 24);
    refuse(&b, 0, QINS_ERR_UNSUPPORTED, "big-endian");
    b = begin(UINT64_MAX, 0);
    refuse(&b, 0, QINS_ERR_FORMAT, "too short");
    b = begin(0, 1ull << 40);
    refuse(&b, 0, QINS_ERR_FORMAT, "too short");
}

static void refuses_bad_keys(void **state)
{
    (void)state;
    struct bytes b = begin(0, 1);
    put_text(&b, "a");
    put32(&b, 13);
    refuse(&b, 32, QINS_ERR_FORMAT, "value type");
    b = begin(0, 1);
    put_text(&b, "a");
    put32(&b, QN_GGUF_STRING);
    put64(&b, UINT64_MAX);
    refuse(&b, 32, QINS_ERR_FORMAT, "truncated");
    b = begin(0, 1);
    put_text(&b, "a");
    put32(&b, QN_GGUF_ARRAY);
    put32(&b, QN_GGUF_U64);
    put64(&b, 1ull << 61);
    refuse(&b, 32, QINS_ERR_FORMAT, "overflows");
    b = begin(0, 1);
    put_text(&b, "a");
    put32(&b, QN_GGUF_ARRAY);
    for (int i = 0; i < 100; i++) {
        put32(&b, QN_GGUF_ARRAY);
        put64(&b, 1);
    }
    refuse(&b, 32, QINS_ERR_FORMAT, "nested too deeply");
    b = begin(0, 2);
    for (int i = 0; i < 2; i++) {
        put_text(&b, "a.b");
        put32(&b, QN_GGUF_U32);
        put32(&b, 0);
    }
    refuse(&b, 32, QINS_ERR_FORMAT, "'a.b' comes twice");
    for (uint32_t alignment = 0; alignment < 1u << 20; alignment = alignment * 3 + 4) {
        b = begin(0, 1);
        put_text(&b, "general.alignment");
        put32(&b, QN_GGUF_U32);
        put32(&b, alignment + 1);
        refuse(&b, 32, QINS_ERR_FORMAT, "general.alignment");
    }
    b = begin(0, 1);
    put_text(&b, "a\xff");
    refuse(&b, 32, QINS_ERR_FORMAT, "not UTF-8");
}

static void refuses_bad_tensors(void **state)
{
    (void)state;
    struct bytes b = begin(1, 0);
    put_text(&b, "t");
    put32(&b, 5);
    refuse(&b, 64, QINS_ERR_UNSUPPORTED, "rank 5");
    b = begin(1, 0);
    put_info(&b, "t", 1ull << 32, 1ull << 32, 0, 0);
    refuse(&b, 64, QINS_ERR_FORMAT, "overflows");
    b = begin(1, 0);
    put_info(&b, "t", 1ull << 31, 1ull << 31, 14, 0);
    refuse(&b, 64, QINS_ERR_FORMAT, "outside the file");
    b = begin(1, 0);
    put_info(&b, "t", 1ull << 31, 1, 0, 0);
    refuse(&b, 64, QINS_ERR_FORMAT, "outside the file");
    b = begin(1, 0);
    put_info(&b, "t", 4, 1, 0, UINT64_MAX - 31);
    refuse(&b, 64, QINS_ERR_FORMAT, "outside the file");
    b = begin(1, 0);
    put_info(&b, "t", 4, 1, 0, 4);
    refuse(&b, 64, QINS_ERR_FORMAT, "not aligned");
    b = begin(1, 0);
    put_info(&b, "t", 100, 1, 12, 0);
    refuse(&b, 64, QINS_ERR_FORMAT, "no multiple of Q4_K's block");
    b = begin(2, 0);
    put_info(&b, "t", 16, 1, 0, 0);
    put_info(&b, "u", 8, 1, 0, 32);
    refuse(&b, 64, QINS_ERR_FORMAT, "overlaps");
    b = begin(2, 0);
    put_info(&b, "t", 8, 1, 0, 0);
    put_info(&b, "t", 8, 1, 0, 32);
    refuse(&b, 64, QINS_ERR_FORMAT, "two tensors have this name");
    b = begin(1, 0);
    put_info(&b, "t\xc3", 8, 1, 0, 0);
    refuse(&b, 64, QINS_ERR_FORMAT, "not valid UTF-8");
    b = begin(1, 0);
    refuse(&b, 0, QINS_ERR_FORMAT, "too short");
    b = begin(1, 0);
    put_text(&b, "long enough for one info");
    put32(&b, 1);
    refuse(&b, 0, QINS_ERR_FORMAT, "truncated");
}

static void refuses_broken_metadata(void **state)
{
    (void)state;
    struct qins_error err;
    struct qn_tensor_list none = {0};
    static const uint8_t bad[][17] = {
        {2, 0, 0, 0, 3}, {1, 0, 0, 0, 9}, {1, 0, 0, 0, 3, 0, 0, 0, 1}, {1, 0, 0, 0, 3}};
    for (size_t i = 0; i < 4; i++) {
        struct qn_attachment_list list = {0};
        struct qn_tensor_writer *w = NULL;
        qn_attachment_add(&list, QN_GGUF_METADATA, bad[i], 17, &err);
        assert_int_equal(qn_gguf_writer_ops.create(&w, test_path("never.gguf"), &none, &list, &err),
                         QINS_ERR_FORMAT);
        assert_false(qn_exists(test_path("never.gguf")));
        qn_attachment_list_finish(&list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_plain_types),
        cmocka_unit_test(lists_quantised_types),
        cmocka_unit_test(round_trip_is_byte_identical),
        cmocka_unit_test(vocabulary_without_tensors),
        cmocka_unit_test(llama_models_are_mapped),
        cmocka_unit_test(other_models_become_plain_containers),
        cmocka_unit_test(types_without_gguf_form_are_refused),
        cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_bad_keys),
        cmocka_unit_test(refuses_bad_tensors),
        cmocka_unit_test(refuses_broken_metadata),
    };
    return cmocka_run_group_tests(tests, test_make_fixtures, test_remove_fixtures);
}
