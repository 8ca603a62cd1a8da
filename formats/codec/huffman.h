/* Canonical, length-limited Huffman code over bytes. The bitstream: docs/bitstreams.md.
 * Kernels: no allocation, scratch from the caller (alignment 8), hostile input accepted. */
#ifndef QINS_FORMATS_CODEC_HUFFMAN_H
#define QINS_FORMATS_CODEC_HUFFMAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Part of the format. Four codes fit one 64-bit refill and the table the first-level cache;
     * 11 bits decode a tenth faster but code int8 weights 0.3 % larger (docs/bitstreams.md). */
    QN_HUFFMAN_LIMIT = 12,
    QN_HUFFMAN_STREAMS = 8,
    QN_HUFFMAN_MIN_INTERLEAVED = 1024, /* symbols */
    /* Below this many the encoder's table of stream sizes costs more than speed is worth. */
    QN_HUFFMAN_WORTH_INTERLEAVING = 8192,
    QN_HUFFMAN_MAX_SYMBOLS = 1 << 26, /* keeps every stream below 2^24 bytes */
    /* Largest form of the code lengths: 256 times six bits. */
    QN_HUFFMAN_LENGTHS_MAX = 192,
};

/* One entry for each value of the next QN_HUFFMAN_LIMIT bits. */
struct qn_huffman_tables {
    uint16_t single[1 << QN_HUFFMAN_LIMIT]; /* length | symbol << 8 */
    uint32_t triple[1 << QN_HUFFMAN_LIMIT]; /* bits | symbols << 6, then up to 3 symbols */
};

/* The entries of struct qn_codec. */
size_t qn_huffman_bound(size_t n);
size_t qn_huffman_scratch(size_t n);
size_t qn_huffman_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity,
                         void *scratch);
bool qn_huffman_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch);

/* The same with 1 or QN_HUFFMAN_STREAMS streams; the latter from QN_HUFFMAN_MIN_INTERLEAVED symbols
 * on. */
size_t qn_huffman_encode_streams(const uint8_t *src, size_t n, size_t streams, uint8_t *dst,
                                 size_t capacity, void *scratch);

/* What the encoder and the decoder share. */

struct qn_huffman_lengths_work {
    uint64_t keys[2][256];
    uint64_t weights[2][512];
    uint8_t is_leaf[QN_HUFFMAN_LIMIT][512];
};

/* Optimal code lengths (0: absent) of at most QN_HUFFMAN_LIMIT bits for counts that are not all
 * zero; returns the number of symbols present. A lone symbol gets length 1. */
unsigned qn_huffman_lengths(const uint32_t counts[256], uint8_t lengths[256],
                            struct qn_huffman_lengths_work *work);

/* Canonical codes, bit-reversed so that the first bit of the code is the least significant one.
 * Symbols of length 0 get code 0. */
void qn_huffman_codes(const uint8_t lengths[256], uint16_t codes[256]);

/* Serialised form of the lengths of symbols FIRST ... LAST, which must be present. Returns the
 * size; DST holds QN_HUFFMAN_LENGTHS_MAX bytes. */
size_t qn_huffman_write_lengths(const uint8_t lengths[256], unsigned first, unsigned last,
                                uint8_t *dst);

/* Reverses that; sets *used. False if the bytes are cut short, malformed or no complete code. */
bool qn_huffman_read_lengths(const uint8_t *src, size_t size, unsigned first, unsigned last,
                             uint8_t lengths[256], size_t *used);

/* Symbols of each stream but the last, for N >= QN_HUFFMAN_MIN_INTERLEAVED. An odd number of
 * cache lines, so that the streams' outputs never fall on the same sets of a cache: that costs
 * a third of the decoder's speed. */
static inline size_t qn_huffman_stream_length(size_t n)
{
    return ((n / QN_HUFFMAN_STREAMS / 64 - 1) | 1) * 64;
}

/* Streams that the encoder makes of N symbols. */
static inline size_t qn_huffman_streams(size_t n)
{
    return n < QN_HUFFMAN_WORTH_INTERLEAVING ? 1 : QN_HUFFMAN_STREAMS;
}

#endif
