#include "formats/codec/bitpack.h"
#include "formats/codec/kernels_list.h"
#include "formats/codec/x86/spread_avx512.h"

void qn_unpack_avx512(const uint8_t *src, size_t n, unsigned bits, uint16_t *codes)
{
    const uint8_t *end = src + qn_bitpack_size(n, bits);
    if (bits <= 8) {
        const struct qn_spread s = qn_spread_bytes_init(bits, 0);
        for (size_t i = 0; i < n; i += 64, src += (size_t)8 * bits) {
            const __m512i c = qn_spread_bytes(&s, qn_load_up_to(src, end));
            const __m256i low = _mm512_castsi512_si256(c), high = _mm512_extracti64x4_epi64(c, 1);
            _mm512_mask_storeu_epi16(codes + i, qn_lanes32(n - i), _mm512_cvtepu8_epi16(low));
            if (n - i > 32)
                _mm512_mask_storeu_epi16(codes + i + 32, qn_lanes32(n - i - 32),
                                         _mm512_cvtepu8_epi16(high));
        }
        return;
    }
    const struct qn_spread s = qn_spread_lanes_init(bits, 0);
    for (size_t i = 0; i < n; i += 16, src += (size_t)2 * bits) {
        const __m512i c = qn_spread_lanes(&s, qn_load_up_to(src, end));
        _mm256_mask_storeu_epi16(codes + i, qn_lanes16(n - i), _mm512_cvtepi32_epi16(c));
    }
}

/* 64 codes of 16 bits, zeros from N on, to bytes. */
static inline __m512i load_bytes(const uint16_t *codes, size_t n)
{
    const __m512i low = _mm512_maskz_loadu_epi16(qn_lanes32(n), codes);
    const __m512i high =
        n > 32 ? _mm512_maskz_loadu_epi16(qn_lanes32(n - 32), codes + 32) : _mm512_setzero_si512();
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(low)),
                              _mm512_cvtepi16_epi8(high), 1);
}

/* Up to 7 bits: neighbours joined by multiplications until each 64-bit lane holds eight codes, then
 * its lowest BITS bytes kept. */
void qn_pack_avx512(const uint16_t *codes, size_t n, unsigned bits, uint8_t *dst)
{
    if (bits > 8) {
        qn_pack_avx2(codes, n, bits, dst);
        return;
    }
    const unsigned b = bits & 7; /* 8 are not joined */
    const __m512i pairs = _mm512_set1_epi16((short)(1 | 1 << (b + 8)));
    const __m512i fours = _mm512_set1_epi32((int)(1U | 1U << (2 * b + 16)));
    const __m512i low32 = _mm512_set1_epi64(UINT32_MAX);
    const __m128i close = _mm_cvtsi32_si128(32 - 4 * (int)b);
    const __mmask64 kept = ((1ULL << bits) - 1) * QN_ALL_BYTES;
    for (size_t i = 0; i < n; i += 64, dst += (size_t)8 * bits) {
        __m512i c = load_bytes(codes + i, n - i);
        if (bits < 8) {
            c = _mm512_madd_epi16(_mm512_maddubs_epi16(pairs, c), fours);
            c = _mm512_or_si512(_mm512_and_si512(c, low32),
                                _mm512_srl_epi64(_mm512_andnot_si512(low32, c), close));
            c = _mm512_maskz_compress_epi8(kept, c);
        }
        const size_t left = n - i < 64 ? n - i : 64;
        _mm512_mask_storeu_epi8(dst, qn_lanes64(qn_bitpack_size(left, bits)), c);
    }
}
