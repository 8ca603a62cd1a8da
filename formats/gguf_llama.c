/* Llama-family checkpoints with Hugging Face names, as llama.cpp wants them. Names, keys and the
 * row order are those of llama.cpp's convert_hf_to_gguf.py and gguf-py/gguf/constants.py. */
#include "core/file.h"
#include "formats/gguf_plan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_EXTENT = 1 << 24 /* far above any model; keeps products in 64 bits */ };

struct llama {
    uint32_t n_vocab, n_embd, n_ff, n_layer, n_head, n_kv, head_dim, n_context;
    double rms_eps, rope_theta;
    const json_t *rope; /* scaling object, or NULL */
    const char *name;
};

/* A mapping that does not apply is no error: it says why and yields false. */
struct verdict {
    char *reason;
    size_t size;
};

QN_PRINTF(2, 3)
static bool refuse(const struct verdict *v, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(v->reason, v->size, format, ap);
    va_end(ap);
    return false;
}

/* A positive integer member below MAX_EXTENT, or OTHERWISE where it is absent; 0 if neither. */
static uint32_t get_extent(const json_t *config, const char *key, uint32_t otherwise)
{
    const json_t *v = json_object_get(config, key);
    json_int_t n = json_integer_value(v);
    if (!v || json_is_null(v))
        return otherwise;
    return n > 0 && n < MAX_EXTENT ? (uint32_t)n : 0;
}

