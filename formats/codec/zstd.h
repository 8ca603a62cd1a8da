/* One zstd frame with its content size and without a checksum, level QN_ZSTD_LEVEL. libzstd's
 * contexts live in the caller's scratch: nothing is allocated. libzstd wants some room while it
 * works: encode may return 0 for a capacity a few bytes above the size that it would reach. */
#ifndef QINS_FORMATS_CODEC_ZSTD_H
#define QINS_FORMATS_CODEC_ZSTD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Level 3 is slower and coded all measured streams of weights worse (docs/bitstreams.md). */
    QN_ZSTD_LEVEL = 1,
    QN_ZSTD_MAX_SYMBOLS = 1 << 26,
};

/* The entries of struct qn_codec. */
size_t qn_zstd_bound(size_t n);
size_t qn_zstd_scratch(size_t n);
size_t qn_zstd_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity, void *scratch);
bool qn_zstd_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch);

#endif
