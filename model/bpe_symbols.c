/* Text to initial symbols, cut into runs that can be merged each by itself. */
#include "model/bpe_tables.h"
#include "model/byte_level.h"
#include "model/utf8.h"

#include <string.h>

struct symbols {
    const struct qn_bpe *bpe;
    struct qn_bpe_work *work;
    struct qn_ids *out;
    bool unknown_waits; /* an unknown token, not yet pushed */
};

static enum qins_status flush(struct symbols *s, struct qins_error *err)
{
    struct qn_ids *run = &s->work->run;
    enum qins_status st = QINS_OK;
    if (run->count > 0)
        st = qn_bpe_merge_run(s->bpe, s->work, run->data, run->count, s->out, err);
    run->count = 0;
    return st;
}

static enum qins_status push(struct symbols *s, uint32_t id, struct qins_error *err)
{
    const struct qn_ids *run = &s->work->run;
    enum qins_status st = QINS_OK;
    if (run->count > 0 && !qn_bpe_joinable(s->bpe, run->data[run->count - 1], id))
        st = flush(s, err);
    return st == QINS_OK ? qn_ids_append(&s->work->run, &id, 1, err) : st;
}

/* Hugging Face's order: the unknown token waits until the next known character, so that a run of
 * unknown ones can become one; bytes that stand for a character overtake it. */
static enum qins_status push_waiting(struct symbols *s, struct qins_error *err)
{
    if (!s->unknown_waits)
        return QINS_OK;
    s->unknown_waits = false;
    return push(s, s->bpe->unknown, err);
}

static enum qins_status push_unknown(struct symbols *s, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (s->bpe->unknown_missing)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the text holds a character for which the vocabulary has no token, nor has "
                       "it one for unknown characters");
    if (s->bpe->unknown == QN_NO_TOKEN)
        return QINS_OK;
    if (!s->bpe->fuse_unknown)
        st = push_waiting(s, err);
    s->unknown_waits = true;
    return st;
}

static enum qins_status push_bytes(struct symbols *s, const uint8_t *p, size_t n,
                                   struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < n; i++)
        if (s->bpe->byte_ids[p[i]] == QN_NO_TOKEN)
            return push_unknown(s, err);
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        st = push(s, s->bpe->byte_ids[p[i]], err);
    return st;
}

static enum qins_status push_character(struct symbols *s, const uint8_t *p, size_t n, uint32_t code,
                                       bool escaped, struct qins_error *err)
{
    const int byte = escaped ? qn_utf8_unescape(code) : -1;
    uint32_t id = QN_NO_TOKEN;
    if (byte < 0)
        id = code < 128 ? s->bpe->ascii_ids[code] : qn_vocab_find(s->bpe->vocab, p, n);
    if (id != QN_NO_TOKEN) {
        enum qins_status st = push_waiting(s, err);
        return st == QINS_OK ? push(s, id, err) : st;
    }
    if (!s->bpe->byte_fallback)
        return push_unknown(s, err);
    return byte < 0 ? push_bytes(s, p, n, err) : push_bytes(s, &(uint8_t){(uint8_t)byte}, 1, err);
}

static enum qins_status by_character(struct symbols *s, const uint8_t *text, size_t size,
                                     bool escaped, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    uint32_t code;
    for (size_t i = 0, n; i < size && st == QINS_OK; i += n) {
        n = qn_utf8_next(text + i, size - i, &code);
        st = push_character(s, text + i, n, code, escaped, err);
    }
    return st;
}

static enum qins_status push_byte(struct symbols *s, uint8_t byte, struct qins_error *err)
{
    const uint32_t id = s->bpe->byte_ids[byte];
    if (id == QN_NO_TOKEN)
        return push_unknown(s, err);
    enum qins_status st = push_waiting(s, err);
    return st == QINS_OK ? push(s, id, err) : st;
}

/* Appends the bytes that TEXT stands for. */
static enum qins_status unescape(const uint8_t *text, size_t size, struct qn_buf *out,
                                 struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    uint32_t code;
    for (size_t i = 0, n; i < size && st == QINS_OK; i += n) {
        n = qn_utf8_next(text + i, size - i, &code);
        const int byte = qn_utf8_unescape(code);
        st = byte < 0 ? qn_buf_append(out, text + i, n, err)
                      : qn_buf_append(out, &(uint8_t){(uint8_t)byte}, 1, err);
    }
    return st;
}

/* The id of the whole word in its printable form, or QN_NO_TOKEN. */
static uint32_t find_whole(const struct qn_bpe *b, const uint8_t *text, size_t size,
                           struct qn_buf *mapped, enum qins_status *st, struct qins_error *err)
{
    if (!b->byte_level)
        return qn_vocab_find(b->vocab, text, size);
    if (size > b->vocab->longest)
        return QN_NO_TOKEN;
    mapped->size = 0;
    for (size_t i = 0; i < size && *st == QINS_OK; i++) {
        uint8_t bytes[4];
        size_t n = qn_byte_level_put(text[i], bytes);
        *st = qn_buf_append(mapped, bytes, n, err);
    }
    return *st == QINS_OK ? qn_vocab_find(b->vocab, mapped->data, mapped->size) : QN_NO_TOKEN;
}

static enum qins_status encode(struct symbols *s, const uint8_t *text, size_t size, bool escaped,
                               struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (s->bpe->ignore_merges) {
        uint32_t id = find_whole(s->bpe, text, size, &s->work->mapped, &st, err);
        if (st != QINS_OK || id != QN_NO_TOKEN)
            return st == QINS_OK ? qn_ids_append(s->out, &id, 1, err) : st;
    }
    if (s->bpe->byte_level) {
        for (size_t i = 0; i < size && st == QINS_OK; i++)
            st = push_byte(s, text[i], err);
    } else {
        st = by_character(s, text, size, escaped, err);
    }
    if (st == QINS_OK)
        st = push_waiting(s, err);
    return st == QINS_OK ? flush(s, err) : st;
}

enum qins_status qn_bpe_encode(const struct qn_bpe *b, struct qn_bpe_work *w, const uint8_t *text,
                               size_t size, bool escaped, struct qn_ids *out,
                               struct qins_error *err)
{
    struct symbols s = {.bpe = b, .work = w, .out = out};
    struct qn_buf bytes = {0};
    enum qins_status st = QINS_OK;
    if (size == 0)
        return QINS_OK;
    w->run.count = 0;
    if (escaped && b->byte_level) {
        st = unescape(text, size, &bytes, err);
        if (st == QINS_OK)
            st = encode(&s, bytes.data, bytes.size, false, err);
    } else {
        st = encode(&s, text, size, escaped, err);
    }
    qn_buf_finish(&bytes);
    return st;
}
