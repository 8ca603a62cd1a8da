/* UTF-8 as tokenizers see it. */
#ifndef QINS_MODEL_UTF8_H
#define QINS_MODEL_UTF8_H

#include "core/buf.h"

/* A byte that is not part of valid UTF-8 travels through code that needs valid text as one
 * character of the last private-use plane, U+10FE80 + byte. */
#define QN_UTF8_ESCAPE 0x10fe80u

/* Bytes of the character at P (SIZE >= 1 left), with its code point; 0 where none is valid. */
size_t qn_utf8_next(const uint8_t *p, size_t size, uint32_t *code);
/* Writes CODE, returns the bytes written, 1 to 4. */
size_t qn_utf8_put(uint32_t code, uint8_t out[4]);
/* Bytes of the valid text that P begins with: SIZE where all is. */
size_t qn_utf8_span(const uint8_t *p, size_t size);
bool qn_utf8_is_valid(const uint8_t *p, size_t size);

/* Appends TEXT made valid: what is not UTF-8 becomes U+FFFD, one for each maximal subpart
 * [Unicode 15, 3.9], as Rust and Python do it. */
enum qins_status qn_utf8_replace(const uint8_t *text, size_t size, struct qn_buf *out,
                                 struct qins_error *err);
/* Appends TEXT made valid without loss: bytes that are not UTF-8, and those of characters that
 * would be mistaken for escapes, are escaped. */
enum qins_status qn_utf8_escape(const uint8_t *text, size_t size, struct qn_buf *out,
                                struct qins_error *err);
/* The byte that an escape stands for, or -1. */
int qn_utf8_unescape(uint32_t code);

bool qn_is_space(uint32_t code);       /* White_Space */
bool qn_is_number(uint32_t code);      /* general category N */
bool qn_is_punctuation(uint32_t code); /* general category P, and ASCII's $+<=>^`|~ */
bool qn_is_word(uint32_t code);        /* \w of UTS #18: letters, marks, digits, connectors */

#endif
