#include "formats/codec/kernels_list.h"

#include "core/bytes.h"

#include <stdatomic.h>

static const struct qn_codec_kernels kernels_c = {
    .decode = qn_decode_c,
    .pack = qn_pack_c,
    .unpack = qn_unpack_c,
    .range = qn_range_c,
    .join_symbols = qn_join_symbols_c,
    .split_symbols = qn_split_symbols_c,
    .abs_max = qn_abs_max_c,
    .quantise_qins = qn_quantise_qins_c,
    .quantise_seed = qn_quantise_seed_c,
    .cells = qn_cells_c,
    .merge_cells = qn_merge_cells_c,
    .histogram = qn_histogram_c,
    .count_codes = qn_count_codes_c,
    .split_planes = qn_split_planes_c,
    .merge_planes = qn_merge_planes_c,
    .match = qn_match_c,
    .tans_decode = qn_tans_decode_c,
    .tans_encode = qn_tans_encode_c,
    .tans_pack = qn_tans_pack_c,
};

#if defined(__x86_64__)
static const struct qn_codec_kernels kernels_avx2 = {
    .decode = qn_decode_avx2,
    .pack = qn_pack_avx2,
    .unpack = qn_unpack_avx2,
    .range = qn_range_avx2,
    .join_symbols = qn_join_symbols_avx2,
    .split_symbols = qn_split_symbols_avx2,
    .abs_max = qn_abs_max_avx2,
    .quantise_qins = qn_quantise_qins_avx2,
    .quantise_seed = qn_quantise_seed_avx2,
    .cells = qn_cells_avx2,
    .merge_cells = qn_merge_cells_avx2,
    .histogram = qn_histogram_avx2,
    .count_codes = qn_count_codes_c,
    .split_planes = qn_split_planes_avx2,
    .merge_planes = qn_merge_planes_avx2,
    .match = qn_match_avx2,
    .tans_decode = qn_tans_decode_avx2,
    .tans_encode = qn_tans_encode_avx2,
    .tans_pack = qn_tans_pack_avx2,
};

static const struct qn_codec_kernels kernels_avx512 = {
    .decode = qn_decode_avx512,
    .pack = qn_pack_avx512,
    .unpack = qn_unpack_avx512,
    .range = qn_range_avx512,
    .join_symbols = qn_join_symbols_avx512,
    .split_symbols = qn_split_symbols_avx512,
    .abs_max = qn_abs_max_avx512,
    .quantise_qins = qn_quantise_qins_avx512,
    .quantise_seed = qn_quantise_seed_avx512,
    .cells = qn_cells_avx512,
    .merge_cells = qn_merge_cells_avx512,
    .histogram = qn_histogram_avx512,
    .count_codes = qn_count_codes_c,
    .split_planes = qn_split_planes_avx512,
    .merge_planes = qn_merge_planes_avx512,
    .match = qn_match_avx512,
    .tans_decode = qn_tans_decode_avx512,
    .tans_encode = qn_tans_encode_avx512,
    .tans_pack = qn_tans_pack_avx2,
};
#endif

const struct qn_codec_kernels *qn_codec_kernels_of(enum qn_cpu_level level)
{
    if (level > qn_cpu_level())
        return NULL;
    switch (level) {
#if defined(__x86_64__)
    case QN_CPU_AVX512:
        return qn_cpu_has_vbmi() ? &kernels_avx512 : NULL;
    case QN_CPU_AVX2:
        return &kernels_avx2;
#endif
    default:
        return &kernels_c;
    }
}

const struct qn_codec_kernels *qn_codec_kernels(void)
{
    /* Threads that race here store the same value. */
    static _Atomic(const struct qn_codec_kernels *) known[QN_CPU_AVX512 + 1];
    const enum qn_cpu_level level = qn_cpu_level();
    const struct qn_codec_kernels *k = atomic_load_explicit(&known[level], memory_order_relaxed);
    if (!k) {
        k = qn_codec_kernels_of(level);
        if (!k)
            k = qn_codec_kernels_of(QN_CPU_AVX2);
        atomic_store_explicit(&known[level], k, memory_order_relaxed);
    }
    return k;
}

void qn_code_decoder_init(struct qn_code_decoder *d, const struct qn_grid *g, const void *data,
                          size_t size, unsigned bits)
{
    *d = (struct qn_code_decoder){.grid = g, .data = data, .size = size, .bits = bits};
    if (g->levels >= QN_BYTE_LEVELS)
        return;
    for (unsigned l = 0; l <= g->levels; l++) {
        const uint32_t value = qn_float_bits(g->value[g->levels + l]);
        for (unsigned k = 0; k < 4; k++)
            d->bytes[k][l] = (uint8_t)(value >> 8 * k);
    }
    for (unsigned k = 0; k < 4; k++)
        for (unsigned l = 0; l < 16 * QN_STEP_TABLES; l++)
            d->steps[k][l / 16][l % 16] =
                (uint8_t)(d->bytes[k][l] ^ (l < 16 ? 0 : d->bytes[k][l - 16]));
}
