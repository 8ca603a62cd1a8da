#include "formats/codec/codec.h"

#include <stdio.h>
#include <string.h>

#include "formats/codec/huffman.h"
#include "formats/codec/rle.h"
#include "formats/codec/tans.h"
#include "formats/codec/zstd.h"

static size_t store_bound(size_t n)
{
    return n;
}

static size_t store_scratch(size_t n)
{
    (void)n;
    return 0;
}

static size_t store_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity,
                           void *scratch)
{
    (void)scratch;
    if (n > capacity)
        return 0;
    memcpy(dst, src, n);
    return n;
}

static bool store_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch)
{
    (void)scratch;
    if (src_size != n)
        return false;
    memcpy(dst, src, n);
    return true;
}

static const struct qn_codec codecs[QN_CODEC_COUNT] = {
    [QN_CODEC_STORE] = {"store", store_bound, store_scratch, store_encode, store_decode},
    [QN_CODEC_BITPACK] = {"bitpack", NULL, NULL, NULL, NULL},
    [QN_CODEC_HUFFMAN] = {"huffman", qn_huffman_bound, qn_huffman_scratch, qn_huffman_encode,
                          qn_huffman_decode},
    [QN_CODEC_RLE] = {"rle", qn_rle_bound, qn_rle_scratch, qn_rle_encode, qn_rle_decode},
    [QN_CODEC_RLE_HUFFMAN] = {"rle-huffman", qn_rle_bound, qn_rle_scratch, qn_rle_huffman_encode,
                              qn_rle_huffman_decode},
    [QN_CODEC_ZSTD] = {"zstd", qn_zstd_bound, qn_zstd_scratch, qn_zstd_encode, qn_zstd_decode},
    [QN_CODEC_TANS] = {"tans", qn_tans_bound, qn_tans_scratch, qn_tans_encode, qn_tans_decode},
};

const struct qn_codec *qn_codec(enum qn_codec_id id)
{
    return (unsigned)id < QN_CODEC_COUNT && codecs[id].encode != NULL ? &codecs[id] : NULL;
}

const char *qn_codec_name(enum qn_codec_id id)
{
    return (unsigned)id < QN_CODEC_COUNT ? codecs[id].name : "unknown";
}

enum qn_codec_id qn_codec_from_name(const char *name)
{
    unsigned id = 0;
    while (id < QN_CODEC_COUNT && strcmp(codecs[id].name, name) != 0)
        id++;
    return (enum qn_codec_id)id;
}

const char *qn_codec_choices(char *buf, size_t size)
{
    size_t used = 0;
    for (unsigned id = 0; id < QN_CODEC_COUNT && used < size; id++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", id ? ", " : "one of ",
                                 codecs[id].name);
    return buf;
}
