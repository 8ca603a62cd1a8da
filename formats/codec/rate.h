/* Estimates of coded size from counts, in integers alone: what they decide ends up in bytes.
 * Kernels: no allocation. */
#ifndef QINS_FORMATS_CODEC_RATE_H
#define QINS_FORMATS_CODEC_RATE_H

#include <stddef.h>
#include <stdint.h>

enum {
    QN_RATE_FRACTION_BITS = 16, /* of the fixed-point logarithm */
    QN_RATE_MAX_TOTAL = 1 << 20,
    QN_CODE_SYMBOL_BITS = 8, /* widest code that a coder of byte symbols takes whole */
};

/* log2 of X >= 1 in units of 2^-16, rounded down. */
uint32_t qn_log2_fixed(uint32_t x);

/* Order-0 entropy of N symbols, rounded up to bits: no coder that gives each symbol a code of
 * its own needs fewer. COUNTS are of SIZE symbols and sum to N <= QN_RATE_MAX_TOTAL. */
uint64_t qn_entropy_bits(const uint32_t *counts, size_t size, uint32_t n);

/* Low bits of codes of BITS that no byte symbol holds. A coder that takes raw bits itself gets all
 * others. */
static inline unsigned qn_least_raw_bits(unsigned bits)
{
    return bits > QN_CODE_SYMBOL_BITS ? bits - QN_CODE_SYMBOL_BITS : 0;
}

/* Low bits of 2^bits-valued codes to keep out of the entropy coder's byte symbols, for the least
 * estimated size; at least BITS - 8, less than BITS. COUNTS are of the 2^bits codes, and are
 * overwritten. */
unsigned qn_choose_raw_bits(uint32_t *counts, unsigned bits, uint32_t n);

#endif
