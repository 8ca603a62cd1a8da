#include "core/buf.h"

#include "core/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void qn_buf_finish(struct qn_buf *b)
{
    free(b->data);
    *b = (struct qn_buf){0};
}

enum qins_status qn_buf_reserve(struct qn_buf *b, size_t capacity, struct qins_error *err)
{
    if (capacity <= b->capacity)
        return QINS_OK;
    size_t grown = b->capacity + b->capacity / 2;
    if (grown < capacity)
        grown = capacity;
    uint8_t *data = realloc(b->data, grown);
    if (!data)
        return qn_fail_memory(err);
    b->data = data;
    b->capacity = grown;
    return QINS_OK;
}

static enum qins_status grow(struct qn_buf *b, size_t size, struct qins_error *err)
{
    uint64_t total;
    if (!qn_add_u64(b->size, size, &total) || total > SIZE_MAX)
        return qn_fail_memory(err);
    return qn_buf_reserve(b, (size_t)total, err);
}

enum qins_status qn_buf_append(struct qn_buf *b, const void *data, size_t size,
                               struct qins_error *err)
{
    if (size == 0)
        return QINS_OK;
    enum qins_status st = grow(b, size, err);
    if (st == QINS_OK) {
        memcpy(b->data + b->size, data, size);
        b->size += size;
    }
    return st;
}

enum qins_status qn_buf_append_zeros(struct qn_buf *b, size_t size, struct qins_error *err)
{
    if (size == 0)
        return QINS_OK;
    enum qins_status st = grow(b, size, err);
    if (st == QINS_OK) {
        memset(b->data + b->size, 0, size);
        b->size += size;
    }
    return st;
}

char *qn_strndup(const void *s, size_t n, struct qins_error *err)
{
    char *copy = malloc(n + 1);
    if (!copy) {
        qn_fail_memory(err);
        return NULL;
    }
    if (n)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

char *qn_strdup(const char *s, struct qins_error *err)
{
    return qn_strndup(s, strlen(s), err);
}

char *qn_format(struct qins_error *err, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    char *s = n < 0 ? NULL : malloc((size_t)n + 1);
    if (!s) {
        qn_fail_memory(err);
        return NULL;
    }
    va_start(ap, format);
    vsnprintf(s, (size_t)n + 1, format, ap);
    va_end(ap);
    return s;
}
