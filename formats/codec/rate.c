#include "formats/codec/rate.h"

enum {
    MOST_RAW = 4, /* bits beyond the needed ones: the best split of 8 bits left 4 raw [measured] */
    TABLE_COST = 4, /* bits a used symbol that a coder's table takes, about */
};

uint32_t qn_log2_fixed(uint32_t x)
{
    unsigned whole = 31 - (unsigned)__builtin_clz(x);
    uint64_t mantissa = (uint64_t)x << (31 - whole); /* 1 <= m < 2 in units of 2^-31 */
    uint32_t log = whole << QN_RATE_FRACTION_BITS;
    /* Squaring doubles the logarithm: each time m reaches 2, the next bit is 1. */
    for (unsigned bit = 1u << QN_RATE_FRACTION_BITS >> 1; bit; bit >>= 1) {
        mantissa = mantissa * mantissa >> 31;
        if (mantissa >> 32) {
            log |= bit;
            mantissa >>= 1;
        }
    }
    return log;
}

uint64_t qn_entropy_bits(const uint32_t *counts, size_t size, uint32_t n)
{
    const uint32_t log_n = qn_log2_fixed(n);
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        if (counts[i])
            sum += (uint64_t)counts[i] * (log_n - qn_log2_fixed(counts[i]));
    return (sum + (1u << QN_RATE_FRACTION_BITS) - 1) >> QN_RATE_FRACTION_BITS;
}

/* A code of at least one bit for each symbol, unless there is one symbol only. */
static uint64_t coded_bits(const uint32_t *counts, size_t size, uint32_t n)
{
    uint64_t bits = qn_entropy_bits(counts, size, n), used = 0;
    for (size_t i = 0; i < size; i++)
        used += counts[i] != 0;
    if (used > 1 && bits < n)
        bits = n;
    return bits + TABLE_COST * used;
}

unsigned qn_choose_raw_bits(uint32_t *counts, unsigned bits, uint32_t n)
{
    const unsigned least = qn_least_raw_bits(bits);
    unsigned best = least;
    uint64_t best_bits = UINT64_MAX;
    for (unsigned raw = 0; raw < bits && raw <= least + MOST_RAW; raw++) {
        size_t size = (size_t)1 << (bits - raw);
        for (size_t i = 0; raw > 0 && i < size; i++)
            counts[i] = counts[2 * i] + counts[2 * i + 1];
        if (raw < least)
            continue;
        uint64_t total = coded_bits(counts, size, n) + (uint64_t)raw * n;
        if (total < best_bits) {
            best_bits = total;
            best = raw;
        }
    }
    return best;
}
