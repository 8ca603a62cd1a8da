#include "model/text_stream.h"

#include "core/tensor.h"

#include <string.h>

void qn_text_stream_init(struct qn_text_stream *s, const struct qn_tokenizer *t)
{
    *s = (struct qn_text_stream){.tokenizer = t};
}

void qn_text_stream_finish(struct qn_text_stream *s)
{
    qn_buf_finish(&s->bytes);
    qn_buf_finish(&s->pending);
    qn_buf_finish(&s->text);
}

/* Bytes of the character that LEAD begins, 0 where it begins none (RFC 3629). */
static size_t character_size(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Whether the N bytes at P look like the beginning of a longer character. */
static bool is_incomplete(const uint8_t *p, size_t n)
{
    if (n >= character_size(p[0]))
        return false;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return false;
    return true;
}

/* Moves characters from `pending` to `text`; an incomplete one at the end stays, unless LAST. */
static enum qins_status move_characters(struct qn_text_stream *s, bool last, struct qins_error *err)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    const uint8_t *p = s->pending.data;
    size_t at = 0, n = s->pending.size;
    enum qins_status st = QINS_OK;
    s->text.size = 0;
    while (at < n && st == QINS_OK) {
        size_t size = character_size(p[at]);
        if (!last && is_incomplete(p + at, n - at))
            break;
        if (size > 0 && size <= n - at && qn_utf8_valid(p + at, size)) {
            st = qn_buf_append(&s->text, p + at, size, err);
            at += size;
        } else {
            st = qn_buf_append(&s->text, replacement, sizeof replacement - 1, err);
            at++;
        }
    }
    if (at > 0) {
        memmove(s->pending.data, p + at, n - at);
        s->pending.size = n - at;
    }
    return st;
}

enum qins_status qn_text_stream_add(struct qn_text_stream *s, uint32_t id, struct qins_error *err)
{
    enum qins_status st;
    s->text.size = 0;
    if (!s->tokenizer)
        return QINS_OK;
    s->bytes.size = 0;
    s->recent[s->n_recent] = id;
    st = qn_tokenizer_decode(s->tokenizer, s->recent, s->n_recent, true, &s->bytes, err);
    size_t known = s->bytes.size;
    s->bytes.size = 0;
    if (st == QINS_OK)
        st = qn_tokenizer_decode(s->tokenizer, s->recent, s->n_recent + 1, true, &s->bytes, err);
    if (st == QINS_OK && s->bytes.size > known)
        st = qn_buf_append(&s->pending, s->bytes.data + known, s->bytes.size - known, err);
    if (s->n_recent < QN_STREAM_CONTEXT)
        s->n_recent++;
    else
        memmove(s->recent, s->recent + 1, QN_STREAM_CONTEXT * sizeof *s->recent);
    return st == QINS_OK ? move_characters(s, false, err) : st;
}

enum qins_status qn_text_stream_end(struct qn_text_stream *s, struct qins_error *err)
{
    return move_characters(s, true, err);
}
