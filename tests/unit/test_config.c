#include "core/json.h"
#include "model/arch.h"
#include "tests/unit/testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char llama[] =
    "{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":100,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"max_position_embeddings\":128}";
static const char qwen2[] =
    "{\"model_type\":\"qwen2\",\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":100,"
    "\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"max_position_embeddings\":128,\"sliding_window\":16}";
static const char qwen3[] =
    "{\"model_type\":\"qwen3\",\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":100,"
    "\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"max_position_embeddings\":128}";
static const char mistral[] =
    "{\"model_type\":\"mistral\",\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":100,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":8,\"max_position_embeddings\":128}";
static const char mixtral[] =
    "{\"model_type\":\"mixtral\",\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":100,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":8,\"max_position_embeddings\":128}";
static const char gpt2[] = "{\"model_type\":\"gpt2\",\"n_embd\":48,\"n_layer\":2,\"n_head\":3,"
                           "\"vocab_size\":100,\"n_positions\":64}";
static const char neox[] =
    "{\"model_type\":\"gpt_neox\",\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":100,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"max_position_embeddings\":128}";
/* dims 16 / 2: four pairs are rotated */
static const char phi3[] =
    "{\"model_type\":\"phi3\",\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":100,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"max_position_embeddings\":256,"
    "\"partial_rotary_factor\":0.5}";

/* BASE with KEY set to VALUE (JSON); without it where VALUE is NULL. */
static char *changed(const char *base, const char *key, const char *value)
{
    json_t *j = json_loads(base, 0, NULL);
    assert_non_null(j);
    if (value) {
        json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(v);
        json_object_set_new(j, key, v);
    } else if (key) {
        json_object_del(j, key);
    }
    char *text = json_dumps(j, 0);
    json_decref(j);
    return text;
}

static struct qn_model_config parse(const char *base, const char *key, const char *value)
{
    struct qn_model_config c;
    struct qins_error err;
    char *text = changed(base, key, value);
    if (qn_config_parse(text, strlen(text), &c, &err) != QINS_OK)
        fail_msg("%s: %s", text, err.message);
    free(text);
    return c;
}

static void refuse(const char *base, const char *key, const char *value, enum qins_status status,
                   const char *message)
{
    struct qn_model_config c;
    struct qins_error err = {0};
    char *text = changed(base, key, value);
    enum qins_status st = qn_config_parse(text, strlen(text), &c, &err);
    if (st != status || !strstr(err.message, message))
        fail_msg("%s: status %d '%s' instead of %d '%s'", text, (int)st, err.message, (int)status,
                 message);
    assert_int_equal(err.status, status);
    free(text);
}

static void defaults_of_each_architecture(void **state)
{
    (void)state;
    struct qn_model_config c = parse(llama, NULL, NULL);
    assert_ptr_equal(c.arch, &qn_arch_llama);
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.rope.dims, 16);
    assert_true(c.norm_eps == 1e-6 && c.rope.theta == 1e4 && c.attention_scale == 0.25);
    assert_true(c.rope.scaling == QN_SCALING_NONE && c.activation == QN_ACT_SILU);
    assert_false(c.tied || c.qkv_bias || c.o_bias || c.mlp_bias || c.parallel_residual);
    assert_int_equal(c.sliding_window, 0);
    assert_int_equal(c.n_eos, 0);
    assert_int_equal(c.bos, -1);

    c = parse(mistral, NULL, NULL);
    assert_int_equal(c.n_kv_heads, 8);
    assert_int_equal(c.sliding_window, 4096);

    c = parse(qwen2, NULL, NULL);
    assert_true(c.qkv_bias && !c.o_bias);
    assert_int_equal(c.sliding_window, 0); /* use_sliding_window is not set */

    c = parse(qwen3, NULL, NULL);
    assert_int_equal(c.head_dim, 128);
    assert_false(c.qkv_bias);

    c = parse(mixtral, NULL, NULL);
    assert_int_equal(c.n_experts, 8);
    assert_int_equal(c.experts_per_token, 2);
    assert_true(c.rope.theta == 1e6 && c.norm_eps == 1e-5);

    c = parse(gpt2, NULL, NULL);
    assert_int_equal(c.intermediate, 4 * 48);
    assert_true(c.tied && c.qkv_bias && c.o_bias && c.mlp_bias);
    assert_true(c.activation == QN_ACT_GELU_TANH && c.arch->rope == QN_ROPE_NONE);
    assert_int_equal(c.rope.dims, 0);

    c = parse(neox, NULL, NULL);
    assert_true(c.parallel_residual && c.qkv_bias && c.o_bias && c.mlp_bias && !c.tied);
    assert_int_equal(c.rope.dims, 4);
    assert_int_equal(c.activation, QN_ACT_GELU_ERF);

    c = parse(phi3, NULL, NULL);
    assert_int_equal(c.rope.dims, 8);
    assert_true(c.norm_eps == 1e-5);
}

