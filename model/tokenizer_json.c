/* tokenizer.json of Hugging Face's tokenizers library: the file and its vocabulary. "truncation"
 * and "padding" are ignored: they say how batches are made, not what a text's ids are. */
#include "model/limits.h"
#include "model/tokenizer_impl.h"
#include "model/tokenizer_parts.h"

#include <inttypes.h>
#include <string.h>

/* Published files leave a few ids out; a file that leaves out most would take memory for
 * nothing. */
enum { GAPS_ALLOWED = 1 << 16 };

static bool token_id(const json_t *value, uint32_t *id)
{
    uint64_t n;
    if (!qn_json_u64(value, &n) || n >= QN_NO_TOKEN)
        return false;
    *id = (uint32_t)n;
    return true;
}

static enum qins_status no_id(const char *text, struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_FORMAT, "the id of token \"%.64s\" is no number below 2^32 - 1",
                   text);
}

/* Highest id and bytes of all texts. */
static enum qins_status measure(const json_t *vocab, const json_t *added, uint32_t *highest,
                                size_t *bytes, struct qins_error *err)
{
    const char *text;
    json_t *value;
    uint32_t id;
    *highest = 0;
    *bytes = 0;
    json_object_foreach((json_t *)vocab, text, value)
    {
        if (!token_id(value, &id))
            return no_id(text, err);
        *highest = id > *highest ? id : *highest;
        *bytes += strlen(text);
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        text = json_string_value(json_object_get(a, "content"));
        if (!text)
            return qn_fail(err, QINS_ERR_FORMAT, "added token %zu without \"content\"", i);
        if (!token_id(json_object_get(a, "id"), &id))
            return no_id(text, err);
        *highest = id > *highest ? id : *highest;
        *bytes += strlen(text);
    }
    const uint64_t count = json_object_size(vocab) + json_array_size(added);
    if (count == 0)
        return qn_fail(err, QINS_ERR_FORMAT, "the vocabulary is empty");
    if (*highest > 2 * count + GAPS_ALLOWED)
        return qn_fail(err, QINS_ERR_FORMAT, "a token of id %" PRIu32 " among %" PRIu64 " tokens",
                       *highest, count);
    return QINS_OK;
}

static enum qins_status take_vocab(struct qn_vocab *v, const json_t *vocab, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    const char *text;
    json_t *value;
    uint32_t id;
    json_object_foreach((json_t *)vocab, text, value)
    {
        if (!token_id(value, &id))
            st = no_id(text, err);
        else if (qn_vocab_has(v, id))
            st = qn_fail(err, QINS_ERR_FORMAT, "two tokens have the id %" PRIu32, id);
        else
            st = qn_vocab_add(v, text, strlen(text), id, true, err);
        if (st != QINS_OK)
            break;
    }
    return st;
}

static enum qins_status add_to(struct qn_added_tokens lists[2], const struct qn_added_token *token,
                               bool special, struct qins_error *err)
{
    enum qins_status st = qn_added_tokens_add(&lists[0], token, err);
    return st == QINS_OK && !special ? qn_added_tokens_add(&lists[1], token, err) : st;
}

/* The text of an added token as it is looked for in normalized text. */
static enum qins_status add_normalized(struct qn_tokenizer *t, const struct qn_added_token *token,
                                       bool special, struct qins_error *err)
{
    struct qn_buf text = {0};
    struct qn_matcher matcher = {0};
    struct qn_added_token copy = *token;
    enum qins_status st = qn_normalize(&t->normalizer, &matcher, (const uint8_t *)token->text,
                                       token->size, &text, err);
    if (st == QINS_OK) {
        copy.text = (char *)text.data;
        copy.size = text.size;
        st = add_to(t->normalized, &copy, special, err);
    }
    qn_matcher_finish(&matcher);
    qn_buf_finish(&text);
    return st;
}

/* An added token is one of the vocabulary or has an id of its own. */
static enum qins_status place_added(struct qn_vocab *v, const char *text, uint32_t id,
                                    struct qins_error *err)
{
    const size_t size = strlen(text);
    const uint32_t known = qn_vocab_find(v, text, size);
    if (known != QN_NO_TOKEN && known != id)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the added token \"%.64s\" has the id %" PRIu32
                       ", in the vocabulary it has %" PRIu32,
                       text, id, known);
    if (known == QN_NO_TOKEN && qn_vocab_has(v, id)) {
        size_t other_size;
        const uint8_t *other = qn_vocab_text(v, id, &other_size);
        if (other_size != size || memcmp(other, text, size) != 0)
            return qn_fail(err, QINS_ERR_FORMAT, "two tokens have the id %" PRIu32, id);
        return QINS_OK;
    }
    return known == QN_NO_TOKEN ? qn_vocab_add(v, text, size, id, false, err) : QINS_OK;
}

