#include "model/normalize.h"

#include "model/limits.h"
#include "model/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* A text may grow to GROWTH times its size and SLACK bytes: NFKC makes at most 11 times the bytes
 * of a character (U+FDFA), replacements of a file that means well three. */
enum { GROWTH = 32, SLACK = 1 << 16 };

struct qn_normal_step {
    enum qins_status (*apply)(const struct qn_normal_step *step, struct qn_matcher *matcher,
                              const struct qn_buf *in, struct qn_buf *out, size_t limit,
                              struct qins_error *err);
    struct qn_pattern pattern;
    struct qn_buf content;
    utf8proc_option_t form;
    bool left, right;
};

static enum qins_status put(struct qn_buf *out, const void *data, size_t size, size_t limit,
                            struct qins_error *err)
{
    if (size > limit || out->size > limit - size)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the normalizer makes the text too long");
    return qn_buf_append(out, data, size, err);
}

static enum qins_status prepend(const struct qn_normal_step *step, struct qn_matcher *matcher,
                                const struct qn_buf *in, struct qn_buf *out, size_t limit,
                                struct qins_error *err)
{
    (void)matcher;
    enum qins_status st = put(out, step->content.data, step->content.size, limit, err);
    return st == QINS_OK ? put(out, in->data, in->size, limit, err) : st;
}

static enum qins_status replace(const struct qn_normal_step *step, struct qn_matcher *matcher,
                                const struct qn_buf *in, struct qn_buf *out, size_t limit,
                                struct qins_error *err)
{
    struct qn_search search = {
        .pattern = &step->pattern, .matcher = matcher, .text = in->data, .size = in->size};
    size_t done = 0;
    enum qins_status st = qn_search_next(&search, err);
    while (st == QINS_OK && search.found) {
        st = put(out, in->data + done, search.start - done, limit, err);
        if (st == QINS_OK)
            st = put(out, step->content.data, step->content.size, limit, err);
        done = search.end;
        if (st == QINS_OK)
            st = qn_search_next(&search, err);
    }
    return st == QINS_OK ? put(out, in->data + done, in->size - done, limit, err) : st;
}

/* The Unicode normal form of a piece that ends where a text can be cut. */
static enum qins_status map_piece(utf8proc_option_t form, const uint8_t *p, size_t size,
                                  struct qn_buf *out, size_t limit, struct qins_error *err)
{
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n = utf8proc_map(p, (utf8proc_ssize_t)size, &mapped, form);
    enum qins_status st;
    if (n == UTF8PROC_ERROR_NOMEM)
        st = qn_fail_memory(err);
    else if (n < 0)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED, "the text has no normal form: %s",
                     utf8proc_errmsg(n));
    else
        st = put(out, mapped, (size_t)n, limit, err);
    free(mapped);
    return st;
}

/* ASCII is its own normal form and composes with what comes after it only, so the text can be
 * cut before an ASCII character. */
static enum qins_status unicode_form(const struct qn_normal_step *step, struct qn_matcher *matcher,
                                     const struct qn_buf *in, struct qn_buf *out, size_t limit,
                                     struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    (void)matcher;
    for (size_t i = 0; i < in->size && st == QINS_OK;) {
        size_t ascii = i, end;
        while (ascii < in->size && in->data[ascii] < 0x80)
            ascii++;
        if (ascii < in->size && ascii > i)
            ascii--; /* it may compose with the next */
        st = put(out, in->data + i, ascii - i, limit, err);
        for (end = ascii + (ascii < in->size); end < in->size && in->data[end] >= 0x80;)
            end++;
        if (st == QINS_OK && end > ascii)
            st = map_piece(step->form, in->data + ascii, end - ascii, out, limit, err);
        i = end;
    }
    return st;
}

static enum qins_status lowercase(const struct qn_normal_step *step, struct qn_matcher *matcher,
                                  const struct qn_buf *in, struct qn_buf *out, size_t limit,
                                  struct qins_error *err)
{
    enum { DOTTED_CAPITAL_I = 0x130 }; /* the only one whose lower case is two characters */
    enum qins_status st = QINS_OK;
    uint32_t code;
    (void)step;
    (void)matcher;
    for (size_t i = 0, n; i < in->size && st == QINS_OK; i += n) {
        uint8_t bytes[4];
        n = qn_utf8_next(in->data + i, in->size - i, &code);
        if (code == DOTTED_CAPITAL_I)
            st = put(out, "i\xcc\x87", 3, limit, err);
        else
            st = put(out, bytes,
                     qn_utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)code), bytes), limit,
                     err);
    }
    return st;
}

static enum qins_status strip(const struct qn_normal_step *step, struct qn_matcher *matcher,
                              const struct qn_buf *in, struct qn_buf *out, size_t limit,
                              struct qins_error *err)
{
    size_t start = in->size, end = 0;
    uint32_t code;
    (void)matcher;
    for (size_t i = 0, n; i < in->size; i += n) {
        n = qn_utf8_next(in->data + i, in->size - i, &code);
        if (!qn_is_space(code)) {
            start = start < i ? start : i;
            end = i + n;
        }
    }
    if (!step->left)
        start = 0;
    if (!step->right)
        end = in->size;
    return start < end ? put(out, in->data + start, end - start, limit, err) : QINS_OK;
}

static struct qn_normal_step *add_step(void *normalizer, struct qins_error *err)
{
    struct qn_normalizer *n = normalizer;
    return qn_step_add(&n->steps, sizeof(struct qn_normal_step), err);
}

static enum qins_status parse_prepend(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_normal_step *step = add_step(ctx, err);
    const char *text = "";
    if (!step)
        return QINS_ERR_MEMORY;
    enum qins_status st = qn_part_string(part, "prepend", NULL, &text, err);
    if (st != QINS_OK)
        return st;
    step->apply = prepend;
    return qn_buf_append(&step->content, text, strlen(text), err);
}

static enum qins_status parse_replace(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_normal_step *step = add_step(ctx, err);
    const char *text = "";
    if (!step)
        return QINS_ERR_MEMORY;
    enum qins_status st = qn_part_string(part, "content", NULL, &text, err);
    if (st != QINS_OK)
        return st;
    step->apply = replace;
    st = qn_buf_append(&step->content, text, strlen(text), err);
    return st == QINS_OK ? qn_part_pattern(&step->pattern, part, err) : st;
}

static enum qins_status parse_form(void *ctx, const json_t *part, struct qins_error *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    struct qn_normal_step *step = add_step(ctx, err);
    if (!step)
        return QINS_ERR_MEMORY;
    step->apply = unicode_form;
    step->form = UTF8PROC_STABLE;
    step->form |= strchr(type, 'D') ? UTF8PROC_DECOMPOSE : UTF8PROC_COMPOSE;
    if (strchr(type, 'K'))
        step->form |= UTF8PROC_COMPAT;
    return QINS_OK;
}

static enum qins_status parse_lowercase(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_normal_step *step = add_step(ctx, err);
    (void)part;
    if (!step)
        return QINS_ERR_MEMORY;
    step->apply = lowercase;
    return QINS_OK;
}

static enum qins_status parse_strip(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_normal_step *step = add_step(ctx, err);
    if (!step)
        return QINS_ERR_MEMORY;
    step->apply = strip;
    enum qins_status st = qn_part_bool(part, "strip_left", true, &step->left, err);
    return st == QINS_OK ? qn_part_bool(part, "strip_right", true, &step->right, err) : st;
}

enum qins_status qn_normalizer_init(struct qn_normalizer *n, const json_t *part,
                                    struct qins_error *err)
{
    static const struct qn_part_kind kinds[] = {
        {"Prepend", parse_prepend},     {"Replace", parse_replace}, {"NFC", parse_form},
        {"NFKC", parse_form},           {"NFD", parse_form},        {"NFKD", parse_form},
        {"Lowercase", parse_lowercase}, {"Strip", parse_strip},
    };
    static const struct qn_part_family family = {"normalizer", "normalizers", kinds,
                                                 sizeof kinds / sizeof *kinds};
    *n = (struct qn_normalizer){0};
    return qn_parse_parts(&family, part, n, err);
}

enum qins_status qn_normalizer_init_prepend(struct qn_normalizer *n, const char *prefix,
                                            struct qins_error *err)
{
    *n = (struct qn_normalizer){0};
    struct qn_normal_step *step = add_step(n, err);
    if (!step)
        return QINS_ERR_MEMORY;
    step->apply = prepend;
    return qn_buf_append(&step->content, prefix, strlen(prefix), err);
}

void qn_normalizer_finish(struct qn_normalizer *n)
{
    struct qn_normal_step *steps = n->steps.items;
    for (size_t i = 0; i < n->steps.count; i++) {
        qn_pattern_finish(&steps[i].pattern);
        qn_buf_finish(&steps[i].content);
    }
    free(steps);
    *n = (struct qn_normalizer){0};
}

enum qins_status qn_normalize(const struct qn_normalizer *n, struct qn_matcher *matcher,
                              const uint8_t *text, size_t size, struct qn_buf *out,
                              struct qins_error *err)
{
    const size_t limit = size > (SIZE_MAX - SLACK) / GROWTH ? SIZE_MAX : size * GROWTH + SLACK;
    const struct qn_normal_step *steps = n->steps.items;
    struct qn_buf from = {0}, to = {0};
    enum qins_status st = qn_buf_append(&from, text, size, err);
    for (size_t i = 0; i < n->steps.count && from.size > 0 && st == QINS_OK; i++) {
        const struct qn_buf swap = from;
        to.size = 0;
        st = qn_buf_reserve(&to, from.size, err);
        if (st == QINS_OK)
            st = steps[i].apply(&steps[i], matcher, &from, &to, limit, err);
        from = to;
        to = swap;
    }
    if (st == QINS_OK)
        st = qn_buf_append(out, from.data, from.size, err);
    qn_buf_finish(&to);
    qn_buf_finish(&from);
    return st;
}

const struct qn_limit qn_normalize_limits[] = {
    {"tokenizer", "text_per_byte", GROWTH, "bytes",
     "bombs: text that normalizers may make of a byte"},
    {"tokenizer", "text_always", SLACK, "bytes", "the same, of a short text"},
    {0},
};