static void keys_have_their_effect(void **state)
{
    (void)state;
    assert_int_equal(parse(llama, "num_key_value_heads", "2").n_kv_heads, 2);
    assert_int_equal(parse(llama, "num_key_value_heads", "null").n_kv_heads, 4);
    assert_int_equal(parse(llama, "head_dim", "32").head_dim, 32);
    assert_int_equal(parse(llama, "hidden_size", "64.0").hidden, 64);
    assert_true(parse(llama, "head_dim", "64").attention_scale == 0.125);
    assert_true(parse(llama, "tie_word_embeddings", "true").tied);
    assert_false(parse(gpt2, "tie_word_embeddings", "false").tied);
    struct qn_model_config c = parse(llama, "attention_bias", "true");
    assert_true(c.qkv_bias && c.o_bias && !c.mlp_bias);
    assert_true(parse(llama, "mlp_bias", "true").mlp_bias);
    c = parse(neox, "attention_bias", "false");
    assert_true(!c.qkv_bias && !c.o_bias && c.mlp_bias);
    assert_false(parse(neox, "use_parallel_residual", "false").parallel_residual);
    assert_true(parse(neox, "rotary_emb_base", "5e5").rope.theta == 5e5);
    assert_int_equal(parse(neox, "rotary_pct", "1").rope.dims, 16);
    assert_true(parse(gpt2, "scale_attn_weights", "false").attention_scale == 1);
    assert_int_equal(parse(gpt2, "n_inner", "40").intermediate, 40);
    assert_int_equal(parse(gpt2, "n_inner", "null").intermediate, 192);
    assert_int_equal(parse(neox, "hidden_act", "\"gelu_fast\"").activation, QN_ACT_GELU_TANH);
    assert_int_equal(parse(neox, "hidden_act", "\"relu\"").activation, QN_ACT_RELU);
    assert_int_equal(parse(mistral, "sliding_window", "null").sliding_window, 0);
    assert_int_equal(parse(mistral, "sliding_window", "7").sliding_window, 7);
    assert_true(parse(llama, "rope_theta", "500000").rope.theta == 5e5);
    assert_true(parse(llama, "rms_norm_eps", "0.01").norm_eps == 0.01);
    /* without effect: the first and the last of their list, and others */
    parse(llama, "_attn_implementation", "\"sdpa\"");
    parse(llama, "use_return_dict", "true");
    parse(llama, "transformers_version", "\"4.46.0\"");
    parse(llama, "quantization_config", "null");
    parse(llama, "rope_scaling", "null");
    parse(llama, "task_specific_params", "{\"a\":[1,{}]}");
    parse(gpt2, "scale_attn_by_inverse_layer_idx", "false");
    parse(phi3, "full_attn_mod", "1");
}

static void tokens_that_end_a_text(void **state)
{
    (void)state;
    assert_int_equal(parse(llama, "eos_token_id", "null").n_eos, 0);
    struct qn_model_config c = parse(llama, "eos_token_id", "0");
    assert_true(c.n_eos == 1 && c.eos[0] == 0);
    c = parse(llama, "eos_token_id", "[5,7,5,100]"); /* the vocabulary ends at 99 */
    assert_true(c.n_eos == 2 && c.eos[0] == 5 && c.eos[1] == 7);
    assert_int_equal(parse(llama, "bos_token_id", "99").bos, 99);
    assert_int_equal(parse(llama, "bos_token_id", "100").bos, -1);
    assert_int_equal(parse(llama, "bos_token_id", "null").bos, -1);
    refuse(llama, "eos_token_id", "-1", QINS_ERR_FORMAT, "eos_token_id");
    refuse(llama, "eos_token_id", "\"2\"", QINS_ERR_FORMAT, "eos_token_id");
    refuse(llama, "eos_token_id", "[[2]]", QINS_ERR_FORMAT, "eos_token_id");
    refuse(llama, "eos_token_id", "[0,1,2,3,4,5,6,7,8]", QINS_ERR_UNSUPPORTED, "more than 8");
    refuse(llama, "bos_token_id", "[1]", QINS_ERR_FORMAT, "bos_token_id");
    refuse(llama, "bos_token_id", "1.5", QINS_ERR_FORMAT, "bos_token_id");
}

