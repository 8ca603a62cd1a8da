#include "tests/unit/testing.h"

#include "core/file.h"
#include "policy/builtin.h"
#include "policy/classify.h"
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

#define HEAD "{\"schema\": \"qins/policy/1\", \"name\": \"t\", "
#define RULE "{\"component\": \"c\", \"tensors\": [\"*\"], \"treatment\": \"auto\""

static void test_builtin(void **state)
{
    (void)state;
    struct qn_policy p;
    struct qins_error err;
    assert_int_equal(qn_policy_builtin("archive", &p, &err), QINS_OK);
    assert_true(p.nothing_hot);
    qn_policy_finish(&p);
    assert_int_equal(qn_policy_builtin("default", &p, &err), QINS_OK);
    assert_false(p.nothing_hot);
    assert_string_equal(p.name, "default");
    assert_true(p.hot_touches >= p.cold_touches);
    assert_int_equal(p.target_bytes, 0);
    qn_policy_finish(&p);
    qn_policy_finish(&p);
    assert_int_equal(qn_policy_builtin("other", &p, &err), QINS_ERR_USAGE);
    assert_non_null(strstr(err.message, "archive"));
}

/* What is compiled in is what is installed. */
static void test_files(void **state)
{
    (void)state;
    const char *root = getenv("QINS_SOURCE_ROOT");
    if (!root)
        skip();
    static const struct {
        const char *name, *text;
        const size_t *size;
    } files[] = {
        {"policy/default.json", qn_policy_default_json, &qn_policy_default_json_size},
        {"policy/archive.json", qn_policy_archive_json, &qn_policy_archive_json_size},
    };
    for (size_t i = 0; i < 2; i++) {
        struct qn_buf b = {0};
        char *path = qn_path_join(root, files[i].name, NULL);
        assert_int_equal(qn_read_whole(path, 1 << 20, &b, NULL), QINS_OK);
        assert_int_equal(b.size, *files[i].size);
        assert_memory_equal(b.data, files[i].text, b.size);
        qn_buf_finish(&b);
        free(path);
    }
}

