/* tokenizer.bin of llama2.c by A. Karpathy (tokenizer.py writes it, run.c reads it): int32
 * max_token_length, then for each token float32 score, int32 length and the text. */
#include "core/bytes.h"
#include "model/limits.h"
#include "model/tokenizer_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* run.c: ids 0 to 2 are <unk>, <s> and </s>, then come the 256 bytes; nothing is merged for a
 * score of -1e10 or below. */
enum { BOS = 1, EOS = 2, FIRST_BYTE = 3, HEAD = 4, TOKEN_HEAD = 8, LENGTH_LIMIT = 512 };
static const float least_score = -1e10f;

struct scored {
    uint32_t id;
    float score;
};

/* Walks the tokens: *size is that of the text at *offset. */
static enum qins_status next_token(const uint8_t *data, size_t file_size, size_t *offset,
                                   float *score, size_t *size, uint32_t longest,
                                   struct qins_error *err)
{
    const size_t at = *offset;
    if (file_size - at < TOKEN_HEAD)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL, (int64_t)at,
                          "tokenizer.bin ends within a token");
    const uint32_t length = qn_load32(data + at + 4);
    memcpy(score, data + at, sizeof *score);
    if (length > longest)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL, (int64_t)at + 4,
                          "a token of %" PRId32 " bytes, where the longest has %" PRIu32,
                          (int32_t)length, longest);
    if (length > file_size - at - TOKEN_HEAD)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL, (int64_t)at,
                          "tokenizer.bin ends within a token");
    *offset = at + TOKEN_HEAD + length;
    *size = length;
    return QINS_OK;
}

static enum qins_status count_tokens(const uint8_t *data, size_t size, uint32_t longest,
                                     uint32_t *n, struct qins_error *err)
{
    size_t offset = HEAD, length = 0;
    float score;
    enum qins_status st = QINS_OK;
    for (*n = 0; offset < size && st == QINS_OK; ++*n)
        st = next_token(data, size, &offset, &score, &length, longest, err);
    return st;
}

static enum qins_status take_tokens(struct qn_tokenizer *t, const uint8_t *data, size_t size,
                                    uint32_t longest, struct scored *scores, uint32_t n,
                                    struct qins_error *err)
{
    size_t offset = HEAD, length = 0;
    enum qins_status st = qn_vocab_init(&t->vocab, n, size, err);
    for (uint32_t id = 0; id < n && st == QINS_OK; id++) {
        scores[id].id = id;
        st = next_token(data, size, &offset, &scores[id].score, &length, longest, err);
        if (st == QINS_OK)
            st = qn_vocab_add(&t->vocab, data + offset - length, length, id, true, err);
        if (st == QINS_OK)
            t->vocab.tokens[id].special = id == BOS || id == EOS;
    }
    return st;
}

static int by_score(const void *x, const void *y)
{
    const struct scored *a = x, *b = y;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* run.c joins any two tokens whose texts together are the text of a token. */
static enum qins_status add_merges_of(struct qn_tokenizer *t, uint32_t id, uint32_t rank,
                                      struct qins_error *err)
{
    size_t size;
    const uint8_t *text = qn_vocab_text(&t->vocab, id, &size);
    enum qins_status st = QINS_OK;
    for (size_t i = 1; i < size && st == QINS_OK; i++) {
        const uint32_t left = qn_vocab_find(&t->vocab, text, i);
        const uint32_t right =
            left == QN_NO_TOKEN ? left : qn_vocab_find(&t->vocab, text + i, size - i);
        if (right != QN_NO_TOKEN)
            st = qn_bpe_add_merge(&t->bpe, left, right, rank, id, err);
    }
    return st;
}

/* The higher the score the lower the rank; equal scores share a rank. */
static enum qins_status add_merges(struct qn_tokenizer *t, struct scored *scores, uint32_t n,
                                   struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    uint32_t mergeable = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t size;
        const uint8_t *text = qn_vocab_text(&t->vocab, scores[i].id, &size);
        /* Where two tokens have one text, the first is what look-ups find. NaN is no score. */
        if (scores[i].score > least_score && qn_vocab_find(&t->vocab, text, size) == scores[i].id)
            scores[mergeable++] = scores[i];
    }
    if (mergeable > 0)
        qsort(scores, mergeable, sizeof *scores, by_score);
    for (uint32_t i = 0, rank = 0; i < mergeable && st == QINS_OK; i++) {
        if (i > 0 && scores[i].score != scores[i - 1].score)
            rank = i;
        st = add_merges_of(t, scores[i].id, rank, err);
    }
    return st;
}

static enum qins_status read_tokens(struct qn_tokenizer *t, const uint8_t *data, size_t size,
                                    uint32_t longest, uint32_t n, struct qins_error *err)
{
    struct scored *scores = calloc((size_t)n + 1, sizeof *scores);
    if (!scores)
        return qn_fail_memory(err);
    enum qins_status st = take_tokens(t, data, size, longest, scores, n, err);
    if (st == QINS_OK)
        st = qn_bpe_init(&t->bpe, &t->vocab, err);
    if (st == QINS_OK)
        st = add_merges(t, scores, n, err);
    free(scores);
    return st;
}

enum qins_status qn_tokenizer_read_bin(struct qn_tokenizer *t, const void *data, size_t size,
                                       uint32_t vocab, struct qins_error *err)
{
    const uint32_t bos = BOS;
    uint32_t n;
    if (size < HEAD)
        return qn_fail(err, QINS_ERR_FORMAT, "neither a tokenizer.json nor a tokenizer.bin");
    const uint32_t longest = qn_load32(data);
    if (longest == 0 || longest > LENGTH_LIMIT)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "neither a tokenizer.json nor a tokenizer.bin, whose longest token has at "
                       "most %d bytes",
                       LENGTH_LIMIT);
    enum qins_status st = count_tokens(data, size, longest, &n, err);
    if (st != QINS_OK)
        return st;
    if (n <= EOS || (vocab != 0 && n != vocab))
        return qn_fail(err, QINS_ERR_FORMAT,
                       "tokenizer.bin holds %" PRIu32 " tokens, the model's vocabulary %" PRIu32, n,
                       vocab);
    st = read_tokens(t, data, size, longest, n, err);
    if (st != QINS_OK)
        return st;
    for (uint32_t byte = 0; byte < 256; byte++)
        t->bpe.byte_ids[byte] = byte + FIRST_BYTE < n ? byte + FIRST_BYTE : QN_NO_TOKEN;
    t->bpe.byte_fallback = true;
    t->bpe.unknown_missing = true;
    t->lossless = true;
    t->strips_after_bos = true;
    st = qn_normalizer_init_prepend(&t->normalizer, " ", err);
    if (st == QINS_OK)
        st = qn_decoder_init_bytes(&t->decoder, err);
    return st == QINS_OK ? qn_ids_append(&t->prefix, &bos, 1, err) : st;
}

const struct qn_limit qn_tokenizer_bin_limits[] = {
    {"tokenizer", "token", LENGTH_LIMIT, "bytes", "memory for a token of tokenizer.bin"},
    {0},
};
