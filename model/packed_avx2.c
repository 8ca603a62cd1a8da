/* With AVX2: one permutation of bytes and one shift bring eight codes to their lanes. */
#include <immintrin.h>
#include <stdint.h>

enum { LANES = 8 };

/* The bytes of 16 in which each lane finds its code, and from which bit on. */
struct unpacker {
    __m256i bytes, shifts, mask;
};

#include "model/packed_floats.h"

static void unpacker_init(struct unpacker *u, unsigned bits, unsigned shift)
{
    uint8_t bytes[4 * LANES];
    uint32_t shifts[LANES];
    for (unsigned lane = 0; lane < LANES; lane++) {
        const unsigned at = shift + lane * bits;
        for (unsigned k = 0; k < 4; k++)
            bytes[4 * lane + k] = (uint8_t)(at / 8 + k); /* at most 10 */
        shifts[lane] = at % 8;
    }
    u->bytes = _mm256_loadu_si256((const void *)bytes);
    u->shifts = _mm256_loadu_si256((const void *)shifts);
    u->mask = _mm256_set1_epi32((1 << bits) - 1);
}

INLINE __m256i unpack_lanes(const struct unpacker *u, unsigned bits, const uint8_t *src)
{
    if (bits == 8)
        return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)src));
    const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)src));
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(both, u->bytes), u->shifts),
                            u->mask);
}

INLINE void unpack(const struct unpacker *u, unsigned bits, const uint8_t *src, vf codes[VECTORS])
{
    UNROLL for (size_t j = 0; j < VECTORS; j++) codes[j] =
        (vf)_mm256_cvtepi32_ps(unpack_lanes(u, bits, src + j * bits));
}

const struct qn_packed_kernels qn_packed_kernels_avx2 = {
    .few_rows = 16, .prepare = prepare, .multiply = multiply};
