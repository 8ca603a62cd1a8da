/* Unaligned words for the kernels' inner loops. Little-endian hosts only, which the build
 * checks; compilers do not fuse all of the byte-wise accesses of core/bytes.h [measured: Huffman
 * decoding is a fifth slower with those, bit-packing up to two thirds]. */
#ifndef QINS_FORMATS_CODEC_WORD_H
#define QINS_FORMATS_CODEC_WORD_H

#include <stdint.h>
#include <string.h>

static inline uint64_t qn_word_load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void qn_word_store64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void qn_word_store32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

#endif
