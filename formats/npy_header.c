#include "formats/npy_header.h"

#include "core/bytes.h"
#include "formats/limits.h"

#include <inttypes.h>
#include <stdio.h>

static const uint8_t magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

static const struct {
    char code[3]; /* kind and bytes, as in an array-protocol type string */
    enum qins_dtype dtype;
} types[] = {
    {"f8", QINS_F64}, {"f4", QINS_F32}, {"f2", QINS_F16}, {"i8", QINS_I64},
    {"i4", QINS_I32}, {"i2", QINS_I16}, {"i1", QINS_I8},  {"u8", QINS_U64},
    {"u4", QINS_U32}, {"u2", QINS_U16}, {"u1", QINS_U8},  {"b1", QINS_BOOL},
};

bool qn_npy_has_magic(const uint8_t *head, size_t head_size)
{
    return head_size >= sizeof magic && memcmp(head, magic, sizeof magic) == 0;
}

enum qins_status qn_npy_header_size(const uint8_t *head, size_t head_size, size_t *size,
                                    struct qins_error *err)
{
    if (!qn_npy_has_magic(head, head_size))
        return qn_fail(err, QINS_ERR_FORMAT, "not a NumPy array: no NPY header");
    struct qn_cursor c = qn_cursor_init(head, head_size);
    qn_cursor_take(&c, sizeof magic);
    unsigned major = qn_cursor_u8(&c);
    qn_cursor_u8(&c);
    uint64_t length = major == 1 ? qn_cursor_u16(&c) : qn_cursor_u32(&c);
    if (c.bad)
        return qn_fail(err, QINS_ERR_FORMAT, "the NPY header is cut short");
    if (major < 1 || major > 3)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "NPY version %u is not known", major);
    if (length > QN_NPY_MAX_HEADER)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the NPY header is longer than %d bytes",
                       QN_NPY_MAX_HEADER);
    *size = qn_cursor_offset(&c) + (size_t)length;
    return QINS_OK;
}

static void skip_space(struct qn_cursor *c)
{
    while (c->pos < c->end && (*c->pos == ' ' || *c->pos == '\n' || *c->pos == '\t'))
        c->pos++;
}

/* True, and past it, if TEXT comes next (after white space). */
static bool accept(struct qn_cursor *c, const char *text)
{
    size_t n = strlen(text);
    skip_space(c);
    if (qn_cursor_left(c) < n || memcmp(c->pos, text, n) != 0)
        return false;
    c->pos += n;
    return true;
}

/* A Python string without escapes, in either quote; *size is its length. */
static const char *quoted(struct qn_cursor *c, size_t *size)
{
    skip_space(c);
    if (c->pos == c->end || (*c->pos != '\'' && *c->pos != '"'))
        return NULL;
    uint8_t quote = *c->pos++;
    const uint8_t *begin = c->pos;
    for (; c->pos < c->end; c->pos++) {
        if (*c->pos == '\\')
            return NULL;
        if (*c->pos == quote) {
            *size = (size_t)(c->pos++ - begin);
            return (const char *)begin;
        }
    }
    return NULL;
}

/* Past a bracketed list of field descriptions. Strings may hold brackets. */
static bool skip_list(struct qn_cursor *c)
{
    size_t depth = 0, size;
    do {
        skip_space(c);
        if (c->pos == c->end)
            return false;
        uint8_t b = *c->pos;
        if (b == '\'' || b == '"') {
            if (!quoted(c, &size))
                return false;
            continue;
        }
        depth += b == '[' || b == '(' || b == '{';
        depth -= b == ']' || b == ')' || b == '}';
        c->pos++;
    } while (depth > 0);
    return true;
}

static bool parse_type(struct qn_npy_header *h, struct qn_cursor *c)
{
    size_t size = 0;
    skip_space(c);
    if (c->pos < c->end && *c->pos == '[') {
        snprintf(h->foreign_type, sizeof h->foreign_type, "structured");
        return skip_list(c);
    }
    const char *text = quoted(c, &size);
    if (!text || size == 0)
        return false;
    bool ordered = *text == '<' || *text == '>' || *text == '|' || *text == '=';
    h->swap = *text == '>';
    text += ordered;
    size -= ordered;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (size == 2 && memcmp(types[i].code, text, 2) == 0)
            h->dtype = types[i].dtype;
    if (!qn_type_name_valid(text, size))
        return false;
    snprintf(h->foreign_type, sizeof h->foreign_type, "%.*s", (int)size, text);
    return true;
}

static bool parse_extent(struct qn_cursor *c, uint64_t *out)
{
    const uint8_t *begin = c->pos;
    *out = 0;
    while (c->pos < c->end && *c->pos >= '0' && *c->pos <= '9') {
        uint64_t digit = *c->pos++ - (uint64_t)'0';
        if (!qn_mul_u64(*out, 10, out) || !qn_add_u64(*out, digit, out))
            return false;
    }
    if (c->pos == begin)
        return false;
    accept(c, "L"); /* Python 2 */
    return true;
}