static void windows_by_layer(void **state)
{
    (void)state;
    char *text = changed(qwen2, "use_sliding_window", "true");
    struct qn_model_config c = parse(text, NULL, NULL);
    assert_int_equal(c.sliding_window, 0); /* max_window_layers is 28 */
    c = parse(text, "max_window_layers", "1");
    assert_true(c.sliding_window == 16 && c.sliding_from == 1);
    c = parse(text, "max_window_layers", "0");
    assert_true(c.sliding_window == 16 && c.sliding_from == 0);
    c = parse(text, "layer_types",
              "[\"full_attention\",\"full_attention\",\"sliding_attention\","
              "\"sliding_attention\"]");
    assert_true(c.sliding_window == 16 && c.sliding_from == 2);
    refuse(text, "layer_types", "[\"full_attention\"]", QINS_ERR_FORMAT, "layer_types");
    refuse(text, "layer_types",
           "[\"sliding_attention\",\"full_attention\",\"sliding_attention\","
           "\"sliding_attention\"]",
           QINS_ERR_UNSUPPORTED, "layer_types");
    refuse(text, "layer_types",
           "[\"full_attention\",\"linear_attention\",\"full_attention\",\"full_attention\"]",
           QINS_ERR_UNSUPPORTED, "linear_attention");
    refuse(qwen3, "layer_types",
           "[\"full_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]",
           QINS_ERR_FORMAT, "sliding_window");
    free(text);
}

#define FACTORS "\"short_factor\":[1,1.5,2,3],\"long_factor\":[1,4,8,16]"

static void rope_scalings(void **state)
{
    (void)state;
    struct qn_model_config c = parse(llama, "rope_scaling", "{\"type\":\"linear\",\"factor\":2.5}");
    assert_true(c.rope.scaling == QN_SCALING_LINEAR && c.rope.factor == 2.5);
    c = parse(llama, "rope_scaling",
              "{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
              "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":64}");
    assert_true(c.rope.scaling == QN_SCALING_LLAMA3 && c.rope.factor == 8 &&
                c.rope.low_freq_factor == 1 && c.rope.high_freq_factor == 4 &&
                c.rope.original_positions == 64);
    c = parse(llama, "rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":777}");
    assert_true(c.rope.scaling == QN_SCALING_NONE && c.rope.theta == 777);
    c = parse(llama, "rope_parameters", "{\"rope_theta\":777}");
    assert_true(c.rope.theta == 777);
    c = parse(neox, "rope_parameters", "{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}");
    assert_int_equal(c.rope.dims, 8);

    char *text = changed(phi3, "original_max_position_embeddings", "64");
    c = parse(text, "rope_scaling", "{\"type\":\"longrope\"," FACTORS "}");
    assert_true(c.rope.scaling == QN_SCALING_LONGROPE && c.rope.original_positions == 64);
    assert_true(c.rope.short_factor[1] == 1.5F && c.rope.long_factor[3] == 16);
    /* sqrt(1 + ln(256/64) / ln 64) = sqrt(4/3) */
    assert_true(fabs(c.rope.attention_factor - 1.1547005383792515) < 1e-15);
    c = parse(text, "rope_scaling", "{\"type\":\"su\",\"attention_factor\":1.25," FACTORS "}");
    assert_true(c.rope.attention_factor == 1.25);
    free(text);
    c = parse(phi3, "rope_scaling",
              "{\"type\":\"longrope\",\"original_max_position_embeddings\":256," FACTORS "}");
    assert_true(c.rope.original_positions == 256 && c.rope.attention_factor == 1);
    c = parse(phi3, "rope_scaling", "{\"type\":\"longrope\",\"factor\":16," FACTORS "}");
    /* the context is then the original one: sqrt(1 + ln 16 / ln 256) */
    assert_true(c.rope.original_positions == 256 &&
                fabs(c.rope.attention_factor - 1.224744871391589) < 1e-15);
}

