#include "model/utf8.h"

#include <string.h>
#include <utf8proc.h>

size_t qn_utf8_next(const uint8_t *p, size_t size, uint32_t *code)
{
    utf8proc_int32_t c;
    if (p[0] < 0x80) {
        *code = p[0];
        return 1;
    }
    utf8proc_ssize_t n = utf8proc_iterate(p, size < 4 ? (utf8proc_ssize_t)size : 4, &c);
    if (n <= 0)
        return 0;
    *code = (uint32_t)c;
    return (size_t)n;
}

size_t qn_utf8_put(uint32_t code, uint8_t out[4])
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)code, out);
}

size_t qn_utf8_span(const uint8_t *p, size_t size)
{
    const uint64_t high_bits = 0x8080808080808080;
    uint32_t code;
    size_t n;
    for (size_t i = 0; i < size; i += n) {
        uint64_t word;
        if (size - i >= sizeof word) {
            memcpy(&word, p + i, sizeof word);
            if (!(word & high_bits)) {
                n = sizeof word;
                continue;
            }
        }
        n = qn_utf8_next(p + i, size - i, &code);
        if (n == 0)
            return i;
    }
    return size;
}

bool qn_utf8_is_valid(const uint8_t *p, size_t size)
{
    return qn_utf8_span(p, size) == size;
}

/* Bytes of the ill-formed sequence at P: the longest beginning of a character, at least 1
 * [Unicode 15, table 3-7]. */
static size_t maximal_subpart(const uint8_t *p, size_t size)
{
    const uint8_t lead = p[0];
    uint8_t low = 0x80, high = 0xbf;
    size_t wanted = 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        wanted = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        wanted = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        wanted = 4;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    size_t n = 1;
    while (n < wanted && n < size && p[n] >= low && p[n] <= high) {
        low = 0x80;
        high = 0xbf;
        n++;
    }
    return n;
}

enum qins_status qn_utf8_replace(const uint8_t *text, size_t size, struct qn_buf *out,
                                 struct qins_error *err)
{
    enum qins_status st = qn_buf_reserve(out, out->size + size, err);
    uint32_t code;
    for (size_t i = 0; i < size && st == QINS_OK;) {
        size_t n = qn_utf8_next(text + i, size - i, &code);
        if (n > 0) {
            st = qn_buf_append(out, text + i, n, err);
            i += n;
        } else {
            st = qn_buf_append(out, "\xef\xbf\xbd", 3, err); /* U+FFFD */
            i += maximal_subpart(text + i, size - i);
        }
    }
    return st;
}

int qn_utf8_unescape(uint32_t code)
{
    return code >= QN_UTF8_ESCAPE + 0x80 && code <= QN_UTF8_ESCAPE + 0xff
               ? (int)(code - QN_UTF8_ESCAPE)
               : -1;
}

enum qins_status qn_utf8_escape(const uint8_t *text, size_t size, struct qn_buf *out,
                                struct qins_error *err)
{
    enum qins_status st = qn_buf_reserve(out, out->size + size, err);
    uint32_t code;
    for (size_t i = 0; i < size && st == QINS_OK;) {
        size_t n = qn_utf8_next(text + i, size - i, &code);
        if (n > 0 && qn_utf8_unescape(code) < 0) {
            st = qn_buf_append(out, text + i, n, err);
            i += n;
            continue;
        }
        for (size_t end = i + (n ? n : 1); i < end && st == QINS_OK; i++) {
            uint8_t bytes[4];
            size_t k = qn_utf8_put(QN_UTF8_ESCAPE + text[i], bytes);
            st = qn_buf_append(out, bytes, k, err);
        }
    }
    return st;
}

static const char *category(uint32_t code)
{
    return utf8proc_category_string((utf8proc_int32_t)code);
}

bool qn_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

bool qn_is_number(uint32_t c)
{
    return category(c)[0] == 'N';
}

bool qn_is_punctuation(uint32_t c)
{
    return (c < 0x80 && c != 0 && strchr("$+<=>^`|~", (int)c)) || category(c)[0] == 'P';
}

bool qn_is_word(uint32_t c)
{
    const char *k = category(c);
    return k[0] == 'L' || k[0] == 'M' || strcmp(k, "Nd") == 0 || strcmp(k, "Nl") == 0 ||
           strcmp(k, "Pc") == 0;
}
