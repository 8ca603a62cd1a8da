/* Coders of other projects in the runs of `qins bench coders --peer FILE.so` (of bytes) and `qins
 * bench lossless --peer FILE.so` (of weights).
 *
 * A shared object exports qins_bench_peer_at(). What it lists is timed in turns with this project's
 * own coders: on the same bytes, in chunks of the same size, on one thread of one processor.
 * tests/peers has an example. A peer runs inside the program, so what it breaks breaks the run:
 * give only files that you would run. The interface needs neither this project's library nor
 * anything but a C compiler. */
#ifndef QINS_BENCH_PEER_H
#define QINS_BENCH_PEER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QINS_BENCH_PEER_ABI 1

#if defined(__GNUC__)
#define QINS_BENCH_EXPORT __attribute__((visibility("default")))
#else
#define QINS_BENCH_EXPORT
#endif

/* What the bytes are that a peer codes; more kinds may come, and a program leaves out those that it
 * does not know. */
enum qins_bench_kind {
    QINS_BENCH_BYTES = 0, /* symbols of one byte, without structure beyond their frequencies */
    QINS_BENCH_BF16 = 1,  /* weights, to be kept bit for bit; sizes are in bytes, even */
    QINS_BENCH_F32 = 2,   /* the same, little-endian; sizes are multiples of 4 */
};

struct qins_bench_peer {
    uint32_t abi;        /* QINS_BENCH_PEER_ABI */
    uint32_t kind;       /* enum qins_bench_kind */
    const char *name;    /* short, as the table shows it: "htscodecs rANS 32x16" */
    const char *version; /* of the library, "" where it has none */

    /* What the other functions get as STATE: whatever a coder would keep from one chunk to the
     * next, such as contexts and scratch memory; NULL fails. Where there is no create(), STATE is
     * NULL and destroy() is not called. */
    void *(*create)(void);
    void (*destroy)(void *state);

    /* Bytes that coding SIZE bytes may take at most; no more than four times as many. */
    size_t (*bound)(void *state, size_t size);
    /* Codes SIZE bytes, at least 1, of SRC to DST, which has room for CAPACITY bytes: at least what
     * bound() says of a whole chunk, and SIZE is a chunk's or, at the end of a stream, less.
     * Returns how many it took, 0 where it failed. Whatever decoding needs is in them, tables
     * included. */
    size_t (*encode)(void *state, const uint8_t *src, size_t size, uint8_t *dst, size_t capacity);
    /* Decodes to exactly SIZE bytes at DST; returns SIZE, anything else where it failed. Nothing
     * beyond them is written: what follows there is compared, too. */
    size_t (*decode)(void *state, const uint8_t *src, size_t src_size, uint8_t *dst, size_t size);
};

/* Peer INDEX of this file, NULL past the last one. What it points to stays as it is. */
QINS_BENCH_EXPORT const struct qins_bench_peer *qins_bench_peer_at(unsigned index);
typedef const struct qins_bench_peer *(*qins_bench_peer_function)(unsigned index);

#ifdef __cplusplus
}
#endif

#endif
