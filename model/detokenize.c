#include "model/detokenize.h"

#include "model/byte_level.h"
#include "model/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Text may grow as that of normalizers may (model/normalize.c). */
enum { GROWTH = 32, SLACK = 1 << 16 };

struct qn_decode_step {
    /* Appends what becomes of piece INDEX. */
    enum qins_status (*apply)(const struct qn_decode_step *step, const uint8_t *text, size_t size,
                              size_t index, struct qn_buf *out, struct qins_error *err);
    bool fuses; /* the pieces become one */
    struct qn_pattern pattern;
    struct qn_buf content; /* of Replace, Strip; the mark of Metaspace */
    uint32_t start, stop;  /* of Strip */
    bool drops_first;      /* Metaspace: marks in the first token are no spaces */
};

int qn_byte_token(const uint8_t *text, size_t size)
{
    int value = 0;
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        if (text[i] >= '0' && text[i] <= '9')
            value = value * 16 + (text[i] - '0');
        else if ((text[i] | 32) >= 'a' && (text[i] | 32) <= 'f')
            value = value * 16 + ((text[i] | 32) - 'a' + 10);
        else
            return -1;
    }
    return value;
}

static enum qins_status byte_level(const struct qn_decode_step *step, const uint8_t *text,
                                   size_t size, size_t index, struct qn_buf *out,
                                   struct qins_error *err)
{
    const size_t before = out->size;
    enum qins_status st = QINS_OK;
    uint32_t code = 0;
    (void)step;
    (void)index;
    for (size_t i = 0, n; i < size && st == QINS_OK; i += n) {
        n = qn_utf8_next(text + i, size - i, &code);
        const int byte = n > 0 ? qn_byte_level_get(code) : -1;
        if (byte < 0) { /* an added token, say: as it is */
            out->size = before;
            return qn_buf_append(out, text, size, err);
        }
        st = qn_buf_append(out, &(uint8_t){(uint8_t)byte}, 1, err);
    }
    return st;
}

static enum qins_status byte_fallback(const struct qn_decode_step *step, const uint8_t *text,
                                      size_t size, size_t index, struct qn_buf *out,
                                      struct qins_error *err)
{
    const int byte = qn_byte_token(text, size);
    (void)step;
    (void)index;
    return byte < 0 ? qn_buf_append(out, text, size, err)
                    : qn_buf_append(out, &(uint8_t){(uint8_t)byte}, 1, err);
}

static enum qins_status fuse(const struct qn_decode_step *step, const uint8_t *text, size_t size,
                             size_t index, struct qn_buf *out, struct qins_error *err)
{
    (void)step;
    (void)index;
    return qn_buf_append(out, text, size, err);
}

static enum qins_status replace(const struct qn_decode_step *step, const uint8_t *text, size_t size,
                                size_t index, struct qn_buf *out, struct qins_error *err)
{
    const struct qn_buf *wanted = &step->pattern.string;
    enum qins_status st = QINS_OK;
    (void)index;
    while (size > 0 && st == QINS_OK) {
        const uint8_t *at =
            wanted->size > 0 ? memmem(text, size, wanted->data, wanted->size) : NULL;
        const size_t n = at ? (size_t)(at - text) : size;
        st = qn_buf_append(out, text, n, err);
        if (st == QINS_OK && at)
            st = qn_buf_append(out, step->content.data, step->content.size, err);
        text += n + (at ? wanted->size : 0);
        size -= n + (at ? wanted->size : 0);
    }
    return st;
}

static enum qins_status strip(const struct qn_decode_step *step, const uint8_t *text, size_t size,
                              size_t index, struct qn_buf *out, struct qins_error *err)
{
    const uint8_t *mark = step->content.data;
    const size_t n = step->content.size;
    (void)index;
    for (uint32_t i = 0; i < step->start && size >= n && memcmp(text, mark, n) == 0; i++) {
        text += n;
        size -= n;
    }
    for (uint32_t i = 0; i < step->stop && size >= n && memcmp(text + size - n, mark, n) == 0; i++)
        size -= n;
    return qn_buf_append(out, text, size, err);
}

