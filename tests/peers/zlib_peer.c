/* An example of a peer (qins/bench_peer.h): zlib, and its Huffman coder alone.
 *
 *     cc -O2 -shared -fPIC -Iinclude tests/peers/zlib_peer.c -lz -o zlib_peer.so
 *     qins bench coders --peer ./zlib_peer.so */
#include "qins/bench_peer.h"

#include <stdlib.h>

#include <zlib.h>

/* Streams that are set up once and begun anew for each chunk. */
struct state {
    z_stream in, out;
};

static void destroy(void *state)
{
    struct state *s = state;
    deflateEnd(&s->in);
    inflateEnd(&s->out);
    free(s);
}

static void *create(int level, int strategy)
{
    struct state *s = calloc(1, sizeof *s);
    if (s && deflateInit2(&s->in, level, Z_DEFLATED, MAX_WBITS, MAX_MEM_LEVEL, strategy) == Z_OK) {
        if (inflateInit(&s->out) == Z_OK)
            return s;
        deflateEnd(&s->in);
    }
    free(s);
    return NULL;
}

static void *create_fast(void)
{
    return create(Z_BEST_SPEED, Z_DEFAULT_STRATEGY);
}

static void *create_huffman(void)
{
    return create(Z_BEST_SPEED, Z_HUFFMAN_ONLY);
}

static size_t bound(void *state, size_t size)
{
    struct state *s = state;
    return deflateBound(&s->in, size);
}

static size_t encode(void *state, const uint8_t *src, size_t size, uint8_t *dst, size_t capacity)
{
    struct state *s = state;
    if (deflateReset(&s->in) != Z_OK || size > UINT32_MAX || capacity > UINT32_MAX)
        return 0;
    s->in.next_in = (z_const Bytef *)src;
    s->in.avail_in = (uInt)size;
    s->in.next_out = dst;
    s->in.avail_out = (uInt)capacity;
    return deflate(&s->in, Z_FINISH) == Z_STREAM_END ? capacity - s->in.avail_out : 0;
}

static size_t decode(void *state, const uint8_t *src, size_t src_size, uint8_t *dst, size_t size)
{
    struct state *s = state;
    if (inflateReset(&s->out) != Z_OK || size > UINT32_MAX || src_size > UINT32_MAX)
        return 0;
    s->out.next_in = (z_const Bytef *)src;
    s->out.avail_in = (uInt)src_size;
    s->out.next_out = dst;
    s->out.avail_out = (uInt)size;
    return inflate(&s->out, Z_FINISH) == Z_STREAM_END ? size - s->out.avail_out : 0;
}

const struct qins_bench_peer *qins_bench_peer_at(unsigned index)
{
    static const struct qins_bench_peer peers[] = {
        {QINS_BENCH_PEER_ABI, QINS_BENCH_BYTES, "zlib -1", ZLIB_VERSION, create_fast, destroy,
         bound, encode, decode},
        {QINS_BENCH_PEER_ABI, QINS_BENCH_BYTES, "zlib Huffman", ZLIB_VERSION, create_huffman,
         destroy, bound, encode, decode},
    };
    return index < sizeof peers / sizeof *peers ? &peers[index] : NULL;
}
