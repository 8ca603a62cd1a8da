/* Element types, tensor descriptions and lists of them. */
#ifndef QINS_CORE_TENSOR_H
#define QINS_CORE_TENSOR_H

#include "core/error.h"

enum qn_kind { QN_KIND_FLOAT, QN_KIND_INT, QN_KIND_UINT, QN_KIND_BOOL };

struct qn_dtype_info {
    const char *name;     /* safetensors spelling */
    unsigned char size;   /* bytes */
    unsigned char kind;   /* enum qn_kind */
    enum qins_dtype view; /* type that decoded data has: F32 for narrow floats */
};

/* NULL if DTYPE is no valid type. */
const struct qn_dtype_info *qn_dtype(enum qins_dtype dtype);
/* QINS_DTYPE_INVALID if there is no such name. */
enum qins_dtype qn_dtype_from_name(const char *name);
static inline bool qn_dtype_is_float(enum qins_dtype dtype)
{
    return dtype >= QINS_F64 && dtype <= QINS_F8_E5M2;
}
/* Float types that can be quantised: all but F64, which is always lossless. */
static inline bool qn_dtype_is_quantisable(enum qins_dtype dtype)
{
    return dtype >= QINS_F32 && dtype <= QINS_F8_E5M2;
}

/* Widens N elements of a float type to float32, exactly; NaN payloads are kept (shifted to the
 * top of the mantissa, never quieted). DTYPE is F32, F16, BF16, F8_E4M3 or F8_E5M2; SRC is
 * little-endian and need not be aligned. */
void qn_to_f32(enum qins_dtype dtype, const void *src, float *dst, size_t n);

/* Rounds N float32 to a float type, to nearest, ties to even; overflow becomes infinity (NaN
 * in F8_E4M3, which has none). DTYPE as above or F64. NaN payloads keep their top bits and
 * never turn into infinity. For every value that qn_to_f32() yields the round trip is exact. */
void qn_from_f32(enum qins_dtype dtype, const float *src, void *dst, size_t n);

/* One tensor of a checkpoint. */
struct qn_tensor {
    char *name;            /* UTF-8, heap */
    enum qins_dtype dtype; /* QINS_DTYPE_INVALID: a type that qins lists but cannot convert */
    char foreign_type[24]; /* its name in that case, e.g. "Q4_K"; otherwise empty */
    unsigned rank;
    uint64_t shape[QINS_MAX_RANK]; /* row-major, outermost first */
    uint64_t n_elements;           /* product of shape, 1 for rank 0, 0 if any extent is 0 */
    uint64_t n_bytes;              /* size in the source */
    uint64_t where[2];             /* for the reader's own use, e.g. file number and offset */
};

struct qn_tensor_list {
    struct qn_tensor *items;
    size_t count, capacity;
};

void qn_tensor_list_finish(struct qn_tensor_list *list);

/* Appends a tensor after checking it: NAME is non-empty valid UTF-8 without NUL and at most
 * 65535 bytes (NAME_LEN bytes; need not be terminated), rank <= QINS_MAX_RANK, extents whose
 * product and byte size do not overflow. DTYPE may be QINS_DTYPE_INVALID, then FOREIGN_TYPE
 * names the type and n_bytes is left 0. *out (may be NULL) points into the list and is valid
 * until the next append. Errors are QINS_ERR_FORMAT or QINS_ERR_MEMORY and name the tensor. */
enum qins_status qn_tensor_list_add(struct qn_tensor_list *list, const char *name, size_t name_len,
                                    enum qins_dtype dtype, const char *foreign_type, unsigned rank,
                                    const uint64_t *shape, struct qn_tensor **out,
                                    struct qins_error *err);

/* Fails with QINS_ERR_FORMAT if two tensors share a name. */
enum qins_status qn_tensor_list_check_unique(const struct qn_tensor_list *list,
                                             struct qins_error *err);

/* Fails with QINS_ERR_FORMAT if the byte ranges [begin, begin + n_bytes) given by
 * BEGIN(tensor) overlap within one file; BEGIN is where[1], the file where[0]. */
enum qins_status qn_tensor_list_check_overlap(const struct qn_tensor_list *list,
                                              struct qins_error *err);

bool qn_utf8_valid(const void *text, size_t size);
/* Bytes of the character that SIZE bytes begin with; 0: they begin with none. */
size_t qn_utf8_character(const void *text, size_t size);
/* Bytes of TEXT's first MOST, less those of a character that they cut: a precision for "%.*s". */
int qn_utf8_cut(const char *text, int most);

/* Whether a file's name of an element type can be shown to people, written into JSON and kept as
 * foreign_type: letters, digits, '_' and brackets, between 1 and 23 bytes. */
bool qn_type_name_valid(const char *text, size_t size);

/* "128x384", "scalar" for rank 0; writes into buf, returns it. */
char *qn_shape_format(unsigned rank, const uint64_t *shape, char *buf, size_t size);

#endif