static enum qins_status metaspace(const struct qn_decode_step *step, const uint8_t *text,
                                  size_t size, size_t index, struct qn_buf *out,
                                  struct qins_error *err)
{
    const size_t space = step->drops_first && index == 0 ? 0 : 1;
    enum qins_status st = QINS_OK;
    while (size > 0 && st == QINS_OK) {
        const uint8_t *at = memmem(text, size, step->content.data, step->content.size);
        const size_t n = at ? (size_t)(at - text) : size;
        st = qn_buf_append(out, text, n, err);
        if (st == QINS_OK && at)
            st = qn_buf_append(out, " ", space, err);
        text += n + (at ? step->content.size : 0);
        size -= n + (at ? step->content.size : 0);
    }
    return st;
}

static struct qn_decode_step *add_step(void *decoder, struct qins_error *err)
{
    struct qn_decoder *d = decoder;
    return qn_step_add(&d->steps, sizeof(struct qn_decode_step), err);
}

static enum qins_status parse_byte_level(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_decode_step *step = add_step(ctx, err);
    (void)part;
    if (!step)
        return QINS_ERR_MEMORY;
    step->apply = byte_level;
    step->fuses = true;
    return QINS_OK;
}

static enum qins_status parse_byte_fallback(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_decode_step *step = add_step(ctx, err);
    (void)part;
    if (!step)
        return QINS_ERR_MEMORY;
    step->apply = byte_fallback;
    return QINS_OK;
}

static enum qins_status parse_fuse(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_decode_step *step = add_step(ctx, err);
    (void)part;
    if (!step)
        return QINS_ERR_MEMORY;
    step->apply = fuse;
    step->fuses = true;
    return QINS_OK;
}

/* The string KEY of PART, not empty unless EMPTY_TOO, as the content of a new step. */
static enum qins_status add_with_content(struct qn_decoder *d, const json_t *part, const char *key,
                                         bool empty_too, struct qn_decode_step **out,
                                         struct qins_error *err)
{
    const char *text = "";
    *out = add_step(d, err);
    if (!*out)
        return QINS_ERR_MEMORY;
    enum qins_status st = qn_part_string(part, key, NULL, &text, err);
    if (st == QINS_OK && !*text && !empty_too)
        st = qn_fail(err, QINS_ERR_FORMAT, "\"%s\" of a decoder is empty", key);
    return st == QINS_OK ? qn_buf_append(&(*out)->content, text, strlen(text), err) : st;
}

static enum qins_status parse_replace(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_decode_step *step;
    enum qins_status st = add_with_content(ctx, part, "content", true, &step, err);
    if (st == QINS_OK)
        st = qn_part_pattern(&step->pattern, part, err);
    if (st == QINS_OK && step->pattern.kind != QN_PATTERN_STRING)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED,
                     "the decoder Replace with a regular expression is not implemented");
    if (st == QINS_OK)
        step->apply = replace;
    return st;
}

static enum qins_status parse_strip(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_decode_step *step;
    enum qins_status st = add_with_content(ctx, part, "content", false, &step, err);
    if (st == QINS_OK)
        st = qn_part_count(part, "start", &step->start, err);
    if (st == QINS_OK)
        st = qn_part_count(part, "stop", &step->stop, err);
    if (st == QINS_OK)
        step->apply = strip;
    return st;
}

static enum qins_status parse_metaspace(void *ctx, const json_t *part, struct qins_error *err)
{
    struct qn_decode_step *step;
    const char *scheme = "";
    bool space = true;
    enum qins_status st = add_with_content(ctx, part, "replacement", false, &step, err);
    if (st == QINS_OK)
        st = qn_part_bool(part, "add_prefix_space", true, &space, err);
    if (st == QINS_OK)
        st = qn_part_string(part, "prepend_scheme", space ? "always" : "never", &scheme, err);
    if (st != QINS_OK)
        return st;
    step->apply = metaspace;
    step->drops_first = strcmp(scheme, "never") != 0;
    return QINS_OK;
}

