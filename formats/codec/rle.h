/* Runs of the most frequent symbol taken out. The bitstreams: docs/bitstreams.md. Kernels: no
 * allocation, scratch from the caller (alignment 8), hostile input accepted. */
#ifndef QINS_FORMATS_CODEC_RLE_H
#define QINS_FORMATS_CODEC_RLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The entries of struct qn_codec, bound and scratch for both. */
size_t qn_rle_bound(size_t n);
size_t qn_rle_scratch(size_t n);
size_t qn_rle_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity, void *scratch);
bool qn_rle_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch);
size_t qn_rle_huffman_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity,
                             void *scratch);
bool qn_rle_huffman_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n,
                           void *scratch);

#endif
