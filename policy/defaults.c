#include "policy/defaults.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_WORD = 32 };

void qn_plan_options_init(struct qn_plan_options *o)
{
    *o = (struct qn_plan_options){
        .bits = QN_DEFAULT_BITS,
        .codec = QN_CODEC_COUNT,
        .group_kind = QN_GROUP_ROW,
        .kappa = -1.0F,
        .clip = -1.0F,
        .grid = QN_GRID_QINS,
    };
}

enum qins_status qn_plan_options_check(const struct qn_plan_options *o, struct qins_error *err)
{
    if (o->bits < QN_MIN_BITS || o->bits > QN_MAX_BITS)
        return qn_fail(err, QINS_ERR_USAGE, "%u bits: between %d and %d are possible", o->bits,
                       QN_MIN_BITS, QN_MAX_BITS);
    bool seed = o->grid == QN_GRID_SEED;
    float least = seed ? QN_MIN_ALPHA : 0.0F, most = seed ? QN_MAX_ALPHA : QN_MAX_KAPPA;
    if (!isfinite(o->kappa) || (o->kappa >= 0.0F && (o->kappa < least || o->kappa > most)))
        return qn_fail(err, QINS_ERR_USAGE, "kappa is 'auto' or a number from %g to %g",
                       (double)least, (double)most);
    if (!isfinite(o->clip) || o->clip > 1.0F || (o->clip >= 0.0F && o->clip < 0.01F))
        return qn_fail(err, QINS_ERR_USAGE, "clip is 'auto' or a number from 0.01 to 1");
    if (o->group_given && o->group_kind == QN_GROUP_BLOCK && o->group < 1)
        return qn_fail(err, QINS_ERR_USAGE, "a group needs at least one element");
    if (o->lossless && o->codec == QN_CODEC_BITPACK)
        return qn_fail(err, QINS_ERR_USAGE,
                       "bitpack holds quantised codes and cannot be lossless; use store");
    if (o->lossless &&
        (o->group_given || o->grid != QN_GRID_QINS || o->kappa >= 0.0F || o->clip >= 0.0F))
        return qn_fail(err, QINS_ERR_USAGE, "lossless leaves nothing to quantise");
    if (o->grid == QN_GRID_SEED && (o->clip >= 0.0F || o->group_given))
        return qn_fail(err, QINS_ERR_USAGE, "the seed grid has neither scales nor a clip");
    return QINS_OK;
}

struct word_role {
    const char *word;
    enum qn_tensor_role role;
};

/* Words of the names that PyTorch, Keras, GGUF and llama2.c checkpoints give. */
static const struct word_role words[] = {
    {"norm", QN_ROLE_NORM},
    {"layernorm", QN_ROLE_NORM},
    {"batchnorm", QN_ROLE_NORM},
    {"rmsnorm", QN_ROLE_NORM},
    {"groupnorm", QN_ROLE_NORM},
    {"ln", QN_ROLE_NORM},
    {"bn", QN_ROLE_NORM},
    {"normalization", QN_ROLE_NORM},
    {"gamma", QN_ROLE_NORM},
    {"rms", QN_ROLE_NORM},
    {"bias", QN_ROLE_BIAS},
    {"beta", QN_ROLE_BIAS},
    {"embedding", QN_ROLE_EMBEDDING},
    {"embeddings", QN_ROLE_EMBEDDING},
    {"embed", QN_ROLE_EMBEDDING},
    {"wte", QN_ROLE_EMBEDDING},
    {"wpe", QN_ROLE_EMBEDDING},
    {"embd", QN_ROLE_EMBEDDING},
    {"head", QN_ROLE_HEAD},
    {"unembed", QN_ROLE_HEAD},
    {"wcls", QN_ROLE_HEAD},
};

/* Splits "model.layers.0.ln_1.weight" into letters-only words and asks the table; a norm or a
 * bias anywhere in the name outweighs an embedding ("embed_norm"). */
enum qn_tensor_role qn_role_of(const char *name)
{
    enum qn_tensor_role role = QN_ROLE_OTHER;
    for (const char *p = name; *p;) {
        char word[MAX_WORD];
        size_t n = 0;
        while (*p && !isalpha((unsigned char)*p))
            p++;
        for (; isalpha((unsigned char)*p); p++)
            if (n + 1 < sizeof word)
                word[n++] = *p;
        word[n] = '\0';
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            bool first = role == QN_ROLE_OTHER || words[i].role <= QN_ROLE_BIAS;
            if (first && strcasecmp(word, words[i].word) == 0)
                role = words[i].role;
        }
    }
    /* GGUF and llama2.c call the head by its whole name. */
    if (strcmp(name, "output.weight") == 0)
        role = QN_ROLE_HEAD;
    return role;
}

