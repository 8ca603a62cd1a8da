/* The functions behind the tables of kernels.c: name_level for each kernel of kernels.h. A level
 * declares them all; those it does not define it does not put into its table either. */
#ifndef QINS_FORMATS_CODEC_KERNELS_LIST_H
#define QINS_FORMATS_CODEC_KERNELS_LIST_H

#include "formats/codec/kernels.h"

#define QN_DECLARE_KERNELS(level)                                                                  \
    void qn_decode_##level(const struct qn_code_decoder *d, size_t first, size_t n, float factor,  \
                           float *x, struct qn_code_range *range);                                 \
    void qn_pack_##level(const uint16_t *codes, size_t n, unsigned bits, uint8_t *dst);            \
    void qn_unpack_##level(const uint8_t *src, size_t n, unsigned bits, uint16_t *codes);          \
    struct qn_code_range qn_range_##level(const uint16_t *codes, size_t n);                        \
    void qn_join_symbols_##level(const uint8_t *symbols, size_t n, unsigned raw_bits,              \
                                 uint16_t *codes);                                                 \
    void qn_split_symbols_##level(const uint16_t *codes, size_t n, unsigned raw_bits,              \
                                  uint8_t *symbols);                                               \
    uint32_t qn_abs_max_##level(const float *x, size_t n);                                         \
    void qn_quantise_qins_##level(const struct qn_grid *g, float scale, const float *x, size_t n,  \
                                  uint16_t *codes);                                                \
    void qn_quantise_seed_##level(const struct qn_grid *g, const float *x, size_t n,               \
                                  uint16_t *codes);                                                \
    uint32_t qn_cells_##level(float scale, const float *x, size_t n, uint16_t *cells);             \
    void qn_merge_cells_##level(const uint32_t *counts, double square, struct qn_hist *h);         \
    void qn_histogram_##level(const uint8_t *src, size_t n, uint32_t counts[256],                  \
                              struct qn_histogram_work *work);                                     \
    void qn_count_codes_##level(const uint16_t *codes, size_t n, unsigned limit,                   \
                                uint32_t *counts);                                                 \
    void qn_split_planes_##level(unsigned size, bool turn, const uint8_t *src, size_t n,           \
                                 uint8_t *const *planes);                                          \
    void qn_merge_planes_##level(unsigned size, bool turn, const uint8_t *const *planes, size_t n, \
                                 uint8_t *dst);                                                    \
    void qn_match_##level(const uint8_t *src, size_t n, uint8_t symbol, uint64_t *masks);          \
    void qn_tans_decode_##level(struct qn_tans_decoder *d, size_t steps);                          \
    void qn_tans_encode_##level(struct qn_tans_encoder *e, size_t steps);                          \
    void qn_tans_pack_##level(const uint8_t *src, size_t groups, unsigned k, uint8_t *dst);

QN_DECLARE_KERNELS(c)

/* decode() by way of 16-bit codes, a block at a time, with the unpack() and range() of any level:
 * values of many levels are looked up one by one [measured on Zen 4: gathering is slower]. */
typedef void qn_unpack_function(const uint8_t *src, size_t n, unsigned bits, uint16_t *codes);
typedef struct qn_code_range qn_range_function(const uint16_t *codes, size_t n);
void qn_decode_blocks(const struct qn_code_decoder *d, size_t first, size_t n, float factor,
                      float *x, struct qn_code_range *range, qn_unpack_function *unpack,
                      qn_range_function *range_of);

#if defined(__x86_64__)
QN_DECLARE_KERNELS(avx2)
QN_DECLARE_KERNELS(avx512)
#endif

#endif
