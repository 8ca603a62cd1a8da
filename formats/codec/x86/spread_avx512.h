/* Packed codes into the lanes of registers, with AVX-512 VBMI. */
#ifndef QINS_FORMATS_CODEC_X86_SPREAD_AVX512_H
#define QINS_FORMATS_CODEC_X86_SPREAD_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define QN_ALL_BYTES 0x0101010101010101ULL

/* The first N of 64, 32 or 16 lanes; all of them from that number on. */
static inline __mmask64 qn_lanes64(size_t n)
{
    return n < 64 ? _bzhi_u64(~0ULL, (unsigned)n) : ~0ULL;
}

static inline __mmask32 qn_lanes32(size_t n)
{
    return (__mmask32)_bzhi_u32(~0U, n < 32 ? (unsigned)n : 32);
}

static inline __mmask16 qn_lanes16(size_t n)
{
    return (__mmask16)_bzhi_u32(0xffff, n < 16 ? (unsigned)n : 16);
}

/* 64 bytes from FROM, zeros in place of those from END on. */
static inline __m512i qn_load_up_to(const uint8_t *from, const uint8_t *end)
{
    const size_t left = (size_t)(end - from);
    return left >= 64 ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi8(qn_lanes64(left), from);
}

/* Takes codes of BITS bits that begin at bit SHIFT < 8 of a byte: 64 of up to 8 bits to bytes, or
 * 16 of up to 16 bits to 32-bit lanes. */
struct qn_spread {
    __m512i bytes, shifts, mask;
};

/* The eight codes of a 64-bit lane take bits from one window of eight bytes: 7 + 8 · 7 bits at
 * most, and codes of 8 bits begin on a byte. */
static inline struct qn_spread qn_spread_bytes_init(unsigned bits, unsigned shift)
{
    const uint64_t count = 0x0706050403020100ULL;
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i step = _mm512_set1_epi64((long long)(bits * QN_ALL_BYTES));
    return (struct qn_spread){
        _mm512_add_epi64(_mm512_mullo_epi64(lane, step), _mm512_set1_epi64((long long)count)),
        _mm512_set1_epi64((long long)(count * bits + shift * QN_ALL_BYTES)),
        _mm512_set1_epi8((char)((1U << bits) - 1))};
}

static inline __m512i qn_spread_bytes(const struct qn_spread *s, __m512i packed)
{
    const __m512i windows = _mm512_permutexvar_epi8(s->bytes, packed);
    return _mm512_and_si512(_mm512_multishift_epi64_epi8(s->shifts, windows), s->mask);
}

static inline struct qn_spread qn_spread_lanes_init(unsigned bits, unsigned shift)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i at = _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32((int)bits)),
                                        _mm512_set1_epi32((int)shift));
    const __m512i first =
        _mm512_mullo_epi32(_mm512_srli_epi32(at, 3), _mm512_set1_epi32(0x01010101));
    return (struct qn_spread){_mm512_add_epi32(first, _mm512_set1_epi32(0x03020100)),
                              _mm512_and_si512(at, _mm512_set1_epi32(7)),
                              _mm512_set1_epi32((int)((1U << bits) - 1))};
}

static inline __m512i qn_spread_lanes(const struct qn_spread *s, __m512i packed)
{
    const __m512i windows = _mm512_permutexvar_epi8(s->bytes, packed);
    return _mm512_and_si512(_mm512_srlv_epi32(windows, s->shifts), s->mask);
}

#endif