static bool parse_shape(struct qn_npy_header *h, struct qn_cursor *c)
{
    if (!accept(c, "("))
        return false;
    bool comma = true;
    while (!accept(c, ")")) {
        if (!comma || h->rank == QINS_MAX_RANK || !parse_extent(c, &h->shape[h->rank]))
            return false;
        h->rank++;
        comma = accept(c, ",");
    }
    return h->rank != 1 || comma; /* "(3)" is no tuple */
}

/* One "key: value" of the dictionary; *seen has a bit for each key. */
static bool parse_item(struct qn_npy_header *h, struct qn_cursor *c, unsigned *seen)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    size_t size = 0;
    unsigned which = 0;
    const char *key = quoted(c, &size);
    if (!key || !accept(c, ":"))
        return false;
    while (which < 3 && (strlen(keys[which]) != size || memcmp(keys[which], key, size) != 0))
        which++;
    if (which == 3 || *seen & 1u << which)
        return false;
    *seen |= 1u << which;
    if (which == 0)
        return parse_type(h, c);
    if (which == 2)
        return parse_shape(h, c);
    h->fortran = accept(c, "True");
    return h->fortran || accept(c, "False");
}

enum qins_status qn_npy_header_parse(struct qn_npy_header *out, const uint8_t *data, size_t size,
                                     struct qins_error *err)
{
    *out = (struct qn_npy_header){.size = 0};
    enum qins_status st = qn_npy_header_size(data, size, &out->size, err);
    if (st != QINS_OK)
        return st;
    if (out->size > size)
        return qn_fail(err, QINS_ERR_FORMAT, "the NPY header is cut short");
    struct qn_cursor c = qn_cursor_init(data, out->size);
    qn_cursor_take(&c, data[sizeof magic] == 1 ? 10 : QN_NPY_PREFIX);
    unsigned seen = 0;
    bool good = accept(&c, "{"), comma = true;
    while (good && !accept(&c, "}")) {
        good = comma && parse_item(out, &c, &seen);
        comma = accept(&c, ",");
    }
    skip_space(&c);
    if (!good || seen != 7 || c.pos != c.end)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL, (int64_t)qn_cursor_offset(&c),
                          "the NPY header is no description of an array");
    return QINS_OK;
}

enum qins_status qn_npy_add(struct qn_tensor_list *list, const struct qn_npy_header *h,
                            const char *name, size_t name_size, uint64_t data_size,
                            struct qn_tensor **out, struct qins_error *err)
{
    struct qn_tensor *t = NULL;
    enum qins_status st = qn_tensor_list_add(list, name, name_size, h->dtype, h->foreign_type,
                                             h->rank, h->shape, &t, err);
    if (st == QINS_OK && h->dtype != QINS_DTYPE_INVALID && t->n_bytes != data_size)
        st = qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->name, (int64_t)h->size,
                        "the array takes %" PRIu64 " bytes, but %" PRIu64 " follow the header",
                        t->n_bytes, data_size);
    *out = t;
    return st;
}

enum qins_status qn_npy_read(const struct qn_npy_header *h, const struct qn_tensor *t,
                             qn_fetch_fn fetch, void *ctx, uint64_t offset, void *dst, size_t size,
                             struct qins_error *err)
{
    size_t width = qins_dtype_size(t->dtype);
    enum qins_status st;
    if (!h->fortran) {
        st = fetch(ctx, offset, dst, size, err);
    } else {
        uint64_t stride[QINS_MAX_RANK] = {0}, step = 1;
        for (unsigned i = 0; i < t->rank; i++) {
            stride[i] = step;
            step *= t->shape[i]; /* n_bytes was checked, and no extent is 0 */
        }
        struct qn_strided v = {t->rank, t->shape, stride, 0, width};
        st = qn_strided_read(&v, fetch, ctx, offset, dst, size, err);
    }
    if (st == QINS_OK && h->swap)
        qn_swap_elements(dst, size, width);
    return st;
}

enum qins_status qn_npy_header_write(struct qn_buf *out, enum qins_dtype dtype, unsigned rank,
                                     const uint64_t *shape, struct qins_error *err)
{
    enum { ALIGNMENT = 64, PREFIX = sizeof magic + 4 }; /* as numpy writes them */
    char text[4 * ALIGNMENT];
    uint8_t prefix[PREFIX] = {0};
    size_t type = 0;
    while (types[type].dtype != dtype)
        type++;
    const char order = qins_dtype_size(dtype) == 1 ? '|' : '<';
    int n = snprintf(text, sizeof text, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                     order, types[type].code);
    for (unsigned i = 0; i < rank; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%" PRIu64 ", ", shape[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");
    while ((PREFIX + n + 1) % ALIGNMENT != 0)
        text[n++] = ' ';
    text[n++] = '\n';
    memcpy(prefix, magic, sizeof magic);
    prefix[sizeof magic] = 1;
    qn_store16(prefix + sizeof magic + 2, (uint16_t)n);
    enum qins_status st = qn_buf_append(out, prefix, sizeof prefix, err);
    return st == QINS_OK ? qn_buf_append(out, text, (size_t)n, err) : st;
}

const struct qn_limit qn_npy_limits[] = {
    {"numpy", "header", QN_NPY_MAX_HEADER, "bytes", "memory: the header is held whole"},
    {0},
};
