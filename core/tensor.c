#include "core/tensor.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "core/limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_NAME = 65535 };

void qn_tensor_list_finish(struct qn_tensor_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].name);
    free(list->items);
    *list = (struct qn_tensor_list){0};
}

bool qn_type_name_valid(const char *text, size_t size)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_[]";
    for (size_t i = 0; i < size; i++)
        if (!memchr(allowed, text[i], sizeof allowed - 1))
            return false;
    return size > 0 && size < sizeof((struct qn_tensor *)0)->foreign_type;
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
size_t qn_utf8_character(const void *text, size_t size)
{
    const uint8_t *p = text;
    if (size == 0 || p[0] < 0x80)
        return size ? 1 : 0;
    const unsigned more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || size - 1 < more)
        return 0;
    const uint8_t lo = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    const uint8_t hi = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (unsigned i = 2; i <= more; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return 1 + (size_t)more;
}

bool qn_utf8_valid(const void *text, size_t size)
{
    const uint8_t *p = text;
    size_t n = 1;
    for (size_t at = 0; at < size && n; at += n)
        n = qn_utf8_character(p + at, size - at);
    return n > 0;
}

int qn_utf8_cut(const char *text, int most)
{
    const size_t size = strnlen(text, (size_t)most), whole = strnlen(text, (size_t)most + 4);
    size_t at = 0;
    while (at < size) {
        const size_t n = qn_utf8_character(text + at, whole - at);
        if (at + n > size)
            break;
        at += n ? n : 1;
    }
    return (int)at;
}

static enum qins_status measure(struct qn_tensor *t, struct qins_error *err)
{
    bool zero = false;
    uint64_t n = 1;
    for (unsigned i = 0; i < t->rank; i++)
        zero = zero || t->shape[i] == 0;
    for (unsigned i = 0; i < t->rank && !zero; i++)
        if (!qn_mul_u64(n, t->shape[i], &n))
            return qn_fail(err, QINS_ERR_FORMAT, "the shape's product overflows 64 bits");
    t->n_elements = zero ? 0 : n;
    if (!qn_mul_u64(t->n_elements, qins_dtype_size(t->dtype), &t->n_bytes) ||
        t->n_bytes > INT64_MAX)
        return qn_fail(err, QINS_ERR_FORMAT, "the tensor's byte size overflows");
    return QINS_OK;
}

static enum qins_status grow(struct qn_tensor_list *list, struct qins_error *err)
{
    if (list->count < list->capacity)
        return QINS_OK;
    size_t capacity = list->capacity ? list->capacity * 2 : 64;
    struct qn_tensor *items = realloc(list->items, capacity * sizeof *items);
    if (!items)
        return qn_fail_memory(err);
    list->items = items;
    list->capacity = capacity;
    return QINS_OK;
}

enum qins_status qn_tensor_list_add(struct qn_tensor_list *list, const char *name, size_t name_len,
                                    enum qins_dtype dtype, const char *foreign_type, unsigned rank,
                                    const uint64_t *shape, struct qn_tensor **out,
                                    struct qins_error *err)
{
    if (name_len == 0 || name_len > MAX_NAME || memchr(name, 0, name_len) ||
        !qn_utf8_valid(name, name_len))
        return qn_fail(err, QINS_ERR_FORMAT,
                       "a tensor's name is empty, too long or not valid UTF-8");
    struct qn_tensor t = {.dtype = dtype, .rank = rank};
    enum qins_status st = QINS_OK;
    t.name = qn_strndup(name, name_len, err);
    if (!t.name)
        return QINS_ERR_MEMORY;
    if (rank > QINS_MAX_RANK) {
        st = qn_fail(err, QINS_ERR_FORMAT, "rank %u is above %d", rank, QINS_MAX_RANK);
        goto fail;
    }
    if (rank)
        memcpy(t.shape, shape, rank * sizeof *shape);
    if (dtype == QINS_DTYPE_INVALID)
        snprintf(t.foreign_type, sizeof t.foreign_type, "%s", foreign_type);
    st = measure(&t, err);
    if (st == QINS_OK)
        st = grow(list, err);
    if (st != QINS_OK)
        goto fail;
    list->items[list->count] = t;
    if (out)
        *out = &list->items[list->count];
    list->count++;
    return QINS_OK;
fail:
    qn_error_in_tensor(err, st, t.name);
    free(t.name);
    return st;
}

static const struct qn_tensor **sorted(const struct qn_tensor_list *list,
                                       int (*compare)(const void *, const void *),
                                       struct qins_error *err)
{
    const struct qn_tensor **order = calloc(list->count + 1, sizeof(struct qn_tensor *));
    if (!order) {
        qn_fail_memory(err);
        return NULL;
    }
    for (size_t i = 0; i < list->count; i++)
        order[i] = &list->items[i];
    qsort(order, list->count, sizeof(struct qn_tensor *), compare);
    return order;
}

static int by_name(const void *a, const void *b)
{
    const struct qn_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

enum qins_status qn_tensor_list_check_unique(const struct qn_tensor_list *list,
                                             struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    const struct qn_tensor **order = sorted(list, by_name, err);
    if (!order)
        return QINS_ERR_MEMORY;
    for (size_t i = 1; i < list->count && st == QINS_OK; i++)
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            st = qn_fail_at(err, QINS_ERR_FORMAT, NULL, order[i]->name, QN_NO_OFFSET,
                            "two tensors have this name");
    free(order);
    return st;
}

static int by_place(const void *a, const void *b)
{
    const struct qn_tensor *x = *(const struct qn_tensor *const *)a;
    const struct qn_tensor *y = *(const struct qn_tensor *const *)b;
    for (int i = 0; i < 2; i++)
        if (x->where[i] != y->where[i])
            return x->where[i] < y->where[i] ? -1 : 1;
    return x->n_bytes < y->n_bytes ? -1 : x->n_bytes > y->n_bytes;
}

enum qins_status qn_tensor_list_check_overlap(const struct qn_tensor_list *list,
                                              struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    const struct qn_tensor **order = sorted(list, by_place, err);
    if (!order)
        return QINS_ERR_MEMORY;
    const struct qn_tensor *last = NULL; /* of those with data */
    for (size_t i = 0; i < list->count && st == QINS_OK; i++) {
        const struct qn_tensor *t = order[i];
        if (t->n_bytes == 0)
            continue;
        if (last && last->where[0] == t->where[0] && last->n_bytes > t->where[1] - last->where[1])
            st = qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->name, (int64_t)t->where[1],
                            "its data overlaps that of another tensor");
        last = t;
    }
    free(order);
    return st;
}

char *qn_shape_format(unsigned rank, const uint64_t *shape, char *buf, size_t size)
{
    size_t used = 0;
    if (size == 0)
        return buf;
    snprintf(buf, size, "scalar");
    for (unsigned i = 0; i < rank && used < size; i++) {
        int n = snprintf(buf + used, size - used, "%s%" PRIu64, i ? "x" : "", shape[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    return buf;
}

const struct qn_limit qn_tensor_limits[] = {
    {"tensor", "rank", QINS_MAX_RANK, "axes", "arrays of extents"},
    {"tensor", "name", MAX_NAME, "bytes", "listings and messages"},
    {0},
};
