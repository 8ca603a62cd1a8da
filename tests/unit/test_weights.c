#include "convert/convert.h"
#include "convert/restore.h"
#include "model/synthetic.h"
#include "model/taps.h"
#include "model/weights_plan.h"
#include "tests/unit/archive_reseal.h"
#include "tests/unit/checkpoint_testing.h"

static char notice[1024];

static void keep_notice(void *ctx, const char *line)
{
    (void)ctx;
    snprintf(notice, sizeof notice, "%s", line);
}

static struct qn_model *open_model(const char *path, unsigned threads)
{
    struct qn_model *m = NULL;
    struct qins_error err;
    char line[1024];
    const struct qn_monitor monitor = {.notice = keep_notice};
    notice[0] = '\0';
    if (qn_model_open(&m, path, threads, &monitor, &err) != QINS_OK)
        fail_msg("%s", qins_error_format(&err, line, sizeof line));
    return m;
}

static void refuse(const char *name, enum qins_status status, const char *message)
{
    struct qn_model *m = NULL;
    struct qins_error err = {0};
    char line[1024];
    enum qins_status st = qn_model_open(&m, test_path("%s", name), 2, NULL, &err);
    qins_error_format(&err, line, sizeof line);
    if (st != status || !strstr(line, message))
        fail_msg("%s: status %d '%s' instead of %d '%s'", name, (int)st, line, (int)status,
                 message);
    assert_null(m);
}

/* Lines of a description, sorted like those of the fixtures. */
struct lines {
    char *text[512];
    size_t n;
};

static void add_line(struct lines *l, const void *data, enum qins_dtype dtype, uint64_t n,
                     const char *name, const char *suffix)
{
    struct qins_error err;
    assert_true(l->n < sizeof l->text / sizeof *l->text);
    assert_int_equal((uintptr_t)data % 64, 0);
    l->text[l->n++] =
        qn_format(&err, "%08lx %s %s%s\n", crc32(0, data, (uInt)(n * qins_dtype_size(dtype))),
                  qins_dtype_name(dtype), name, suffix);
}

static enum qins_status describe_need(void *ctx, const struct qn_need *n, struct qins_error *err)
{
    const struct qn_matrix *x = n->matrix;
    const float *bias = x ? x->bias : n->norm->bias;
    (void)err;
    assert_int_equal(bias != NULL, n->bias);
    if (x)
        add_line(ctx, x->data, x->dtype, (uint64_t)x->out * x->in, x->name, "");
    else
        add_line(ctx, n->norm->weight, QINS_F32, n->out, n->norm->name, "");
    if (bias)
        add_line(ctx, bias, QINS_F32, n->out, n->name, ".bias");
    return QINS_OK;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A line for each weight of M: crc32, type, name. */
static char *describe(struct qn_model *m)
{
    struct lines l = {.n = 0};
    struct qins_error err;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    const char *prefix = strncmp(m->embedding.name, "model.", 6) == 0 ? "model." : "";
    assert_int_equal(qn_weights_each(m, prefix, describe_need, &l, &err), QINS_OK);
    qsort(l.text, l.n, sizeof *l.text, compare_lines);
    for (size_t i = 0; i < l.n; i++) {
        fputs(l.text[i], f);
        free(l.text[i]);
    }
    fclose(f);
    return text;
}

static void convert(const char *path, const char *archive, bool lossless)
{
    struct qn_convert_options options = {.threads = 2};
    struct qins_error err;
    qn_plan_options_init(&options.plan);
    options.plan.lossless = lossless;
    if (qn_convert(path, archive, &options, NULL, NULL, &err) != QINS_OK)
        fail_msg("%s", err.message);
}

/* The folder, its lossless archive, whatever the number of threads. */
static void holds_what_was_written(void **state)
{
    static const char *const folders[] = {"f32", "bf16", "mixed", "extra"};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        const char *folder = test_path("%s", folders[i]),
                   *archive = test_path("%s.qins", folders[i]);
        convert(folder, archive, true);
        char *want = test_slurp(test_path("%s/expect", folders[i]), NULL);
        struct qn_digest digest;
        for (int k = 0; k < 3; k++) {
            struct qn_model *m = open_model(k == 0 ? archive : folder, k == 1 ? 1 : 3);
            char *got = describe(m);
            assert_string_equal(got, want);
            if (k == 0)
                digest = m->fingerprint;
            assert_memory_equal(digest.bytes, m->fingerprint.bytes, sizeof digest.bytes);
            assert_int_equal(m->config.vocab, 9000);
            assert_non_null(qn_attachment_find(&m->files, "config.json"));
            free(got);
            qn_model_destroy(m);
        }
        free(want);
    }
    qn_model_destroy(open_model(test_path("extra"), 1));
    assert_non_null(strstr(notice, "4 tensors are not used, the first is 'counts'"));
    qn_model_destroy(open_model(test_path("mixed"), 1));
    assert_string_equal(notice, ""); /* inv_freq means nothing */
}

