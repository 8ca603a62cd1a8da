/* Tables of 128 bytes that AVX2 looks 32 entries up in: slices of 16, of which all but the first
 * hold the difference from the one before. */
#ifndef QINS_FORMATS_CODEC_X86_TABLES_AVX2_H
#define QINS_FORMATS_CODEC_X86_TABLES_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { QN_TABLE_SLICES = 8 };

struct qn_table {
    __m128i slice[QN_TABLE_SLICES];
};

static inline void qn_table_init(struct qn_table *t, const uint8_t *p)
{
    __m128i before = _mm_setzero_si128();
    for (size_t s = 0; s < QN_TABLE_SLICES; s++) {
        const __m128i slice = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * s));
        t->slice[s] = _mm_xor_si128(slice, before);
        before = slice;
    }
}

/* Entries at INDEX 0 ... 16 * SLICES - 1; 0 for a negative one. A shuffle gives 0 for a negative
 * index and looks at its low four bits otherwise, so the slices up to the right one take part. They
 * are joined one by one: compilers that may reorder that keep all of them to the end, in memory. */
static inline __m256i qn_table_find(const struct qn_table *t, size_t slices, __m256i index)
{
    const __m256i slice = _mm256_set1_epi8(16);
    __m256i found = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (size_t s = 0; s < slices; s++) {
        found = _mm256_xor_si256(
            found, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t->slice[s]), index));
        index = _mm256_subs_epi8(index, slice);
        __asm__("" : "+x"(found));
    }
    return found;
}

#endif
