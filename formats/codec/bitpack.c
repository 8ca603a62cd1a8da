#include "formats/codec/bitpack.h"

#include "formats/codec/kernels.h"

#include <string.h>

size_t qn_bitpack_size(size_t n, unsigned bits)
{
    return n / 8 * bits + (n % 8 * bits + 7) / 8;
}

void qn_bitpack(const uint16_t *codes, size_t n, unsigned bits, uint8_t *dst)
{
    if (bits > 0 && bits <= QN_BITPACK_MAX_BITS)
        qn_codec_kernels()->pack(codes, n, bits, dst);
}

bool qn_bitpack_is_padded(const uint8_t *src, size_t n, unsigned bits)
{
    const unsigned used = (unsigned)(n % 8 * bits % 8);
    return used == 0 || src[qn_bitpack_size(n, bits) - 1] >> used == 0;
}

bool qn_bitunpack(const uint8_t *src, size_t src_size, size_t n, unsigned bits, uint16_t *codes)
{
    if (bits > QN_BITPACK_MAX_BITS || src_size != qn_bitpack_size(n, bits))
        return false;
    if (bits == 0)
        memset(codes, 0, n * sizeof *codes);
    else
        qn_codec_kernels()->unpack(src, n, bits, codes);
    return qn_bitpack_is_padded(src, n, bits);
}
