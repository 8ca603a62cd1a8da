/* Plan files in memory and as JSON. That convert honours or refuses them is tested end to end. */
#include "formats/plan.h"

#include "core/bytes.h"
#include "tests/unit/archive_testing.h"

#include <math.h>

static struct qn_tensor_list list;

static void add_tensor(const char *name, enum qins_dtype dtype, unsigned rank,
                       const uint64_t *shape)
{
    struct qins_error err;
    test_ok(qn_tensor_list_add(&list, name, strlen(name), dtype, NULL, rank, shape, NULL, &err),
            &err);
}

static int make_list(void **state)
{
    (void)state;
    add_tensor("w \"\\\n", QINS_BF16, 2, (uint64_t[]){100, 64});
    add_tensor("v", QINS_F32, 1, (uint64_t[]){64});
    add_tensor("n", QINS_I8, 3, (uint64_t[]){2, 3, 4});
    add_tensor("s", QINS_F32, 0, NULL);
    add_tensor("e", QINS_F32, 2, (uint64_t[]){0, 7});
    return 0;
}

static int free_list(void **state)
{
    (void)state;
    qn_tensor_list_finish(&list);
    return 0;
}

static void fill(struct qn_plan *p)
{
    struct qn_plan_tensor *t = NULL;
    struct qins_error err;
    for (size_t i = 0; i < list.count; i++) {
        test_ok(qn_plan_add(p, &list.items[i], &t, &err), &err);
        t->line.codec = QN_CODEC_ZSTD;
        snprintf(t->line.reason, sizeof t->line.reason, "line %zu: \"so\"", i);
    }
    t = p->tensors;
    assert_non_null(t);
    if (!t)
        return;
    t->line = (struct qn_plan_line){
        QN_CONTENT_QINS,   QN_CODEC_HUFFMAN, 500, 0.1f, -1.0f, QN_GROUP_ROW, 0,
        QN_ROUND_FEEDBACK, QN_CLASS_HOT,     1.0, "why"};
    t->predicted_bytes = 1234.0;
    t->sensitivity = 1e-7;
    t->n_blocks = 2;
    t->blocks = calloc(2, sizeof *t->blocks);
    assert_non_null(t->blocks);
    t->blocks[0] = (struct qn_plan_block){0, 1, t->line, 0.0f};
    t->blocks[1] = (struct qn_plan_block){1, 100, t->line, 0.0f};
    t->blocks[1].line.group_kind = QN_GROUP_BLOCK;
    t->blocks[1].line.group = 16;
    t->blocks[1].line.rounding = QN_ROUND_NEAREST;
    t->blocks[1].line.access_class = QN_CLASS_COLD;
    t->blocks[1].line.access_frequency = -1.0;
    t->candidates = json_pack("[{si}]", "anything", 1);
    p->summary = json_pack("{ss}", "policy", "default");
}

static json_t *reparsed(const json_t *j)
{
    struct qins_error err;
    char *text = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(12)); /* as files have it */
    assert_non_null(text);
    json_t *again = qn_json_parse(text, strlen(text), 0, &err);
    assert_non_null(again);
    free(text);
    return again;
}

static void check_line(const struct qn_plan_line *a, const struct qn_plan_line *b)
{
    assert_int_equal(a->content, b->content);
    assert_int_equal(a->codec, b->codec);
    assert_int_equal(a->access_class, b->access_class);
    assert_true(a->access_frequency == b->access_frequency);
    assert_string_equal(a->reason, b->reason);
    if (a->content == QN_CONTENT_LOSSLESS)
        return;
    assert_int_equal(a->levels, b->levels);
    assert_true(a->kappa == b->kappa && a->clip == b->clip);
    assert_int_equal(a->group_kind, b->group_kind);
    assert_int_equal(a->group, b->group);
    assert_int_equal(a->rounding, b->rounding);
}

