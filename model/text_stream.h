/* Text of token ids that arrive one after the other, in whole characters. */
#ifndef QINS_MODEL_TEXT_STREAM_H
#define QINS_MODEL_TEXT_STREAM_H

#include "model/tokenizer.h"

enum { QN_STREAM_CONTEXT = 8 };

struct qn_text_stream {
    const struct qn_tokenizer *tokenizer; /* NULL: there is no text */
    /* The last ids: decoders treat the first of a text (its space) differently from the rest. */
    uint32_t recent[QN_STREAM_CONTEXT + 1];
    size_t n_recent;
    struct qn_buf bytes;   /* scratch */
    struct qn_buf pending; /* bytes that may become a character */
    struct qn_buf text;    /* what the last call brought */
};

void qn_text_stream_init(struct qn_text_stream *s, const struct qn_tokenizer *t);
void qn_text_stream_finish(struct qn_text_stream *s);

/* Leaves in s->text what ID completes: valid UTF-8, U+FFFD in place of bytes that are none,
 * perhaps nothing. Special tokens have no text, and neither have ids behind the tokenizer's (of a
 * vocabulary that was padded). */
enum qins_status qn_text_stream_add(struct qn_text_stream *s, uint32_t id, struct qins_error *err);
/* The same for a character that the end leaves incomplete. */
enum qins_status qn_text_stream_end(struct qn_text_stream *s, struct qins_error *err);

#endif
