#include "formats/codec/bitpack.h"
#include "formats/codec/kernels_list.h"
#include "formats/codec/x86/spread_avx2.h"

enum { HALF = 16 /* bytes */ };

static inline __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static size_t unpack_bytes(const uint8_t *src, size_t n, uint16_t *codes)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        const __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(src + i));
        _mm256_storeu_si256((__m256i *)(void *)(codes + i), _mm256_cvtepu8_epi16(c));
    }
    return i;
}

/* 16 codes at a time, eight from each half: BITS bytes. */
static size_t unpack_others(const uint8_t *src, size_t n, unsigned bits, uint16_t *codes)
{
    const uint8_t *end = src + qn_bitpack_size(n, bits);
    const struct qn_spread4 low = qn_spread4_init(bits, 0), high = qn_spread4_init(bits, 4 * bits);
    const __m256i mask = _mm256_set1_epi32((1 << bits) - 1);
    size_t i = 0;
    for (; n - i >= 16 && end - src >= (ptrdiff_t)bits + HALF; i += 16, src += 2 * (size_t)bits) {
        const __m256i halves = qn_load_halves(src, src + bits);
        const __m256i c =
            _mm256_packus_epi32(qn_spread4(&low, halves, mask), qn_spread4(&high, halves, mask));
        _mm256_storeu_si256((__m256i *)(void *)(codes + i), c);
    }
    return i;
}

void qn_unpack_avx2(const uint8_t *src, size_t n, unsigned bits, uint16_t *codes)
{
    size_t done = 0;
    if (bits == 8)
        done = unpack_bytes(src, n, codes);
    else if (bits < 16)
        done = unpack_others(src, n, bits, codes);
    qn_unpack_c(src + done / 8 * bits, n - done, bits, codes + done);
}

/* Up to 7 bits: neighbours joined by multiplications until each 64-bit lane holds eight codes, then
 * its lowest BITS bytes kept. Both halves write 16 bytes, of which the next overwrite what is too
 * much. */
static size_t pack_narrow(const uint16_t *codes, size_t n, unsigned bits, uint8_t *dst)
{
    const __m256i pairs = _mm256_set1_epi16((short)(1 | 1 << (bits + 8)));
    const __m256i fours = _mm256_set1_epi32((int)(1U | 1U << (2 * bits + 16)));
    const __m256i low32 = _mm256_set1_epi64x(UINT32_MAX);
    const __m128i close = _mm_cvtsi32_si128(32 - 4 * (int)bits);
    uint8_t order[HALF];
    for (unsigned i = 0; i < HALF; i++)
        order[i] = (uint8_t)(i < bits ? i : i < 2 * bits ? 8 + i - bits : 0x80);
    const __m256i kept =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)order));
    const uint8_t *end = dst + qn_bitpack_size(n, bits);
    const size_t reach = 2 * (size_t)bits + HALF;
    size_t i = 0;
    for (; n - i >= 32 && (size_t)(end - dst) >= reach; i += 32, dst += 4 * (size_t)bits) {
        __m256i c = _mm256_packus_epi16(load(codes + i), load(codes + i + 16));
        c = _mm256_permute4x64_epi64(c, 0xd8);
        c = _mm256_madd_epi16(_mm256_maddubs_epi16(pairs, c), fours);
        c = _mm256_or_si256(_mm256_and_si256(c, low32),
                            _mm256_srl_epi64(_mm256_andnot_si256(low32, c), close));
        c = _mm256_shuffle_epi8(c, kept);
        _mm_storeu_si128((__m128i *)(void *)dst, _mm256_castsi256_si128(c));
        _mm_storeu_si128((__m128i *)(void *)(dst + 2 * (size_t)bits),
                         _mm256_extracti128_si256(c, 1));
    }
    return i;
}

static size_t pack_bytes(const uint16_t *codes, size_t n, uint8_t *dst)
{
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        const __m256i c = _mm256_packus_epi16(load(codes + i), load(codes + i + 16));
        _mm256_storeu_si256((__m256i *)(void *)(dst + i), _mm256_permute4x64_epi64(c, 0xd8));
    }
    return i;
}

void qn_pack_avx2(const uint16_t *codes, size_t n, unsigned bits, uint8_t *dst)
{
    size_t done = 0;
    if (bits < 8)
        done = pack_narrow(codes, n, bits, dst);
    else if (bits == 8)
        done = pack_bytes(codes, n, dst);
    qn_pack_c(codes + done, n - done, bits, dst + done / 8 * bits);
}
