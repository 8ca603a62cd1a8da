#include "formats/codec/kernels_list.h"

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
    .histogram = qn_histogram_c,
    .count_codes = qn_count_codes_c,
    .split_planes = qn_split_planes_c,
    .merge_planes = qn_merge_planes_c,
    .match = qn_match_c,
    .tans_decode = qn_tans_decode_c,
    .tans_encode = qn_tans_encode_c,
};

#if defined(__x86_64__)
static const struct qn_codec_kernels kernels_avx2 = {
    .decode = qn_decode_c,
    .pack = qn_pack_c,
    .unpack = qn_unpack_c,
    .range = qn_range_avx2,
    .join_symbols = qn_join_symbols_avx2,
    .split_symbols = qn_split_symbols_avx2,
    .abs_max = qn_abs_max_avx2,
    .quantise_qins = qn_quantise_qins_avx2,
    .quantise_seed = qn_quantise_seed_avx2,
    .histogram = qn_histogram_c,
    .count_codes = qn_count_codes_c,
    .split_planes = qn_split_planes_c,
    .merge_planes = qn_merge_planes_c,
    .match = qn_match_c,
    .tans_decode = qn_tans_decode_avx2,
    .tans_encode = qn_tans_encode_c,
};

static const struct qn_codec_kernels kernels_avx512 = {
    .decode = qn_decode_c,
    .pack = qn_pack_c,
    .unpack = qn_unpack_c,
    .range = qn_range_avx512,
    .join_symbols = qn_join_symbols_avx512,
    .split_symbols = qn_split_symbols_avx512,
    .abs_max = qn_abs_max_avx512,
    .quantise_qins = qn_quantise_qins_avx512,
    .quantise_seed = qn_quantise_seed_avx512,
    .histogram = qn_histogram_c,
    .count_codes = qn_count_codes_c,
    .split_planes = qn_split_planes_c,
    .merge_planes = qn_merge_planes_c,
    .match = qn_match_c,
    .tans_decode = qn_tans_decode_avx512,
    .tans_encode = qn_tans_encode_avx512,
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
    const enum qn_cpu_level level = qn_cpu_level();
    const struct qn_codec_kernels *k = qn_codec_kernels_of(level);
    return k ? k : qn_codec_kernels_of(QN_CPU_AVX2);
}
