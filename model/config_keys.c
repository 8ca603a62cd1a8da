#include "model/config_keys.h"
#include "model/limits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LLAMA = 1,
    MISTRAL = 2,
    QWEN2 = 4,
    QWEN3 = 8,
    PHI3 = 16,
    MIXTRAL = 32,
    NEOX = 64,
    GPT2 = 128,
    RMS = LLAMA | MISTRAL | QWEN2 | QWEN3 | PHI3 | MIXTRAL,
    ROPE = RMS | NEOX,
    ALL = ROPE | GPT2,
};

enum {
    MAX_EXTENT = 1 << 24,
    MAX_LAYERS = 4096,
    MAX_EXPERTS = 1024, /* the largest public mixtures have a few hundred */
};

static const double max_eps = 1.0, max_theta = 1e12;

#define FIELD(f) offsetof(struct qn_config_draft, f)
#define COUNT(name, archs, f, fallback)                                                            \
    {                                                                                              \
        name, archs, QN_KEY_COUNT, FIELD(f), fallback, 1, MAX_EXTENT                               \
    }
#define COUNT_OR_NULL(name, archs, f, fallback)                                                    \
    {                                                                                              \
        name, archs, QN_KEY_COUNT_OR_NULL, FIELD(f), fallback, 1, MAX_EXTENT                       \
    }
#define FLAG(name, archs, f, fallback)                                                             \
    {                                                                                              \
        name, archs, QN_KEY_FLAG, FIELD(f), fallback, 0, 1                                         \
    }
#define ACTIVATION(name, archs, fallback)                                                          \
    {                                                                                              \
        name, archs, QN_KEY_ACTIVATION, FIELD(c.activation), fallback, 0, 0                        \
    }
#define OTHER(name, archs, kind, f)                                                                \
    {                                                                                              \
        name, archs, kind, FIELD(f), 0, 0, 0                                                       \
    }
#define NEUTRAL(name, archs, kind)                                                                 \
    {                                                                                              \
        name, archs, kind, 0, 0, 0, 0                                                              \
    }

/* Fallbacks are the defaults of Hugging Face's classes
 * (src/transformers/models/<model_type>/configuration_<model_type>.py), but for the extents, which
 * a config that is meant to be read has to give. 0 for COUNT_OR_NULL: derived from the others. */
