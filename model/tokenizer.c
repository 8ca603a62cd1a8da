#include "model/tokenizer_impl.h"

#include "core/file.h"
#include "model/limits.h"
#include "model/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* As of attachments (formats/checkpoint.h). The largest published tokenizer.json have half. */
enum { FILE_LIMIT = 64 << 20 };

/* BOS of SentencePiece vocabularies, as run.c of llama2.c writes it in. */
enum { LLAMA2C_BOS = 1 };

static bool is_json(const uint8_t *data, size_t size)
{
    size_t i = 0;
    while (i < size && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r'))
        i++;
    return i < size && data[i] == '{';
}

enum qins_status qn_tokenizer_parse(struct qn_tokenizer **out, const void *data, size_t size,
                                    uint32_t vocab, struct qins_error *err)
{
    enum qins_status st;
    struct qn_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return qn_fail_memory(err);
    t->digest = qn_hash128(data, size);
    if (size > FILE_LIMIT)
        st = qn_fail(err, QINS_ERR_FORMAT, "a tokenizer of %zu bytes, more than %d", size,
                     FILE_LIMIT);
    else if (is_json(data, size))
        st = qn_tokenizer_read_json(t, data, size, err);
    else
        st = qn_tokenizer_read_bin(t, data, size, vocab, err);
    if (st != QINS_OK) {
        qn_tokenizer_destroy(t);
        return st;
    }
    *out = t;
    return QINS_OK;
}

static enum qins_status open_file(struct qn_tokenizer **out, const char *path, uint32_t vocab,
                                  struct qins_error *err)
{
    struct qn_buf data = {0};
    enum qins_status st = qn_read_whole(path, FILE_LIMIT, &data, err);
    if (st == QINS_OK)
        st = qn_tokenizer_parse(out, data.data, data.size, vocab, err);
    qn_buf_finish(&data);
    return st == QINS_OK ? st : qn_error_in_file(err, st, path);
}

enum qins_status qn_tokenizer_open(struct qn_tokenizer **out, const char *path,
                                   const struct qn_attachment_list *files, uint32_t vocab,
                                   struct qins_error *err)
{
    const struct qn_attachment *a = NULL;
    if (path)
        return open_file(out, path, vocab, err);
    if (files)
        a = qn_attachment_find(files, "tokenizer.json");
    if (files && !a)
        a = qn_attachment_find(files, "tokenizer.bin");
    if (!a)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "the model comes without a tokenizer: give --tokenizer or --ids");
    enum qins_status st = qn_tokenizer_parse(out, a->data, a->size, vocab, err);
    return st == QINS_OK ? st : qn_error_in_file(err, st, a->path ? a->path : a->name);
}

void qn_tokenizer_destroy(struct qn_tokenizer *t)
{
    if (!t)
        return;
    qn_ids_finish(&t->prefix);
    qn_ids_finish(&t->suffix);
    qn_decoder_finish(&t->decoder);
    qn_pretokenizer_finish(&t->pretokenizer);
    qn_normalizer_finish(&t->normalizer);
    for (int plain = 0; plain < 2; plain++) {
        qn_added_tokens_finish(&t->raw[plain]);
        qn_added_tokens_finish(&t->normalized[plain]);
    }
    qn_bpe_finish(&t->bpe);
    qn_vocab_finish(&t->vocab);
    free(t);
}

uint32_t qn_tokenizer_size(const struct qn_tokenizer *t)
{
    return t->vocab.n_tokens;
}

const struct qn_digest *qn_tokenizer_digest(const struct qn_tokenizer *t)
{
    return &t->digest;
}

struct encoding {
    const struct qn_tokenizer *tokenizer;
    struct qn_ids *out;
    struct qn_bpe_work work;
    struct qn_matcher matcher;
    struct qn_buf normal; /* of the piece between two added tokens */
    bool escaped, plain;
};

static enum qins_status take_word(void *ctx, const uint8_t *word, size_t size,
                                  struct qins_error *err)
{
    struct encoding *e = ctx;
    return qn_bpe_encode(&e->tokenizer->bpe, &e->work, word, size, e->escaped, e->out, err);
}

