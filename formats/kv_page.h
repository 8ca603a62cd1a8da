/* A page of V of one layer's KV cache as bytes (docs/kv-format.md): coded values of consecutive
 * tokens, a scale for each token (for each token and head where heads have QN_KV_HEAD_SCALES
 * values or more), a hash. Kernels: no allocation; the same bytes on every machine; thread-safe,
 * each thread with scratch of its own.
 *
 * A page's largest scale is a float32, those of its tokens are 8-bit floats below it (3 bits of
 * exponent, 5 of mantissa), rounded up, so that nothing is clipped. A float16 for each token, as
 * first designed, takes 3 % of a page of 64 values a token: more than 8 bits may lose to float16.
 * The header is as short as it is for the same reason.
 */
#ifndef QINS_FORMATS_KV_PAGE_H
#define QINS_FORMATS_KV_PAGE_H

#include "core/error.h"

#include <stddef.h>

enum {
    QN_KV_HEADER = 24,      /* bytes before the scales */
    QN_KV_HEAD_SCALES = 64, /* head_dim from which each head has a scale of its own */
    QN_KV_MIN_PAGE = 16 << 10,
    QN_KV_MAX_PAGE = 64 << 10,    /* of float32 values before coding */
    QN_KV_MAX_HEADS = UINT16_MAX, /* and values of a head */
    QN_KV_MAX_VALUES = 1 << 20,   /* of a token */
};

/* What the pages of a cache have in common. */
struct qn_kv_layout {
    uint32_t heads, head_dim; /* values of a token: heads * head_dim */
    uint32_t tokens;          /* of a full page, >= 1 */
    uint32_t bits;            /* 8 or 6 */
    float kappa;              /* of the grid (formats/codec/quant.h) */
};

/* Fills L for pages of at most PAGE_BYTES of float32 values, one token at least; 0: pages of 64
 * tokens, within the limits. QINS_ERR_USAGE for other bits than 8 and 6, or bytes outside of
 * QN_KV_MIN_PAGE ... QN_KV_MAX_PAGE; QINS_ERR_UNSUPPORTED for more heads or values than the limits.
 */
enum qins_status qn_kv_layout_init(struct qn_kv_layout *l, uint32_t heads, uint32_t head_dim,
                                   unsigned bits, size_t page_bytes, struct qins_error *err);
/* Whether the functions below may be given L, which a file may have made up. */
bool qn_kv_layout_valid(const struct qn_kv_layout *l);
/* Scales of a token: one for each head, or one. */
uint32_t qn_kv_groups(const struct qn_kv_layout *l);
/* Scratch that the four functions below need, 8-byte aligned. */
size_t qn_kv_scratch(const struct qn_kv_layout *l);
/* Of a page that is bit-packed, with header and scales. */
size_t qn_kv_packed_size(const struct qn_kv_layout *l);

/* Token i of head h is at v + h * head_stride + i * head_dim. Writes qn_kv_packed_size() bytes.
 * Values that are not finite fail with QINS_ERR_FORMAT. */
enum qins_status qn_kv_encode(const struct qn_kv_layout *l, const float *v, size_t head_stride,
                              uint8_t *dst, void *scratch, struct qins_error *err);
/* Codes the bit-packed page SRC of qn_kv_packed_size() bytes again into as many at DST, elsewhere:
 * by huffman, or by rle-huffman where that saves more than a thirty-second of what the better of
 * huffman and bit-packing takes. Where neither is shorter, DST is SRC, byte for byte. *size is what
 * DST then takes. Fails as qn_kv_decode() does. */
enum qins_status qn_kv_recode(const struct qn_kv_layout *l, const uint8_t *src, uint8_t *dst,
                              size_t *size, void *scratch, struct qins_error *err);
/* Decodes a page of either kind; places as for qn_kv_encode(). Hostile bytes end in
 * QINS_ERR_FORMAT, or in QINS_ERR_UNSUPPORTED where they say another version. */
enum qins_status qn_kv_decode(const struct qn_kv_layout *l, const uint8_t *src, size_t size,
                              float *v, size_t head_stride, void *scratch, struct qins_error *err);
/* Codes (0 ... 2 N, by token and then by head) and scales[tokens][groups] of a page, for studies.
 * Either may be NULL. */
enum qins_status qn_kv_codes(const struct qn_kv_layout *l, const uint8_t *src, size_t size,
                             uint16_t *codes, float *scales, void *scratch, struct qins_error *err);
/* Whether SRC, of any bytes, says that it is a page coded by qn_kv_recode(). */
bool qn_kv_is_recoded(const uint8_t *src, size_t size);

#endif