enum qins_status qn_decoder_init(struct qn_decoder *d, const json_t *part, struct qins_error *err)
{
    static const struct qn_part_kind kinds[] = {
        {"ByteLevel", parse_byte_level},
        {"ByteFallback", parse_byte_fallback},
        {"Fuse", parse_fuse},
        {"Replace", parse_replace},
        {"Strip", parse_strip},
        {"Metaspace", parse_metaspace},
    };
    static const struct qn_part_family family = {"decoder", "decoders", kinds,
                                                 sizeof kinds / sizeof *kinds};
    *d = (struct qn_decoder){.joins_by_space = !part || json_is_null(part)};
    return qn_parse_parts(&family, part, d, err);
}

enum qins_status qn_decoder_init_bytes(struct qn_decoder *d, struct qins_error *err)
{
    *d = (struct qn_decoder){0};
    return parse_byte_fallback(d, NULL, err);
}

void qn_decoder_finish(struct qn_decoder *d)
{
    struct qn_decode_step *steps = d->steps.items;
    for (size_t i = 0; i < d->steps.count; i++) {
        qn_pattern_finish(&steps[i].pattern);
        qn_buf_finish(&steps[i].content);
    }
    free(steps);
    *d = (struct qn_decoder){0};
}

static enum qins_status end_piece(struct qn_pieces *p, struct qins_error *err)
{
    const size_t end = p->text.size;
    enum qins_status st = qn_buf_reserve(&p->text, 1, err); /* never a null pointer */
    p->count++;
    return st == QINS_OK ? qn_buf_append(&p->ends, &end, sizeof end, err) : st;
}

enum qins_status qn_pieces_add(struct qn_pieces *p, const void *text, size_t size,
                               struct qins_error *err)
{
    enum qins_status st = qn_buf_append(&p->text, text, size, err);
    return st == QINS_OK ? end_piece(p, err) : st;
}

void qn_pieces_finish(struct qn_pieces *p)
{
    qn_buf_finish(&p->text);
    qn_buf_finish(&p->ends);
    p->count = 0;
}

static size_t end_of(const struct qn_pieces *p, size_t i)
{
    size_t end;
    memcpy(&end, p->ends.data + i * sizeof end, sizeof end);
    return end;
}

static enum qins_status apply_step(const struct qn_decode_step *step, const struct qn_pieces *in,
                                   struct qn_pieces *out, size_t limit, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0, start = 0; i < in->count && st == QINS_OK; i++) {
        const size_t end = end_of(in, i);
        st = step->apply(step, in->text.data + start, end - start, i, &out->text, err);
        if (st == QINS_OK && out->text.size > limit)
            st = qn_fail(err, QINS_ERR_UNSUPPORTED, "the decoder makes the text too long");
        if (st == QINS_OK && !step->fuses)
            st = end_piece(out, err);
        start = end;
    }
    return st == QINS_OK && step->fuses && in->count > 0 ? end_piece(out, err) : st;
}

static enum qins_status join_by_space(const struct qn_pieces *p, struct qn_buf *out,
                                      struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0, start = 0; i < p->count && st == QINS_OK; i++) {
        const size_t end = end_of(p, i);
        if (i > 0)
            st = qn_buf_append(out, " ", 1, err);
        if (st == QINS_OK)
            st = qn_buf_append(out, p->text.data + start, end - start, err);
        start = end;
    }
    return st;
}

enum qins_status qn_decoder_apply(const struct qn_decoder *d, struct qn_pieces *pieces,
                                  struct qn_buf *out, struct qins_error *err)
{
    const size_t size = pieces->text.size;
    const size_t limit = size > (SIZE_MAX - SLACK) / GROWTH ? SIZE_MAX : size * GROWTH + SLACK;
    const struct qn_decode_step *steps = d->steps.items;
    struct qn_pieces next = {{0}};
    enum qins_status st = QINS_OK;
    if (d->joins_by_space)
        return join_by_space(pieces, out, err);
    for (size_t i = 0; i < d->steps.count && st == QINS_OK; i++) {
        st = apply_step(&steps[i], pieces, &next, limit, err);
        const struct qn_pieces swap = *pieces;
        *pieces = next;
        next = swap;
        next.text.size = next.ends.size = next.count = 0;
    }
    if (st == QINS_OK)
        st = qn_buf_append(out, pieces->text.data, pieces->text.size, err);
    qn_pieces_finish(&next);
    return st;
}
