#define LEVEL(name) name##_c
#define PAIRS       pairs
#include "formats/codec/plain_histogram.h"
#include "formats/codec/plain_kernels.h"

void qn_count_codes_c(const uint16_t *codes, size_t n, unsigned limit, uint32_t *counts)
{
    memset(counts, 0, (limit + 1) * sizeof *counts);
    for (size_t i = 0; i < n; i++)
        counts[codes[i]]++;
}

/* Bit i set where byte i of W equals the byte that Z repeats eight times. */
static inline uint64_t equal_mask(uint64_t w, uint64_t z)
{
    const uint64_t low7 = 0x7f7f7f7f7f7f7f7fULL;
    uint64_t x = w ^ z;
    uint64_t zero = ~(((x & low7) + low7) | x | low7); /* 0x80 in each equal byte */
    return (zero >> 7) * 0x0102040810204080ULL >> 56;
}

void qn_match_c(const uint8_t *src, size_t n, uint8_t symbol, uint64_t *masks)
{
    const uint64_t z = symbol * 0x0101010101010101ULL;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t mask = 0;
        for (size_t j = 0; j < 64; j += 8)
            mask |= equal_mask(qn_load64(src + i + j), z) << j;
        masks[i / 64] = mask;
    }
    if (i < n)
        masks[i / 64] = 0;
    for (; i < n; i++)
        masks[i / 64] |= (uint64_t)(src[i] == symbol) << i % 64;
}