static double get_number(const json_t *config, const char *key, double otherwise)
{
    const json_t *v = json_object_get(config, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static const char *get_text(const json_t *config, const char *key)
{
    const char *s = json_string_value(json_object_get(config, key));
    return s ? s : "";
}

static bool read_config(const json_t *config, struct llama *m, const struct verdict *v)
{
    const char *type = get_text(config, "model_type");
    if (!config)
        return refuse(v, "the source has no config.json.");
    if (strcmp(type, "llama") != 0 && strcmp(type, "mistral") != 0)
        return refuse(v, "config.json's model_type '%.40s' is no llama.", type);
    /* Where transformers' configuration classes have a default, the same one. */
    m->n_embd = get_extent(config, "hidden_size", 4096);
    m->n_ff = get_extent(config, "intermediate_size", 11008);
    m->n_layer = get_extent(config, "num_hidden_layers", 32);
    m->n_head = get_extent(config, "num_attention_heads", 32);
    m->n_kv = get_extent(config, "num_key_value_heads", m->n_head);
    m->n_context = get_extent(config, "max_position_embeddings", 2048);
    m->head_dim = get_extent(config, "head_dim", m->n_head ? m->n_embd / m->n_head : 0);
    if (!m->n_embd || !m->n_ff || !m->n_layer || !m->n_head || !m->n_kv || !m->n_context ||
        !m->head_dim || m->head_dim % 2 || m->n_head % m->n_kv)
        return refuse(v, "config.json's sizes make no llama model.");

    const json_t *parameters = json_object_get(config, "rope_parameters");
    m->rope = json_is_object(parameters) ? parameters : json_object_get(config, "rope_scaling");
    m->rope_theta = get_number(parameters, "rope_theta", get_number(config, "rope_theta", 10000.0));
    m->rms_eps = get_number(config, "rms_norm_eps", 1e-6);
    if (!(m->rope_theta >= 1 && m->rope_theta < 1e30) || !(m->rms_eps >= 0 && m->rms_eps < 1))
        return refuse(v, "config.json's rope_theta or rms_norm_eps makes no sense.");
    m->name = qn_path_base(get_text(config, "_name_or_path"));
    m->name = *m->name ? m->name : type;
    return true;
}

enum role { PLAIN, QUERY, KEY };

struct name_pair {
    const char *hf, *ggml;
    enum role role;
    bool required;
};

static const struct name_pair model_names[] = {
    {"model.embed_tokens.weight", "token_embd.weight", PLAIN, true},
    {"model.norm.weight", "output_norm.weight", PLAIN, true},
    {"lm_head.weight", "output.weight", PLAIN, false},
};

static const struct name_pair layer_names[] = {
    {"input_layernorm.weight", "attn_norm.weight", PLAIN, true},
    {"self_attn.q_proj.weight", "attn_q.weight", QUERY, true},
    {"self_attn.k_proj.weight", "attn_k.weight", KEY, true},
    {"self_attn.v_proj.weight", "attn_v.weight", PLAIN, true},
    {"self_attn.o_proj.weight", "attn_output.weight", PLAIN, true},
    {"self_attn.q_proj.bias", "attn_q.bias", QUERY, false},
    {"self_attn.k_proj.bias", "attn_k.bias", KEY, false},
    {"self_attn.v_proj.bias", "attn_v.bias", PLAIN, false},
    {"self_attn.o_proj.bias", "attn_output.bias", PLAIN, false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", PLAIN, true},
    {"mlp.gate_proj.weight", "ffn_gate.weight", PLAIN, true},
    {"mlp.up_proj.weight", "ffn_up.weight", PLAIN, true},
    {"mlp.down_proj.weight", "ffn_down.weight", PLAIN, true},
    /* A constant of the rotation that old checkpoints store; llama.cpp computes it. */
    {"self_attn.rotary_emb.inv_freq", NULL, PLAIN, false},
};

#define LENGTH(a) (sizeof(a) / sizeof *(a))

static const struct name_pair *find_name(const struct name_pair *pairs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(pairs[i].hf, name) == 0)
            return &pairs[i];
    return NULL;
}

/* "model.layers.N." with N below N_LAYER and no leading zero; *REST is what follows. */
static bool split_layer(const char *name, uint32_t n_layer, uint32_t *layer, const char **rest)
{
    static const char prefix[] = "model.layers.";
    size_t n = strlen(prefix);
    uint32_t value = 0;
    if (strncmp(name, prefix, n) != 0)
        return false;
    const char *p = name + n;
    for (; *p >= '0' && *p <= '9' && value < MAX_EXTENT; p++)
        value = value * 10 + (uint32_t)(*p - '0');
    if (p == name + n || *p != '.' || value >= n_layer || (name[n] == '0' && p > name + n + 1))
        return false;
    *layer = value;
    *rest = p + 1;
    return true;
}

static bool check_heads(const struct llama *m, const struct qn_tensor *t, enum role role,
                        struct qn_gguf_item *item)
{
    if (role == PLAIN)
        return true;
    item->heads = role == QUERY ? m->n_head : m->n_kv;
    return t->rank >= 1 && t->shape[0] == (uint64_t)item->heads * m->head_dim;
}

static enum qins_status rename_item(struct qn_gguf_item *item, const struct name_pair *pair,
                                    bool in_layer, uint32_t layer, struct qins_error *err)
{
    free(item->name);
    item->name = in_layer ? qn_format(err, "blk.%" PRIu32 ".%s", layer, pair->ggml)
                          : qn_strdup(pair->ggml, err);
    return item->name ? QINS_OK : QINS_ERR_MEMORY;
}

/* Renames the items. *FOUND counts the tensors that a model cannot do without: since no two
 * names map to one, their number tells whether all are there. */
static enum qins_status map_items(struct qn_gguf_plan *plan, const struct qn_tensor_list *list,
                                  struct llama *m, const struct verdict *v, bool *mapped,
                                  struct qins_error *err)
{
    uint64_t found = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct qn_tensor *t = &list->items[i];
        struct qn_gguf_item *item = &plan->items[i];
        const char *rest = NULL;
        uint32_t layer = 0;
        bool in_layer = split_layer(t->name, m->n_layer, &layer, &rest);
        const struct name_pair *pair = in_layer
                                           ? find_name(layer_names, LENGTH(layer_names), rest)
                                           : find_name(model_names, LENGTH(model_names), t->name);
        *mapped = pair && check_heads(m, t, pair->role, item);
        if (!*mapped) {
            refuse(v, "tensor '%.100s' is not one of config.json's llama model.", t->name);
            return QINS_OK;
        }
        found += pair->required;
        item->skip = !pair->ggml;
        if (item->skip)
            continue;
        if (pair == &model_names[0] && t->rank == 2 && t->shape[0] < MAX_EXTENT)
            m->n_vocab = (uint32_t)t->shape[0];
        /* ggml's kernels take norms and biases as F32 only. */
        if (t->rank == 1 && qn_dtype_is_quantisable(t->dtype))
            item->dtype = QINS_F32;
        enum qins_status st = rename_item(item, pair, in_layer, layer, err);
        if (st != QINS_OK)
            return st;
    }
    uint64_t wanted = 0;
    for (size_t i = 0; i < LENGTH(layer_names); i++)
        wanted += layer_names[i].required;
    *mapped = found == wanted * m->n_layer + 2 && m->n_vocab > 0;
    if (!*mapped)
        refuse(v, "tensors of config.json's llama model are missing.");
    return QINS_OK;
}

/* x with x^n = a, for a >= 1, by Newton's method from above; only + - * /, so that it is the
 * same on every machine. */
static double root(double a, uint32_t n)
{
    double x = a;
    for (int step = 0; step < 20000; step++) {
        double power = 1;
        for (uint32_t i = 1; i < n; i++)
            power *= x;
        double next = x - (x - a / power) / n;
        if (!(next < x))
            break;
        x = next;
    }
    return x;
}

/* The frequency factors of Llama 3.1: long waves are slowed by `factor`, short ones are left,
 * with a linear passage between (transformers, modeling_rope_utils.py, "llama3"). */
static enum qins_status rope_factors(struct qn_gguf_plan *plan, const struct llama *m,
                                     struct qins_error *err)
{
    const double two_pi = 6.283185307179586;
    double factor = get_number(m->rope, "factor", 8),
           low = get_number(m->rope, "low_freq_factor", 1);
    double high = get_number(m->rope, "high_freq_factor", 4);
    double context = get_number(m->rope, "original_max_position_embeddings", 8192);
    uint32_t n = m->head_dim / 2;
    plan->rope_factors = calloc(n, sizeof *plan->rope_factors);
    if (!plan->rope_factors)
        return qn_fail_memory(err);
    plan->n_rope_factors = n;
    double ratio = root(m->rope_theta, n), wave = two_pi;
    for (uint32_t i = 0; i < n; i++, wave *= ratio) {
        double smooth = (context / wave - low) / (high - low);
        double f = 1 / ((1 - smooth) / factor + smooth);
        plan->rope_factors[i] = (float)(wave < context / high  ? 1
                                        : wave > context / low ? factor
                                                               : f);
    }
    return QINS_OK;
}

static enum qins_status plan_rope(struct qn_gguf_plan *plan, const struct llama *m,
                                  const struct verdict *v, bool *mapped, struct qins_error *err)
{
    const char *type = get_text(m->rope, "rope_type");
    type = *type ? type : get_text(m->rope, "type");
    double low = get_number(m->rope, "low_freq_factor", 1);
    double high = get_number(m->rope, "high_freq_factor", 4);
    double factor = get_number(m->rope, "factor", 0);
    *mapped = true;
    if (strcmp(type, "llama3") == 0 && m->head_dim <= 4096 && low > 0 && high > low && factor > 0 &&
        factor < 1e6)
        return rope_factors(plan, m, err);
    *mapped = !*type || strcmp(type, "default") == 0 ||
              (strcmp(type, "linear") == 0 && factor > 0 && factor < 1e6);
    if (!*mapped)
        refuse(v, "rope scaling of type '%.40s' has no GGUF form here.", type);
    return QINS_OK;
}

/* enum llama_ftype of llama.h: what most matrices are. */
static uint32_t file_type(const struct qn_gguf_plan *plan, const struct qn_tensor_list *list)
{
    size_t f32 = 0, f16 = 0, bf16 = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].rank >= 2) {
            f32 += plan->items[i].dtype == QINS_F32;
            f16 += plan->items[i].dtype == QINS_F16;
            bf16 += plan->items[i].dtype == QINS_BF16;
        }
    return bf16 > f16 && bf16 > f32 ? 32 : f16 > f32 ? 1 : 0;
}

