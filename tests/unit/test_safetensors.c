#include "core/bytes.h"
#include "formats/safetensors.h"
#include "tests/unit/checkpoint_testing.h"

static void reads_every_dtype(void **state)
{
    (void)state;
    struct qn_checkpoint *ck = test_open(&qn_safetensors_ops, test_path("all.safetensors"));
    test_matches_description(ck, test_path("all.safetensors.expect"));
    const struct qn_attachment *a = qn_attachment_find(&ck->attachments, QN_SAFETENSORS_METADATA);
    const char *want = "{\"format\":\"pt\",\"b\":\"ü\"}";
    assert_non_null(a);
    assert_int_equal(a->size, strlen(want));
    assert_memory_equal(a->data, want, a->size);
    assert_int_equal(qn_tensor_list_check_unique(&ck->tensors, NULL), QINS_OK);
    qn_safetensors_ops.destroy(ck);
}

static void writes_what_it_read(void **state)
{
    static const char *const names[] = {"all.safetensors", "nometa.safetensors",
                                        "llama/model.safetensors"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct qins_error err;
        struct qn_checkpoint *ck = test_open(&qn_safetensors_ops, test_path("%s", names[i]));
        const char *out = test_path("out.safetensors");
        assert_int_equal(test_write(&qn_safetensors_writer_ops, ck, out, &err), QINS_OK);
        qn_safetensors_ops.destroy(ck);
        test_python("fixtures_safetensors_gguf.py", "describe %s %s.got", out, out);
        /* The writer puts wide elements first: compare as sets of lines. */
        test_shell("sort %s.got > %s.a; sort %s.expect > %s.b; cmp %s.a %s.b", out, out,
                   test_path("%s", names[i]), out, out, out);
        ck = test_open(&qn_safetensors_ops, out);
        for (size_t k = 0; k < ck->tensors.count; k++) {
            const struct qn_tensor *t = &ck->tensors.items[k];
            assert_int_equal(t->where[1] % qins_dtype_size(t->dtype), 0);
        }
        qn_safetensors_ops.destroy(ck);
    }
    /* One dtype throughout: the very bytes of the reference layout. */
    test_files_equal(test_path("llama/model.safetensors"), test_path("out.safetensors"));
}

static void attaches_the_model_files(void **state)
{
    (void)state;
    struct qn_checkpoint *ck = test_open(&qn_safetensors_ops, test_path("llama/model.safetensors"));
    assert_non_null(qn_attachment_find(&ck->attachments, "config.json"));
    qn_safetensors_ops.destroy(ck);
}

static void writer_wants_tensors_in_turn(void **state)
{
    (void)state;
    struct qins_error err;
    struct qn_tensor_writer *w;
    const struct qn_tensor_writer_ops *ops = &qn_safetensors_writer_ops;
    struct qn_tensor_list list = {0};
    const uint64_t shape[] = {2};
    const float data[3] = {1, 2, 3};
    const char *out = test_path("never.safetensors");
    qn_tensor_list_add(&list, "a", 1, QINS_F32, NULL, 1, shape, NULL, &err);
    qn_tensor_list_add(&list, "b", 1, QINS_F32, NULL, 1, shape, NULL, &err);
    assert_int_equal(ops->create(&w, out, &list, NULL, &err), QINS_OK);
    assert_int_equal(ops->write(w, 1, data, 8, &err), QINS_ERR_USAGE);
    assert_int_equal(ops->write(w, 0, data, 12, &err), QINS_ERR_USAGE);
    assert_int_equal(ops->write(w, 0, data, 3, &err), QINS_ERR_USAGE);
    assert_int_equal(ops->write(w, 0, data, 8, &err), QINS_OK);
    assert_int_equal(ops->commit(w, &err), QINS_ERR_USAGE);
    ops->destroy(w);
    assert_false(qn_exists(out));
    qn_tensor_list_finish(&list);
}

