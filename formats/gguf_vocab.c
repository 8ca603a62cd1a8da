/* Tokenizer keys of GGUF from a Hugging Face tokenizer.json. llama.cpp knows two kinds that
 * matter here: "gpt2", byte-level BPE with its merges, and "llama", SentencePiece-style BPE whose
 * merges are ranked by the scores of the tokens they make (llama.cpp, src/llama-vocab.cpp). */
#include "formats/gguf_plan.h"

#include <stdio.h>
#include <stdlib.h>

/* gguf-py/gguf/constants.py, TokenType */
enum token_type { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

struct token {
    const char *text; /* NULL: no token has this id */
    enum token_type type;
    float score;
    bool ranked;
};

struct vocabulary {
    const json_t *root, *model; /* tokenizer.json and its "model" */
    struct token *tokens;
    uint32_t count;
    bool byte_level; /* else SentencePiece-style */
};

static const char *type_of(const json_t *object)
{
    const char *s = json_string_value(json_object_get(object, "type"));
    return s ? s : "";
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* The part of TYPE in a pre-tokenizer, normalizer or post-processor: the thing itself or a
 * member of a Sequence of them under KEY. */
static const json_t *find_part(const json_t *object, const char *key, const char *type)
{
    if (strcmp(type_of(object), type) == 0)
        return object;
    const json_t *parts = json_object_get(object, key);
    for (size_t i = 0; i < json_array_size(parts); i++)
        if (strcmp(type_of(json_array_get(parts, i)), type) == 0)
            return json_array_get(parts, i);
    return NULL;
}

static const json_t *pre_tokenizer(const struct vocabulary *v, const char *type)
{
    return find_part(json_object_get(v->root, "pre_tokenizer"), "pretokenizers", type);
}

static struct token *token_at(struct vocabulary *v, const json_t *id)
{
    json_int_t n = json_is_integer(id) ? json_integer_value(id) : -1;
    return n >= 0 && n < v->count ? &v->tokens[n] : NULL;
}

/* False if an id has no row in the embedding or two tokens share one. */
static bool take_vocab(struct vocabulary *v)
{
    const json_t *vocab = json_object_get(v->model, "vocab");
    const char *unknown = text_of(v->model, "unk_token");
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)vocab, text, id)
    {
        struct token *t = token_at(v, id);
        unsigned byte;
        char last;
        if (!t || t->text)
            return false;
        *t = (struct token){.text = text, .type = NORMAL};
        if (!v->byte_level && strlen(text) == 6 && sscanf(text, "<0x%2X%c", &byte, &last) == 2 &&
            last == '>')
            t->type = BYTE;
        else if (unknown && strcmp(text, unknown) == 0)
            t->type = UNKNOWN;
    }
    return json_object_size(vocab) > 0;
}

static bool take_added(struct vocabulary *v)
{
    const json_t *added = json_object_get(v->root, "added_tokens");
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        const char *text = text_of(a, "content");
        struct token *t = token_at(v, json_object_get(a, "id"));
        if (!t || !text)
            return false;
        if (!t->text || t->type != UNKNOWN)
            t->type = json_is_true(json_object_get(a, "special")) ? CONTROL : USER_DEFINED;
        t->text = text;
    }
    return true;
}

/* The two sides of a merge, "a b" or ["a", "b"], as one string "a b" (the caller's to free) with
 * the space at *SPLIT. NULL if it is neither, or out of memory. */
static char *merge_text(const json_t *merge, size_t *split)
{
    const char *line = json_string_value(merge);
    if (line) {
        const char *space = strchr(line, ' ');
        *split = space ? (size_t)(space - line) : 0;
        return *split > 0 ? qn_strdup(line, NULL) : NULL;
    }
    const char *a = json_string_value(json_array_get(merge, 0));
    const char *b = json_string_value(json_array_get(merge, 1));
    if (!a || !b || strchr(a, ' ') || strchr(b, ' '))
        return NULL;
    *split = strlen(a);
    return qn_format(NULL, "%s %s", a, b);
}

