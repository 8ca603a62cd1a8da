/* A peer that must be refused: the environment's QINS_TEST_WRONG says what is wrong with it, and
 * QINS_TEST_KIND what it codes, bytes by default. */
#include "qins/bench_peer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool wrong(const char *what)
{
    const char *is = getenv("QINS_TEST_WRONG");
    return is && strcmp(is, what) == 0;
}

static size_t bound(void *state, size_t size)
{
    (void)state;
    return wrong("endless") ? SIZE_MAX : size;
}

static size_t encode(void *state, const uint8_t *src, size_t size, uint8_t *dst, size_t capacity)
{
    (void)state;
    memcpy(dst, src, size);
    return wrong("too much") ? capacity + 1 : size;
}

static size_t decode(void *state, const uint8_t *src, size_t src_size, uint8_t *dst, size_t size)
{
    (void)state;
    memcpy(dst, src, src_size);
    if (wrong("changes"))
        dst[size / 2] ^= 1;
    if (wrong("writes behind"))
        dst[size] ^= 1;
    return wrong("fails") ? 0 : size;
}

static void *create(void)
{
    return NULL;
}

const struct qins_bench_peer *qins_bench_peer_at(unsigned index)
{
    static struct qins_bench_peer peer = {.abi = QINS_BENCH_PEER_ABI,
                                          .kind = QINS_BENCH_BYTES,
                                          .name = "wrong",
                                          .version = "1",
                                          .bound = bound,
                                          .encode = encode};
    peer.abi = QINS_BENCH_PEER_ABI + wrong("other interface");
    const bool endless = wrong("endless list");
    const char *kind = getenv("QINS_TEST_KIND");
    peer.kind = endless || wrong("other kind") ? QINS_BENCH_F32
                : kind                         ? (uint32_t)strtoul(kind, NULL, 10)
                                               : QINS_BENCH_BYTES;
    peer.create = wrong("no start") ? create : NULL;
    peer.decode = wrong("no function") ? NULL : decode;
    return (index == 0 || endless) && !wrong("none") ? &peer : NULL;
}