static void writer_takes_bytes_in_any_order(void **state)
{
    (void)state;
    struct qins_error err;
    const struct qn_tensor_writer_ops *ops = &qn_safetensors_writer_ops;
    struct qn_tensor_list list = {0};
    const uint64_t shape[] = {2};
    const float data[2][2] = {{1, 2}, {3, 4}};
    float back[2];
    qn_tensor_list_add(&list, "a", 1, QINS_F32, NULL, 1, shape, NULL, &err);
    qn_tensor_list_add(&list, "b", 1, QINS_F32, NULL, 1, shape, NULL, &err);
    for (int whole = 0; whole < 2; whole++) {
        struct qn_tensor_writer *w;
        const char *out = test_path("any.safetensors");
        assert_int_equal(ops->create(&w, out, &list, NULL, &err), QINS_OK);
        assert_int_equal(ops->put(w, 2, 0, data, 4, &err), QINS_ERR_USAGE);
        assert_int_equal(ops->put(w, 0, 12, data, 0, &err), QINS_ERR_USAGE);
        assert_int_equal(ops->put(w, 0, 4, data, 8, &err), QINS_ERR_USAGE);
        assert_int_equal(ops->put(w, 1, 0, data[1], 8, &err), QINS_OK);
        assert_int_equal(ops->put(w, 0, 4, &data[0][1], 4, &err), QINS_OK);
        if (whole)
            assert_int_equal(ops->put(w, 0, 0, &data[0][0], 4, &err), QINS_OK);
        assert_int_equal(ops->commit(w, &err), whole ? QINS_OK : QINS_ERR_USAGE);
        ops->destroy(w);
        assert_int_equal(qn_exists(out), whole);
    }
    struct qn_checkpoint *ck = test_open(&qn_safetensors_ops, test_path("any.safetensors"));
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(qn_checkpoint_read(ck, i, 0, back, sizeof back, &err), QINS_OK);
        assert_memory_equal(back, data[i], sizeof back);
    }
    qn_safetensors_ops.destroy(ck);
    qn_tensor_list_finish(&list);
}

static void writer_refuses_what_the_format_cannot_hold(void **state)
{
    (void)state;
    struct qins_error err;
    struct qn_tensor_writer *w = NULL;
    struct qn_tensor_list list = {0};
    qn_tensor_list_add(&list, "__metadata__", 12, QINS_F32, NULL, 0, NULL, NULL, &err);
    assert_int_equal(
        qn_safetensors_writer_ops.create(&w, test_path("never.safetensors"), &list, NULL, &err),
        QINS_ERR_UNSUPPORTED);
    assert_string_equal(err.tensor, "__metadata__");
    assert_null(w);
    qn_tensor_list_finish(&list);
}

/* A file of HEADER and DATA_SIZE zero bytes; the length field says LENGTH if that is not 0. */
static struct qn_buf make_file(const char *header, size_t data_size, uint64_t length)
{
    struct qn_buf b = {0};
    uint8_t prefix[8];
    qn_store64(prefix, length ? length : strlen(header));
    qn_buf_append(&b, prefix, sizeof prefix, NULL);
    qn_buf_append(&b, header, strlen(header), NULL);
    qn_buf_append_zeros(&b, data_size, NULL);
    assert_int_equal(b.size, 8 + strlen(header) + data_size);
    return b;
}

static void refuse(const char *header, size_t data_size, uint64_t length, const char *message)
{
    struct qn_buf b = make_file(header, data_size, length);
    test_refused(&qn_safetensors_ops, "bad.safetensors", b.data, b.size, QINS_ERR_FORMAT, message);
    qn_buf_finish(&b);
}

static void refuses_bad_headers(void **state)
{
    (void)state;
    test_refused(&qn_safetensors_ops, "bad.safetensors", "\1\0\0", 3, QINS_ERR_FORMAT, "truncated");
    refuse("{}", 0, 3, "above what the file's size allows");
    refuse("{}", 0, UINT64_MAX, "above what the format allows");
    refuse("{}", 0, 100000001, "above what the format allows");
    refuse("[]", 0, 0, "not a JSON object");
    refuse("{", 0, 0, "JSON:");
    refuse("{} x", 0, 0, "JSON:");
    refuse("{\"__metadata__\":{\"a\":1}}", 0, 0, "something else than strings");
    refuse("{\"__metadata__\":[]}", 0, 0, "not an object");
    refuse("{\"a\xff\":1}", 0, 0, "JSON:");
    char *deep = malloc(200001);
    assert_non_null(deep);
    memset(deep, '[', 200000);
    deep[200000] = '\0';
    refuse(deep, 0, 0, "JSON:");
    free(deep);
}

#define ENTRY(name, dtype, shape, begin, end)                                                      \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end   \
    "]}"

