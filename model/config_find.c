/* Where a model's config is found among its attached files. */
#include "core/bytes.h"
#include "model/config_keys.h"

#include <math.h>
#include <string.h>

/* llama2.c by A. Karpathy: run.c has the constants and ends a text at token 1 (BOS, which begins
 * the next), its chat at token 2 (EOS). */
static const double llama2c_eps = 1e-5, llama2c_theta = 1e4;
static const uint32_t versioned_magic = 0x616b3432; /* "ak42" */
enum { LEGACY_SIZE = 28, VERSIONED_SIZE = 37, LLAMA2C_BOS = 1, LLAMA2C_EOS = 2 };

enum qins_status qn_config_llama2c(const void *header, size_t size, struct qn_model_config *out,
                                   struct qins_error *err)
{
    static const int32_t limit = 1 << 24, max_layers = 4096;
    const uint8_t *p = header;
    bool versioned = size >= VERSIONED_SIZE && qn_load32(p) == versioned_magic;
    int32_t v[7]; /* dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len */
    struct qn_model_config c = {.arch = &qn_arch_llama2c, .bos = LLAMA2C_BOS};
    if (size < LEGACY_SIZE)
        return qn_fail(err, QINS_ERR_FORMAT, "the llama2.c header is cut short");
    for (size_t i = 0; i < 7; i++)
        v[i] = (int32_t)qn_load32(p + (versioned ? 8 : 0) + 4 * i);
    c.tied = versioned ? p[VERSIONED_SIZE - 1] != 0 : v[5] > 0;
    if (v[5] < 0 && v[5] >= -limit)
        v[5] = -v[5];
    for (size_t i = 0; i < 7; i++)
        if (v[i] <= 0 || v[i] > limit)
            return qn_fail(err, QINS_ERR_FORMAT, "the llama2.c header describes no model");
    if (v[2] > max_layers || v[0] % v[3] != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "the llama2.c header describes no model");
    c.hidden = (uint32_t)v[0];
    c.intermediate = (uint32_t)v[1];
    c.n_layers = (uint32_t)v[2];
    c.n_heads = (uint32_t)v[3];
    c.n_kv_heads = (uint32_t)v[4];
    c.vocab = (uint32_t)v[5];
    c.max_positions = (uint32_t)v[6];
    c.head_dim = c.hidden / c.n_heads;
    c.norm_eps = llama2c_eps;
    c.activation = QN_ACT_SILU;
    c.attention_scale = 1 / sqrt((double)c.head_dim);
    c.rope = (struct qn_rope_config){
        .theta = llama2c_theta, .dims = c.head_dim, .factor = 1, .attention_factor = 1};
    c.eos[0] = LLAMA2C_BOS;
    c.eos[1] = LLAMA2C_EOS;
    c.n_eos = 2;
    qn_config_drop_tokens(&c);
    enum qins_status st = qn_config_check(&c, err);
    if (st == QINS_OK)
        *out = c;
    return st;
}

/* Says in which attached file the error is: by its path, or, where it is a piece of an archive
 * (which the caller names), by its name in front of the message. */
static enum qins_status named(const struct qn_attachment *a, enum qins_status st,
                              struct qins_error *err)
{
    char message[sizeof err->message];
    if (st == QINS_OK || !err || a->path)
        return a->path ? qn_error_in_file(err, st, a->path) : st;
    memcpy(message, err->message, sizeof message);
    return qn_fail(err, st, "%s: %s", a->name, message);
}

/* generation_config.json: of its keys only the ends of a text concern the model. */
static enum qins_status add_generation_config(const struct qn_attachment *a,
                                              struct qn_model_config *c, struct qins_error *err)
{
    struct qins_error local;
    struct qins_error *e = err ? err : &local;
    json_t *object = qn_json_parse(a->data, a->size, 0, e);
    enum qins_status st = object ? QINS_OK : e->status;
    if (st == QINS_OK && !json_is_object(object))
        st = qn_fail(e, QINS_ERR_FORMAT, "it is no JSON object");
    if (st == QINS_OK)
        st = qn_config_eos(c, json_object_get(object, "eos_token_id"), e);
    qn_config_drop_tokens(c);
    json_decref(object);
    return named(a, st, e);
}

enum qins_status qn_config_find(const struct qn_attachment_list *files, struct qn_model_config *out,
                                struct qins_error *err)
{
    /* A llama2.c file's own header comes first: its tensors have Meta's names and pairs, whatever
     * a config.json beside it says. */
    const struct qn_attachment *header = qn_attachment_find(files, "llama2c.header");
    const struct qn_attachment *config = qn_attachment_find(files, "config.json");
    const struct qn_attachment *more = qn_attachment_find(files, "generation_config.json");
    if (header)
        return named(header, qn_config_llama2c(header->data, header->size, out, err), err);
    if (!config)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "there is no config.json beside the weights, so how to run them is not "
                       "known");
    enum qins_status st = qn_config_parse(config->data, config->size, out, err);
    if (st != QINS_OK)
        return named(config, st, err);
    return more ? add_generation_config(more, out, err) : QINS_OK;
}