/* Names as checkpoints of each family give them. */
static void test_components(void **state)
{
    (void)state;
    static const struct {
        const char *name, *component;
        enum qn_treatment treatment;
    } cases[] = {
        {"model.layers.0.input_layernorm.weight", "normalisation", QN_TREAT_LOSSLESS},
        {"model.norm.weight", "normalisation", QN_TREAT_LOSSLESS},
        {"model.layers.3.self_attn.q_norm.weight", "normalisation", QN_TREAT_LOSSLESS},
        {"transformer.h.0.ln_1.weight", "normalisation", QN_TREAT_LOSSLESS},
        {"transformer.ln_f.bias", "normalisation", QN_TREAT_LOSSLESS},
        {"ln_f.weight", "normalisation", QN_TREAT_LOSSLESS},
        {"gpt_neox.layers.0.post_attention_layernorm.weight", "normalisation", QN_TREAT_LOSSLESS},
        {"layers.0.attention_norm.weight", "normalisation", QN_TREAT_LOSSLESS},
        {"blk.0.attn_norm.weight", "normalisation", QN_TREAT_LOSSLESS},
        {"output_norm.weight", "normalisation", QN_TREAT_LOSSLESS},
        {"batch_normalization_1/gamma:0", "normalisation", QN_TREAT_LOSSLESS},
        {"model.layers.0.self_attn.q_proj.bias", "bias", QN_TREAT_LOSSLESS},
        {"gpt_neox.layers.0.attention.dense.bias", "bias", QN_TREAT_LOSSLESS},
        {"dense_1/bias:0", "bias", QN_TREAT_LOSSLESS},
        {"freq_cis_real", "rotation table", QN_TREAT_LOSSLESS},
        {"gpt_neox.layers.0.attention.rotary_emb.inv_freq", "rotation table", QN_TREAT_LOSSLESS},
        {"kv_cache.0.k", "K cache", QN_TREAT_LOSSLESS},
        {"kv_cache.0.v", "V cache", QN_TREAT_AUTO},
        {"model.layers.0.block_sparse_moe.gate.weight", "router", QN_TREAT_LOSSLESS},
        {"blk.0.ffn_gate_inp.weight", "router", QN_TREAT_LOSSLESS},
        {"model.embed_tokens.weight", "embedding", QN_TREAT_BY_ROW},
        {"transformer.wte.weight", "embedding", QN_TREAT_BY_ROW},
        {"wpe.weight", "embedding", QN_TREAT_BY_ROW},
        {"gpt_neox.embed_in.weight", "embedding", QN_TREAT_BY_ROW},
        {"tok_embeddings.weight", "embedding", QN_TREAT_BY_ROW},
        {"token_embd.weight", "embedding", QN_TREAT_BY_ROW},
        {"embedding_1/embeddings:0", "embedding", QN_TREAT_BY_ROW},
        {"lm_head.weight", "output head", QN_TREAT_BY_ROW},
        {"embed_out.weight", "output head", QN_TREAT_BY_ROW},
        {"output.weight", "output head", QN_TREAT_BY_ROW},
        {"model.layers.1.block_sparse_moe.experts.7.w2.weight", "expert", QN_TREAT_AUTO},
        {"blk.0.ffn_gate_exps.weight", "expert", QN_TREAT_AUTO},
        {"model.layers.0.mlp.gate_up_proj.weight", "MLP projection", QN_TREAT_AUTO},
        {"model.layers.0.mlp.gate_proj.weight", "MLP projection", QN_TREAT_AUTO},
        {"transformer.h.0.mlp.c_fc.weight", "MLP projection", QN_TREAT_AUTO},
        {"gpt_neox.layers.0.mlp.dense_4h_to_h.weight", "MLP projection", QN_TREAT_AUTO},
        {"layers.0.feed_forward.w3.weight", "MLP projection", QN_TREAT_AUTO},
        {"blk.0.ffn_down.weight", "MLP projection", QN_TREAT_AUTO},
        {"model.layers.0.self_attn.qkv_proj.weight", "attention projection", QN_TREAT_AUTO},
        {"transformer.h.0.attn.c_attn.weight", "attention projection", QN_TREAT_AUTO},
        {"gpt_neox.layers.0.attention.query_key_value.weight", "attention projection",
         QN_TREAT_AUTO},
        {"layers.0.attention.wq.weight", "attention projection", QN_TREAT_AUTO},
        {"blk.0.attn_output.weight", "attention projection", QN_TREAT_AUTO},
        {"conv2d_1/kernel:0", "matrix", QN_TREAT_AUTO},
        {"`odd' \"name\"/\xc3\xbc", "matrix", QN_TREAT_AUTO},
    };
    struct qn_policy p;
    assert_int_equal(qn_policy_builtin("default", &p, NULL), QINS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct qn_policy_rule *r = qn_policy_match(&p, cases[i].name);
        assert_non_null(r);
        if (strcmp(r->name, cases[i].component) != 0 || r->treatment != cases[i].treatment)
            fail_msg("%s is taken for %s", cases[i].name, r->name);
    }
    qn_policy_finish(&p);
}