static void refuses_bad_tensors(void **state)
{
    (void)state;
    refuse("{\"a\":3}", 0, 0, "tensor 'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, 0, "data_offsets is not a pair");
    refuse("{" ENTRY("a", "F32", "[1]", "0", "4") "}", 3, 0, "1 bytes past the end");
    refuse("{" ENTRY("a", "F32", "[1]", "4", "0") "}", 8, 0, "ascending");
    refuse("{" ENTRY("a", "F32", "[1]", "-4", "0") "}", 8, 0, "non-negative");
    refuse("{" ENTRY("a", "F32", "[1]", "0", "8") "}", 8, 0, "spans 8 bytes");
    refuse("{" ENTRY("a", "F32", "[-1]", "0", "4") "}", 8, 0, "non-negative");
    refuse("{" ENTRY("a", "F32", "[1.0]", "0", "4") "}", 8, 0, "non-negative");
    refuse("{" ENTRY("a", "F32", "[4294967296,4294967296]", "0", "8") "}", 8, 0, "overflows");
    refuse("{" ENTRY("a", "F32", "[4611686018427387904]", "0", "0") "}", 8, 0, "overflows");
    refuse("{" ENTRY("a", "F32", "[99999999999999999999]", "0", "0") "}", 8, 0, "JSON:");
    refuse("{" ENTRY("a", "F32", "[2]", "0", "8") "," ENTRY("b", "F32", "[2]", "4", "12") "}", 12,
           0, "overlaps");
    refuse("{" ENTRY("a", "F32", "[2]", "0", "8") "," ENTRY("c", "F32", "[0]", "2", "2") "," ENTRY(
               "b", "F32", "[1]", "4", "8") "}",
           8, 0, "overlaps");
    refuse("{" ENTRY("a", "F32", "[1]", "0", "4") "," ENTRY("a", "F32", "[1]", "4", "8") "}", 8, 0,
           "JSON:");
    refuse("{" ENTRY("", "F32", "[1]", "0", "4") "}", 4, 0, "name is empty");
    refuse("{" ENTRY("a", "no such type!", "[1]", "0", "4") "}", 4, 0, "no type name");
    refuse("{" ENTRY("a", "F32",
                     "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "0",
                     "4") "}",
           4, 0, "rank 33");
}

static struct qn_checkpoint *open_text(const char *header, size_t data_size)
{
    struct qins_error err;
    struct qn_buf b = make_file(header, data_size, 0);
    const char *path = test_path("good.safetensors");
    assert_int_equal(qn_write_whole(path, b.data, b.size, &err), QINS_OK);
    qn_buf_finish(&b);
    return test_open(&qn_safetensors_ops, path);
}

static void accepts_odd_but_sound_files(void **state)
{
    (void)state;
    /* 2^31 extents beside a zero one, a hole in the data, an entry out of order, an unknown
     * type, a member that the format does not define. */
    struct qn_checkpoint *ck = open_text(
        "{" ENTRY("z", "F4", "[3]", "8", "10") "," ENTRY(
            "big", "U8", "[2147483648,2147483648,0]", "0",
            "0") ",\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2],\"more\":{}}}   ",
        12);
    assert_int_equal(ck->tensors.count, 3);
    assert_string_equal(ck->tensors.items[0].name, "a");
    assert_string_equal(ck->tensors.items[1].name, "big");
    assert_int_equal(ck->tensors.items[1].n_elements, 0);
    assert_string_equal(ck->tensors.items[2].foreign_type, "F4");
    assert_int_equal(ck->tensors.items[2].n_bytes, 2);
    qn_safetensors_ops.destroy(ck);

    char path[512];
    const char *data = getenv("QINS_SHARED_DATA");
    snprintf(path, sizeof path, "%s/tricky/empty_header_16bytes.safetensors", data ? data : "");
    if (!qn_exists(path)) {
        print_message("skipped: QINS_SHARED_DATA has no %s\n", qn_path_base(path));
        return;
    }
    ck = test_open(&qn_safetensors_ops, path);
    assert_int_equal(ck->tensors.count, 0);
    qn_safetensors_ops.destroy(ck);
}

static void probes_by_structure(void **state)
{
    (void)state;
    uint8_t head[16] = {8, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ', ' ', ' ', ' ', ' '};
    struct qn_probe p = {.path = "x", .head = head, .head_size = 16, .file_size = 16};
    assert_true(qn_safetensors_ops.probe(&p));
    p.file_size = 15;
    assert_false(qn_safetensors_ops.probe(&p));
    p.path = "x.safetensors";
    assert_true(qn_safetensors_ops.probe(&p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_dtype),
        cmocka_unit_test(writes_what_it_read),
        cmocka_unit_test(attaches_the_model_files),
        cmocka_unit_test(writer_wants_tensors_in_turn),
        cmocka_unit_test(writer_takes_bytes_in_any_order),
        cmocka_unit_test(writer_refuses_what_the_format_cannot_hold),
        cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_bad_tensors),
        cmocka_unit_test(accepts_odd_but_sound_files),
        cmocka_unit_test(probes_by_structure),
    };
    return cmocka_run_group_tests(tests, test_make_fixtures, test_remove_fixtures);
}
