/* The kernels of the codec folder, one table for each CPU level; tests compare every entry with
 * the portable table, from which none differs in a bit.
 *
 * Kernels never allocate and touch nothing outside the buffers that they are given. Pointers need
 * only their type's alignment, lengths may be 0, outputs do not overlap inputs. Callers check
 * arguments. */
#ifndef QINS_FORMATS_CODEC_KERNELS_H
#define QINS_FORMATS_CODEC_KERNELS_H

#include "core/cpu.h"
#include "formats/codec/histogram.h"
#include "formats/codec/quant.h"
#include "formats/codec/search.h"
#include "formats/codec/tans.h"

/* Levels that a byte tells from each other beside the sign of the value; tables of 16 of them. */
enum { QN_BYTE_LEVELS = 128, QN_STEP_TABLES = 4 };

/* Packed codes and what they stand for. Codes have 1 … 16 bits each, least significant bit first,
 * without gaps; those that are stored one to a byte or to two bytes are packed with 8 or 16. */
struct qn_code_decoder {
    const struct qn_grid *grid;
    const uint8_t *data;
    size_t size; /* readable bytes there */
    unsigned bits;
    bool stream; /* large outputs may go past the caches: they are not read again soon */
    /* Of grids of less than QN_BYTE_LEVELS levels: byte k of the float32 of level l, l a code's
     * distance from the middle; and for each of the first 16s of levels the exclusive or with the
     * 16 below, so that tables of 16 entries add up. */
    uint8_t bytes[4][QN_BYTE_LEVELS];
    uint8_t steps[4][QN_STEP_TABLES][16];
};

void qn_code_decoder_init(struct qn_code_decoder *d, const struct qn_grid *g, const void *data,
                          size_t size, unsigned bits);

/* Starts as {UINT16_MAX, 0}. */
struct qn_code_range {
    uint16_t least, most;
};

struct qn_codec_kernels {
    /* Values of the codes FIRST … FIRST + N − 1: x[i] = factor · grid->value[code], as
     * qn_dequantise() makes them. X is aligned as floats are. Widens *range by these codes. Where
     * one of them is above 2 · levels, what stands in X afterwards is unspecified. */
    void (*decode)(const struct qn_code_decoder *d, size_t first, size_t n, float factor, float *x,
                   struct qn_code_range *range);
    /* N codes < 2^bits, bits 1 … 16, to qn_bitpack_size(n, bits) bytes, and back. unpack()
     * ignores bits after the last code. */
    void (*pack)(const uint16_t *codes, size_t n, unsigned bits, uint8_t *dst);
    void (*unpack)(const uint8_t *src, size_t n, unsigned bits, uint16_t *codes);
    /* The range of N codes. */
    struct qn_code_range (*range)(const uint16_t *codes, size_t n);
    /* codes[i] is set to min(symbols[i] << raw_bits | codes[i], UINT16_MAX), and back: symbols[i] =
     * codes[i] >> raw_bits, of which the lowest 8 bits are kept. raw_bits 0 … 11. */
    void (*join_symbols)(const uint8_t *symbols, size_t n, unsigned raw_bits, uint16_t *codes);
    void (*split_symbols)(const uint16_t *codes, size_t n, unsigned raw_bits, uint8_t *symbols);

    /* Bits of the largest magnitude: as integers, 0x7f800000 and above for infinity and NaN. */
    uint32_t (*abs_max)(const float *x, size_t n);
    /* Codes of N values of one group on the QINS grid, scale > 0, and on the seed grid. */
    void (*quantise_qins)(const struct qn_grid *g, float scale, const float *x, size_t n,
                          uint16_t *codes);
    void (*quantise_seed)(const struct qn_grid *g, const float *x, size_t n, uint16_t *codes);

    /* Cells of |x| / SCALE, N < 2^32, as qn_hist has them, SCALE > 0; returns how many of the
     * values are 0. Then counts of cells, below 2^31 each, into *h: each is worth SQUARE. */
    uint32_t (*cells)(float scale, const float *x, size_t n, uint16_t *cells);
    void (*merge_cells)(const uint32_t *counts, double square, struct qn_hist *h);

    /* Counts of byte values and of codes <= LIMIT <= 4095, N < 2^32. Set, not added to. */
    void (*histogram)(const uint8_t *src, size_t n, uint32_t counts[256],
                      struct qn_histogram_work *work);
    void (*count_codes)(const uint16_t *codes, size_t n, unsigned limit, uint32_t *counts);

    /* Byte planes (planes.h) of N elements of SIZE = 2, 4 or 8 bytes, rotated by one bit left
     * first, right after, if TURN. PLANES has SIZE of them; split leaves out those that are NULL.
     */
    void (*split_planes)(unsigned size, bool turn, const uint8_t *src, size_t n,
                         uint8_t *const *planes);
    void (*merge_planes)(unsigned size, bool turn, const uint8_t *const *planes, size_t n,
                         uint8_t *dst);

    /* Bit i % 64 of masks[i / 64] is set where src[i] is SYMBOL; bits from N on are 0. */
    void (*match)(const uint8_t *src, size_t n, uint8_t symbol, uint64_t *masks);

    /* Whole steps of QN_TANS_STREAMS streams; what the caller sees to: tans.h. */
    void (*tans_decode)(struct qn_tans_decoder *d, size_t steps);
    void (*tans_encode)(struct qn_tans_encoder *e, size_t steps);
    /* The lowest K = 1 ... 7 bits of 8 * GROUPS symbols to K * GROUPS bytes; as many as 7 more may
     * be written. */
    void (*tans_pack)(const uint8_t *src, size_t groups, unsigned k, uint8_t *dst);
};

/* The table for this processor and QINS_CPU. */
const struct qn_codec_kernels *qn_codec_kernels(void);
/* That of one level; NULL if this build or processor has it not. AVX-512 takes qn_cpu_has_vbmi().
 */
const struct qn_codec_kernels *qn_codec_kernels_of(enum qn_cpu_level level);

#endif