/* Why a tensor stays as it is, or NULL. */
static const char *lossless_reason(const struct qn_tensor *t, const struct qn_plan_options *o,
                                   enum qn_tensor_role role)
{
    if (!qn_dtype_is_float(t->dtype))
        return "not a float type: carried unchanged";
    if (t->dtype == QINS_F64)
        return "64-bit floats are always lossless";
    if (o->lossless)
        return "lossless, as asked";
    if (t->rank < 2)
        return "a vector or a scalar: lossless";
    if (role == QN_ROLE_NORM)
        return "a normalisation: lossless";
    if (role == QN_ROLE_BIAS)
        return "a bias: lossless";
    if (t->n_elements < QN_MIN_QUANTISED)
        return "under 4096 elements: lossless";
    return NULL;
}

static void plan_lossless(const struct qn_plan_options *o, const char *reason,
                          struct qn_plan_line *out)
{
    bool chosen = o->codec != QN_CODEC_COUNT && o->codec != QN_CODEC_BITPACK;
    out->content = QN_CONTENT_LOSSLESS;
    out->codec = chosen ? o->codec : QN_CODEC_HUFFMAN;
    snprintf(out->reason, sizeof out->reason, "%s", reason);
}

static const char *role_text(enum qn_tensor_role role)
{
    switch (role) {
    case QN_ROLE_EMBEDDING:
        return "an embedding";
    case QN_ROLE_HEAD:
        return "an output head";
    default:
        return "a matrix";
    }
}

static void choose_group(const struct qn_tensor *t, const struct qn_plan_options *o,
                         struct qn_plan_line *out, const char **why)
{
    uint64_t row = t->shape[0] ? t->n_elements / t->shape[0] : 0;
    *why = NULL;
    out->group_kind = o->group_kind;
    if (o->group_given) {
        out->group = o->group_kind == QN_GROUP_BLOCK ? o->group : 0;
        return;
    }
    if (row < QN_MIN_ROW) {
        out->group_kind = QN_GROUP_TENSOR;
        *why = "rows under 16 elements, so one scale a tensor";
    }
}

static void group_text(const struct qn_plan_line *line, char *buf, size_t size)
{
    if (line->group_kind == QN_GROUP_BLOCK)
        snprintf(buf, size, "one scale for %llu elements", (unsigned long long)line->group);
    else
        snprintf(buf, size, "one scale a %s", line->group_kind == QN_GROUP_ROW ? "row" : "tensor");
}

static void plan_quantised(const struct qn_tensor *t, const struct qn_plan_options *o,
                           enum qn_tensor_role role, struct qn_plan_line *out)
{
    char group[64];
    const char *why;
    out->codec = o->codec == QN_CODEC_COUNT ? QN_CODEC_BITPACK : o->codec;
    out->levels = (1u << (o->bits - 1)) - 1;
    if (o->grid == QN_GRID_SEED) {
        /* The seed documents fix alpha = 1; nothing is scaled. */
        out->content = QN_CONTENT_SEED;
        out->kappa = o->kappa >= 0.0F ? o->kappa : 1.0F;
        out->clip = 1.0F;
        out->group_kind = QN_GROUP_TENSOR;
        snprintf(out->reason, sizeof out->reason, "%s: %u bits on the seed grid, as asked",
                 role_text(role), o->bits);
        return;
    }
    out->content = QN_CONTENT_QINS;
    out->kappa = o->kappa;
    out->clip = o->clip;
    choose_group(t, o, out, &why);
    group_text(out, group, sizeof group);
    snprintf(out->reason, sizeof out->reason, "%s: %u bits, %s", role_text(role), o->bits,
             why ? why : group);
}

void qn_default_plan(const struct qn_tensor *t, const struct qn_plan_options *o,
                     struct qn_plan_line *out)
{
    enum qn_tensor_role role = qn_role_of(t->name);
    const char *reason = lossless_reason(t, o, role);
    *out = (struct qn_plan_line){.group_kind = QN_GROUP_TENSOR, .access_frequency = -1.0};
    if (reason)
        plan_lossless(o, reason, out);
    else
        plan_quantised(t, o, role, out);
}