static void fingerprints_without_loading(void **state)
{
    struct qn_digest a, b, c;
    struct qins_error err;
    (void)state;
    const char *archive = test_path("extra-8.qins");
    convert(test_path("extra"), archive, false);
    assert_int_equal(qn_model_fingerprint(test_path("extra"), 2, NULL, &a, &err), QINS_OK);
    assert_int_equal(qn_model_fingerprint(archive, 2, NULL, &b, &err), QINS_OK);
    assert_int_equal(qn_model_fingerprint(test_path("f32"), 2, NULL, &c, &err), QINS_OK);
    assert_memory_equal(a.bytes, b.bytes, sizeof a.bytes);
    assert_memory_not_equal(a.bytes, c.bytes, sizeof a.bytes);
    /* The config is not part of it. */
    test_shell("cp -r '%s' '%s' && echo '{}' > '%s'/config.json", test_path("f32"),
               test_path("other"), test_path("other"));
    assert_int_equal(qn_model_fingerprint(test_path("other"), 2, NULL, &b, &err), QINS_OK);
    assert_memory_equal(b.bytes, c.bytes, sizeof a.bytes);
    assert_int_equal(qn_model_fingerprint(test_path("gone"), 2, NULL, &b, &err), QINS_ERR_IO);
}

static void check_values(const struct qn_matrix *a, const struct qn_matrix *b)
{
    size_t n = a->out * a->in;
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    assert_true(x && y && a->out == b->out && a->in == b->in);
    qn_to_f32(a->dtype, a->data, x, n);
    qn_to_f32(b->dtype, b->data, y, n);
    assert_memory_equal(x, y, n * sizeof *x);
    free(x);
    free(y);
}

/* A quantised archive has the values that restore makes of it. */
static void quantised_weights_decode(void **state)
{
    const struct qn_restore_options options = {.dtype = QINS_F32, .threads = 2};
    struct qins_error err;
    (void)state;
    const char *archive = test_path("bf16-8.qins"), *folder = test_path("bf16-8/");
    convert(test_path("bf16"), archive, false);
    assert_int_equal(qn_restore(archive, folder, &options, NULL, NULL, &err), QINS_OK);
    struct qn_model *a = open_model(archive, 2), *b = open_model(folder, 2);
    struct qn_model *source = open_model(test_path("bf16"), 2);
    assert_memory_equal(a->fingerprint.bytes, source->fingerprint.bytes, 16);
    assert_memory_not_equal(a->fingerprint.bytes, b->fingerprint.bytes, 16);
    assert_int_equal(a->layers[1].mlp->up.dtype, QINS_F32);
    check_values(&a->embedding, &b->embedding);
    check_values(&a->head, &b->head);
    for (uint32_t i = 0; i < a->config.n_layers; i++) {
        const struct qn_layer *x = &a->layers[i], *y = &b->layers[i];
        check_values(&x->q, &y->q);
        check_values(&x->v, &y->v);
        check_values(&x->o, &y->o);
        check_values(&x->mlp->down, &y->mlp->down);
        assert_memory_equal(x->attn_norm.weight, y->attn_norm.weight, 64 * sizeof(float));
    }
    qn_model_destroy(a);
    qn_model_destroy(b);
    qn_model_destroy(source);
}

