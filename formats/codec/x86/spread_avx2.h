/* Packed codes into the lanes of registers, with AVX2. */
#ifndef QINS_FORMATS_CODEC_X86_SPREAD_AVX2_H
#define QINS_FORMATS_CODEC_X86_SPREAD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* Takes four codes of BITS bits out of each 16-byte half of a register into 32-bit lanes, the
 * first from bit SHIFT of the half on. */
struct qn_spread4 {
    __m256i bytes, shifts;
};

/* Bytes past the half are not needed: an index beyond it, which makes a zero. */
static inline struct qn_spread4 qn_spread4_init(unsigned bits, unsigned shift)
{
    const __m128i lane = _mm_setr_epi32(0, 1, 2, 3);
    const __m128i at =
        _mm_add_epi32(_mm_mullo_epi32(lane, _mm_set1_epi32((int)bits)), _mm_set1_epi32((int)shift));
    const __m128i first = _mm_mullo_epi32(_mm_srli_epi32(at, 3), _mm_set1_epi32(0x01010101));
    __m128i bytes = _mm_add_epi32(first, _mm_set1_epi32(0x03020100));
    bytes = _mm_or_si128(
        bytes, _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8(15)), _mm_set1_epi8((char)0x80)));
    const __m128i shifts = _mm_and_si128(at, _mm_set1_epi32(7));
    return (struct qn_spread4){_mm256_broadcastsi128_si256(bytes),
                               _mm256_broadcastsi128_si256(shifts)};
}

static inline __m256i qn_spread4(const struct qn_spread4 *s, __m256i halves, __m256i mask)
{
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(halves, s->bytes), s->shifts),
                            mask);
}

static inline __m256i qn_load_halves(const uint8_t *low, const uint8_t *high)
{
    const __m128i half = _mm_loadu_si128((const __m128i *)(const void *)low);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(half),
                                   _mm_loadu_si128((const __m128i *)(const void *)high), 1);
}

#endif
