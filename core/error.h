/* The error record of include/qins/qins.h and the ways to fill it. */
#ifndef QINS_CORE_ERROR_H
#define QINS_CORE_ERROR_H

#include "qins/qins.h"

#include <stdbool.h>

#if defined(__GNUC__)
#define QN_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define QN_PRINTF(a, b)
#endif

#define QN_NO_OFFSET (-1)

/* Fills *err (may be NULL) and returns STATUS, so that a caller can write
 * `return qn_fail(err, ...)`. The file, tensor and offset fields are cleared. */
enum qins_status qn_fail(struct qins_error *err, enum qins_status status, const char *format, ...)
    QN_PRINTF(3, 4);

/* The same with the place named; FILE and TENSOR may be NULL, OFFSET QN_NO_OFFSET. */
enum qins_status qn_fail_at(struct qins_error *err, enum qins_status status, const char *file,
                            const char *tensor, int64_t offset, const char *format, ...)
    QN_PRINTF(6, 7);

/* Failure of a system call: adds strerror(errno); QINS_ERR_MEMORY for ENOMEM, else
 * QINS_ERR_IO. */
enum qins_status qn_fail_errno(struct qins_error *err, const char *file, const char *what);

enum qins_status qn_fail_memory(struct qins_error *err);

/* How many bytes at TEXT (NUL-terminated, not empty) must be escaped before a person may see
 * them: control characters (C0, DEL, C1) and the marks that reverse or hide text. 0 if the byte
 * there may stand as it is. */
size_t qn_text_unsafe(const char *text);

/* Names the file or tensor in an error that does not name one yet; both return err's status. */
enum qins_status qn_error_in_file(struct qins_error *err, enum qins_status status,
                                  const char *file);
enum qins_status qn_error_in_tensor(struct qins_error *err, enum qins_status status,
                                    const char *tensor);
/* Appends MORE to the message: what to do about it. Returns err's status. */
enum qins_status qn_error_append(struct qins_error *err, enum qins_status status, const char *more);

#endif
