#include "tests/unit/testing.h"

#include "policy/defaults.h"

#include <string.h>

static struct qn_plan_line plan_with(const struct qn_plan_options *o, const char *name,
                                     enum qins_dtype dtype, unsigned rank, uint64_t a, uint64_t b)
{
    struct qn_plan_line line;
    struct qn_tensor t = {.dtype = dtype, .rank = rank, .shape = {a, b}, .n_elements = a * b};
    char copy[128];
    strncpy(copy, name, sizeof copy - 1);
    copy[sizeof copy - 1] = '\0';
    t.name = copy;
    qn_default_plan(&t, o, &line);
    assert_true(line.reason[0] != '\0' && !strchr(line.reason, '\n'));
    return line;
}

static struct qn_plan_line plan(const char *name, enum qins_dtype dtype, unsigned rank, uint64_t a,
                                uint64_t b)
{
    struct qn_plan_options o;
    qn_plan_options_init(&o);
    return plan_with(&o, name, dtype, rank, a, b);
}

static void test_defaults(void **state)
{
    (void)state;
    struct qn_plan_line l = plan("model.layers.0.mlp.up_proj.weight", QINS_BF16, 2, 384, 128);
    assert_int_equal(l.content, QN_CONTENT_QINS);
    assert_int_equal(l.codec, QN_CODEC_BITPACK);
    assert_int_equal(l.levels, 127);
    assert_int_equal(l.group_kind, QN_GROUP_ROW);
    assert_true(l.kappa < 0 && l.clip < 0);
    assert_int_equal(plan("model.embed_tokens.weight", QINS_F32, 2, 2048, 128).levels, 127);
    assert_int_equal(plan("lm_head.weight", QINS_F16, 2, 2048, 128).levels, 127);

    l = plan("model.norm.weight", QINS_F32, 1, 5000, 1);
    assert_int_equal(l.content, QN_CONTENT_LOSSLESS);
    assert_int_equal(l.codec, QN_CODEC_HUFFMAN);
    assert_int_equal(l.levels, 0);
    assert_int_equal(plan("h.0.ln_1.w", QINS_F32, 2, 64, 64).content, QN_CONTENT_LOSSLESS);
    assert_int_equal(plan("attn.b.bias", QINS_F32, 2, 64, 64).content, QN_CONTENT_LOSSLESS);
    assert_int_equal(plan("x", QINS_F32, 2, 63, 65).content, QN_CONTENT_LOSSLESS);
    assert_int_equal(plan("x", QINS_F32, 2, 64, 64).content, QN_CONTENT_QINS);
    assert_int_equal(plan("x", QINS_F64, 2, 640, 64).content, QN_CONTENT_LOSSLESS);
    assert_int_equal(plan("x", QINS_I8, 2, 640, 64).content, QN_CONTENT_LOSSLESS);
    assert_int_equal(plan("x", QINS_BOOL, 2, 640, 64).content, QN_CONTENT_LOSSLESS);
    assert_int_equal(plan("x", QINS_F8_E4M3, 2, 640, 64).content, QN_CONTENT_QINS);
}

static void test_narrow_rows(void **state)
{
    (void)state;
    struct qn_plan_line l = plan("conv.kernel", QINS_F32, 2, 4096, 15);
    assert_int_equal(l.group_kind, QN_GROUP_TENSOR);
    assert_non_null(strstr(l.reason, "16 elements"));
    assert_int_equal(plan("conv.kernel", QINS_F32, 2, 4096, 16).group_kind, QN_GROUP_ROW);
}

static void test_roles(void **state)
{
    (void)state;
    assert_int_equal(qn_role_of("model.layers.3.input_layernorm.weight"), QN_ROLE_NORM);
    assert_int_equal(qn_role_of("blk.0.attn_norm.weight"), QN_ROLE_NORM);
    assert_int_equal(qn_role_of("batch_normalization_1.gamma:0"), QN_ROLE_NORM);
    assert_int_equal(qn_role_of("dense.bias:0"), QN_ROLE_BIAS);
    assert_int_equal(qn_role_of("transformer.wte.weight"), QN_ROLE_EMBEDDING);
    assert_int_equal(qn_role_of("token_embd.weight"), QN_ROLE_EMBEDDING);
    assert_int_equal(qn_role_of("embed_norm.weight"), QN_ROLE_NORM);
    assert_int_equal(qn_role_of("output.weight"), QN_ROLE_HEAD);
    assert_int_equal(qn_role_of("attn.output.weight"), QN_ROLE_OTHER);
    assert_int_equal(qn_role_of("enormous.weight"), QN_ROLE_OTHER);
    assert_int_equal(qn_role_of(""), QN_ROLE_OTHER);
}

static void test_overrides(void **state)
{
    (void)state;
    struct qn_plan_options o;
    qn_plan_options_init(&o);
    o.bits = 4;
    o.codec = QN_CODEC_RLE_HUFFMAN;
    o.group_given = true;
    o.group_kind = QN_GROUP_BLOCK;
    o.group = 32;
    o.kappa = 2.0F;
    struct qn_plan_line l = plan_with(&o, "x", QINS_F32, 2, 64, 64);
    assert_int_equal(l.levels, 7);
    assert_int_equal(l.codec, QN_CODEC_RLE_HUFFMAN);
    assert_int_equal(l.group_kind, QN_GROUP_BLOCK);
    assert_int_equal(l.group, 32);
    assert_true(l.kappa >= 2.0F && l.clip < 0.0F);

    o.codec = QN_CODEC_BITPACK; /* cannot hold lossless planes */
    assert_int_equal(plan_with(&o, "b", QINS_F32, 1, 64, 1).codec, QN_CODEC_HUFFMAN);

    qn_plan_options_init(&o);
    o.grid = QN_GRID_SEED;
    l = plan_with(&o, "x", QINS_F32, 2, 64, 64);
    assert_int_equal(l.content, QN_CONTENT_SEED);
    assert_true(l.kappa >= 1.0F && l.kappa <= 1.0F);

    qn_plan_options_init(&o);
    o.lossless = true;
    assert_int_equal(plan_with(&o, "x", QINS_F32, 2, 64, 64).content, QN_CONTENT_LOSSLESS);
}

static void test_checks(void **state)
{
    (void)state;
    struct qn_plan_options good, o;
    qn_plan_options_init(&good);
    assert_int_equal(qn_plan_options_check(&good, NULL), QINS_OK);
    o = good, o.bits = 13;
    assert_int_equal(qn_plan_options_check(&o, NULL), QINS_ERR_USAGE);
    o = good, o.bits = 1;
    assert_int_equal(qn_plan_options_check(&o, NULL), QINS_ERR_USAGE);
    o = good, o.clip = 1.5F;
    assert_int_equal(qn_plan_options_check(&o, NULL), QINS_ERR_USAGE);
    o = good, o.kappa = 1e6F;
    assert_int_equal(qn_plan_options_check(&o, NULL), QINS_ERR_USAGE);
    o = good, o.grid = QN_GRID_SEED, o.kappa = 0.0F;
    assert_int_equal(qn_plan_options_check(&o, NULL), QINS_ERR_USAGE);
    o = good, o.lossless = true, o.codec = QN_CODEC_BITPACK;
    assert_int_equal(qn_plan_options_check(&o, NULL), QINS_ERR_USAGE);
    o = good, o.grid = QN_GRID_SEED, o.clip = 0.5F;
    assert_int_equal(qn_plan_options_check(&o, NULL), QINS_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_narrow_rows),
        cmocka_unit_test(test_roles),    cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
