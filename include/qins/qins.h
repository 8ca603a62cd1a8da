/* qins: read .qins archives of neural-network weights.
 *
 * Thread safety: a qins_archive may be used from several threads at once once qins_open()
 * has returned; every call that decodes works on the caller's own buffer. qins_close() must
 * be the last call. No function prints, exits or aborts.
 *
 * Errors: every function that can fail returns a qins_status and fills *err when err is not
 * NULL. Status values map to the exit codes of the program (docs/exit-codes.md). */
#ifndef QINS_QINS_H
#define QINS_QINS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QINS_API __attribute__((visibility("default")))
#else
#define QINS_API
#endif

#define QINS_MAX_RANK 32 /* what HDF5 allows (H5S_MAX_RANK) */

enum qins_status {
    QINS_OK = 0,
    QINS_ERR_CHECK,       /* a check was made and did not hold */
    QINS_ERR_USAGE,       /* the caller asked for something that makes no sense */
    QINS_ERR_FORMAT,      /* the input is malformed or damaged */
    QINS_ERR_UNSUPPORTED, /* the input is well-formed but holds what qins cannot treat */
    QINS_ERR_IO,          /* reading or writing failed */
    QINS_ERR_MEMORY,      /* out of memory */
    QINS_ERR_INTERRUPTED, /* the caller asked to stop */
};

/* One error record. Strings are NUL-terminated and may be cut short; `file` and `tensor` are
 * empty and `offset` is -1 where they say nothing. */
struct qins_error {
    enum qins_status status;
    int64_t offset; /* bytes from the start of `file` */
    char file[512];
    char tensor[256];
    char message[512];
};

/* Element types. The values are part of the archive format: never renumber. */
enum qins_dtype {
    QINS_DTYPE_INVALID = 0,
    QINS_F64 = 1,
    QINS_F32 = 2,
    QINS_F16 = 3,
    QINS_BF16 = 4,
    QINS_F8_E4M3 = 5, /* OCP FP8 E4M3 "fn": no infinities, S.1111.111 is NaN */
    QINS_F8_E5M2 = 6,
    QINS_I64 = 7,
    QINS_I32 = 8,
    QINS_I16 = 9,
    QINS_I8 = 10,
    QINS_U64 = 11,
    QINS_U32 = 12,
    QINS_U16 = 13,
    QINS_U8 = 14,
    QINS_BOOL = 15, /* one byte, 0 or 1 */
    QINS_DTYPE_COUNT,
};

/* Description of one tensor; the pointers live as long as the archive. */
struct qins_tensor_info {
    const char *name;              /* UTF-8 */
    enum qins_dtype source_dtype;  /* what the checkpoint held */
    enum qins_dtype dtype;         /* what qins_read() yields: F32 for F16, BF16 and F8 sources,
                                      otherwise source_dtype */
    unsigned rank;                 /* 0 for a scalar */
    uint64_t shape[QINS_MAX_RANK]; /* elements, outermost first, row-major */
    uint64_t n_elements;           /* product of shape; 1 for rank 0 */
    uint64_t archived_bytes;       /* coded payload bytes in the archive */
    const char *codec;             /* "huffman", "bitpack", ...; of most rows where blocks of rows
                                      differ; static storage */
};

typedef struct qins_archive qins_archive;

/* Opens PATH, checks its header, index and bounds; tensor data is not read. On success *out
 * belongs to the caller, who hands it to qins_close(). */
QINS_API enum qins_status qins_open(qins_archive **out, const char *path, struct qins_error *err);

/* Accepts NULL. */
QINS_API void qins_close(qins_archive *archive);

/* Those of a transport, whose names begin with "qins.transport.", are among them, behind the
 * model's own (docs/archive-format.md). */
QINS_API size_t qins_tensor_count(const qins_archive *archive);

/* INDEX < qins_tensor_count(); fills *info. */
QINS_API enum qins_status qins_tensor(const qins_archive *archive, size_t index,
                                      struct qins_tensor_info *info, struct qins_error *err);

/* Index of the tensor called NAME, or SIZE_MAX. */
QINS_API size_t qins_find(const qins_archive *archive, const char *name);

/* Decodes COUNT elements of a tensor, beginning with element FIRST in row-major order, into
 * DST, which holds DST_BYTES >= COUNT * qins_dtype_size(info.dtype) bytes. Each chunk touched
 * is checked against its own hash. */
QINS_API enum qins_status qins_read(const qins_archive *archive, size_t index, uint64_t first,
                                    uint64_t count, void *dst, size_t dst_bytes,
                                    struct qins_error *err);

/* The same for whole rows: ROW_COUNT slices along the first axis from ROW_BEGIN on. A scalar
 * has one row. */
QINS_API enum qins_status qins_read_rows(const qins_archive *archive, size_t index,
                                         uint64_t row_begin, uint64_t row_count, void *dst,
                                         size_t dst_bytes, struct qins_error *err);

QINS_API size_t qins_dtype_size(enum qins_dtype dtype);      /* bytes; 0 if invalid */
QINS_API const char *qins_dtype_name(enum qins_dtype dtype); /* "F32"; "?" if invalid */
QINS_API const char *qins_status_string(enum qins_status status);
QINS_API const char *qins_version(void);

/* Writes one line "FILE: tensor 'NAME': offset N: message" without a newline into buf, control
 * characters escaped, always NUL-terminated when size > 0. Returns buf. */
QINS_API char *qins_error_format(const struct qins_error *err, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif
