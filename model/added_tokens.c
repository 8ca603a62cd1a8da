#include "model/added_tokens.h"

#include "model/utf8.h"

#include <stdlib.h>
#include <string.h>

enum qins_status qn_added_tokens_add(struct qn_added_tokens *a, const struct qn_added_token *token,
                                     struct qins_error *err)
{
    if (token->size == 0)
        return QINS_OK;
    if ((a->count & (a->count - 1)) == 0) { /* full: room goes by powers of two */
        struct qn_added_token *grown =
            realloc(a->items, (a->count ? 2 * a->count : 1) * sizeof *grown);
        if (!grown)
            return qn_fail_memory(err);
        a->items = grown;
    }
    char *text = qn_strndup(token->text, token->size, err);
    if (!text)
        return QINS_ERR_MEMORY;
    a->items[a->count] = *token;
    a->items[a->count++].text = text;
    return QINS_OK;
}

static int by_text(const void *x, const void *y)
{
    const struct qn_added_token *a = x, *b = y;
    const int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);
    if (order != 0)
        return order;
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

void qn_added_tokens_sort(struct qn_added_tokens *a)
{
    if (a->count > 0)
        qsort(a->items, a->count, sizeof *a->items, by_text);
    size_t i = 0;
    for (unsigned byte = 0; byte <= 256; byte++) {
        while (i < a->count && (uint8_t)a->items[i].text[0] < byte)
            i++;
        a->first[byte] = i;
    }
}

void qn_added_tokens_finish(struct qn_added_tokens *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->items[i].text);
    free(a->items);
    *a = (struct qn_added_tokens){0};
}

/* The first of items[low..high), which share their first DEPTH bytes, whose next byte is BYTE or
 * more. */
static size_t bound(const struct qn_added_tokens *a, size_t low, size_t high, size_t depth,
                    unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct qn_added_token *t = &a->items[middle];
        if (t->size <= depth || (uint8_t)t->text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that TEXT begins with, or NULL. */
static const struct qn_added_token *longest(const struct qn_added_tokens *a, const uint8_t *text,
                                            size_t size)
{
    const struct qn_added_token *best = NULL;
    size_t low = a->first[text[0]], high = a->first[text[0] + 1u];
    for (size_t depth = 1; low < high; depth++) {
        if (a->items[low].size == depth)
            best = &a->items[low];
        if (depth >= size)
            break;
        low = bound(a, low, high, depth, text[depth]);
        high = bound(a, low, high, depth, text[depth] + 1u);
    }
    return best;
}

/* The character that ends at END > 0. */
static uint32_t code_before(const uint8_t *text, size_t end, size_t *start)
{
    uint32_t code = 0;
    size_t i = end - 1;
    while (i > 0 && (text[i] & 0xc0) == 0x80)
        i--;
    qn_utf8_next(text + i, end - i, &code);
    *start = i;
    return code;
}

static bool is_single_word(const struct qn_added_scan *s, size_t start, size_t end)
{
    uint32_t code;
    size_t at;
    if (start > 0 && qn_is_word(code_before(s->text, start, &at)))
        return false;
    return end == s->size ||
           (qn_utf8_next(s->text + end, s->size - end, &code) > 0 && !qn_is_word(code));
}

static size_t strip_left(const struct qn_added_scan *s, size_t start)
{
    size_t before;
    while (start > s->done && qn_is_space(code_before(s->text, start, &before)))
        start = before;
    return start;
}

static size_t strip_right(const struct qn_added_scan *s, size_t end)
{
    uint32_t code;
    while (end < s->size) {
        size_t n = qn_utf8_next(s->text + end, s->size - end, &code);
        if (n == 0 || !qn_is_space(code))
            break;
        end += n;
    }
    return end;
}

/* A token at or after s->at, *start and *end with the space that it takes in; NULL and the end of
 * the text where there is none. */
static const struct qn_added_token *find(struct qn_added_scan *s, size_t *start, size_t *end)
{
    while (s->at < s->size) {
        const size_t from = s->at;
        const struct qn_added_token *t = longest(s->tokens, s->text + from, s->size - from);
        s->at += t ? t->size : 1;
        if (t && (!t->single_word || is_single_word(s, from, s->at))) {
            *start = t->strip_left ? strip_left(s, from) : from;
            *end = t->strip_right ? strip_right(s, s->at) : s->at;
            return t;
        }
    }
    *start = *end = s->size;
    return NULL;
}

bool qn_added_next(struct qn_added_scan *s)
{
    s->found = NULL;
    if (!s->waiting) {
        size_t start = s->size, end = s->size;
        if (s->tokens->count > 0)
            s->waiting = find(s, &start, &end);
        s->start = s->done;
        s->end = start;
        s->waiting_end = end;
        if (s->start < s->end) {
            s->done = start;
            return true;
        }
        if (!s->waiting)
            return false;
    }
    s->found = s->waiting;
    s->waiting = NULL;
    s->start = s->end;
    s->end = s->waiting_end;
    s->done = s->end;
    return true;
}
