#include "core/bytes.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/kernels_list.h"

/* Eight codes are a whole number of bytes at every width: BITS of them. They move as two words
 * of four codes, at most 64 bits each. The 8-byte accesses below may reach past a group's own
 * bytes, so the loops end while SLACK bytes are left. */
enum { GROUP = 8, SLACK = 16 };

/* Four codes in 16-bit lanes to 4 * BITS bits without gaps: lanes to pairs, pairs to one. */
static inline uint64_t join4(const uint16_t *codes, unsigned bits)
{
    const uint64_t even = 0x0000ffff0000ffffULL;
    uint64_t x = qn_load64(codes);
    x = (x & even) | (x & ~even) >> (16 - bits);
    return (x & UINT32_MAX) | x >> 32 << 2 * bits;
}

/* Reverses that; bits above 4 * BITS are ignored. */
static inline void spread4(uint64_t x, unsigned bits, uint16_t *codes)
{
    const uint64_t pair = ((uint64_t)1 << 2 * bits) - 1,
                   one = (((uint64_t)1 << bits) - 1) * 0x100000001ULL;
    x = (x & pair) | (x >> 2 * bits & pair) << 32;
    x = (x & one) | (x & one << bits) << (16 - bits);
    qn_store64(codes, x);
}

static inline void pack_group(const uint16_t *codes, unsigned bits, uint8_t *dst)
{
    uint64_t low = join4(codes, bits), high = join4(codes + 4, bits);
    qn_store64(dst, low | high << 4 * bits);
    if (bits > 8)
        qn_store64(dst + 8, high >> (64 - 4 * bits));
}

static inline void unpack_group(const uint8_t *src, unsigned bits, uint16_t *codes)
{
    uint64_t low = qn_load64(src);
    uint64_t high = bits <= 8 ? low >> 4 * bits : qn_load64(src + bits / 2) >> (4 * bits & 7);
    spread4(low, bits, codes);
    spread4(high, bits, codes + 4);
}

/* Inlined once for each width, so that every shift is a constant. Both return the number of
 * codes done, a multiple of GROUP. */
static inline __attribute__((always_inline)) size_t pack_groups(const uint16_t *codes, size_t n,
                                                                unsigned bits, uint8_t *dst)
{
    size_t left = n / GROUP * bits, i = 0;
    for (; left >= SLACK; i += GROUP, dst += bits, left -= bits)
        pack_group(codes + i, bits, dst);
    return i;
}

static inline __attribute__((always_inline)) size_t unpack_groups(const uint8_t *src, size_t n,
                                                                  unsigned bits, uint16_t *codes)
{
    size_t left = n / GROUP * bits, i = 0;
    for (; left >= SLACK; i += GROUP, src += bits, left -= bits)
        unpack_group(src, bits, codes + i);
    return i;
}

#define WIDTH(b)                                                                                   \
    static size_t pack##b(const uint16_t *codes, size_t n, uint8_t *dst)                           \
    {                                                                                              \
        return pack_groups(codes, n, b, dst);                                                      \
    }                                                                                              \
    static size_t unpack##b(const uint8_t *src, size_t n, uint16_t *codes)                         \
    {                                                                                              \
        return unpack_groups(src, n, b, codes);                                                    \
    }
WIDTH(1)
WIDTH(2)
WIDTH(3)
WIDTH(4)
WIDTH(5)
WIDTH(6)
WIDTH(7)
WIDTH(9)
WIDTH(10)
WIDTH(11)
WIDTH(12)
WIDTH(13)
WIDTH(14)
WIDTH(15)

static size_t pack8(const uint16_t *codes, size_t n, uint8_t *dst)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (uint8_t)codes[i];
    return n;
}

static size_t unpack8(const uint8_t *src, size_t n, uint16_t *codes)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = src[i];
    return n;
}

static size_t pack16(const uint16_t *codes, size_t n, uint8_t *dst)
{
    for (size_t i = 0; i < n; i++)
        qn_store16(dst + 2 * i, codes[i]);
    return n;
}

static size_t unpack16(const uint8_t *src, size_t n, uint16_t *codes)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = qn_load16(src + 2 * i);
    return n;
}