static void put_keys(struct qn_gguf_plan *plan, const struct qn_tensor_list *list,
                     const struct llama *m)
{
    struct qn_gguf_keys_out *k = &plan->keys;
    qn_gguf_put_string(k, "general.architecture", "llama", 5);
    qn_gguf_put_string(k, "general.name", m->name, strlen(m->name));
    qn_gguf_put_u32(k, "general.file_type", file_type(plan, list));
    qn_gguf_put_u32(k, "llama.vocab_size", m->n_vocab);
    qn_gguf_put_u32(k, "llama.context_length", m->n_context);
    qn_gguf_put_u32(k, "llama.embedding_length", m->n_embd);
    qn_gguf_put_u32(k, "llama.block_count", m->n_layer);
    qn_gguf_put_u32(k, "llama.feed_forward_length", m->n_ff);
    qn_gguf_put_u32(k, "llama.attention.head_count", m->n_head);
    qn_gguf_put_u32(k, "llama.attention.head_count_kv", m->n_kv);
    qn_gguf_put_u32(k, "llama.attention.key_length", m->head_dim);
    qn_gguf_put_u32(k, "llama.attention.value_length", m->head_dim);
    qn_gguf_put_f32(k, "llama.attention.layer_norm_rms_epsilon", (float)m->rms_eps);
    qn_gguf_put_u32(k, "llama.rope.dimension_count", m->head_dim);
    qn_gguf_put_f32(k, "llama.rope.freq_base", (float)m->rope_theta);
    const char *type = get_text(m->rope, "rope_type");
    if (strcmp(*type ? type : get_text(m->rope, "type"), "linear") == 0) {
        qn_gguf_put_string(k, "llama.rope.scaling.type", "linear", 6);
        qn_gguf_put_f32(k, "llama.rope.scaling.factor", (float)get_number(m->rope, "factor", 1));
    }
}

enum qins_status qn_gguf_plan_llama(struct qn_gguf_plan *plan, const struct qn_tensor_list *list,
                                    const struct qn_attachment_list *attachments, bool *mapped,
                                    char *reason, size_t size, struct qins_error *err)
{
    const struct verdict v = {reason, size};
    struct llama m = {0};
    json_t *config = NULL;
    enum qins_status st = qn_gguf_attached_json(attachments, "config.json", &config, err);
    *mapped = st == QINS_OK && read_config(config, &m, &v);
    if (*mapped)
        st = map_items(plan, list, &m, &v, mapped, err);
    if (st == QINS_OK && *mapped)
        st = plan_rope(plan, &m, &v, mapped, err);
    if (st == QINS_OK && *mapped) {
        put_keys(plan, list, &m);
        qn_gguf_put_vocabulary(&plan->keys, attachments, config, m.n_vocab);
        st = plan->keys.status;
    }
    json_decref(config);
    return st;
}
