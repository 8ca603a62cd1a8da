#include "model/arch.h"

#include <string.h>

/* Tensor names are those that the classes of Hugging Face transformers give their checkpoints
 * (src/transformers/models/<model_type>/modeling_<model_type>.py), and for llama2.c those of
 * Meta's checkpoints (formats/llama2c.c). */
static const char *const model_prefix[] = {"model.", "", NULL};
static const char *const gpt2_prefix[] = {"transformer.", "", NULL};
static const char *const gpt_neox_prefix[] = {"gpt_neox.", "", NULL};
static const char *const no_prefix[] = {"", NULL};

/* What the llama family has in common, whatever its projections look like. */
#define LLAMA_FRAME                                                                                \
    [QN_EMBEDDING] = "embed_tokens", [QN_FINAL_NORM] = "norm", [QN_HEAD] = "lm_head",              \
    [QN_ATTN_NORM] = "layers.%u.input_layernorm",                                                  \
    [QN_MLP_NORM] = "layers.%u.post_attention_layernorm", [QN_O] = "layers.%u.self_attn.o_proj"

#define LLAMA_QKV                                                                                  \
    [QN_Q] = "layers.%u.self_attn.q_proj", [QN_K] = "layers.%u.self_attn.k_proj",                  \
    [QN_V] = "layers.%u.self_attn.v_proj"

#define LLAMA_MLP                                                                                  \
    [QN_GATE] = "layers.%u.mlp.gate_proj", [QN_UP] = "layers.%u.mlp.up_proj",                      \
    [QN_DOWN] = "layers.%u.mlp.down_proj"

#define LLAMA_KIND                                                                                 \
    .prefixes = model_prefix, .norm = QN_NORM_RMS, .rope = QN_ROPE_HALVES, .gated = true

const struct qn_arch qn_arch_llama = {
    .model_type = "llama",
    .weight = {LLAMA_FRAME, LLAMA_QKV, LLAMA_MLP},
    LLAMA_KIND,
};

const struct qn_arch qn_arch_mistral = {
    .model_type = "mistral",
    .weight = {LLAMA_FRAME, LLAMA_QKV, LLAMA_MLP},
    LLAMA_KIND,
};

const struct qn_arch qn_arch_qwen2 = {
    .model_type = "qwen2",
    .weight = {LLAMA_FRAME, LLAMA_QKV, LLAMA_MLP},
    LLAMA_KIND,
};

const struct qn_arch qn_arch_qwen3 = {
    .model_type = "qwen3",
    .weight = {LLAMA_FRAME, LLAMA_QKV, LLAMA_MLP, [QN_Q_NORM] = "layers.%u.self_attn.q_norm",
               [QN_K_NORM] = "layers.%u.self_attn.k_norm"},
    LLAMA_KIND,
};

const struct qn_arch qn_arch_phi3 = {
    .model_type = "phi3",
    .weight = {LLAMA_FRAME, [QN_QKV] = "layers.%u.self_attn.qkv_proj",
               [QN_GATE_UP] = "layers.%u.mlp.gate_up_proj", [QN_DOWN] = "layers.%u.mlp.down_proj"},
    LLAMA_KIND,
    .qkv_order = QN_QKV_IN_TURN,
};

const struct qn_arch qn_arch_mixtral = {
    .model_type = "mixtral",
    .weight = {LLAMA_FRAME, LLAMA_QKV, [QN_ROUTER] = "layers.%u.block_sparse_moe.gate",
               [QN_GATE] = "layers.%u.block_sparse_moe.experts.%u.w1",
               [QN_UP] = "layers.%u.block_sparse_moe.experts.%u.w3",
               [QN_DOWN] = "layers.%u.block_sparse_moe.experts.%u.w2"},
    LLAMA_KIND,
};

const struct qn_arch qn_arch_gpt2 = {
    .model_type = "gpt2",
    .weight = {[QN_EMBEDDING] = "wte",
               [QN_POSITIONS] = "wpe",
               [QN_FINAL_NORM] = "ln_f",
               [QN_HEAD] = "lm_head",
               [QN_ATTN_NORM] = "h.%u.ln_1",
               [QN_MLP_NORM] = "h.%u.ln_2",
               [QN_QKV] = "h.%u.attn.c_attn",
               [QN_O] = "h.%u.attn.c_proj",
               [QN_UP] = "h.%u.mlp.c_fc",
               [QN_DOWN] = "h.%u.mlp.c_proj"},
    .prefixes = gpt2_prefix,
    .norm = QN_NORM_LAYER,
    .norm_bias = true,
    .rope = QN_ROPE_NONE,
    .transposed = true,
    .qkv_order = QN_QKV_IN_TURN,
};

const struct qn_arch qn_arch_gpt_neox = {
    .model_type = "gpt_neox",
    .weight = {[QN_EMBEDDING] = "embed_in",
               [QN_FINAL_NORM] = "final_layer_norm",
               [QN_HEAD] = "embed_out",
               [QN_ATTN_NORM] = "layers.%u.input_layernorm",
               [QN_MLP_NORM] = "layers.%u.post_attention_layernorm",
               [QN_QKV] = "layers.%u.attention.query_key_value",
               [QN_O] = "layers.%u.attention.dense",
               [QN_UP] = "layers.%u.mlp.dense_h_to_4h",
               [QN_DOWN] = "layers.%u.mlp.dense_4h_to_h"},
    .prefixes = gpt_neox_prefix,
    .norm = QN_NORM_LAYER,
    .norm_bias = true,
    .rope = QN_ROPE_HALVES,
    .qkv_order = QN_QKV_BY_HEAD,
};

const struct qn_arch qn_arch_llama2c = {
    .model_type = "llama2.c",
    .weight = {[QN_EMBEDDING] = "tok_embeddings",
               [QN_FINAL_NORM] = "norm",
               [QN_HEAD] = "output",
               [QN_ATTN_NORM] = "layers.%u.attention_norm",
               [QN_MLP_NORM] = "layers.%u.ffn_norm",
               [QN_Q] = "layers.%u.attention.wq",
               [QN_K] = "layers.%u.attention.wk",
               [QN_V] = "layers.%u.attention.wv",
               [QN_O] = "layers.%u.attention.wo",
               [QN_GATE] = "layers.%u.feed_forward.w1",
               [QN_UP] = "layers.%u.feed_forward.w3",
               [QN_DOWN] = "layers.%u.feed_forward.w2"},
    .prefixes = no_prefix,
    .norm = QN_NORM_RMS,
    .rope = QN_ROPE_PAIRS,
    .gated = true,
};

const struct qn_arch *qn_arch_find(const char *model_type)
{
    static const struct qn_arch *const known[] = {
        &qn_arch_llama, &qn_arch_mistral,  &qn_arch_qwen2,   &qn_arch_qwen3, &qn_arch_phi3,
        &qn_arch_gpt2,  &qn_arch_gpt_neox, &qn_arch_mixtral, NULL,
    };
    for (const struct qn_arch *const *a = known; *a; a++)
        if (strcmp(model_type, (*a)->model_type) == 0)
            return *a;
    return NULL;
}
