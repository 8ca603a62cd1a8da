#include "bench/stream_engines.h"

#include "formats/codec/lossless.h"

/* Chunks as an archive's lossless tensors have them: the coder is that of their planes. */
static size_t chunk_bound(struct qn_stream_coder *c, size_t n)
{
    const enum qins_dtype dtype = c->scratch->dtype;
    return QN_CHUNK_HEADER_SIZE + qn_lossless_bound(dtype, n / qins_dtype_size(dtype));
}

static size_t chunk_encode(struct qn_stream_coder *c, const uint8_t *src, size_t n, uint8_t *dst,
                           size_t capacity)
{
    const enum qins_dtype dtype = c->scratch->dtype;
    const struct qn_chunk_params p = {
        .content = QN_CONTENT_LOSSLESS, .dtype = dtype, .codec = (enum qn_codec_id)c->argument};
    struct qn_buf out = {dst, 0, capacity}; /* the bound, so it never grows */
    if (capacity < chunk_bound(c, n))
        return 0;
    return qn_chunk_encode(&p, src, n / qins_dtype_size(dtype), &c->scratch->work, &out, NULL) ==
                   QINS_OK
               ? out.size
               : 0;
}

static bool chunk_decode(struct qn_stream_coder *c, const uint8_t *src, size_t size, uint8_t *dst,
                         size_t n)
{
    const enum qins_dtype dtype = c->scratch->dtype;
    return qn_chunk_decode(src, size, dtype, n / qins_dtype_size(dtype), false, &c->scratch->work,
                           dst, NULL) == QINS_OK;
}

/* Byte k of every weight together, as HDF5's shuffle filter has them, under libzstd. */
static enum qins_status shuffle_init(struct qn_stream_coder *c, struct qins_error *err)
{
    return qn_zstd_engine.init(c, err);
}

static void shuffle_finish(struct qn_stream_coder *c)
{
    qn_zstd_engine.finish(c);
}

static size_t shuffle_bound(struct qn_stream_coder *c, size_t n)
{
    return qn_buf_reserve(&c->scratch->shuffled, n, NULL) == QINS_OK ? qn_zstd_engine.bound(c, n)
                                                                     : 0;
}

static size_t shuffle_encode(struct qn_stream_coder *c, const uint8_t *src, size_t n, uint8_t *dst,
                             size_t capacity)
{
    const size_t width = qins_dtype_size(c->scratch->dtype), weights = n / width;
    uint8_t *to = c->scratch->shuffled.data;
    for (size_t k = 0; k < width; k++)
        for (size_t i = 0; i < weights; i++)
            to[k * weights + i] = src[i * width + k];
    return qn_zstd_engine.encode(c, to, n, dst, capacity);
}

static bool shuffle_decode(struct qn_stream_coder *c, const uint8_t *src, size_t size, uint8_t *dst,
                           size_t n)
{
    const size_t width = qins_dtype_size(c->scratch->dtype), weights = n / width;
    uint8_t *from = c->scratch->shuffled.data;
    if (!qn_zstd_engine.decode(c, src, size, from, n))
        return false;
    for (size_t k = 0; k < width; k++)
        for (size_t i = 0; i < weights; i++)
            dst[i * width + k] = from[k * weights + i];
    return true;
}

static const struct qn_stream_engine chunks = {.kind = "qins",
                                               .bound = chunk_bound,
                                               .encode = chunk_encode,
                                               .decode = chunk_decode},
                                     shuffled = {.kind = "library",
                                                 .init = shuffle_init,
                                                 .finish = shuffle_finish,
                                                 .bound = shuffle_bound,
                                                 .encode = shuffle_encode,
                                                 .decode = shuffle_decode};

const struct qn_stream_row qn_lossless_coders[] = {
    {QN_STREAM_COPY, &qn_copy_engine, QN_CODEC_STORE, false},
    {"tans", &chunks, QN_CODEC_TANS, true},
    {"huffman", &chunks, QN_CODEC_HUFFMAN, true},
    {QN_STREAM_LIBRARY, &qn_zstd_engine, 1, false},
    {"libzstd-3", &qn_zstd_engine, 3, false},
    {"shuffle-libzstd-1", &shuffled, 1, false},
    {"shuffle-libzstd-3", &shuffled, 3, false},
};
const size_t qn_n_lossless_coders = sizeof qn_lossless_coders / sizeof *qn_lossless_coders;