static void refuses_broken_models(void **state)
{
    (void)state;
    refuse("missing", QINS_ERR_FORMAT,
           "tensor 'model.layers.1.mlp.up_proj.weight': the model needs this tensor");
    refuse("shape", QINS_ERR_FORMAT, "its shape is 95x64, the config makes it 96x64");
    refuse("turned", QINS_ERR_FORMAT, "its shape is 64x96, the config makes it 96x64");
    refuse("rank", QINS_ERR_FORMAT, "its shape is 64x8x8, the config makes it 64x64");
    refuse("integer", QINS_ERR_UNSUPPORTED, "a weight of type I32");
    refuse("bias", QINS_ERR_FORMAT,
           "'model.layers.1.self_attn.q_proj.bias': there is a bias where the config has none");
    refuse("no_bias", QINS_ERR_FORMAT, "tensor 'model.layers.0.self_attn.q_proj.bias'");
    refuse("no_head", QINS_ERR_FORMAT, "tensor 'lm_head.weight'");
    refuse("layers", QINS_ERR_FORMAT, "too few for the 4096 layers");
    refuse("no_config", QINS_ERR_UNSUPPORTED, "there is no config.json");
    refuse("gguf", QINS_ERR_UNSUPPORTED, "GGUF");
    refuse("gone", QINS_ERR_IO, "gone");
}

/* Every row of the chunk table of an archive made to name the largest chunk. */
static void an_archive_cannot_claim_more_than_it_has(void **state)
{
    size_t size, largest = 0;
    struct qins_error err;
    (void)state;
    convert(test_path("f32"), test_path("claims.qins"), true);
    uint8_t *image = (uint8_t *)test_slurp(test_path("claims.qins"), &size);
    uint8_t *table = image + qn_load64(image + 48);
    uint64_t n = qn_load64(image + 56);
    for (size_t i = 0; i < n; i++)
        if (qn_load64(table + 24 * i + 8) > qn_load64(table + 24 * largest + 8))
            largest = i;
    for (size_t i = 0; i < n; i++)
        if (i != largest)
            memcpy(table + 24 * i, table + 24 * largest, 24);
    test_reseal(image, size, SEAL_INDEX);
    assert_int_equal(qn_write_whole(test_path("claims.qins"), image, size, &err), QINS_OK);
    free(image);
    refuse("claims.qins", QINS_ERR_FORMAT, "claim more bytes than the archive has");
}

static void odd_but_sound_models(void **state)
{
    (void)state;
    struct qn_model *m = open_model(test_path("tied"), 2);
    assert_ptr_equal(m->head.data, m->embedding.data);
    assert_string_equal(m->head.name, "model.embed_tokens.weight");
    assert_string_equal(notice, ""); /* lm_head.weight is left aside, as the config says */
    qn_model_destroy(m);
    m = open_model(test_path("nan"), 2);
    const float *q = m->layers[1].q.data;
    assert_true(q[0] != q[0]);
    qn_model_destroy(m);
}

static void an_interrupted_load_ends(void **state)
{
    atomic_bool stop = true;
    const struct qn_monitor monitor = {.stop = &stop};
    struct qn_model *m = NULL;
    struct qins_error err;
    (void)state;
    assert_int_equal(qn_model_open(&m, test_path("f32"), 2, &monitor, &err), QINS_ERR_INTERRUPTED);
    assert_null(m);
}

static void check_taps(const char *name, size_t per_layer, const char *const *names,
                       const uint32_t *channels)
{
    struct qn_model *m = open_model(test_path("%s", name), 1);
    struct qn_tap_list list;
    struct qins_error err;
    assert_int_equal(qn_taps_init(&list, m, &err), QINS_OK);
    assert_int_equal(list.n, m->config.n_layers * per_layer + 1);
    for (size_t i = 0; i < per_layer; i++) {
        const struct qn_tap_point *p = &list.points[per_layer + i];
        assert_int_equal(p->layer, 1);
        assert_string_equal(p->name, names[i]);
        assert_int_equal(p->channels, channels[i]);
    }
    const struct qn_tap_point *head = &list.points[list.n - 1];
    assert_int_equal(head->kind, QN_TAP_HEAD);
    assert_string_equal(head->tensors[0], m->head.name);
    qn_taps_finish(&list);
    qn_model_destroy(m);
}

