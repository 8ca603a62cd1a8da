#include "core/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Paths are cut at the front: their end tells files apart. */
static void copy_tail(char *dst, size_t size, const char *src)
{
    size_t n = strlen(src);
    if (n >= size) {
        src += n - (size - 1);
        n = size - 1;
    }
    memcpy(dst, src, n);
    dst[n] = '\0';
}

static void copy_head(char *dst, size_t size, const char *src)
{
    size_t n = strnlen(src, size - 1);
    memcpy(dst, src, n);
    dst[n] = '\0';
}

static void fill(struct qins_error *err, enum qins_status status, const char *file,
                 const char *tensor, int64_t offset)
{
    err->status = status;
    err->offset = offset;
    copy_tail(err->file, sizeof err->file, file ? file : "");
    copy_head(err->tensor, sizeof err->tensor, tensor ? tensor : "");
}

enum qins_status qn_fail(struct qins_error *err, enum qins_status status, const char *format, ...)
{
    if (err) {
        va_list ap;
        fill(err, status, NULL, NULL, QN_NO_OFFSET);
        va_start(ap, format);
        vsnprintf(err->message, sizeof err->message, format, ap);
        va_end(ap);
    }
    return status;
}

enum qins_status qn_fail_at(struct qins_error *err, enum qins_status status, const char *file,
                            const char *tensor, int64_t offset, const char *format, ...)
{
    if (err) {
        va_list ap;
        fill(err, status, file, tensor, offset);
        va_start(ap, format);
        vsnprintf(err->message, sizeof err->message, format, ap);
        va_end(ap);
    }
    return status;
}

enum qins_status qn_fail_errno(struct qins_error *err, const char *file, const char *what)
{
    int code = errno;
    char text[128];
    /* GNU strerror_r would do, but its signature differs between C libraries. */
    snprintf(text, sizeof text, "%s", strerror(code));
    return qn_fail_at(err, code == ENOMEM ? QINS_ERR_MEMORY : QINS_ERR_IO, file, NULL, QN_NO_OFFSET,
                      "%s: %s", what, text);
}

enum qins_status qn_fail_memory(struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_MEMORY, "out of memory");
}

enum qins_status qn_error_in_file(struct qins_error *err, enum qins_status status, const char *file)
{
    if (err && status != QINS_OK && err->file[0] == '\0')
        copy_tail(err->file, sizeof err->file, file);
    return status;
}

enum qins_status qn_error_in_tensor(struct qins_error *err, enum qins_status status,
                                    const char *tensor)
{
    if (err && status != QINS_OK && err->tensor[0] == '\0')
        copy_head(err->tensor, sizeof err->tensor, tensor);
    return status;
}

const char *qins_status_string(enum qins_status status)
{
    static const char *const text[] = {
        [QINS_OK] = "ok",
        [QINS_ERR_CHECK] = "check failed",
        [QINS_ERR_USAGE] = "usage error",
        [QINS_ERR_FORMAT] = "malformed input",
        [QINS_ERR_UNSUPPORTED] = "unsupported input",
        [QINS_ERR_IO] = "input/output error",
        [QINS_ERR_MEMORY] = "out of memory",
        [QINS_ERR_INTERRUPTED] = "interrupted",
    };
    size_t i = (size_t)status;
    return i < sizeof text / sizeof *text ? text[i] : "unknown status";
}

struct line {
    char *buf;
    size_t size, used;
};

size_t qn_text_unsafe(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x20 || p[0] == 0x7f)
        return 1;
    if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) /* U+0080 ... U+009F */
        return 2;
    if (p[0] != 0xe2 || (p[1] != 0x80 && p[1] != 0x81))
        return 0;
    bool mark = p[1] == 0x80 ? (p[2] >= 0x8b && p[2] <= 0x8f) || (p[2] >= 0xa8 && p[2] <= 0xae)
                             : p[2] >= 0xa6 && p[2] <= 0xa9;
    return mark ? 3 : 0; /* U+200B-200F, 2028-202E, 2066-2069 */
}

/* Hostile names must not be able to forge lines or move a terminal's cursor. */
static void append(struct line *l, const char *text)
{
    for (size_t hidden = 0; *text; text++) {
        char piece[5];
        if (hidden == 0)
            hidden = qn_text_unsafe(text);
        int n = snprintf(piece, sizeof piece, hidden ? "\\x%02x" : "%c", (unsigned char)*text);
        hidden -= hidden > 0;
        if (l->used + (size_t)n >= l->size)
            break;
        memcpy(l->buf + l->used, piece, (size_t)n);
        l->used += (size_t)n;
    }
    l->buf[l->used] = '\0';
}

char *qins_error_format(const struct qins_error *err, char *buf, size_t size)
{
    if (size == 0)
        return buf;
    struct line l = {buf, size, 0};
    buf[0] = '\0';
    if (err->file[0]) {
        append(&l, err->file);
        append(&l, ": ");
    }
    if (err->tensor[0]) {
        append(&l, "tensor '");
        append(&l, err->tensor);
        append(&l, "': ");
    }
    if (err->offset >= 0) {
        char text[40];
        snprintf(text, sizeof text, "offset %" PRId64 ": ", err->offset);
        append(&l, text);
    }
    append(&l, err->message[0] ? err->message : qins_status_string(err->status));
    return buf;
}

enum qins_status qn_error_append(struct qins_error *err, enum qins_status status, const char *more)
{
    if (err && status != QINS_OK) {
        const size_t n = strlen(err->message);
        copy_head(err->message + n, sizeof err->message - n, more);
    }
    return status;
}