static enum qins_status take_added(struct qn_tokenizer *t, const json_t *a, struct qins_error *err)
{
    struct qn_added_token token = {0};
    bool special, normalized;
    const char *text = json_string_value(json_object_get(a, "content"));
    if (!text || !token_id(json_object_get(a, "id"), &token.id))
        return no_id(text ? text : "", err);
    enum qins_status st = qn_part_bool(a, "special", false, &special, err);
    if (st == QINS_OK)
        st = qn_part_bool(a, "normalized", !special, &normalized, err);
    if (st == QINS_OK)
        st = qn_part_bool(a, "lstrip", false, &token.strip_left, err);
    if (st == QINS_OK)
        st = qn_part_bool(a, "rstrip", false, &token.strip_right, err);
    if (st == QINS_OK)
        st = qn_part_bool(a, "single_word", false, &token.single_word, err);
    if (st == QINS_OK)
        st = place_added(&t->vocab, text, token.id, err);
    if (st != QINS_OK)
        return st;
    t->vocab.tokens[token.id].special |= special;
    token.text = (char *)text;
    token.size = strlen(text);
    return normalized ? add_normalized(t, &token, special, err)
                      : add_to(t->raw, &token, special, err);
}

enum qins_status qn_tokenizer_read_vocab(struct qn_tokenizer *t, const json_t *vocab,
                                         const json_t *added, struct qins_error *err)
{
    uint32_t highest;
    size_t bytes;
    if (!json_is_object(vocab))
        return qn_fail(err, QINS_ERR_FORMAT, "the model's \"vocab\" is not an object");
    if (added && !json_is_null(added) && !json_is_array(added))
        return qn_fail(err, QINS_ERR_FORMAT, "\"added_tokens\" is not a list");
    enum qins_status st = measure(vocab, added, &highest, &bytes, err);
    if (st == QINS_OK)
        st = qn_vocab_init(&t->vocab, highest + 1, bytes, err);
    if (st == QINS_OK)
        st = take_vocab(&t->vocab, vocab, err);
    for (size_t i = 0; i < json_array_size(added) && st == QINS_OK; i++)
        st = take_added(t, json_array_get(added, i), err);
    for (int plain = 0; plain < 2; plain++) {
        qn_added_tokens_sort(&t->raw[plain]);
        qn_added_tokens_sort(&t->normalized[plain]);
    }
    return st;
}

static enum qins_status read_root(struct qn_tokenizer *t, const json_t *root,
                                  struct qins_error *err)
{
    const json_t *model = json_object_get(root, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!json_is_object(model))
        return qn_fail(err, QINS_ERR_FORMAT, "tokenizer.json has no \"model\"");
    /* Files of old omit the type; what has merges is BPE. */
    if (type ? strcmp(type, "BPE") != 0 : !json_object_get(model, "merges"))
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the tokenizer model %s is not implemented",
                       type ? type : "without a type");
    enum qins_status st =
        qn_normalizer_init(&t->normalizer, json_object_get(root, "normalizer"), err);
    if (st == QINS_OK)
        st = qn_pretokenizer_init(&t->pretokenizer, json_object_get(root, "pre_tokenizer"), err);
    if (st == QINS_OK)
        st = qn_decoder_init(&t->decoder, json_object_get(root, "decoder"), err);
    if (st == QINS_OK)
        st = qn_tokenizer_read_vocab(t, json_object_get(model, "vocab"),
                                     json_object_get(root, "added_tokens"), err);
    if (st == QINS_OK)
        st = qn_tokenizer_read_bpe(t, model, err);
    return st == QINS_OK
               ? qn_tokenizer_read_template(t, json_object_get(root, "post_processor"), err)
               : st;
}

enum qins_status qn_tokenizer_read_json(struct qn_tokenizer *t, const void *data, size_t size,
                                        struct qins_error *err)
{
    json_t *root = qn_json_parse(data, size, 0, err);
    if (!root)
        return err ? err->status : QINS_ERR_FORMAT;
    enum qins_status st = read_root(t, root, err);
    json_decref(root);
    return st;
}

const struct qn_limit qn_tokenizer_json_limits[] = {
    {"tokenizer", "unused_ids", GAPS_ALLOWED, "ids", "memory for tokens that there are not"},
    {0},
};
