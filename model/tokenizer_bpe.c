/* The model and the post-processor of tokenizer.json. */
#include "model/byte_level.h"
#include "model/tokenizer_impl.h"
#include "model/tokenizer_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A merge in either form, "a b" or ["a", "b"]; false if it is neither. */
static bool sides_of(const json_t *merge, const char *sides[2], size_t sizes[2])
{
    const char *line = json_string_value(merge);
    if (line) {
        const char *space = strchr(line, ' ');
        if (!space || strchr(space + 1, ' '))
            return false;
        sides[0] = line;
        sizes[0] = (size_t)(space - line);
        sides[1] = space + 1;
    } else {
        if (json_array_size(merge) != 2)
            return false;
        sides[0] = json_string_value(json_array_get(merge, 0));
        sides[1] = json_string_value(json_array_get(merge, 1));
        if (!sides[0] || !sides[1])
            return false;
        sizes[0] = strlen(sides[0]);
    }
    sizes[1] = strlen(sides[1]);
    return true;
}

static enum qins_status add_merge(struct qn_tokenizer *t, const json_t *merge, size_t index,
                                  uint32_t rank, struct qins_error *err)
{
    const char *sides[2];
    size_t sizes[2];
    uint32_t ids[3];
    if (!sides_of(merge, sides, sizes))
        return qn_fail(err, QINS_ERR_FORMAT, "merge %zu is no pair of tokens", index);
    for (int i = 0; i < 2; i++)
        ids[i] = qn_vocab_find(&t->vocab, sides[i], sizes[i]);
    ids[2] = qn_vocab_find_joined(&t->vocab, sides[0], sizes[0], sides[1], sizes[1]);
    for (int i = 0; i < 3; i++)
        if (ids[i] == QN_NO_TOKEN)
            return qn_fail(err, QINS_ERR_FORMAT,
                           "merge %zu (\"%.*s\" and \"%.*s\"): the vocabulary lacks %s", index,
                           (int)(sizes[0] < 64 ? sizes[0] : 64), sides[0],
                           (int)(sizes[1] < 64 ? sizes[1] : 64), sides[1],
                           i == 0   ? "the first"
                           : i == 1 ? "the second"
                                    : "what they make");
    return qn_bpe_add_merge(&t->bpe, ids[0], ids[1], rank, ids[2], err);
}

static enum qins_status take_merges(struct qn_tokenizer *t, const json_t *merges,
                                    struct qins_error *err)
{
    static const char heading[] = "#version"; /* of merges.txt, copied in by old converters */
    enum qins_status st = QINS_OK;
    uint32_t rank = 0;
    if (!json_is_array(merges) || json_array_size(merges) >= QN_NO_TOKEN)
        return qn_fail(err, QINS_ERR_FORMAT, "the model's \"merges\" is not a list");
    for (size_t i = 0; i < json_array_size(merges) && st == QINS_OK; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *line = json_string_value(merge);
        if (!line || strncmp(line, heading, sizeof heading - 1) != 0)
            st = add_merge(t, merge, i, rank++, err);
    }
    return st;
}

/* Members that would change ids and are not implemented. */
static enum qins_status refuse_rest(const json_t *model, struct qins_error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++) {
        const json_t *v = json_object_get(model, affixes[i]);
        if (v && !json_is_null(v) && !(json_is_string(v) && json_string_length(v) == 0))
            return qn_fail(err, QINS_ERR_UNSUPPORTED, "\"%s\" of BPE is not implemented",
                           affixes[i]);
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) &&
        !(json_is_number(dropout) && json_number_value(dropout) == 0.0))
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "\"dropout\" of BPE, by which ids are random, is not implemented");
    return QINS_OK;
}

static enum qins_status take_bytes(struct qn_tokenizer *t, struct qins_error *err)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        size_t size;
        if (t->bpe.byte_level)
            size = qn_byte_level_put((uint8_t)byte, (uint8_t *)text);
        else
            size = (size_t)snprintf(text, sizeof text, "<0x%02X>", byte);
        t->bpe.byte_ids[byte] = qn_vocab_find(&t->vocab, text, size);
        if (t->bpe.byte_level && t->bpe.byte_fallback && t->bpe.byte_ids[byte] == QN_NO_TOKEN)
            return qn_fail(err, QINS_ERR_UNSUPPORTED,
                           "byte_fallback of a byte-level tokenizer that lacks a byte is not "
                           "implemented");
    }
    return QINS_OK;
}

