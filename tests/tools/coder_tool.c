/* Test-only: one coder as a filter, standard input to standard output, for the oracle in
 * tests/e2e/test_huffman_oracle.py and test_tans_oracle.py.
 *   coder_tool encode CODER    symbols to a stream
 *   coder_tool decode CODER N  a stream to N symbols; exit 1 if it is refused
 * CODER bitpack:BITS takes and gives 16-bit codes. */
#include "core/buf.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum qins_status read_input(struct qn_buf *in, struct qins_error *err)
{
    uint8_t block[65536];
    size_t got;
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && (got = fread(block, 1, sizeof block, stdin)) > 0)
        st = qn_buf_append(in, block, got, err);
    return st;
}

static bool bitpack(bool encode, unsigned bits, const struct qn_buf *in, size_t n,
                    struct qn_buf *out, struct qins_error *err)
{
    n = encode ? in->size / 2 : n;
    size_t size = encode ? qn_bitpack_size(n, bits) : 2 * n;
    if (qn_buf_append_zeros(out, size, err) != QINS_OK)
        return false;
    if (!encode)
        return qn_bitunpack(in->data, in->size, n, bits, (uint16_t *)(void *)out->data);
    qn_bitpack((const uint16_t *)(const void *)in->data, n, bits, out->data);
    return true;
}

static bool code(bool encode, const struct qn_codec *c, const struct qn_buf *in, size_t n,
                 struct qn_buf *out, struct qins_error *err)
{
    n = encode ? in->size : n;
    size_t size = encode ? c->bound(n) : n;
    void *scratch = malloc(c->scratch(n) + 1);
    bool ok = scratch != NULL && qn_buf_append_zeros(out, size, err) == QINS_OK;
    if (ok && encode)
        ok = (out->size = c->encode(in->data, n, out->data, size, scratch)) > 0;
    else if (ok)
        ok = c->decode(in->data, in->size, out->data, n, scratch);
    free(scratch);
    return ok;
}

int main(int argc, char **argv)
{
    struct qn_buf in = {0}, out = {0};
    struct qins_error err = {0};
    bool ok = false;
    if (argc >= 3 && read_input(&in, &err) == QINS_OK) {
        bool encode = strcmp(argv[1], "encode") == 0;
        size_t n = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
        const struct qn_codec *c = qn_codec(qn_codec_from_name(argv[2]));
        if (c != NULL)
            ok = code(encode, c, &in, n, &out, &err);
        else if (strncmp(argv[2], "bitpack:", 8) == 0)
            ok = bitpack(encode, (unsigned)strtoul(argv[2] + 8, NULL, 10), &in, n, &out, &err);
    }
    ok = ok && fwrite(out.data, 1, out.size, stdout) == out.size;
    qn_buf_finish(&in);
    qn_buf_finish(&out);
    return ok ? 0 : 1;
}