/* SentencePiece-style: the earlier a merge, the higher the score of what it makes. */
static void rank_merge(struct vocabulary *v, char *text, size_t split, size_t rank)
{
    memmove(text + split, text + split + 1, strlen(text + split));
    struct token *t = token_at(v, json_object_get(json_object_get(v->model, "vocab"), text));
    if (t && !t->ranked) {
        t->score = -(float)rank;
        t->ranked = true;
    }
}

static bool put_merges(struct qn_gguf_keys_out *k, struct vocabulary *v)
{
    const json_t *merges = json_object_get(v->model, "merges");
    size_t count = json_array_size(merges);
    if (v->byte_level)
        qn_gguf_put_array(k, "tokenizer.ggml.merges", QN_GGUF_STRING, count);
    for (size_t i = 0; i < count; i++) {
        size_t split;
        char *text = merge_text(json_array_get(merges, i), &split);
        if (!text)
            return false;
        if (v->byte_level)
            qn_gguf_add_string(k, text, strlen(text));
        else
            rank_merge(v, text, split, i + 1);
        free(text);
    }
    for (uint32_t i = 0; i < v->count && !v->byte_level; i++)
        if (!v->tokens[i].ranked && v->tokens[i].type == NORMAL)
            v->tokens[i].score = -(float)(count + 1);
    return true;
}

static void put_tokens(struct qn_gguf_keys_out *k, const struct vocabulary *v)
{
    qn_gguf_put_array(k, "tokenizer.ggml.tokens", QN_GGUF_STRING, v->count);
    for (uint32_t i = 0; i < v->count; i++) {
        char name[32];
        snprintf(name, sizeof name, "[PAD%u]", i);
        const char *text = v->tokens[i].text ? v->tokens[i].text : name;
        qn_gguf_add_string(k, text, strlen(text));
    }
    if (!v->byte_level) {
        qn_gguf_put_array(k, "tokenizer.ggml.scores", QN_GGUF_F32, v->count);
        for (uint32_t i = 0; i < v->count; i++)
            qn_gguf_add_f32(k, v->tokens[i].score);
    }
    qn_gguf_put_array(k, "tokenizer.ggml.token_type", QN_GGUF_I32, v->count);
    for (uint32_t i = 0; i < v->count; i++)
        qn_gguf_add_u32(k, v->tokens[i].text ? v->tokens[i].type : UNUSED);
}

/* llama.cpp's name for the way a byte-level tokenizer cuts text into words. */
static const char *pre_name(const struct vocabulary *v)
{
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    static const struct {
        const char *regex, *name;
    } known[] = {
        {CONTRACTIONS "\\p{N}{1,3}" REST, "llama-bpe"},
        {CONTRACTIONS "\\p{N}" REST, "qwen2"},
    };
    const json_t *use = json_object_get(pre_tokenizer(v, "ByteLevel"), "use_regex");
    const char *regex = text_of(json_object_get(pre_tokenizer(v, "Split"), "pattern"), "Regex");
    for (size_t i = 0; regex && i < sizeof known / sizeof *known; i++)
        if (strcmp(regex, known[i].regex) == 0)
            return known[i].name;
    return !regex && !json_is_false(use) ? "gpt-2" : "default";
}

static void put_id(struct qn_gguf_keys_out *k, const struct vocabulary *v, const char *key,
                   const json_t *id)
{
    if (json_is_array(id))
        id = json_array_get(id, 0);
    if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < v->count)
        qn_gguf_put_u32(k, key, (uint32_t)json_integer_value(id));
}

static void put_unknown(struct qn_gguf_keys_out *k, const struct vocabulary *v)
{
    for (uint32_t i = 0; i < v->count; i++)
        if (v->tokens[i].text && v->tokens[i].type == UNKNOWN) {
            qn_gguf_put_u32(k, "tokenizer.ggml.unknown_token_id", i);
            return;
        }
}

/* Whether a sequence begins with a special token: what tokenizer_config.json says, else what the
 * post-processor's template does. */
static bool adds_bos(const struct vocabulary *v, const json_t *config)
{
    const json_t *said = json_object_get(config, "add_bos_token");
    if (json_is_boolean(said))
        return json_is_true(said);
    const json_t *template =
        find_part(json_object_get(v->root, "post_processor"), "processors", "TemplateProcessing");
    const json_t *first = json_array_get(json_object_get(template, "single"), 0);
    return json_object_get(first, "SpecialToken") != NULL;
}