static const struct {
    size_t (*pack)(const uint16_t *codes, size_t n, uint8_t *dst);
    size_t (*unpack)(const uint8_t *src, size_t n, uint16_t *codes);
} widths[QN_BITPACK_MAX_BITS + 1] = {
    {NULL, NULL},       {pack1, unpack1},   {pack2, unpack2},   {pack3, unpack3},
    {pack4, unpack4},   {pack5, unpack5},   {pack6, unpack6},   {pack7, unpack7},
    {pack8, unpack8},   {pack9, unpack9},   {pack10, unpack10}, {pack11, unpack11},
    {pack12, unpack12}, {pack13, unpack13}, {pack14, unpack14}, {pack15, unpack15},
    {pack16, unpack16},
};

void qn_pack_c(const uint16_t *codes, size_t n, unsigned bits, uint8_t *dst)
{
    size_t i = widths[bits].pack(codes, n, dst);
    uint32_t acc = 0;
    unsigned held = 0;
    for (dst += qn_bitpack_size(i, bits); i < n; i++) {
        acc |= (uint32_t)codes[i] << held;
        for (held += bits; held >= 8; held -= 8, acc >>= 8)
            *dst++ = (uint8_t)acc;
    }
    if (held > 0)
        *dst = (uint8_t)acc;
}

void qn_unpack_c(const uint8_t *src, size_t n, unsigned bits, uint16_t *codes)
{
    size_t i = widths[bits].unpack(src, n, codes);
    uint32_t acc = 0;
    unsigned held = 0;
    for (src += qn_bitpack_size(i, bits); i < n; i++) {
        for (; held < bits; held += 8)
            acc |= (uint32_t)*src++ << held;
        codes[i] = (uint16_t)(acc & ((1u << bits) - 1));
        acc >>= bits;
        held -= bits;
    }
}

/* The code that begins at bit AT. */
static uint16_t code_at(const uint8_t *data, size_t at, unsigned bits)
{
    const unsigned shift = at & 7, bytes = (shift + bits + 7) / 8;
    uint32_t window = 0;
    for (unsigned k = 0; k < bytes; k++)
        window |= (uint32_t)data[at / 8 + k] << 8 * k;
    return (uint16_t)(window >> shift & ((1u << bits) - 1));
}

/* A block of codes at a time, which stays in the first cache. */
enum { BLOCK = 512 };

/* Up to BLOCK codes; those before the first that begins on a byte are taken one by one. */
static void unpack_block(const struct qn_code_decoder *d, size_t first, size_t n, uint16_t *codes,
                         qn_unpack_function *unpack)
{
    size_t i = 0;
    for (; i < n && (first + i) * d->bits % 8 != 0; i++)
        codes[i] = code_at(d->data, (first + i) * d->bits, d->bits);
    if (i < n)
        unpack(d->data + (first + i) * d->bits / 8, n - i, d->bits, codes + i);
}

static void look_up(const float *restrict value, float factor, const uint16_t *restrict codes,
                    size_t n, float *restrict x)
{
    for (size_t i = 0; i < n; i++)
        x[i] = factor * value[codes[i]];
}

void qn_decode_blocks(const struct qn_code_decoder *d, size_t first, size_t n, float factor,
                      float *x, struct qn_code_range *range, qn_unpack_function *unpack,
                      qn_range_function *range_of)
{
    uint16_t codes[BLOCK];
    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t size = n - at < BLOCK ? n - at : BLOCK;
        unpack_block(d, first + at, size, codes, unpack);
        const struct qn_code_range here = range_of(codes, size);
        range->least = here.least < range->least ? here.least : range->least;
        range->most = here.most > range->most ? here.most : range->most;
        if (here.most <= 2 * d->grid->levels)
            look_up(d->grid->value, factor, codes, size, x + at);
    }
}

void qn_decode_c(const struct qn_code_decoder *d, size_t first, size_t n, float factor, float *x,
                 struct qn_code_range *range)
{
    qn_decode_blocks(d, first, n, factor, x, range, qn_unpack_c, qn_range_c);
}