static void taps_in_order_of_execution(void **state)
{
    static const char *const llama[] = {
        "model.layers.1.self_attn.q_proj.weight:input",
        "model.layers.1.self_attn.v_proj.weight:output",
        "model.layers.1.self_attn.o_proj.weight:input",
        "model.layers.1.mlp.gate_proj.weight:input",
        "model.layers.1.mlp.down_proj.weight:input",
    };
    static const char *const gpt2[] = {
        "transformer.h.1.attn.c_attn.weight:input", "transformer.h.1.attn.c_attn.weight:output",
        "transformer.h.1.attn.c_proj.weight:input", "transformer.h.1.mlp.c_fc.weight:input",
        "transformer.h.1.mlp.c_proj.weight:input",
    };
    static const char *const mixtral[] = {
        "model.layers.1.self_attn.q_proj.weight:input",
        "model.layers.1.self_attn.v_proj.weight:output",
        "model.layers.1.self_attn.o_proj.weight:input",
        "model.layers.1.block_sparse_moe.gate.weight:input",
        "model.layers.1.block_sparse_moe.experts.0.w1.weight:input",
        "model.layers.1.block_sparse_moe.experts.0.w2.weight:input",
        "model.layers.1.block_sparse_moe.experts.1.w1.weight:input",
        "model.layers.1.block_sparse_moe.experts.1.w2.weight:input",
        "model.layers.1.block_sparse_moe.experts.2.w1.weight:input",
        "model.layers.1.block_sparse_moe.experts.2.w2.weight:input",
        "model.layers.1.block_sparse_moe.experts.3.w1.weight:input",
        "model.layers.1.block_sparse_moe.experts.3.w2.weight:input",
        "model.layers.1.block_sparse_moe.experts.4.w1.weight:input",
        "model.layers.1.block_sparse_moe.experts.4.w2.weight:input",
    };
    (void)state;
    check_taps("f32", 5, llama, (const uint32_t[]){64, 32, 64, 64, 96});
    check_taps("gpt2", 5, gpt2, (const uint32_t[]){48, 48, 48, 48, 192});
    check_taps("mixtral", 14, mixtral,
               (const uint32_t[]){32, 16, 32, 32, 32, 40, 32, 40, 32, 40, 32, 40, 32, 40});
}

/* Every architecture opens, and a random model of its shape has the same tensors. */
static void random_models_have_the_same_shape(void **state)
{
    static const char *const models[] = {"llama", "mistral",  "qwen2",   "qwen3",      "phi3",
                                         "gpt2",  "gpt_neox", "mixtral", "llama2c.bin"};
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct qn_model *m = open_model(test_path("%s", models[i]), 2), *r = NULL, *again = NULL;
        struct qins_error err;
        assert_string_equal(notice, "");
        assert_int_equal(qn_model_create_random(&r, &m->config, QINS_BF16, 7, &err), QINS_OK);
        assert_int_equal(qn_model_create_random(&again, &m->config, QINS_BF16, 7, &err), QINS_OK);
        assert_int_equal(r->n_parameters, m->n_parameters);
        assert_string_equal(r->head.name, m->head.name);
        assert_string_equal(r->layers[2].o.name, m->layers[2].o.name);
        assert_int_equal(r->layers[2].o.transposed, m->layers[2].o.transposed);
        assert_true(r->final_norm.weight[0] == 1);
        assert_int_equal(r->final_norm.bias != NULL, m->final_norm.bias != NULL);
        check_values(&r->layers[2].o, &again->layers[2].o);
        float x = 0;
        qn_to_f32(QINS_BF16, r->layers[2].mlp->down.data, &x, 1);
        assert_true(x != 0 && x > -1 && x < 1);
        qn_model_destroy(m);
        qn_model_destroy(r);
        qn_model_destroy(again);
    }
}

static int make_models(void **state)
{
    (void)state;
    test_folder_create();
    test_python("fixtures_weights.py", "make '%s'", test_folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_was_written),
        cmocka_unit_test(fingerprints_without_loading),
        cmocka_unit_test(quantised_weights_decode),
        cmocka_unit_test(refuses_broken_models),
        cmocka_unit_test(an_archive_cannot_claim_more_than_it_has),
        cmocka_unit_test(odd_but_sound_models),
        cmocka_unit_test(an_interrupted_load_ends),
        cmocka_unit_test(taps_in_order_of_execution),
        cmocka_unit_test(random_models_have_the_same_shape),
    };
    return cmocka_run_group_tests(tests, make_models, test_remove_fixtures);
}
