/* A growable byte buffer. Zero-initialised is empty and valid. */
#ifndef QINS_CORE_BUF_H
#define QINS_CORE_BUF_H

#include "core/error.h"

struct qn_buf {
    uint8_t *data;
    size_t size, capacity; /* bytes */
};

void qn_buf_finish(struct qn_buf *b); /* frees; leaves an empty buffer */

/* Makes capacity >= CAPACITY; contents are kept. */
enum qins_status qn_buf_reserve(struct qn_buf *b, size_t capacity, struct qins_error *err);
enum qins_status qn_buf_append(struct qn_buf *b, const void *data, size_t size,
                               struct qins_error *err);
/* Appends SIZE zero bytes. */
enum qins_status qn_buf_append_zeros(struct qn_buf *b, size_t size, struct qins_error *err);

/* Heap copy of a string or of bytes plus a terminating NUL; NULL and *err set when out of
 * memory. */
char *qn_strdup(const char *s, struct qins_error *err);
char *qn_strndup(const void *s, size_t n, struct qins_error *err);
/* printf into a fresh heap string. */
char *qn_format(struct qins_error *err, const char *format, ...) QN_PRINTF(2, 3);

#endif
