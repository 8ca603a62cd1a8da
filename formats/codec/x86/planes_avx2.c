#include "formats/codec/kernels_list.h"
#include "formats/codec/planes_plain.h"

#include <immintrin.h>

static inline __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static inline void store(uint8_t *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

/* 32 elements at a time; all return how many they did. */
static size_t split2(const uint8_t *src, size_t n, uint8_t *const *planes, bool turn)
{
    const __m256i low8 = _mm256_set1_epi16(255);
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        __m256i a = load(src + 2 * i), b = load(src + 2 * i + 32);
        if (turn) {
            a = _mm256_or_si256(_mm256_slli_epi16(a, 1), _mm256_srli_epi16(a, 15));
            b = _mm256_or_si256(_mm256_slli_epi16(b, 1), _mm256_srli_epi16(b, 15));
        }
        const __m256i low =
            _mm256_packus_epi16(_mm256_and_si256(a, low8), _mm256_and_si256(b, low8));
        const __m256i high = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
        if (planes[0])
            store(planes[0] + i, _mm256_permute4x64_epi64(low, 0xd8));
        if (planes[1])
            store(planes[1] + i, _mm256_permute4x64_epi64(high, 0xd8));
    }
    return i;
}

static size_t merge2(const uint8_t *const *planes, size_t n, uint8_t *dst, bool turn)
{
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        const __m256i low = _mm256_permute4x64_epi64(load(planes[0] + i), 0xd8);
        const __m256i high = _mm256_permute4x64_epi64(load(planes[1] + i), 0xd8);
        __m256i a = _mm256_unpacklo_epi8(low, high), b = _mm256_unpackhi_epi8(low, high);
        if (turn) {
            a = _mm256_or_si256(_mm256_srli_epi16(a, 1), _mm256_slli_epi16(a, 15));
            b = _mm256_or_si256(_mm256_srli_epi16(b, 1), _mm256_slli_epi16(b, 15));
        }
        store(dst + 2 * i, a);
        store(dst + 2 * i + 32, b);
    }
    return i;
}

/* 4 × 4 bytes in each half of a register transposed: its own inverse. */
static inline __m256i transpose_bytes(__m256i v)
{
    return _mm256_shuffle_epi8(v, _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11,
                                                   15, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7,
                                                   11, 15));
}

/* The same of 4 × 4 32-bit lanes over four registers. */
static inline void transpose_lanes(__m256i z[4])
{
    const __m256i a = _mm256_unpacklo_epi32(z[0], z[1]), b = _mm256_unpackhi_epi32(z[0], z[1]),
                  c = _mm256_unpacklo_epi32(z[2], z[3]), d = _mm256_unpackhi_epi32(z[2], z[3]);
    z[0] = _mm256_unpacklo_epi64(a, c);
    z[1] = _mm256_unpackhi_epi64(a, c);
    z[2] = _mm256_unpacklo_epi64(b, d);
    z[3] = _mm256_unpackhi_epi64(b, d);
}

static size_t split4(const uint8_t *src, size_t n, uint8_t *const *planes, bool turn)
{
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        __m256i z[4];
        for (size_t m = 0; m < 4; m++) {
            z[m] = load(src + 4 * (i + 8 * m));
            if (turn)
                z[m] = _mm256_or_si256(_mm256_slli_epi32(z[m], 1), _mm256_srli_epi32(z[m], 31));
            z[m] = transpose_bytes(z[m]);
        }
        transpose_lanes(z);
        for (size_t k = 0; k < 4; k++)
            if (planes[k])
                store(planes[k] + i, _mm256_permutevar8x32_epi32(z[k], in_order));
    }
    return i;
}

static size_t merge4(const uint8_t *const *planes, size_t n, uint8_t *dst, bool turn)
{
    const __m256i halves = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        __m256i z[4];
        for (size_t k = 0; k < 4; k++)
            z[k] = _mm256_permutevar8x32_epi32(load(planes[k] + i), halves);
        transpose_lanes(z);
        for (size_t m = 0; m < 4; m++) {
            z[m] = transpose_bytes(z[m]);
            if (turn)
                z[m] = _mm256_or_si256(_mm256_srli_epi32(z[m], 1), _mm256_slli_epi32(z[m], 31));
            store(dst + 4 * (i + 8 * m), z[m]);
        }
    }
    return i;
}

void qn_split_planes_avx2(unsigned size, bool turn, const uint8_t *src, size_t n,
                          uint8_t *const *planes)
{
    size_t done = 0;
    if (size == 2)
        done = split2(src, n, planes, turn);
    else if (size == 4)
        done = split4(src, n, planes, turn);
    qn_split_planes_from(size, turn, src, done, n, planes);
}

void qn_merge_planes_avx2(unsigned size, bool turn, const uint8_t *const *planes, size_t n,
                          uint8_t *dst)
{
    size_t done = 0;
    if (size == 2)
        done = merge2(planes, n, dst, turn);
    else if (size == 4)
        done = merge4(planes, n, dst, turn);
    qn_merge_planes_from(size, turn, planes, done, n, dst);
}

void qn_match_avx2(const uint8_t *src, size_t n, uint8_t symbol, uint64_t *masks)
{
    const __m256i wanted = _mm256_set1_epi8((char)symbol);
    size_t i = 0;
    for (; n - i >= 64; i += 64) {
        const uint32_t low =
            (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(load(src + i), wanted));
        const uint32_t high =
            (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(load(src + i + 32), wanted));
        masks[i / 64] = low | (uint64_t)high << 32;
    }
    qn_match_c(src + i, n - i, symbol, masks + i / 64);
}
