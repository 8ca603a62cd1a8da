/* Kernels that compilers vectorise by themselves, for each level that includes this with
 * LEVEL(name) defined and is compiled for it. No include guard. */

#include "core/bytes.h"
#include "formats/codec/kernels_list.h"
#include "formats/codec/level.h"

struct qn_code_range LEVEL(qn_range)(const uint16_t *codes, size_t n)
{
    uint16_t least = UINT16_MAX, most = 0;
    for (size_t i = 0; i < n; i++) {
        least = codes[i] < least ? codes[i] : least;
        most = codes[i] > most ? codes[i] : most;
    }
    return (struct qn_code_range){least, most};
}

void LEVEL(qn_join_symbols)(const uint8_t *restrict symbols, size_t n, unsigned raw_bits,
                            uint16_t *restrict codes)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t code = codes[i] | (uint32_t)symbols[i] << raw_bits;
        codes[i] = code < UINT16_MAX ? (uint16_t)code : UINT16_MAX;
    }
}

void LEVEL(qn_split_symbols)(const uint16_t *restrict codes, size_t n, unsigned raw_bits,
                             uint8_t *restrict symbols)
{
    for (size_t i = 0; i < n; i++)
        symbols[i] = (uint8_t)(codes[i] >> raw_bits);
}

uint32_t LEVEL(qn_abs_max)(const float *x, size_t n)
{
    /* Magnitudes order like the integers that encode them. */
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits = (int32_t)(qn_float_bits(x[i]) & 0x7fffffffu);
        most = bits > most ? bits : most;
    }
    return (uint32_t)most;
}

void LEVEL(qn_quantise_qins)(const struct qn_grid *g, float scale, const float *restrict x,
                             size_t n, uint16_t *restrict codes)
{
    const struct qn_qins_shape shape = qn_grid_shape(g);
    for (size_t i = 0; i < n; i++)
        codes[i] = qn_qins_code(shape, scale, x[i]);
}

void LEVEL(qn_quantise_seed)(const struct qn_grid *g, const float *restrict x, size_t n,
                             uint16_t *restrict codes)
{
    const int32_t levels = (int32_t)g->levels, top = levels - 1;
    const float alpha = g->kappa, n_levels = (float)levels;
    for (size_t i = 0; i < n; i++) {
        float v = qn_bounded(alpha * qn_magnitude(x[i]), 1e30f); /* v / (1 + v) is 1 long before */
        float q = n_levels * (v / (1.0f + v));
        int32_t level = (int32_t)(q + 0.5f);
        codes[i] = qn_signed_code(x[i], level < top ? level : top, levels);
    }
}

uint32_t LEVEL(qn_cells)(float scale, const float *restrict x, size_t n, uint16_t *restrict cells)
{
    uint32_t zeros = 0;
    for (size_t i = 0; i < n; i++) {
        const float u = qn_bounded(qn_magnitude(x[i]) / scale, 1.0f);
        const int32_t cell = (int32_t)(u * (float)QN_HIST_CELLS);
        cells[i] = (uint16_t)(cell < QN_HIST_CELLS ? cell : QN_HIST_CELLS - 1);
    }
    for (size_t i = 0; i < n; i++)
        zeros += qn_float_bits(x[i]) << 1 == 0;
    return zeros;
}

void LEVEL(qn_merge_cells)(const uint32_t *restrict counts, double square,
                           struct qn_hist *restrict h)
{
    for (size_t i = 0; i < QN_HIST_CELLS; i++)
        h->count[i] += counts[i];
    for (size_t i = 0; i < QN_HIST_CELLS; i++)
        h->weight[i] += (double)(int32_t)counts[i] * square;
}
