/* Transports inside archives: behind a checkpoint, and out of archives that anybody may have made.
 */
#include "convert/sources.h"
#include "formats/archive/writer.h"
#include "formats/transport_archive.h"
#include "tests/unit/carried_transport.h"

#include <math.h>

static void write_archive(const struct test_tensor *list, size_t n, const char *description)
{
    struct qn_archive_writer *w;
    struct qn_attachment_list files = {0};
    struct qins_error err;
    test_ok(qn_archive_writer_create(&w, test_file("a.qins"), "test", &err), &err);
    for (size_t i = 0; i < n; i++)
        test_send(qn_archive_writer_sink(w), &list[i]);
    if (description)
        test_ok(qn_attachment_add(&files, QN_TRANSPORT_ATTACHMENT, description, strlen(description),
                                  &err),
                &err);
    test_ok(qn_archive_writer_commit(w, &files, NULL, &err), &err);
    qn_archive_writer_destroy(w);
    qn_attachment_list_finish(&files);
}

static enum qins_status read_archive(struct qn_transport *t, struct qins_error *err)
{
    struct qn_archive *a = NULL;
    *t = (struct qn_transport){0};
    enum qins_status st = qn_archive_open(&a, test_file("a.qins"), err);
    if (st == QINS_OK)
        st = qn_transport_from_archive(t, a, err);
    qn_archive_destroy(a);
    return st;
}

/* What is in it; the planes are those of the source to half a step of their grid. */
static void test_sound(void **state)
{
    (void)state;
    struct qn_transport t;
    struct qn_archive *a;
    struct qins_error err;
    write_archive(carried, N_CARRIED, TEST_TRANSPORT);
    if (read_archive(&t, &err) != QINS_OK || !t.inputs || !t.layers) {
        fail_msg("%s", test_error(&err));
        return;
    }
    assert_int_equal(t.n_inputs, 2);
    assert_int_equal(t.n_layers, 2);
    for (size_t i = 1; i < N_CARRIED; i++) {
        const struct qn_archive_tensor d = test_describe_tensor(&carried[i]);
        uint8_t *bytes = test_tensor_bytes(&d.tensor);
        const float *want = (const float *)(const void *)bytes,
                    *got = i == 1 ? t.inputs[0].coefficients : t.layers[1].planes;
        for (uint64_t k = 0; k < d.tensor.n_elements; k++)
            assert_true(fabsf(got[k] - want[k]) <= (i == 1 ? 0.0f : 0.05f));
        free(bytes);
    }
    qn_transport_finish(&t);
    test_ok(qn_archive_open(&a, test_file("a.qins"), &err), &err);
    assert_int_equal(qn_manifest_own_tensors(&a->manifest), 1);
    assert_int_equal(qn_archive_float_elements(a), 6);
    assert_true(qn_archive_has_transport(a));
    qn_archive_destroy(a);
    write_archive(carried, 1, NULL);
    test_ok(qn_archive_open(&a, test_file("a.qins"), &err), &err);
    assert_false(qn_archive_has_transport(a));
    qn_archive_destroy(a);
}

/* Methods without arrays leave the description alone. */
static void test_no_arrays(void **state)
{
    (void)state;
    struct qn_transport t;
    struct qins_error err;
    write_archive(carried, 1,
                  TEST_TRANSPORT_OF(TEST_TRANSPORT_INPUT("a", "decode", "0"),
                                    TEST_TRANSPORT_LAYER("0", "false")));
    test_ok(read_archive(&t, &err), &err);
    assert_int_equal(t.n_layers, 1);
    qn_transport_finish(&t);
}

static void expect_refusal(const struct test_tensor *list, size_t n, const char *description,
                           const char *what)
{
    struct qn_transport t;
    struct qins_error err = {0};
    write_archive(list, n, description);
    const enum qins_status st = read_archive(&t, &err);
    qn_transport_finish(&t);
    if (st != QINS_ERR_FORMAT || !strstr(err.message, what))
        fail_msg("status %d, '%s' is not '%s'", (int)st, test_error(&err), what);
    assert_string_equal(err.file, test_file("a.qins"));
}

