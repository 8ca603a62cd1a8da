#include "formats/codec/bitpack.h"
#include "formats/codec/kernels_list.h"
#include "formats/codec/x86/spread_avx512.h"

/* Up to 8 bits: 64 codes at a time. */
static void unpack_narrow(const uint8_t *src, const uint8_t *end, size_t n, unsigned bits,
                          uint16_t *codes)
{
    const struct qn_spread s = qn_spread_bytes_init(bits, 0);
    size_t i = 0;
    for (; n - i >= 64; i += 64, src += (size_t)8 * bits) {
        const __m512i c = qn_spread_bytes(&s, qn_load_up_to(src, end));
        _mm512_storeu_si512(codes + i, _mm512_cvtepu8_epi16(_mm512_castsi512_si256(c)));
        _mm512_storeu_si512(codes + i + 32, _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(c, 1)));
    }
    if (i == n)
        return;
    const __m512i c = qn_spread_bytes(&s, qn_load_up_to(src, end));
    _mm512_mask_storeu_epi16(codes + i, qn_lanes32(n - i),
                             _mm512_cvtepu8_epi16(_mm512_castsi512_si256(c)));
    if (n - i > 32)
        _mm512_mask_storeu_epi16(codes + i + 32, qn_lanes32(n - i - 32),
                                 _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(c, 1)));
}

void qn_unpack_avx512(const uint8_t *src, size_t n, unsigned bits, uint16_t *codes)
{
    const uint8_t *end = src + qn_bitpack_size(n, bits);
    if (bits <= 8) {
        unpack_narrow(src, end, n, bits, codes);
        return;
    }
    const struct qn_spread s = qn_spread_lanes_init(bits, 0);
    size_t i = 0;
    for (; n - i >= 16; i += 16, src += (size_t)2 * bits) {
        const __m512i c = qn_spread_lanes(&s, qn_load_up_to(src, end));
        _mm256_storeu_si256((__m256i *)(void *)(codes + i), _mm512_cvtepi32_epi16(c));
    }
    if (i < n)
        _mm256_mask_storeu_epi16(
            codes + i, qn_lanes16(n - i),
            _mm512_cvtepi32_epi16(qn_spread_lanes(&s, qn_load_up_to(src, end))));
}

/* The last up to 64 of 16-bit codes, zeros after them. */
static inline __m512i load_last(const uint16_t *codes, size_t n)
{
    return _mm512_maskz_loadu_epi16(qn_lanes32(n), codes);
}

/* How eight codes of up to 7 bits become BITS bytes: neighbours are joined by multiplications until
 * each 64-bit lane holds them all, then its lowest bytes are kept. 8 bits are ready. */
struct joint {
    __m512i pairs, fours, kept;
    __m128i close;
    unsigned bits;
};

static inline struct joint joint_init(unsigned bits)
{
    const unsigned b = bits & 7;
    uint8_t count[64];
    for (unsigned i = 0; i < 64; i++)
        count[i] = (uint8_t)i;
    const __mmask64 low = ((1ULL << bits) - 1) * QN_ALL_BYTES;
    return (struct joint){.pairs = _mm512_set1_epi16((short)(1 | 1 << (b + 8))),
                          .fours = _mm512_set1_epi32((int)(1U | 1U << (2 * b + 16))),
                          .kept = _mm512_maskz_compress_epi8(low, _mm512_loadu_si512(count)),
                          .close = _mm_cvtsi32_si128(32 - 4 * (int)b),
                          .bits = bits};
}

/* 64 codes to 8 · bits bytes; what lies in the rest of the register is no matter. */
static inline __m512i join(const struct joint *j, __m512i low, __m512i high)
{
    const __m512i low32 = _mm512_set1_epi64(UINT32_MAX);
    uint8_t even[64];
    for (unsigned i = 0; i < 64; i++)
        even[i] = (uint8_t)(2 * i);
    __m512i c = _mm512_permutex2var_epi8(low, _mm512_loadu_si512(even), high);
    if (j->bits == 8)
        return c;
    c = _mm512_madd_epi16(_mm512_maddubs_epi16(j->pairs, c), j->fours);
    c = _mm512_or_si512(_mm512_and_si512(c, low32),
                        _mm512_srl_epi64(_mm512_andnot_si512(low32, c), j->close));
    return _mm512_permutexvar_epi8(j->kept, c);
}

void qn_pack_avx512(const uint16_t *codes, size_t n, unsigned bits, uint8_t *dst)
{
    if (bits > 8) {
        qn_pack_avx2(codes, n, bits, dst);
        return;
    }
    const struct joint j = joint_init(bits);
    const uint8_t *end = dst + qn_bitpack_size(n, bits);
    size_t i = 0;
    for (; end - dst >= 64;
         i += 64, dst += (size_t)8 * bits) /* the next overwrite what is too much */
        _mm512_storeu_si512(
            dst, join(&j, _mm512_loadu_si512(codes + i), _mm512_loadu_si512(codes + i + 32)));
    for (; i < n; i += 64, dst += (size_t)8 * bits) {
        const size_t left = n - i < 64 ? n - i : 64;
        const __m512i low = load_last(codes + i, left);
        const __m512i high =
            left > 32 ? load_last(codes + i + 32, left - 32) : _mm512_setzero_si512();
        _mm512_mask_storeu_epi8(dst, qn_lanes64(qn_bitpack_size(left, bits)), join(&j, low, high));
    }
}