static void round_trip(void **state)
{
    (void)state;
    struct qn_plan p = {0}, back;
    struct qins_error err;
    fill(&p);
    test_ok(qn_plan_check(&p, "p.json", &list, &err), &err);
    json_t *j = qn_plan_to_json(&p), *again = reparsed(j);
    test_ok(qn_plan_from_json(again, &back, &err), &err);
    assert_int_equal(back.count, p.count);
    for (size_t i = 0; i < p.count; i++) {
        const struct qn_plan_tensor *a = &p.tensors[i], *b = &back.tensors[i];
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->rank, b->rank);
        check_line(&a->line, &b->line);
        assert_int_equal(a->n_blocks, b->n_blocks);
        for (size_t k = 0; k < a->n_blocks; k++) {
            assert_true(a->blocks[k].row_begin == b->blocks[k].row_begin &&
                        a->blocks[k].row_end == b->blocks[k].row_end);
            check_line(&a->blocks[k].line, &b->blocks[k].line);
        }
        assert_true(isnan(a->predicted_error) && isnan(b->predicted_error));
    }
    assert_true(back.tensors[0].predicted_bytes == 1234.0 && back.tensors[0].sensitivity == 1e-7);
    assert_true(json_equal(p.summary, back.summary));
    assert_true(json_equal(p.tensors[0].candidates, back.tensors[0].candidates));
    json_t *twice = qn_plan_to_json(&back);
    assert_true(json_equal(again, twice));
    test_ok(qn_plan_check(&back, "p.json", &list, &err), &err);
    assert_ptr_equal(qn_plan_find(&back, "s"), &back.tensors[3]);
    assert_ptr_equal(qn_plan_at(&back, 0, "s"), &back.tensors[3]);
    assert_null(qn_plan_find(&back, "t"));
    json_decref(j);
    json_decref(again);
    json_decref(twice);
    qn_plan_finish(&p);
    qn_plan_finish(&back);
}

/* Short decimal numbers must name the floats exactly. */
static void floats_are_exact(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int i = 0; i < 3000; i++) {
        struct qn_plan_line line = {.content = QN_CONTENT_QINS, .levels = 7, .clip = 1.0f};
        uint32_t bits = (uint32_t)(test_random(&seed) >> 33);
        line.kappa = qn_float_from_bits(bits % (qn_float_bits(QN_MAX_KAPPA) + 1));
        json_t *j = json_object();
        qn_plan_line_put(&j, &line);
        json_t *again = reparsed(j);
        float got = (float)json_number_value(json_object_get(again, "kappa"));
        assert_int_equal(qn_float_bits(got), qn_float_bits(line.kappa));
        json_decref(j);
        json_decref(again);
    }
}

static enum qins_status parse(const char *line, struct qn_plan *out, struct qins_error *err)
{
    char text[1024];
    snprintf(text, sizeof text,
             "{\"schema\":\"qins/plan/1\",\"tensors\":[{\"name\":\"w\",\"dtype\":\"F32\","
             "\"shape\":[8,4],\"class\":\"hot\",%s}]}",
             line);
    json_t *j = qn_json_parse(text, strlen(text), 0, err);
    assert_non_null(j);
    enum qins_status st = qn_plan_from_json(j, out, err);
    json_decref(j);
    return st;
}

/* What is left out, in a line and in a block. */
static void defaults(void **state)
{
    (void)state;
    struct qn_plan p;
    struct qins_error err;
    test_ok(parse("\"bits\":6,\"codec\":\"store\"", &p, &err), &err);
    const struct qn_plan_line *l = &p.tensors[0].line;
    assert_int_equal(l->levels, 31);
    assert_true(l->kappa < 0 && l->clip < 0 && l->access_frequency < 0);
    assert_true(l->group_kind == QN_GROUP_ROW && l->rounding == QN_ROUND_NEAREST);
    qn_plan_finish(&p);

    test_ok(parse("\"levels\":null,\"codec\":\"zstd\",\"blocks\":[{\"row_begin\":0,\"row_end\":1,"
                  "\"levels\":9,\"codec\":\"huffman\"},{\"row_begin\":1,\"row_end\":8}]",
                  &p, &err),
            &err);
    l = &p.tensors[0].blocks[0].line;
    assert_true(l->content == QN_CONTENT_QINS && l->levels == 9 && l->kappa < 0 && l->clip < 0);
    assert_int_equal(l->group_kind, QN_GROUP_ROW);
    assert_int_equal(l->access_class, QN_CLASS_HOT);
    l = &p.tensors[0].blocks[1].line;
    assert_true(l->content == QN_CONTENT_LOSSLESS && l->codec == QN_CODEC_ZSTD);
    qn_plan_finish(&p);
}

