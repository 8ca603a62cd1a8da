/* llama2.c files written by tests/e2e/fixtures_torch_numpy.py, and headers that lie. */
#include "core/bytes.h"
#include "tests/unit/checkpoint_testing.h"

static int setup(void **state)
{
    (void)state;
    test_folder_create();
    test_python("fixtures_torch_numpy.py", "'%s' llama", test_folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_folder_remove();
    return 0;
}

static bool probed(const void *data, size_t size)
{
    struct qn_probe p = {"x", false, data, size < 4096 ? size : 4096, size};
    return qn_llama2c_ops.probe(&p);
}

static void matches(const char *path, const char *expect, size_t header_size)
{
    size_t size;
    char *data = test_slurp(path, &size);
    assert_true(probed(data, size));
    struct qn_checkpoint *ck = test_open(&qn_llama2c_ops, path);
    test_matches_description(ck, expect);
    const struct qn_attachment *header = qn_attachment_find(&ck->attachments, "llama2c.header");
    assert_non_null(header);
    assert_int_equal(header->size, header_size);
    assert_memory_equal(header->data, data, header_size);
    qn_llama2c_ops.destroy(ck);
    free(data);
}

static void all_layouts(void **state)
{
    (void)state;
    matches(test_path("tied.bin"), test_path("tied.bin.txt"), 28);
    matches(test_path("untied.bin"), test_path("untied.bin.txt"), 28);
    matches(test_path("v1_tied.bin"), test_path("v1_tied.bin.txt"), 256);
    matches(test_path("v1_untied.bin"), test_path("v1_untied.bin.txt"), 256);
}

static void tokenizer_is_attached(void **state)
{
    struct qins_error err;
    (void)state;
    assert_int_equal(qn_write_whole(test_path("tokenizer.bin"), "abc", 3, &err), QINS_OK);
    struct qn_checkpoint *ck = test_open(&qn_llama2c_ops, test_path("tied.bin"));
    const struct qn_attachment *a = qn_attachment_find(&ck->attachments, "tokenizer.bin");
    assert_non_null(a);
    assert_int_equal(a->size, 3);
    qn_llama2c_ops.destroy(ck);
    assert_int_equal(unlink(test_path("tokenizer.bin")), 0);
}

/* No size but the right one, and no change of a header field that matters, is taken. */
static void probe_is_strict(void **state)
{
    (void)state;
    size_t size;
    char *data = test_slurp(test_path("tied.bin"), &size);
    assert_true(probed(data, size));
    assert_false(probed(data, size - 1));
    assert_false(probed(data, size + 1));
    assert_false(probed(data, 27));
    for (size_t field = 0; field < 7; field++) {
        uint32_t saved = qn_load32(data + 4 * field);
        static const uint32_t bad[] = {0, 1u << 31, INT32_MAX, 7};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            qn_store32(data + 4 * field, bad[i]);
            assert_false(probed(data, size));
        }
        qn_store32(data + 4 * field, saved);
    }
    test_refused(&qn_llama2c_ops, "bad.bin", data, size - 4, QINS_ERR_FORMAT, "does not fit");
    free(data);
    assert_false(probed("", 0));
}

static void versions(void **state)
{
    (void)state;
    size_t size;
    char *data = test_slurp(test_path("v2.bin"), &size);
    assert_true(probed(data, size));
    test_refused(&qn_llama2c_ops, "bad.bin", data, size, QINS_ERR_UNSUPPORTED, "int8");
    qn_store32(data + 4, 3);
    test_refused(&qn_llama2c_ops, "bad.bin", data, size, QINS_ERR_UNSUPPORTED, "version 3");
    free(data);
    data = test_slurp(test_path("v1_tied.bin"), &size);
    test_refused(&qn_llama2c_ops, "bad.bin", data, size - 4, QINS_ERR_FORMAT, "size");
    test_refused(&qn_llama2c_ops, "bad.bin", data, 200, QINS_ERR_FORMAT, "no model");
    qn_store32(data + 8, 0);
    test_refused(&qn_llama2c_ops, "bad.bin", data, size, QINS_ERR_FORMAT, "no model");
    free(data);
}

static void the_real_model(void **state)
{
    char path[512];
    (void)state;
    snprintf(path, sizeof path, "%s/models/stories260k/model.bin",
             test_env("QINS_SHARED_DATA", "."));
    if (!qn_exists(path)) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    matches(path, test_path("model.bin.txt"), 28);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_layouts),     cmocka_unit_test(tokenizer_is_attached),
        cmocka_unit_test(probe_is_strict), cmocka_unit_test(versions),
        cmocka_unit_test(the_real_model),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
