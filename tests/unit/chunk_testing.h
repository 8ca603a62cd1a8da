/* What tests of chunk payloads share. */
#ifndef QINS_TESTS_CHUNK_TESTING_H
#define QINS_TESTS_CHUNK_TESTING_H

#include "tests/unit/codec_samples.h"

#include "core/bytes.h"
#include "core/hash.h"
#include "formats/codec/chunk.h"

#include <stdlib.h>
#include <string.h>

static const enum qn_codec_id test_codecs[] = {
    QN_CODEC_STORE,       QN_CODEC_BITPACK, QN_CODEC_HUFFMAN, QN_CODEC_RLE,
    QN_CODEC_RLE_HUFFMAN, QN_CODEC_ZSTD,    QN_CODEC_TANS};
enum { TEST_CODECS = sizeof test_codecs / sizeof *test_codecs };

/* What a writer of hostile payloads would do: docs/chunk-payload.md. */
static inline void test_reseal(uint8_t *payload, size_t size)
{
    if (size >= QN_CHUNK_HEADER_SIZE)
        qn_store64(payload, qn_hash64(payload + 8, size - 8));
}

static inline struct qn_chunk_params test_lossless(enum qins_dtype dtype, enum qn_codec_id codec)
{
    struct qn_chunk_params p = {
        .content = QN_CONTENT_LOSSLESS, .dtype = dtype, .codec = codec, .row_length = 1};
    return p;
}

static inline struct qn_chunk_params test_quantised(enum qins_dtype dtype, enum qn_codec_id codec,
                                                    unsigned levels, uint64_t row_length,
                                                    uint64_t group)
{
    struct qn_chunk_params p = {.content = QN_CONTENT_QINS,
                                .dtype = dtype,
                                .codec = codec,
                                .levels = levels,
                                .kappa = 1.5f,
                                .clip = 1.0f,
                                .row_length = row_length,
                                .group = group};
    return p;
}

/* A heap block of exactly SIZE bytes, so that ASan sees each byte past it. */
static inline uint8_t *test_exact_copy(const void *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

#endif