static bool adds_space(const struct vocabulary *v)
{
    const json_t *level = pre_tokenizer(v, "ByteLevel");
    const json_t *meta = pre_tokenizer(v, "Metaspace");
    const char *scheme = text_of(meta, "prepend_scheme");
    if (v->byte_level)
        return json_is_true(json_object_get(level, "add_prefix_space"));
    if (meta)
        return scheme ? strcmp(scheme, "never") != 0
                      : !json_is_false(json_object_get(meta, "add_prefix_space"));
    return find_part(json_object_get(v->root, "normalizer"), "normalizers", "Prepend") != NULL;
}

static void put_chat_template(struct qn_gguf_keys_out *k,
                              const struct qn_attachment_list *attachments, const json_t *config)
{
    static const char key[] = "tokenizer.chat_template";
    const struct qn_attachment *a = qn_attachment_find(attachments, "chat_template.jinja");
    const char *text = text_of(config, "chat_template");
    if (a)
        qn_gguf_put_string(k, key, (const char *)a->data, a->size);
    else if (text)
        qn_gguf_put_string(k, key, text, strlen(text));
}

/* Everything but the model's config; false if llama.cpp has no form for this tokenizer. */
static bool put_tokenizer(struct qn_gguf_keys_out *k, struct vocabulary *v)
{
    v->model = json_object_get(v->root, "model");
    v->byte_level = pre_tokenizer(v, "ByteLevel") != NULL;
    const char *kind = v->byte_level ? "gpt2" : "llama";
    /* Tokenizers of old omit the type; BPE is what has merges. */
    if (!json_is_array(json_object_get(v->model, "merges")) ||
        (!v->byte_level && !json_is_true(json_object_get(v->model, "byte_fallback"))))
        return false;
    if (!take_vocab(v) || !take_added(v))
        return false;
    qn_gguf_put_string(k, "tokenizer.ggml.model", kind, strlen(kind));
    const char *pre = v->byte_level ? pre_name(v) : "default";
    qn_gguf_put_string(k, "tokenizer.ggml.pre", pre, strlen(pre));
    if (!put_merges(k, v))
        return false;
    put_tokens(k, v);
    return true;
}

void qn_gguf_put_vocabulary(struct qn_gguf_keys_out *k,
                            const struct qn_attachment_list *attachments, const json_t *config,
                            uint32_t n_vocab)
{
    const size_t size = k->buf.size;
    const uint64_t count = k->count;
    json_t *root = NULL, *extra = NULL;
    enum qins_status st = qn_gguf_attached_json(attachments, "tokenizer.json", &root, k->err);
    if (st == QINS_OK)
        st = qn_gguf_attached_json(attachments, "tokenizer_config.json", &extra, k->err);
    struct vocabulary v = {.root = root, .count = n_vocab};
    v.tokens = calloc(n_vocab, sizeof *v.tokens);
    if (!v.tokens || st != QINS_OK) {
        k->status = qn_fail_memory(k->err);
    } else if (!put_tokenizer(k, &v)) {
        k->buf.size = size;
        k->count = count;
        qn_gguf_put_string(k, "tokenizer.ggml.model", "no_vocab", 8);
    } else {
        put_id(k, &v, "tokenizer.ggml.bos_token_id", json_object_get(config, "bos_token_id"));
        put_id(k, &v, "tokenizer.ggml.eos_token_id", json_object_get(config, "eos_token_id"));
        put_id(k, &v, "tokenizer.ggml.padding_token_id", json_object_get(config, "pad_token_id"));
        put_unknown(k, &v);
        qn_gguf_put_bool(k, "tokenizer.ggml.add_bos_token", adds_bos(&v, extra));
        qn_gguf_put_bool(k, "tokenizer.ggml.add_space_prefix", adds_space(&v));
        put_chat_template(k, attachments, extra);
    }
    free(v.tokens);
    json_decref(extra);
    json_decref(root);
}
