/* One description of each architecture: what its tensors are called and how its layers are put
 * together. The forward pass (model/forward.c) knows these descriptions and no architecture. */
#ifndef QINS_MODEL_ARCH_H
#define QINS_MODEL_ARCH_H

#include "model/config.h"

/* What a tensor is for. A layer's names hold "%u", the layer's number; an expert's a second one. */
enum qn_role {
    QN_EMBEDDING,  /* [vocab][hidden] */
    QN_POSITIONS,  /* [max_positions][hidden] */
    QN_FINAL_NORM, /* [hidden] */
    QN_HEAD,       /* [vocab][hidden] */
    QN_ATTN_NORM,  /* [hidden]; all from here on once a layer */
    QN_MLP_NORM,   /* [hidden] */
    QN_Q,          /* [n_heads * head_dim][hidden] */
    QN_K,          /* [n_kv_heads * head_dim][hidden] */
    QN_V,          /* as K */
    QN_QKV,        /* all three, in the order of qkv_order */
    QN_O,          /* [hidden][n_heads * head_dim] */
    QN_Q_NORM,     /* [head_dim] */
    QN_K_NORM,     /* [head_dim] */
    QN_GATE,       /* [intermediate][hidden] */
    QN_UP,         /* [intermediate][hidden] */
    QN_GATE_UP,    /* both, gate first */
    QN_DOWN,       /* [hidden][intermediate] */
    QN_ROUTER,     /* [n_experts][hidden] */
    QN_ROLE_COUNT,
};

enum qn_qkv_order {
    QN_QKV_APART,   /* three tensors */
    QN_QKV_IN_TURN, /* rows of Q, then of K, then of V */
    QN_QKV_BY_HEAD, /* for each head its rows of q, k and v (gpt_neox) */
};

struct qn_arch {
    const char *model_type;
    const char *weight[QN_ROLE_COUNT]; /* names without ".weight" and ".bias"; NULL: has none */
    const char *const *prefixes;       /* may stand before every name, NULL-terminated ("model.") */
    enum qn_norm_kind norm;
    bool norm_bias;
    enum qn_rope_style rope; /* QN_ROPE_NONE: learned positions */
    bool gated;              /* act(gate(x)) * up(x), else act(up(x)) */
    bool transposed;         /* linear weights are [in][out] (Conv1D), but for the head */
    enum qn_qkv_order qkv_order;
};

extern const struct qn_arch qn_arch_llama, qn_arch_mistral, qn_arch_qwen2, qn_arch_qwen3,
    qn_arch_phi3, qn_arch_gpt2, qn_arch_gpt_neox, qn_arch_mixtral, qn_arch_llama2c;

/* The architecture of config.json's model_type, or NULL. */
const struct qn_arch *qn_arch_find(const char *model_type);

#endif
