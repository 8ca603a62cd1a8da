/* The shape of a model: what config.json says, or the header of a llama2.c file. */
#ifndef QINS_MODEL_CONFIG_H
#define QINS_MODEL_CONFIG_H

#include "core/error.h"
#include "formats/checkpoint.h"

enum qn_activation { QN_ACT_SILU, QN_ACT_GELU_ERF, QN_ACT_GELU_TANH, QN_ACT_RELU };
enum qn_norm_kind { QN_NORM_RMS, QN_NORM_LAYER };
/* Which elements a rotation pairs: i with i + n/2 (Hugging Face), or 2i with 2i + 1 (Meta). */
enum qn_rope_style { QN_ROPE_NONE, QN_ROPE_HALVES, QN_ROPE_PAIRS };
enum qn_rope_scaling { QN_SCALING_NONE, QN_SCALING_LINEAR, QN_SCALING_LLAMA3, QN_SCALING_LONGROPE };

enum { QN_MAX_EOS = 8, QN_MAX_ROTARY = 1024 };

struct qn_rope_config {
    double theta;
    unsigned dims; /* rotated of each head, even, <= head_dim */
    enum qn_rope_scaling scaling;
    double factor;                            /* linear, llama3 */
    double low_freq_factor, high_freq_factor; /* llama3 */
    uint32_t original_positions;              /* llama3, longrope */
    double attention_factor;                  /* longrope: multiplies cos and sin */
    float short_factor[QN_MAX_ROTARY / 2];    /* longrope, dims / 2 of them */
    float long_factor[QN_MAX_ROTARY / 2];
};

struct qn_model_config {
    const struct qn_arch *arch; /* model/arch.h; static */
    uint32_t hidden, n_layers, n_heads, n_kv_heads, head_dim, intermediate, vocab;
    uint32_t max_positions; /* context that the model was made for */
    double norm_eps;
    enum qn_activation activation;
    bool tied;                       /* the output head is the embedding */
    bool qkv_bias, o_bias, mlp_bias; /* which linear layers have one */
    bool parallel_residual;          /* attention and MLP both read the layer's input */
    double attention_scale;          /* multiplies q·k */
    struct qn_rope_config rope;
    uint32_t sliding_window;               /* keys that a query sees, itself included; 0: all */
    uint32_t sliding_from;                 /* first layer with the window */
    uint32_t n_experts, experts_per_token; /* 0 without a mixture */
    uint32_t eos[QN_MAX_EOS];
    unsigned n_eos;
    int64_t bos; /* -1: none */
};

/* Parses config.json. Every key is known to the architecture or to a list of keys without
 * influence on the result; any other is refused by name (QINS_ERR_UNSUPPORTED), as are values
 * that no code here computes. Numbers are bounded and consistent afterwards: extents in
 * 1 … 2^24, n_layers <= 4096, n_heads a multiple of n_kv_heads, products below 2^31. Errors name
 * the key. */
enum qins_status qn_config_parse(const void *text, size_t size, struct qn_model_config *out,
                                 struct qins_error *err);

/* From the attachments of a checkpoint or archive: "config.json", or "llama2c.header".
 * QINS_ERR_UNSUPPORTED where there is neither. */
enum qins_status qn_config_find(const struct qn_attachment_list *files, struct qn_model_config *out,
                                struct qins_error *err);

#endif
