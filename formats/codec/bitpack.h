/* Fixed-width codes, least significant bit first, without gaps (docs/bitstreams.md). Kernels. */
#ifndef QINS_FORMATS_CODEC_BITPACK_H
#define QINS_FORMATS_CODEC_BITPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QN_BITPACK_MAX_BITS = 16 };

/* Bytes that N codes of BITS bits (0 ... 16) take: ceil(n * bits / 8). N <= SIZE_MAX / 16. */
size_t qn_bitpack_size(size_t n, unsigned bits);

/* Writes exactly qn_bitpack_size(n, bits) bytes. Codes must be < 2^bits. */
void qn_bitpack(const uint16_t *codes, size_t n, unsigned bits, uint8_t *dst);

/* Whether all bits after the last of N packed codes are 0. */
bool qn_bitpack_is_padded(const uint8_t *src, size_t n, unsigned bits);

/* Reverses that for any bytes. With 0 bits every code is 0. False if SRC_SIZE is not
 * qn_bitpack_size(n, bits), a bit past the last code is set, or BITS exceeds 16. */
bool qn_bitunpack(const uint8_t *src, size_t src_size, size_t n, unsigned bits, uint16_t *codes);

#endif