enum qins_status qn_tokenizer_read_bpe(struct qn_tokenizer *t, const json_t *model,
                                       struct qins_error *err)
{
    struct qn_bpe *b = &t->bpe;
    const char *unknown;
    enum qins_status st = refuse_rest(model, err);
    if (st == QINS_OK)
        st = qn_bpe_init(b, &t->vocab, err);
    if (st == QINS_OK)
        st = qn_part_bool(model, "byte_fallback", false, &b->byte_fallback, err);
    if (st == QINS_OK)
        st = qn_part_bool(model, "fuse_unk", false, &b->fuse_unknown, err);
    if (st == QINS_OK)
        st = qn_part_bool(model, "ignore_merges", false, &b->ignore_merges, err);
    if (st == QINS_OK)
        st = qn_part_string(model, "unk_token", "", &unknown, err);
    if (st != QINS_OK)
        return st;
    b->byte_level = t->lossless = t->pretokenizer.byte_level;
    b->unknown = qn_vocab_find(&t->vocab, unknown, strlen(unknown));
    b->unknown_missing = *unknown && b->unknown == QN_NO_TOKEN;
    st = take_bytes(t, err);
    return st == QINS_OK ? take_merges(t, json_object_get(model, "merges"), err) : st;
}

/* Appends the ids that a template's special token stands for. */
static enum qins_status take_special(const struct qn_tokenizer *t, const json_t *part,
                                     const json_t *item, struct qn_ids *out, struct qins_error *err)
{
    const char *name = json_string_value(json_object_get(item, "id"));
    const json_t *tokens = json_object_get(part, "special_tokens");
    const json_t *ids = name ? json_object_get(json_object_get(tokens, name), "ids") : NULL;
    enum qins_status st = QINS_OK;
    if (!json_is_array(ids))
        return qn_fail(err, QINS_ERR_FORMAT, "the template's token \"%.64s\" has no ids",
                       name ? name : "");
    for (size_t i = 0; i < json_array_size(ids) && st == QINS_OK; i++) {
        uint64_t id;
        if (!qn_json_u64(json_array_get(ids, i), &id) || id >= t->vocab.n_tokens)
            return qn_fail(err, QINS_ERR_FORMAT,
                           "an id of the template's token \"%.64s\" is outside the vocabulary",
                           name);
        st = qn_ids_append(out, &(uint32_t){(uint32_t)id}, 1, err);
    }
    return st;
}

/* Puts BEFORE and AFTER around what earlier templates have put around the text. */
static enum qins_status wrap(struct qn_tokenizer *t, struct qn_ids *before,
                             const struct qn_ids *after, struct qins_error *err)
{
    enum qins_status st = qn_ids_append(before, t->prefix.data, t->prefix.count, err);
    if (st != QINS_OK)
        return st;
    const struct qn_ids swap = t->prefix;
    t->prefix = *before;
    *before = swap;
    return qn_ids_append(&t->suffix, after->data, after->count, err);
}

static enum qins_status parse_template(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_tokenizer *t = ctx;
    const json_t *single = json_object_get(part, "single");
    struct qn_ids before = {0}, after = {0};
    enum qins_status st = QINS_OK;
    bool text_seen = false;
    if (!json_is_array(single))
        return qn_fail(err, QINS_ERR_FORMAT, "a TemplateProcessing without a list \"single\"");
    for (size_t i = 0; i < json_array_size(single) && st == QINS_OK; i++) {
        const json_t *item = json_array_get(single, i);
        const json_t *special = json_object_get(item, "SpecialToken");
        const char *text =
            json_string_value(json_object_get(json_object_get(item, "Sequence"), "id"));
        if (special)
            st = take_special(t, part, special, text_seen ? &after : &before, err);
        else if (!text || strcmp(text, "A") != 0 || text_seen)
            st = qn_fail(err, QINS_ERR_UNSUPPORTED,
                         "a template of other than special tokens and one text is not implemented");
        else
            text_seen = true;
    }
    if (st == QINS_OK && !text_seen)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED, "a template without the text is not implemented");
    if (st == QINS_OK)
        st = wrap(t, &before, &after, err);
    qn_ids_finish(&before);
    qn_ids_finish(&after);
    return st;
}

enum qins_status qn_tokenizer_read_template(struct qn_tokenizer *t, const json_t *part,
                                            struct qins_error *err)
{
    static const struct qn_part_kind kinds[] = {
        {"TemplateProcessing", parse_template}, {"ByteLevel", NULL}, /* it moves offsets only */
    };
    static const struct qn_part_family family = {"post-processor", "processors", kinds,
                                                 sizeof kinds / sizeof *kinds};
    return qn_parse_parts(&family, part, t, err);
}
