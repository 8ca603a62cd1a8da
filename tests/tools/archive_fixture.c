/* Writes what other programs need to check archives by: in the folder named, samples.qins with
 * one tensor of each kind, N.source and N.view with the bytes of tensor N as the checkpoint had
 * them and as qins_read() yields them, samples.json with their descriptions; small.qins and
 * small.part, an archive and a spool of a few tensors, and transport.qins, which carries a
 * transport, as seeds for fuzzing. */
#include "formats/archive/spool.h"
#include "formats/archive/writer.h"
#include "tests/unit/archive_samples.h"
#include "tests/unit/carried_transport.h"

static const struct qn_plan_block blocks[] = {
    {0, 3, {QN_CONTENT_QINS, QN_CODEC_HUFFMAN, 15, 0.5f, 1.0f, QN_GROUP_ROW, .reason = ""}, 0},
    {3, 4, {QN_CONTENT_LOSSLESS, QN_CODEC_STORE, .access_frequency = -1.0, .reason = ""}, 0},
    {4,
     8,
     {QN_CONTENT_QINS, QN_CODEC_BITPACK, 3, 0.0f, 1.0f, QN_GROUP_ROW, 0, QN_ROUND_FEEDBACK,
      QN_CLASS_COLD, 0.5, ""},
     0},
};

static const struct test_tensor small[] = {
    {"w", QINS_BF16, 2, {4, 8}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"q", QINS_F32, 2, {8, 8}, QUANTISED(QN_CODEC_BITPACK, 7, QN_GROUP_ROW, 0)},
    {"h", QINS_F32, 2, {8, 32}, QUANTISED(QN_CODEC_HUFFMAN, 15, QN_GROUP_BLOCK, 16)},
    {"b", QINS_F32, 2, {8, 32}, QUANTISED(QN_CODEC_HUFFMAN, 15, QN_GROUP_ROW, 0), blocks, 3},
    {"s", QINS_F16, 0, {0}, LOSSLESS(QN_CODEC_STORE)},
};
enum { N_SMALL = sizeof small / sizeof *small };

static void write_archive(const char *path, const struct test_tensor *list, size_t n,
                          const char *transport)
{
    struct qn_archive_writer *w;
    struct qn_attachment_list files = {0};
    struct qins_error err;
    test_ok(qn_archive_writer_create(&w, path, "test", &err), &err);
    for (size_t i = 0; i < n; i++)
        test_send(qn_archive_writer_sink(w), &list[i]);
    test_ok(qn_attachment_add(&files, "config.json", "{\"a\": 1}\n", 9, &err), &err);
    test_ok(qn_attachment_add(&files, "empty", NULL, 0, &err), &err);
    if (transport)
        test_ok(
            qn_attachment_add(&files, QN_TRANSPORT_ATTACHMENT, transport, strlen(transport), &err),
            &err);
    test_ok(qn_archive_writer_commit(w, &files, NULL, &err), &err);
    qn_archive_writer_destroy(w);
    qn_attachment_list_finish(&files);
}

static void write_spool(const char *path)
{
    struct qn_spool *s;
    struct qn_spool_state at;
    struct qins_error err;
    static const struct qn_digest job;
    test_ok(qn_spool_open(&s, path, &job, false, NULL, &at, &err), &err);
    for (size_t i = 0; i < N_SMALL; i++)
        test_send(qn_spool_sink(s), &small[i]);
    qn_spool_destroy(s, false);
}

static void save(size_t i, const char *suffix, const void *data, size_t size)
{
    char name[40];
    struct qins_error err;
    snprintf(name, sizeof name, "%zu.%s", i, suffix);
    test_ok(qn_write_whole(test_file(name), data, size, &err), &err);
}

static json_t *save_tensor(const qins_archive *a, size_t i)
{
    struct qins_tensor_info info;
    struct qins_error err;
    struct qn_archive_tensor t = test_describe_tensor(&samples[i]);
    uint8_t *source = test_tensor_bytes(&t.tensor);
    test_ok(qins_tensor(a, i, &info, &err), &err);
    size_t size = (size_t)info.n_elements * qins_dtype_size(info.dtype);
    uint8_t *view = malloc(size + 1);
    assert_non_null(view);
    test_ok(qins_read(a, i, 0, info.n_elements, view, size, &err), &err);
    save(i, "source", source, (size_t)t.tensor.n_bytes);
    save(i, "view", view, size);
    free(source);
    free(view);
    json_t *shape = json_array();
    for (unsigned k = 0; k < info.rank; k++)
        json_array_append_new(shape, json_integer((json_int_t)info.shape[k]));
    return json_pack("{ss ss ss so sb}", "name", info.name, "source_dtype",
                     qins_dtype_name(info.source_dtype), "dtype", qins_dtype_name(info.dtype),
                     "shape", shape, "lossless", samples[i].plan.content == QN_CONTENT_LOSSLESS);
}

int main(int argc, char **argv)
{
    struct qins_error err;
    qins_archive *a;
    json_t *list = json_array();
    if (argc != 2 || strlen(argv[1]) >= sizeof test_folder)
        return 2;
    snprintf(test_folder, sizeof test_folder, "%s", argv[1]);
    write_archive(test_file("samples.qins"), samples, N_SAMPLES, NULL);
    write_archive(test_file("small.qins"), small, N_SMALL, NULL);
    write_archive(test_file("transport.qins"), carried, N_CARRIED, TEST_TRANSPORT);
    write_spool(test_file("small.part"));
    test_ok(qins_open(&a, test_file("samples.qins"), &err), &err);
    for (size_t i = 0; i < N_SAMPLES; i++)
        json_array_append_new(list, save_tensor(a, i));
    qins_close(a);
    test_ok(qn_json_save(test_file("samples.json"), list, &err), &err);
    json_decref(list);
    return 0;
}