static void test_first_match(void **state)
{
    (void)state;
    static const char text[] =
        HEAD "\"rules\": [{\"component\": \"a\", \"tensors\": [\"x\", \"y*\"], \"treatment\": "
             "\"cold\", \"min_bits\": 3, \"max_bits\": 5}, {\"component\": \"b\", \"tensors\": "
             "[\"*z\"], \"treatment\": \"hot\", \"comment\": \"any\"}], \"budget\": "
             "{\"target_size_bytes\": 1000}}";
    struct qn_policy p;
    assert_int_equal(qn_policy_parse(text, sizeof text - 1, &p, NULL), QINS_OK);
    assert_int_equal(p.target_bytes, 1000);
    assert_string_equal(qn_policy_match(&p, "yz")->name, "a");
    assert_int_equal(qn_policy_match(&p, "yz")->max_bits, 5);
    assert_string_equal(qn_policy_match(&p, "xz")->name, "b");
    assert_null(qn_policy_match(&p, "w"));
    qn_policy_finish(&p);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "it is empty"},
        {"[]", "object"},
        {HEAD "\"rules\": [], \"hot\": 1}", "unknown key \"hot\""},
        {"{\"schema\": \"qins/policy/2\", \"name\": \"t\", \"rules\": []}", "qins/policy/1"},
        {HEAD "\"rules\": 3}", "rules"},
        {"{\"schema\": \"qins/policy/1\", \"name\": \"t\"}", "\"rules\" is missing"},
        {"{\"schema\": \"qins/policy/1\", \"rules\": []}", "\"name\" is missing"},
        {HEAD "\"rules\": [], \"name\": \"twice\"}", "duplicate"},
        {HEAD "\"rules\": [" RULE ", \"extra\": 1}]}", "rule 1: unknown key \"extra\""},
        {HEAD "\"rules\": [" RULE "}, 5]}", "rule 2: must be an object"},
        {HEAD "\"rules\": [{\"component\": \"c\", \"tensors\": [\"[z\"], \"treatment\": "
              "\"auto\"}]}",
         "bad glob \"[z\""},
        {HEAD "\"rules\": [{\"component\": \"c\", \"tensors\": [], \"treatment\": \"auto\"}]}",
         "list of globs"},
        {HEAD "\"rules\": [{\"component\": \"c\", \"tensors\": [\"*\"], \"treatment\": "
              "\"warm\"}]}",
         "treatment"},
        {HEAD "\"rules\": [" RULE ", \"min_bits\": 1}]}", "from 2 to 12"},
        {HEAD "\"rules\": [" RULE ", \"min_bits\": 9, \"max_bits\": 4}]}", "min_bits"},
        {HEAD "\"rules\": [], \"cold_touches\": 0.6}", "cold_touches"},
        {HEAD "\"rules\": [], \"hot_touches\": -1}", "hot_touches"},
        {HEAD "\"rules\": [], \"block_rows\": 0}", "block_rows"},
        {HEAD "\"rules\": [], \"nothing_hot\": 1}", "true or false"},
        {HEAD "\"rules\": [], \"budget\": {\"target_bits\": 0}}", "target_bits"},
        {HEAD "\"rules\": [], \"budget\": {\"target_bits\": 65}}", "target_bits"},
        {HEAD "\"rules\": [], \"budget\": {\"max_error\": -1}}", "max_error"},
        {HEAD "\"rules\": [], \"budget\": {\"target_size_bytes\": 0}}", "target_size_bytes"},
        {HEAD "\"rules\": [], \"budget\": {\"target_bits\": 4, \"max_error\": 1}}",
         "impossible budget"},
        {HEAD "\"rules\": [], \"budget\": {\"size\": 4}}", "unknown key \"size\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_policy p;
        struct qins_error err = {0};
        enum qins_status st = qn_policy_parse(cases[i].text, strlen(cases[i].text), &p, &err);
        if (st != QINS_ERR_FORMAT || !strstr(err.message, cases[i].message) ||
            strchr(err.message, '\n'))
            fail_msg("%s: %s", cases[i].text, err.message);
        qn_policy_finish(&p);
    }
}

/* Blocks of 32 rows whose counts, of 1000 tokens, put them above, between and below the
 * thresholds; the importance of rows keeps them apart. */
static void test_between(void **state)
{
    (void)state;
    enum { BLOCKS = 7, ROWS = 32, ALL = BLOCKS * ROWS, COLUMNS = 4096 };
    static const struct {
        uint64_t count[BLOCKS]; /* of a block */
        enum qn_class want[BLOCKS];
    } cases[] = {
#define H QN_CLASS_HOT
#define C QN_CLASS_COLD
        {{300, 700, 300, 20, 300, 300, 800}, {H, H, H, C, C, C, H}},
        {{300, 20, 300, 700, 300, 100, 500}, {C, C, C, H, H, C, H}},
        {{300, 200, 300, 200, 300, 200, 300}, {H, H, H, H, H, H, H}},
#undef H
#undef C
    };
    struct qn_policy p;
    assert_int_equal(qn_policy_builtin("default", &p, NULL), QINS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t counts[ALL];
        double importance[ALL];
        for (size_t r = 0; r < ALL; r++) {
            counts[r] = r % ROWS == 0 ? cases[i].count[r / ROWS] : 0;
            importance[r] = r / ROWS % 2 ? 1.0 : 1e6;
        }
        const struct qn_tensor_access access = {.touches = 3.0,
                                                .counts = counts,
                                                .importance = importance,
                                                .n_counts = ALL,
                                                .tokens = 1000,
                                                .looked_up = true};
        const struct qn_split_options o = {.treatment = QN_TREAT_BY_ROW,
                                           .n_rows = ALL,
                                           .row_length = COLUMNS,
                                           .block_bytes = 1.0,
                                           .most = BLOCKS};
        struct qn_access_block *blocks;
        size_t n;
        assert_int_equal(qn_split_rows(&p, &o, &access, &blocks, &n, NULL), QINS_OK);
        assert_int_equal(n, BLOCKS);
        for (size_t k = 0; k < BLOCKS; k++)
            assert_int_equal(blocks[k].access_class, cases[i].want[k]);
        free(blocks);
    }
    /* Without a neighbour it is hot. */
    assert_int_equal(qn_classify(&p, QN_TREAT_AUTO, 0.3), QN_CLASS_HOT);
    assert_int_equal(qn_classify(&p, QN_TREAT_AUTO, 0.1), QN_CLASS_COLD);
    qn_policy_finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builtin),    cmocka_unit_test(test_files),
        cmocka_unit_test(test_components), cmocka_unit_test(test_first_match),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