static void test_hostile(void **state)
{
    (void)state;
    const struct test_tensor *c = carried;
    const struct test_tensor half = {c[1].name, QINS_F16, 2, {3, 3}, c[1].plan};
    const struct test_tensor flat = {c[1].name, QINS_F32, 1, {9}, c[1].plan};
    const struct test_tensor wide = {c[1].name, QINS_F32, 2, {3, 4}, c[1].plan};
    const struct test_tensor more = {
        QN_TRANSPORT_PREFIX "layers/1/output_scale", QINS_F32, 1, {8}, c[1].plan};
    const struct {
        struct test_tensor tensors[4];
        size_t n;
        const char *description, *what;
    } cases[] = {
        {{c[0], c[1], c[2]}, 3, NULL, "no " QN_TRANSPORT_ATTACHMENT},
        {{c[0], c[1], c[2]}, 3, "", "JSON"},
        {{c[0], c[1], c[2]}, 3, "{\"schema\":\"qins/transport-weights/1\"}", "model_fingerprint"},
        {{c[0], c[2], c[1]}, 3, TEST_TRANSPORT, "in its place"},
        {{c[0], c[1]}, 2, TEST_TRANSPORT, "more than a file of its size"},
        {{c[0]}, 1, TEST_TRANSPORT, "more than a file of its size"},
        {{c[0], c[1], c[2], more}, 4, TEST_TRANSPORT, "does not know it"},
        {{c[0], c[1], c[2]},
         3,
         TEST_TRANSPORT_OF(TEST_TRANSPORT_INPUT("a", "split", "3"),
                           TEST_TRANSPORT_LAYER("0", "false")),
         "does not know it"},
        {{c[0], half, c[2], more}, 4, TEST_TRANSPORT, "type or shape"},
        {{c[0], flat, c[2]}, 3, TEST_TRANSPORT, "type or shape"},
        {{c[0], wide, c[2]}, 3, TEST_TRANSPORT, "type or shape"},
        {{c[1], c[0], c[2]}, 3, TEST_TRANSPORT, "among the model's own"},
        {{c[0], c[1], c[2]},
         3,
         TEST_TRANSPORT_OF(
             TEST_TRANSPORT_INPUT("a", "split", "3") "," TEST_TRANSPORT_INPUT("b", "ridge", "2"),
             TEST_TRANSPORT_LAYER("0", "false") "," TEST_TRANSPORT_LAYER("1", "false")),
         "planes do not fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refusal(cases[i].tensors, cases[i].n, cases[i].description, cases[i].what);
}

/* A value that is not finite is refused, wherever it comes from. */
static void test_not_finite(void **state)
{
    (void)state;
    struct qn_archive_writer *w;
    struct qn_attachment_list files = {0};
    struct qins_error err;
    struct qn_transport t;
    float x[9] = {[4] = NAN};
    struct qn_archive_tensor a = test_describe_tensor(&carried[1]);
    static const char description[] = TEST_TRANSPORT_OF(TEST_TRANSPORT_INPUT("a", "split", "3"),
                                                        TEST_TRANSPORT_LAYER("0", "false"));
    test_ok(qn_archive_writer_create(&w, test_file("a.qins"), "test", &err), &err);
    struct qn_sink *sink = qn_archive_writer_sink(w);
    test_ok(sink->begin(sink, &a, &err), &err);
    test_send_chunk(sink, &a, (const uint8_t *)x, 0);
    test_ok(sink->end(sink, &err), &err);
    test_ok(
        qn_attachment_add(&files, QN_TRANSPORT_ATTACHMENT, description, strlen(description), &err),
        &err);
    test_ok(qn_archive_writer_commit(w, &files, NULL, &err), &err);
    qn_archive_writer_destroy(w);
    qn_attachment_list_finish(&files);
    assert_int_equal(read_archive(&t, &err), QINS_ERR_FORMAT);
    assert_non_null(strstr(err.message, "not finite"));
    qn_transport_finish(&t);
}

static void write_checkpoint(const char *path, const char *name)
{
    char head[128];
    uint8_t file[8 + sizeof head + 24] = {0};
    const int n =
        snprintf(head, sizeof head,
                 "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", name);
    struct qins_error err;
    qn_store64(file, (uint64_t)n);
    memcpy(file + 8, head, (size_t)n);
    for (int i = 0; i < 24; i++)
        file[8 + n + i] = (uint8_t)(i % 4 == 3 ? 0x3f : i);
    test_ok(qn_write_whole(path, file, 8 + (size_t)n + 24, &err), &err);
}

static void test_carried(void **state)
{
    (void)state;
    struct qn_transport t, again;
    struct qn_checkpoint *ck;
    struct qins_error err;
    uint8_t mine[24];
    float values[12];
    write_archive(carried, N_CARRIED, TEST_TRANSPORT);
    test_ok(read_archive(&t, &err), &err);
    write_checkpoint(test_file("m.safetensors"), "w");
    write_checkpoint(test_file("t.h5"), "any file");
    test_ok(qn_checkpoint_open(&ck, test_file("m.safetensors"), NULL, &err), &err);
    t.study = json_object();
    test_ok(qn_transport_carry(&ck, &t, test_file("t.h5"), &err), &err);
    assert_string_equal(ck->ops->format, "safetensors");
    assert_int_equal(ck->tensors.count, N_CARRIED);
    assert_int_equal(ck->n_files, 2);
    for (size_t i = 0; i < N_CARRIED; i++)
        assert_string_equal(ck->tensors.items[i].name, carried[i].name);
    test_ok(qn_checkpoint_read(ck, 0, 4, mine, 20, &err), &err);
    for (int i = 0; i < 20; i++)
        assert_int_equal(mine[i], i % 4 == 3 ? 0x3f : i + 4);
    test_ok(qn_checkpoint_read(ck, 2, 8, values, 40, &err), &err);
    assert_memory_equal(values, t.layers[1].planes + 2, 40);
    assert_int_not_equal(qn_checkpoint_read(ck, 2, 8, values, 44, &err), QINS_OK);
    assert_int_equal(qn_transport_planes_of(&t, ck->tensors.items[0].name), SIZE_MAX);
    assert_int_equal(qn_transport_planes_of(&t, ck->tensors.items[1].name), SIZE_MAX);
    assert_int_equal(qn_transport_planes_of(&t, ck->tensors.items[2].name), 1);
    const struct qn_attachment *d = qn_attachment_find(&ck->attachments, QN_TRANSPORT_ATTACHMENT);
    assert_non_null(d);
    test_ok(qn_transport_from_json(d->data, d->size, 1000, &again, &err), &err);
    assert_int_equal(again.n_layers, 2);
    assert_null(again.study);
    qn_transport_finish(&again);
    assert_int_equal(qn_check_types(ck, &err), QINS_ERR_UNSUPPORTED); /* of what is no archive */
    qn_checkpoint_destroy(ck);
    qn_transport_finish(&t);
}

/* A transport for tensors that are not there leaves all as it was. */
static void test_not_carried(void **state)
{
    (void)state;
    struct qn_transport t;
    struct qn_checkpoint *ck;
    struct qins_error err;
    write_archive(carried, N_CARRIED, TEST_TRANSPORT);
    test_ok(read_archive(&t, &err), &err);
    write_checkpoint(test_file("m.safetensors"), "v");
    test_ok(qn_checkpoint_open(&ck, test_file("m.safetensors"), NULL, &err), &err);
    const struct qn_checkpoint *before = ck;
    assert_int_equal(qn_transport_carry(&ck, &t, test_file("m.safetensors"), &err),
                     QINS_ERR_FORMAT);
    assert_string_equal(err.tensor, "w");
    assert_ptr_equal(ck, before);
    assert_int_equal(ck->attachments.count, 0);
    t.layers[0].tensor[0] = t.layers[1].tensor[0] = 'v';
    t.inputs[0].coefficients[0] = INFINITY;
    assert_int_equal(qn_transport_carry(&ck, &t, test_file("m.safetensors"), &err),
                     QINS_ERR_FORMAT);
    assert_ptr_equal(ck, before);
    qn_checkpoint_destroy(ck);
    qn_transport_finish(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),   cmocka_unit_test(test_no_arrays),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_carried), cmocka_unit_test(test_not_carried),
    };
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