/* Text that was normalized, with the added tokens that are looked for only now. */
static enum qins_status encode_normal(struct encoding *e, const uint8_t *text, size_t size,
                                      bool at_start, struct qins_error *err)
{
    struct qn_added_scan scan = {
        .tokens = &e->tokenizer->normalized[e->plain], .text = text, .size = size};
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && qn_added_next(&scan)) {
        if (scan.found)
            st = qn_ids_append(e->out, &scan.found->id, 1, err);
        else
            st = qn_pretokenize(&e->tokenizer->pretokenizer, &e->matcher, text + scan.start,
                                scan.end - scan.start, at_start && scan.start == 0, take_word, e,
                                err);
    }
    return st;
}

static enum qins_status encode_piece(struct encoding *e, const uint8_t *text, size_t size,
                                     bool at_start, struct qins_error *err)
{
    if (e->tokenizer->normalizer.steps.count == 0)
        return encode_normal(e, text, size, at_start, err);
    e->normal.size = 0;
    enum qins_status st =
        qn_normalize(&e->tokenizer->normalizer, &e->matcher, text, size, &e->normal, err);
    return st == QINS_OK ? encode_normal(e, e->normal.data, e->normal.size, at_start, err) : st;
}

static enum qins_status encode_text(struct encoding *e, const uint8_t *text, size_t size,
                                    struct qins_error *err)
{
    struct qn_added_scan scan = {
        .tokens = &e->tokenizer->raw[e->plain], .text = text, .size = size};
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && qn_added_next(&scan)) {
        if (scan.found)
            st = qn_ids_append(e->out, &scan.found->id, 1, err);
        else
            st = encode_piece(e, text + scan.start, scan.end - scan.start, scan.start == 0, err);
    }
    return st;
}

static enum qins_status encode_any(struct encoding *e, const void *text, size_t size,
                                   struct qins_error *err)
{
    struct qn_buf valid = {0};
    enum qins_status st;
    if (qn_utf8_is_valid(text, size))
        return encode_text(e, text, size, err);
    e->escaped = e->tokenizer->lossless;
    st = e->escaped ? qn_utf8_escape(text, size, &valid, err)
                    : qn_utf8_replace(text, size, &valid, err);
    if (st == QINS_OK)
        st = encode_text(e, valid.data, valid.size, err);
    qn_buf_finish(&valid);
    return st;
}

enum qins_status qn_tokenizer_encode(const struct qn_tokenizer *t, const void *text, size_t size,
                                     unsigned flags, struct qn_ids *out, struct qins_error *err)
{
    struct encoding e = {.tokenizer = t, .out = out, .plain = (flags & QN_ENCODE_PLAIN) != 0};
    const bool template = (flags & QN_ENCODE_TEMPLATE) != 0;
    const size_t count = out->count;
    enum qins_status st = qn_bpe_work_init(&e.work, size, err);
    if (st == QINS_OK && template)
        st = qn_ids_append(out, t->prefix.data, t->prefix.count, err);
    if (st == QINS_OK && size > 0)
        st = encode_any(&e, text, size, err);
    if (st == QINS_OK && template)
        st = qn_ids_append(out, t->suffix.data, t->suffix.count, err);
    if (st != QINS_OK)
        out->count = count;
    qn_buf_finish(&e.normal);
    qn_matcher_finish(&e.matcher);
    qn_bpe_work_finish(&e.work);
    return st;
}

enum qins_status qn_tokenizer_decode(const struct qn_tokenizer *t, const uint32_t *ids, size_t n,
                                     bool skip_special, struct qn_buf *out, struct qins_error *err)
{
    struct qn_pieces pieces = {{0}};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        if (!qn_vocab_has(&t->vocab, ids[i])) {
            st = qn_fail(err, QINS_ERR_FORMAT, "the tokenizer has no token %" PRIu32, ids[i]);
            break;
        }
        if (skip_special && t->vocab.tokens[ids[i]].special)
            continue;
        size_t size;
        const uint8_t *text = qn_vocab_text(&t->vocab, ids[i], &size);
        const bool drop =
            t->strips_after_bos && i > 0 && ids[i - 1] == LLAMA2C_BOS && size > 0 && text[0] == ' ';
        st = qn_pieces_add(&pieces, text + drop, size - drop, err);
    }
    if (st == QINS_OK)
        st = qn_decoder_apply(&t->decoder, &pieces, out, err);
    qn_pieces_finish(&pieces);
    return st;
}

const struct qn_limit qn_tokenizer_limits[] = {
    {"tokenizer", "file", FILE_LIMIT, "bytes", "memory that the JSON and the tables take"},
    {0},
};
