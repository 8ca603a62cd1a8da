/* Entropy coders for streams of byte symbols, behind one const vtable.
 *
 * Coders are pure: no allocation, no logging, no names, no global state. Scratch memory comes
 * from the caller. Every decoder accepts hostile bytes: it never reads outside [src, src +
 * src_size), never writes outside [dst, dst + n), and returns false for anything it did not
 * produce itself (including trailing bytes). The bitstreams are described in
 * docs/bitstreams.md. */
#ifndef QINS_FORMATS_CODEC_CODEC_H
#define QINS_FORMATS_CODEC_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Part of the archive format: never renumber. */
enum qn_codec_id {
    QN_CODEC_STORE = 0,       /* symbols as they are, one byte each */
    QN_CODEC_BITPACK = 1,     /* fixed width, whole codes (formats/codec/bitpack.h) */
    QN_CODEC_HUFFMAN = 2,     /* canonical, length-limited */
    QN_CODEC_RLE = 3,         /* runs of the most frequent symbol taken out, rest stored */
    QN_CODEC_RLE_HUFFMAN = 4, /* the same, literals and run lengths Huffman-coded */
    QN_CODEC_ZSTD = 5,        /* one zstd frame */
    QN_CODEC_TANS = 6,        /* 128-state ANS on the upper bits (formats/codec/tans.h) */
    QN_CODEC_COUNT,
};

struct qn_codec {
    const char *name;
    /* Largest encoded size of N symbols; 0 if N is too large for the coder. */
    size_t (*bound)(size_t n);
    /* Scratch bytes that encode() and decode() need for N symbols; alignment 8. */
    size_t (*scratch)(size_t n);
    /* Encodes N >= 1 symbols into DST (capacity bytes). Returns the size, or 0 when the result
     * does not fit in CAPACITY: callers pass the size from which coding no longer pays. */
    size_t (*encode)(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity, void *scratch);
    /* Decodes exactly N symbols from exactly SRC_SIZE bytes. */
    bool (*decode)(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch);
};

/* NULL for an unknown id and for QN_CODEC_BITPACK, which works on codes, not on bytes. */
const struct qn_codec *qn_codec(enum qn_codec_id id);
const char *qn_codec_name(enum qn_codec_id id);
/* QN_CODEC_COUNT if there is no such name. Names: store bitpack huffman rle rle-huffman zstd
 * tans */
enum qn_codec_id qn_codec_from_name(const char *name);
/* "one of store, bitpack, ..." in BUF: what messages say is possible. */
const char *qn_codec_choices(char *buf, size_t size);

#endif