static void refusals(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "\"codec\":\"zstd\"",
        "\"levels\":7",
        "\"levels\":7.0,\"codec\":\"zstd\"",
        "\"levels\":-7,\"codec\":\"zstd\"",
        "\"levels\":7,\"bits\":null,\"codec\":\"zstd\"",
        "\"levels\":null,\"bits\":4,\"codec\":\"zstd\"",
        "\"bits\":1,\"codec\":\"zstd\"",
        "\"bits\":13,\"codec\":\"zstd\"",
        "\"levels\":7,\"codec\":\"\"",
        "\"levels\":7,\"codec\":7",
        "\"levels\":7,\"codec\":\"zstd\",\"kappa\":65537",
        "\"levels\":7,\"codec\":\"zstd\",\"kappa\":\"auto\"",
        "\"levels\":7,\"codec\":\"zstd\",\"clip\":0",
        "\"levels\":7,\"codec\":\"zstd\",\"group\":null",
        "\"levels\":7,\"codec\":\"zstd\",\"group\":-1",
        "\"levels\":7,\"codec\":\"zstd\",\"rounding\":null",
        "\"levels\":7,\"codec\":\"zstd\",\"access_frequency\":\"1\"",
        "\"levels\":7,\"codec\":\"zstd\",\"reason\":1",
        "\"levels\":7,\"codec\":\"zstd\",\"blocks\":7",
        "\"levels\":7,\"codec\":\"zstd\",\"blocks\":[7]",
        "\"levels\":7,\"codec\":\"zstd\",\"blocks\":[{}]",
        "\"levels\":7,\"codec\":\"zstd\",\"blocks\":[{\"row_begin\":0,\"row_end\":8,\"dtype\":1}]",
        "\"levels\":7,\"codec\":\"zstd\",\"predicted_bytes\":\"1\"",
        "\"levels\":7,\"codec\":\"zstd\",\"extra\":1",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct qn_plan p;
        struct qins_error err;
        if (parse(lines[i], &p, &err) != QINS_ERR_FORMAT)
            fail_msg("not refused: %s", lines[i]);
        assert_int_equal(p.count, 0);
        assert_string_equal(err.tensor, "w");
        assert_null(strchr(err.message, '\n'));
    }
}

static void expect_unfit(const struct qn_plan *p, const char *tensor)
{
    struct qins_error err;
    assert_int_equal(qn_plan_check(p, "p.json", &list, &err), QINS_ERR_FORMAT);
    assert_string_equal(err.tensor, tensor);
}

static void unfit_plans(void **state)
{
    (void)state;
    struct qn_plan p = {0};
    struct qins_error err;
    const char *w = list.items[0].name;
    fill(&p);
    struct qn_plan_tensor *t = p.tensors;
    assert_non_null(t);
    if (!t)
        return;
    t[0].blocks[1].row_end = 99;
    expect_unfit(&p, w);
    t[0].blocks[1].row_end = 100;
    t[0].blocks[1].line.content = QN_CONTENT_SEED;
    expect_unfit(&p, w);
    t[0].blocks[1].line.content = QN_CONTENT_LOSSLESS;
    t[0].blocks[1].line.codec = QN_CODEC_BITPACK;
    expect_unfit(&p, w);
    t[0].blocks[1].line.codec = QN_CODEC_RLE;
    test_ok(qn_plan_check(&p, "p.json", &list, &err), &err);
    for (size_t i = 2; i < 4; i++) { /* integers, scalars */
        t[i].line.content = QN_CONTENT_QINS;
        expect_unfit(&p, list.items[i].name);
        t[i].line.content = QN_CONTENT_LOSSLESS;
    }
    t[4].line.content = QN_CONTENT_QINS; /* an empty tensor may be called anything */
    t[4].line.rounding = QN_ROUND_FEEDBACK;
    test_ok(qn_plan_check(&p, "p.json", &list, &err), &err);
    p.count--;
    expect_unfit(&p, "e");
    p.count++;
    list.count--;
    expect_unfit(&p, "e");
    list.count++;
    qn_plan_finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),  cmocka_unit_test(floats_are_exact),
        cmocka_unit_test(defaults),    cmocka_unit_test(refusals),
        cmocka_unit_test(unfit_plans),
    };
    return cmocka_run_group_tests(tests, make_list, free_list);
}
