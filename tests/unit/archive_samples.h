/* One tensor of each kind that an archive can hold. */
#ifndef QINS_TESTS_ARCHIVE_SAMPLES_H
#define QINS_TESTS_ARCHIVE_SAMPLES_H

#include "tests/unit/archive_testing.h"

#define LOSSLESS(codec)                                                                            \
    {                                                                                              \
        QN_CONTENT_LOSSLESS, codec                                                                 \
    }
#define QUANTISED(codec, levels, group, size)                                                      \
    {                                                                                              \
        QN_CONTENT_QINS, codec, levels, 1.5f, 1.0f, group, size, .reason = "as the test wants it"  \
    }

static const struct test_tensor samples[] = {
    {"f64", QINS_F64, 2, {3, 5}, LOSSLESS(QN_CODEC_ZSTD)},
    {"f32", QINS_F32, 2, {300, 70}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"f16", QINS_F16, 3, {3, 1, 70}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"bf16", QINS_BF16, 2, {64, 64}, LOSSLESS(QN_CODEC_RLE_HUFFMAN)},
    {"e4m3", QINS_F8_E4M3, 2, {64, 64}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"e5m2", QINS_F8_E5M2, 1, {999}, LOSSLESS(QN_CODEC_RLE)},
    {"i64", QINS_I64, 2, {3, 5}, LOSSLESS(QN_CODEC_STORE)},
    {"i32", QINS_I32, 2, {3, 5}, LOSSLESS(QN_CODEC_ZSTD)},
    {"i16", QINS_I16, 2, {3, 5}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"i8", QINS_I8, 2, {3, 5}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"u64", QINS_U64, 2, {3, 5}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"u32", QINS_U32, 2, {3, 5}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"u16", QINS_U16, 2, {3, 5}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"u8", QINS_U8, 2, {3, 5}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"bool", QINS_BOOL, 2, {30, 50}, LOSSLESS(QN_CODEC_RLE_HUFFMAN)},
    {"scalars/f64", QINS_F64, 0, {0}, LOSSLESS(QN_CODEC_STORE)},
    {"scalars/bf16", QINS_BF16, 0, {0}, LOSSLESS(QN_CODEC_STORE)},
    {"scalars/bool", QINS_BOOL, 0, {0}, LOSSLESS(QN_CODEC_STORE)},
    {"scalars/i16", QINS_I16, 0, {0}, LOSSLESS(QN_CODEC_STORE)},
    {"empty", QINS_F32, 2, {0, 7}, LOSSLESS(QN_CODEC_STORE)},
    {"empty and vast",
     QINS_U8,
     3,
     {UINT64_C(1) << 40, 0, UINT64_C(1) << 40},
     LOSSLESS(QN_CODEC_STORE)},
    {"one row", QINS_BF16, 2, {1, 1500001}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"one column", QINS_BF16, 2, {1100001, 1}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"deep", QINS_F8_E5M2, 4, {2, 1, 3, 700001}, LOSSLESS(QN_CODEC_HUFFMAN)},
    {"rows", QINS_F32, 2, {4099, 300}, QUANTISED(QN_CODEC_BITPACK, 127, QN_GROUP_ROW, 0)},
    {"blocks", QINS_BF16, 2, {130, 515}, QUANTISED(QN_CODEC_HUFFMAN, 31, QN_GROUP_BLOCK, 32)},
    {"whole", QINS_F16, 1, {70001}, QUANTISED(QN_CODEC_HUFFMAN, 2047, QN_GROUP_TENSOR, 0)},
    {"long row", QINS_F32, 2, {2, 1200000}, QUANTISED(QN_CODEC_RLE, 7, QN_GROUP_ROW, 0)},
    {"a/b//c/", QINS_U8, 1, {1}, LOSSLESS(QN_CODEC_STORE)},
    {"%2F%", QINS_U8, 1, {2}, LOSSLESS(QN_CODEC_STORE)},
    {".", QINS_U8, 1, {3}, LOSSLESS(QN_CODEC_STORE)},
    {"..", QINS_U8, 1, {4}, LOSSLESS(QN_CODEC_STORE)},
    {"./.", QINS_U8, 1, {5}, LOSSLESS(QN_CODEC_STORE)},
    {" \n\x01", QINS_U8, 1, {6}, LOSSLESS(QN_CODEC_STORE)},
    {"\xe9\x87\x8d\xe3\x81\xbf", QINS_U8, 1, {7}, LOSSLESS(QN_CODEC_STORE)},
};
enum { N_SAMPLES = sizeof samples / sizeof *samples };

#endif