static void refuses_rope_scalings(void **state)
{
    static const struct {
        const char *base, *value, *message;
        enum qins_status status;
    } cases[] = {
        {llama, "[]", "rope_scaling must be an object", QINS_ERR_FORMAT},
        {llama, "{}", "rope_scaling.rope_type must be a name", QINS_ERR_FORMAT},
        {llama, "{\"type\":\"yarn\",\"factor\":4}", "type 'yarn'", QINS_ERR_UNSUPPORTED},
        {llama, "{\"type\":\"dynamic\",\"factor\":4}", "type 'dynamic'", QINS_ERR_UNSUPPORTED},
        {llama, "{\"type\":\"linear\",\"rope_type\":\"llama3\"}", "disagree", QINS_ERR_FORMAT},
        {llama, "{\"type\":\"linear\"}", "rope_scaling.factor", QINS_ERR_FORMAT},
        {llama, "{\"type\":\"linear\",\"factor\":0}", "rope_scaling.factor", QINS_ERR_FORMAT},
        {llama, "{\"type\":\"linear\",\"factor\":\"2\"}", "rope_scaling.factor", QINS_ERR_FORMAT},
        {llama, "{\"type\":\"linear\",\"factor\":2,\"beta_fast\":1}", "rope_scaling.beta_fast",
         QINS_ERR_UNSUPPORTED},
        {llama, "{\"type\":\"linear\",\"factor\":2,\"low_freq_factor\":1}",
         "rope_scaling.low_freq_factor", QINS_ERR_UNSUPPORTED},
        {llama,
         "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4,"
         "\"original_max_position_embeddings\":64}",
         "rope_scaling.high_freq_factor", QINS_ERR_FORMAT},
        {llama, "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4}",
         "original_max_position_embeddings", QINS_ERR_FORMAT},
        {phi3, "{\"type\":\"longrope\"," FACTORS "}", "original_max_position_embeddings",
         QINS_ERR_FORMAT},
        {phi3, "{\"type\":\"longrope\",\"factor\":2,\"short_factor\":[1],\"long_factor\":[1]}",
         "rope_scaling.short_factor must be a list of 4 numbers", QINS_ERR_FORMAT},
        {phi3,
         "{\"type\":\"longrope\",\"factor\":2,\"short_factor\":[1,1,1,1],"
         "\"long_factor\":[1,1,1,null]}",
         "rope_scaling.long_factor", QINS_ERR_FORMAT},
        {llama, "{\"type\":\"default\",\"rope_theta\":-1}", "rope_scaling.rope_theta",
         QINS_ERR_FORMAT},
        {gpt2, "null", "rope_scaling", QINS_ERR_UNSUPPORTED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(cases[i].base, "rope_scaling", cases[i].value, cases[i].status, cases[i].message);
    char *text = changed(llama, "rope_scaling", "{\"type\":\"default\"}");
    refuse(text, "rope_parameters", "{\"rope_type\":\"default\"}", QINS_ERR_FORMAT, "both");
    free(text);
}

static void refuses_what_it_does_not_know(void **state)
{
    static const struct {
        const char *base, *key, *value, *message;
        enum qins_status status;
    } cases[] = {
        {llama, "model_type", NULL, "model_type", QINS_ERR_FORMAT},
        {llama, "model_type", "3", "model_type", QINS_ERR_FORMAT},
        {llama, "model_type", "\"mamba\"", "model_type 'mamba'", QINS_ERR_UNSUPPORTED},
        {llama, "model_type", "\"llama2.c\"", "model_type", QINS_ERR_UNSUPPORTED},
        {llama, "hidden_size", NULL, "lacks hidden_size", QINS_ERR_FORMAT},
        {llama, "vocab_size", NULL, "lacks vocab_size", QINS_ERR_FORMAT},
        {gpt2, "n_layer", NULL, "lacks n_layer", QINS_ERR_FORMAT},
        {llama, "hidden_size", "-64", "hidden_size", QINS_ERR_FORMAT},
        {llama, "hidden_size", "0", "hidden_size", QINS_ERR_FORMAT},
        {llama, "hidden_size", "64.5", "hidden_size", QINS_ERR_FORMAT},
        {llama, "hidden_size", "1e300", "hidden_size", QINS_ERR_FORMAT},
        {llama, "hidden_size", "16777217", "hidden_size", QINS_ERR_FORMAT},
        {llama, "hidden_size", "\"64\"", "hidden_size", QINS_ERR_FORMAT},
        {llama, "hidden_size", "null", "hidden_size", QINS_ERR_FORMAT},
        {llama, "hidden_size", "true", "hidden_size", QINS_ERR_FORMAT},
        {llama, "hidden_size", "65", "multiple", QINS_ERR_FORMAT},
        {llama, "num_hidden_layers", "4097", "num_hidden_layers", QINS_ERR_FORMAT},
        {llama, "num_key_value_heads", "3", "share", QINS_ERR_FORMAT},
        {llama, "num_key_value_heads", "8", "share", QINS_ERR_FORMAT},
        {llama, "head_dim", "15", "rotated", QINS_ERR_UNSUPPORTED},
        {llama, "head_dim", "2048", "rotated", QINS_ERR_UNSUPPORTED},
        {gpt2, "n_head", "5", "multiple", QINS_ERR_FORMAT},
        {gpt2, "n_embd", "12582912", "above 2^24", QINS_ERR_UNSUPPORTED},
        {neox, "rotary_pct", "0.01", "rotated", QINS_ERR_UNSUPPORTED},
        {neox, "rotary_pct", "1.5", "rotary_pct", QINS_ERR_FORMAT},
        {llama, "rms_norm_eps", "-1", "rms_norm_eps", QINS_ERR_FORMAT},
        {llama, "rope_theta", "[]", "rope_theta", QINS_ERR_FORMAT},
        {llama, "tie_word_embeddings", "1", "tie_word_embeddings", QINS_ERR_FORMAT},
        {llama, "hidden_act", "\"quick_gelu\"", "hidden_act 'quick_gelu'", QINS_ERR_UNSUPPORTED},
        {llama, "hidden_act", "7", "hidden_act is not a string", QINS_ERR_FORMAT},
        {llama, "no_such_key", "null", "no_such_key", QINS_ERR_UNSUPPORTED},
        {llama, "num_local_experts", "8", "num_local_experts", QINS_ERR_UNSUPPORTED},
        {llama, "n_embd", "64", "n_embd", QINS_ERR_UNSUPPORTED},
        {llama, "partial_rotary_factor", "0.5", "partial_rotary_factor", QINS_ERR_UNSUPPORTED},
        {llama, "quantization_config", "{\"bits\":4}", "quantization_config", QINS_ERR_UNSUPPORTED},
        {llama, "is_encoder_decoder", "true", "is_encoder_decoder", QINS_ERR_UNSUPPORTED},
        {llama, "sliding_window", "4096", "sliding_window", QINS_ERR_UNSUPPORTED},
        {mistral, "attention_bias", "true", "attention_bias", QINS_ERR_UNSUPPORTED},
        {mistral, "sliding_window", "0", "sliding_window", QINS_ERR_FORMAT},
        {qwen2, "attention_bias", "false", "attention_bias", QINS_ERR_UNSUPPORTED},
        {gpt2, "scale_attn_by_inverse_layer_idx", "true", "scale_attn_by_inverse_layer_idx",
         QINS_ERR_UNSUPPORTED},
        {gpt2, "add_cross_attention", "true", "add_cross_attention", QINS_ERR_UNSUPPORTED},
        {phi3, "full_attn_mod", "2", "full_attn_mod", QINS_ERR_UNSUPPORTED},
        {mixtral, "num_experts_per_tok", "9", "num_experts_per_tok", QINS_ERR_FORMAT},
        {mixtral, "num_local_experts", "100000", "num_local_experts", QINS_ERR_FORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(cases[i].base, cases[i].key, cases[i].value, cases[i].status, cases[i].message);
    char *text = changed(neox, "rope_theta", "1e4");
    parse(text, "rotary_emb_base", "10000");
    refuse(text, "rotary_emb_base", "10001", QINS_ERR_FORMAT, "disagree");
    free(text);
}

static void refuses_what_is_no_config(void **state)
{
    static const char *const texts[] = {"", "{", "[]", "null", "{}", "{\"a\":1,\"a\":1}", "\xff"};
    struct qn_model_config c;
    struct qins_error err;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(qn_config_parse(texts[i], strlen(texts[i]), &c, &err), QINS_ERR_FORMAT);
    assert_int_equal(qn_config_parse("[", 1, &c, NULL), QINS_ERR_FORMAT);
}

static void add(struct qn_attachment_list *list, const char *name, const void *data, size_t size)
{
    struct qins_error err;
    assert_int_equal(qn_attachment_add(list, name, data, size, &err), QINS_OK);
}

static void found_among_files(void **state)
{
    static const char more[] = "{\"eos_token_id\":[3,4],\"temperature\":0.6,\"any\":{}}";
    struct qn_attachment_list list = {0};
    struct qn_model_config c;
    struct qins_error err;
    (void)state;
    assert_int_equal(qn_config_find(&list, &c, &err), QINS_ERR_UNSUPPORTED);
    char *text = changed(llama, "eos_token_id", "3");
    add(&list, "config.json", text, strlen(text));
    assert_int_equal(qn_config_find(&list, &c, &err), QINS_OK);
    assert_int_equal(c.n_eos, 1);
    add(&list, "generation_config.json", more, strlen(more));
    assert_int_equal(qn_config_find(&list, &c, &err), QINS_OK);
    assert_true(c.n_eos == 2 && c.eos[0] == 3 && c.eos[1] == 4);
    free(text);
    qn_attachment_list_finish(&list);

    add(&list, "config.json", llama, strlen(llama));
    add(&list, "generation_config.json", "[]", 2);
    assert_int_equal(qn_config_find(&list, &c, &err), QINS_ERR_FORMAT);
    assert_string_equal(err.message, "generation_config.json: it is no JSON object");
    qn_attachment_list_finish(&list);
    add(&list, "config.json", "{}", 2);
    assert_int_equal(qn_config_find(&list, &c, &err), QINS_ERR_FORMAT);
    assert_string_equal(err.message, "config.json: it lacks model_type");
    qn_attachment_list_finish(&list);
}

/* dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len */
static enum qins_status llama2c(const int32_t v[7], int version, uint8_t shared,
                                struct qn_model_config *c)
{
    uint8_t header[256] = {0};
    size_t at = version ? 8 : 0;
    struct qn_attachment_list list = {0};
    struct qins_error err;
    if (version) {
        const uint32_t magic[2] = {0x616b3432, (uint32_t)version};
        memcpy(header, magic, sizeof magic);
        header[36] = shared;
    }
    memcpy(header + at, v, 7 * sizeof *v);
    add(&list, "llama2c.header", header, version ? sizeof header : 28);
    add(&list, "config.json", "{}", 2);
    enum qins_status st = qn_config_find(&list, c, &err);
    qn_attachment_list_finish(&list);
    return st;
}

static void llama2c_headers(void **state)
{
    static const int32_t tied[7] = {64, 172, 5, 8, 4, 512, 256};
    static const int32_t apart[7] = {64, 172, 5, 8, 4, -512, 256};
    static const int32_t bad[][7] = {
        {0, 172, 5, 8, 4, 512, 256},      {64, 172, 5000, 8, 4, 512, 256},
        {64, 172, 5, 7, 4, 512, 256},     {64, 172, 5, 8, 3, 512, 256},
        {24, 172, 5, 8, 4, 512, 256},     {64, -172, 5, 8, 4, 512, 256},
        {64, 172, 5, 8, 4, 512, 1 << 30}, {64, 172, 5, 8, 4, INT32_MIN, 256},
    };
    struct qn_model_config c;
    (void)state;
    assert_int_equal(llama2c(tied, 0, 0, &c), QINS_OK);
    assert_ptr_equal(c.arch, &qn_arch_llama2c);
    assert_true(c.hidden == 64 && c.intermediate == 172 && c.n_layers == 5 && c.n_heads == 8 &&
                c.n_kv_heads == 4 && c.vocab == 512 && c.max_positions == 256 && c.head_dim == 8 &&
                c.rope.dims == 8 && c.tied);
    assert_true(c.norm_eps == 1e-5 && c.rope.theta == 1e4 && c.bos == 1 && c.n_eos == 2);
    assert_int_equal(llama2c(apart, 0, 0, &c), QINS_OK);
    assert_true(c.vocab == 512 && !c.tied);
    assert_int_equal(llama2c(tied, 1, 0, &c), QINS_OK);
    assert_false(c.tied);
    assert_int_equal(llama2c(tied, 1, 1, &c), QINS_OK);
    assert_true(c.tied);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_not_equal(llama2c(bad[i], 0, 0, &c), QINS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_of_each_architecture),
        cmocka_unit_test(keys_have_their_effect),
        cmocka_unit_test(tokens_that_end_a_text),
        cmocka_unit_test(windows_by_layer),
        cmocka_unit_test(rope_scalings),
        cmocka_unit_test(refuses_rope_scalings),
        cmocka_unit_test(refuses_what_it_does_not_know),
        cmocka_unit_test(refuses_what_is_no_config),
        cmocka_unit_test(found_among_files),
        cmocka_unit_test(llama2c_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
