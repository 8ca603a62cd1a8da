#include "formats/safetensors.h"
#include "tests/unit/checkpoint_testing.h"

static const char index_name[] = "model.safetensors.index.json";

static unsigned n_notices;

static void count_notice(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
    n_notices++;
}

static struct qn_checkpoint *open_folder(const char *path)
{
    struct qn_checkpoint *ck = NULL;
    struct qins_error err;
    char line[1024];
    const struct qn_monitor monitor = {.notice = count_notice};
    n_notices = 0;
    if (qn_checkpoint_open(&ck, path, &monitor, &err) != QINS_OK)
        fail_msg("%s", qins_error_format(&err, line, sizeof line));
    return ck;
}

static void refuse(const char *path, enum qins_status status, const char *message)
{
    struct qn_checkpoint *ck = NULL;
    struct qins_error err = {0};
    char line[1024];
    enum qins_status st = qn_checkpoint_open(&ck, path, NULL, &err);
    qn_checkpoint_destroy(ck);
    qins_error_format(&err, line, sizeof line);
    if (st != status || !strstr(line, message))
        fail_msg("status %d '%s' instead of '%s'", (int)st, line, message);
}

static void copy_folder(const char *from, const char *to)
{
    test_shell("rm -rf '%s' && cp -r '%s' '%s' && rm -f '%s'/*.expect", test_path("%s", to),
               test_path("%s", from), test_path("%s", to), test_path("%s", to));
}

static void write_index(const char *folder, const char *text)
{
    struct qins_error err;
    assert_int_equal(
        qn_write_whole(test_path("%s/%s", folder, index_name), text, strlen(text), &err), QINS_OK);
}

static void follows_the_index(void **state)
{
    (void)state;
    struct qn_checkpoint *ck = open_folder(test_path("sharded"));
    assert_string_equal(ck->ops->format, "huggingface");
    test_shell("cat %s/*.expect > %s", test_path("sharded"), test_path("all.want"));
    test_matches_description(ck, test_path("all.want"));
    assert_non_null(qn_attachment_find(&ck->attachments, QN_SAFETENSORS_METADATA));
    assert_int_equal(n_notices, 0);
    qn_checkpoint_destroy(ck);
}

static void opens_one_file_with_its_config(void **state)
{
    (void)state;
    struct qn_checkpoint *ck = open_folder(test_path("llama"));
    test_matches_description(ck, test_path("llama/model.safetensors.expect"));
    assert_non_null(qn_attachment_find(&ck->attachments, "config.json"));
    assert_non_null(qn_attachment_find(&ck->attachments, "tokenizer.json"));
    qn_checkpoint_destroy(ck);

    copy_folder("llama", "other");
    test_shell("cd '%s' && rm model.safetensors && cp '%s' weights.gguf && echo x > tokenizer.bin",
               test_path("other"), test_path("all.gguf"));
    ck = open_folder(test_path("other"));
    assert_string_equal(ck->ops->format, "gguf");
    assert_non_null(qn_attachment_find(&ck->attachments, "config.json"));
    qn_checkpoint_destroy(ck);
}

static void what_the_index_omits_is_left_out(void **state)
{
    (void)state;
    test_shell("rm -rf '%s' && mkdir '%s'", test_path("part"), test_path("part"));
    test_shell("cp '%s' '%s/s.safetensors'", test_path("all.safetensors"), test_path("part"));
    write_index("part",
                "{\"weight_map\":{\"t.F32\":\"s.safetensors\",\"t.I8\":\"s.safetensors\"}}");
    struct qn_checkpoint *ck = open_folder(test_path("part"));
    assert_int_equal(ck->tensors.count, 2);
    assert_int_equal(n_notices, 16);
    qn_checkpoint_destroy(ck);
}

static void refuses_a_broken_index(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{", "JSON:"},
        {"[]", "no weight_map"},
        {"{\"weight_map\":{}}", "no weight_map"},
        {"{\"weight_map\":{\"a\":1}}", "no plain file name"},
        {"{\"weight_map\":{\"a\":\"../s.safetensors\"}}", "no plain file name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "no plain file name"},
        {"{\"weight_map\":{\"a\":\"\"}}", "no plain file name"},
        {"{\"weight_map\":{\"a\":\"b\",\"a\":\"c\"}}", "JSON:"},
        {"{\"weight_map\":{\"t.F32\":\"s.safetensors\",\"t.I8\":\"gone.safetensors\"}}",
         "shard 'gone.safetensors' of the index is missing"},
        {"{\"weight_map\":{\"no such\":\"s.safetensors\"}}", "tensor 'no such'"},
        {"{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}", "header's length"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_index("part", cases[i].text);
        refuse(test_path("part"), QINS_ERR_FORMAT, cases[i].message);
    }
}

static void refuses_ambiguous_folders(void **state)
{
    (void)state;
    copy_folder("llama", "two");
    test_shell("cd '%s' && mv model.safetensors a.safetensors && cp a.safetensors b.safetensors",
               test_path("two"));
    refuse(test_path("two"), QINS_ERR_UNSUPPORTED, "2 files *.safetensors and no index");
    test_shell("cd '%s' && rm *.safetensors && echo '{}' > pytorch_model.bin.index.json && "
               "touch pytorch_model-00001-of-00001.bin",
               test_path("two"));
    refuse(test_path("two"), QINS_ERR_UNSUPPORTED, "a torch checkpoint in shards");
    test_shell("cd '%s' && rm *.bin *.bin.index.json", test_path("two"));
    /* A folder behind a name that fits is no candidate: else a link to itself would loop. */
    test_shell("cd '%s' && ln -s . c.bin && mkdir model.safetensors", test_path("two"));
    refuse(test_path("two"), QINS_ERR_UNSUPPORTED, "no checkpoint that qins knows");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_index),
        cmocka_unit_test(opens_one_file_with_its_config),
        cmocka_unit_test(what_the_index_omits_is_left_out),
        cmocka_unit_test(refuses_a_broken_index),
        cmocka_unit_test(refuses_ambiguous_folders),
    };
    return cmocka_run_group_tests(tests, test_make_fixtures, test_remove_fixtures);
}
