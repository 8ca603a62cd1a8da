#include "model/text_stream.h"

#include "model/utf8.h"

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

/* How many bytes at the end of P begin a character whose rest may still come. */
static size_t incomplete(const uint8_t *p, size_t n)
{
    for (size_t back = 1; back <= n && back < 4; back++) {
        uint8_t lead = p[n - back];
        size_t whole = lead < 0xc2 || lead > 0xf4 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        if ((lead & 0xc0) != 0x80)
            return back < whole ? back : 0;
    }
    return 0;
}

/* Makes text of what is pending, but for the last KEEP bytes. */
static enum qins_status move_text(struct qn_text_stream *s, size_t keep, struct qins_error *err)
{
    size_t n = s->pending.size - keep;
    s->text.size = 0;
    if (n == 0)
        return QINS_OK;
    enum qins_status st = qn_utf8_replace(s->pending.data, n, &s->text, err);
    memmove(s->pending.data, s->pending.data + n, keep);
    s->pending.size = keep;
    return st;
}

enum qins_status qn_text_stream_add(struct qn_text_stream *s, uint32_t id, struct qins_error *err)
{
    enum qins_status st;
    s->text.size = 0;
    if (!s->tokenizer || id >= qn_tokenizer_size(s->tokenizer))
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
    return st == QINS_OK ? move_text(s, incomplete(s->pending.data, s->pending.size), err) : st;
}

enum qins_status qn_text_stream_end(struct qn_text_stream *s, struct qins_error *err)
{
    return move_text(s, 0, err);
}