const struct qn_config_key qn_config_keys[] = {
    COUNT("vocab_size", ALL, c.vocab, NAN),
    COUNT("hidden_size", ROPE, c.hidden, NAN),
    COUNT("n_embd", GPT2, c.hidden, NAN),
    COUNT("intermediate_size", ROPE, c.intermediate, NAN),
    COUNT_OR_NULL("n_inner", GPT2, c.intermediate, 0),
    {"num_hidden_layers", ROPE, QN_KEY_COUNT, FIELD(c.n_layers), NAN, 1, MAX_LAYERS},
    {"n_layer", GPT2, QN_KEY_COUNT, FIELD(c.n_layers), NAN, 1, MAX_LAYERS},
    COUNT("num_attention_heads", ROPE, c.n_heads, NAN),
    COUNT("n_head", GPT2, c.n_heads, NAN),
    COUNT_OR_NULL("num_key_value_heads", LLAMA | PHI3, c.n_kv_heads, 0),
    COUNT_OR_NULL("num_key_value_heads", MISTRAL | MIXTRAL, c.n_kv_heads, 8),
    COUNT_OR_NULL("num_key_value_heads", QWEN2 | QWEN3, c.n_kv_heads, 32),
    COUNT_OR_NULL("head_dim", RMS & ~QWEN3, c.head_dim, 0),
    COUNT_OR_NULL("head_dim", QWEN3, c.head_dim, 128),
    COUNT("max_position_embeddings", ROPE, c.max_positions, NAN),
    COUNT("n_positions", GPT2, c.max_positions, NAN),

    {"rms_norm_eps", RMS & ~(PHI3 | MIXTRAL), QN_KEY_REAL, FIELD(c.norm_eps), 1e-6, 0, max_eps},
    {"rms_norm_eps", PHI3 | MIXTRAL, QN_KEY_REAL, FIELD(c.norm_eps), 1e-5, 0, max_eps},
    {"layer_norm_eps", NEOX, QN_KEY_REAL, FIELD(c.norm_eps), 1e-5, 0, max_eps},
    {"layer_norm_epsilon", GPT2, QN_KEY_REAL, FIELD(c.norm_eps), 1e-5, 0, max_eps},
    ACTIVATION("hidden_act", RMS, QN_ACT_SILU),
    ACTIVATION("hidden_act", NEOX, QN_ACT_GELU_ERF),
    ACTIVATION("activation_function", GPT2, QN_ACT_GELU_TANH),
    FLAG("tie_word_embeddings", ROPE, c.tied, false),
    FLAG("tie_word_embeddings", GPT2, c.tied, true),
    FLAG("attention_bias", LLAMA | QWEN3, attention_bias, false),
    FLAG("attention_bias", NEOX, attention_bias, true),
    NEUTRAL("attention_bias", MISTRAL | PHI3 | MIXTRAL, QN_KEY_FALSE),
    NEUTRAL("attention_bias", QWEN2, QN_KEY_TRUE),
    FLAG("mlp_bias", LLAMA, c.mlp_bias, false),
    NEUTRAL("mlp_bias", RMS & ~LLAMA, QN_KEY_FALSE),
    FLAG("use_parallel_residual", NEOX, c.parallel_residual, true),
    FLAG("scale_attn_weights", GPT2, scale_attention, true),

    {"rope_theta", ROPE & ~MIXTRAL, QN_KEY_REAL, FIELD(c.rope.theta), 1e4, 1, max_theta},
    {"rope_theta", MIXTRAL, QN_KEY_REAL, FIELD(c.rope.theta), 1e6, 1, max_theta},
    {"rotary_emb_base", NEOX, QN_KEY_REAL, FIELD(c.rope.theta), 1e4, 1, max_theta},
    {"partial_rotary_factor", PHI3, QN_KEY_REAL, FIELD(rotary_part), 1, 0, 1},
    {"partial_rotary_factor", NEOX, QN_KEY_REAL, FIELD(rotary_part), 0.25, 0, 1},
    {"rotary_pct", NEOX, QN_KEY_REAL, FIELD(rotary_part), 0.25, 0, 1},
    NEUTRAL("partial_rotary_factor", RMS & ~PHI3, QN_KEY_ONE),
    COUNT_OR_NULL("original_max_position_embeddings", ROPE, original_positions, 0),
    OTHER("rope_scaling", ROPE, QN_KEY_VALUE, rope_scaling),
    OTHER("rope_parameters", ROPE, QN_KEY_VALUE, rope_parameters),

    COUNT_OR_NULL("sliding_window", MISTRAL | QWEN2 | QWEN3, c.sliding_window, 4096),
    COUNT_OR_NULL("sliding_window", PHI3 | MIXTRAL, c.sliding_window, 0),
    FLAG("use_sliding_window", QWEN2 | QWEN3, use_window, false),
    {"max_window_layers", QWEN2 | QWEN3, QN_KEY_COUNT, FIELD(c.sliding_from), 28, 0, MAX_EXTENT},
    OTHER("layer_types", QWEN2 | QWEN3, QN_KEY_VALUE, layer_types),
    {"num_local_experts", MIXTRAL, QN_KEY_COUNT, FIELD(c.n_experts), 8, 1, MAX_EXPERTS},
    {"num_experts_per_tok", MIXTRAL, QN_KEY_COUNT, FIELD(c.experts_per_token), 2, 1, MAX_EXPERTS},

    OTHER("eos_token_id", ALL, QN_KEY_EOS, c.eos),
    OTHER("bos_token_id", ALL, QN_KEY_BOS, c.bos),

    NEUTRAL("add_cross_attention", ALL, QN_KEY_FALSE),
    NEUTRAL("cross_attention_hidden_size", ALL, QN_KEY_EMPTY),
    NEUTRAL("full_attn_mod", PHI3, QN_KEY_ONE),
    NEUTRAL("interpolate_factor", PHI3, QN_KEY_ONE),
    NEUTRAL("is_encoder_decoder", ALL, QN_KEY_FALSE),
    NEUTRAL("lm_head_bias", PHI3, QN_KEY_FALSE),
    NEUTRAL("pruned_heads", ALL, QN_KEY_EMPTY),
    NEUTRAL("quantization_config", ALL, QN_KEY_EMPTY),
    NEUTRAL("scale_attn_by_inverse_layer_idx", GPT2, QN_KEY_FALSE),
    NEUTRAL("rope_interleaved", LLAMA, QN_KEY_FALSE),
    NEUTRAL("sliding_window", LLAMA, QN_KEY_EMPTY),
    NEUTRAL("tie_encoder_decoder", ALL, QN_KEY_FALSE),
    NEUTRAL("use_mrope", QWEN2 | QWEN3, QN_KEY_FALSE),
    {.name = NULL},
};

_Static_assert(sizeof qn_config_keys / sizeof *qn_config_keys <= QN_CONFIG_KEYS_MAX, "table");

/* Sorted. Training, sampling, loading, tasks that this model is not asked to do, and how (not
 * what) the original code computes. */
static const char *const inert[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "attn_pdrop",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "min_length",
    "model_type",
    "n_ctx", /* GPT-2's older name of n_positions, without effect beside it */
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "type_vocab_size",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
};

static int compare(const void *key, const void *item)
{
    return strcmp(key, *(const char *const *)item);
}

bool qn_config_key_is_inert(const char *name)
{
    return bsearch(name, inert, sizeof inert / sizeof *inert, sizeof *inert, compare) != NULL;
}

unsigned qn_config_arch_bit(const struct qn_arch *arch)
{
    static const struct {
        const struct qn_arch *arch;
        unsigned bit;
    } bits[] = {
        {&qn_arch_llama, LLAMA}, {&qn_arch_mistral, MISTRAL}, {&qn_arch_qwen2, QWEN2},
        {&qn_arch_qwen3, QWEN3}, {&qn_arch_phi3, PHI3},       {&qn_arch_mixtral, MIXTRAL},
        {&qn_arch_gpt2, GPT2},   {&qn_arch_gpt_neox, NEOX},
    };
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        if (bits[i].arch == arch)
            return bits[i].bit;
    return 0;
}

const struct qn_limit qn_config_limits[] = {
    {"config", "extent", MAX_EXTENT, "elements", "products of sizes, in 64 bits"},
    {"config", "layers", MAX_LAYERS, "layers", "memory for descriptions"},
    {"config", "experts", MAX_EXPERTS, "experts", "memory for descriptions"},
    {0},
};
