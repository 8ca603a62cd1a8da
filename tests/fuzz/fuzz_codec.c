/* Byte 0 picks the coder, bytes 1 and 2 the number of symbols (bit-packing: byte 0's high bits
 * the width); the rest is decoded, then coded and decoded again. */
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void *copy(const void *data, size_t size)
{
    void *p = malloc(size > 0 ? size : 1);
    check(p != NULL);
    memcpy(p, data, size);
    return p;
}

static void bitpack(const uint8_t *data, size_t size, size_t n, unsigned bits)
{
    uint16_t *codes = calloc(n + 1, sizeof *codes);
    check(codes != NULL);
    qn_bitunpack(data, size, n, bits, codes);
    if (bits > 0) { /* any bytes are codes if the count fits, but for padding */
        n = size * 8 / bits;
        size = qn_bitpack_size(n, bits);
        uint8_t *packed = copy(data, size), *again = copy(data, size);
        if (size > 0 && n * bits % 8 != 0)
            packed[size - 1] &= (uint8_t)((1u << n * bits % 8) - 1);
        free(codes);
        codes = calloc(n + 1, sizeof *codes);
        check(codes != NULL && qn_bitunpack(packed, size, n, bits, codes));
        qn_bitpack(codes, n, bits, again);
        check(memcmp(packed, again, size) == 0);
        free(packed);
        free(again);
    }
    free(codes);
}

static void decode(const struct qn_codec *c, const uint8_t *data, size_t size, size_t n)
{
    uint8_t *out = malloc(n), *scratch = malloc(c->scratch(n) + 1);
    check(out != NULL && scratch != NULL);
    c->decode(data, size, out, n, scratch);
    free(out);
    free(scratch);
}

static void round_trip(const struct qn_codec *c, const uint8_t *data, size_t n)
{
    size_t bound = c->bound(n);
    uint8_t *coded = malloc(bound), *out = malloc(n), *scratch = malloc(c->scratch(n) + 1);
    check(coded != NULL && out != NULL && scratch != NULL);
    size_t size = c->encode(data, n, coded, bound, scratch);
    check(size > 0 && size <= bound);
    check(c->decode(coded, size, out, n, scratch) && memcmp(data, out, n) == 0);
    free(coded);
    free(out);
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    const struct qn_codec *c = qn_codec((enum qn_codec_id)(data[0] % QN_CODEC_COUNT));
    size_t n = (size_t)qn_load16(data + 1) + 1;
    uint8_t *exact = copy(data + 3, size - 3);
    if (c == NULL) {
        bitpack(exact, size - 3, n, data[0] / QN_CODEC_COUNT % (QN_BITPACK_MAX_BITS + 1));
    } else {
        decode(c, exact, size - 3, n);
        round_trip(c, exact, size - 3);
    }
    free(exact);
    return 0;
}
