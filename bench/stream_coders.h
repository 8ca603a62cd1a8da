/* What codes the streams of streams.h: our coders on each CPU level, libraries, peers. */
#ifndef QINS_BENCH_STREAM_CODERS_H
#define QINS_BENCH_STREAM_CODERS_H

#include "bench/peer.h"
#include "core/cpu.h"
#include "core/json.h"
#include "core/tensor.h"

struct qn_stream_engine;

struct qn_stream_coder {
    const char *name, *version; /* of a library or a peer; else NULL */
    const char *file;           /* of a peer; else NULL */
    const struct qn_stream_engine *engine;
    int level;    /* enum qn_cpu_level; -1: it has one way only */
    int argument; /* the engine's */
    const struct qins_bench_peer *peer;
    void *state; /* the engine's */
    struct qn_stream_scratch *scratch;
};

enum { QN_STREAM_MAX_CODERS = 64, QN_STREAM_NO_LEVEL = -1 };

/* How chunks of one kind of coder are coded. */
struct qn_stream_engine {
    const char *kind; /* as reports have it */
    bool copies;      /* no coder: calls of memcpy, decoding alone */
    enum qins_status (*init)(struct qn_stream_coder *c, struct qins_error *err);
    void (*finish)(struct qn_stream_coder *c);
    /* Looks at a stream before it is coded. May be NULL. */
    void (*prepare)(struct qn_stream_coder *c, const uint8_t *src, size_t n);
    /* 0: too large */
    size_t (*bound)(struct qn_stream_coder *c, size_t n);
    /* The coded size, 0 for a failure. */
    size_t (*encode)(struct qn_stream_coder *c, const uint8_t *src, size_t n, uint8_t *dst,
                     size_t capacity);
    bool (*decode)(struct qn_stream_coder *c, const uint8_t *src, size_t size, uint8_t *dst,
                   size_t n);
};

struct qn_stream_coders {
    struct qn_stream_coder list[QN_STREAM_MAX_CODERS];
    size_t n;
    struct qn_bench_peers peers;
    struct qn_stream_scratch *scratch; /* shared: they take turns */
    enum qn_cpu_level most;            /* of this machine; finish() goes back to it */
};

/* All coders for chunks of CHUNK bytes, or of ours and the libraries' those that NAMES has (with
 * commas between; NULL is all), memcpy always; and the peers of FILES. DTYPE: QINS_U8 for symbols,
 * else that of weights that are kept bit for bit. Finish it whatever the result. */
enum qins_status qn_stream_coders_init(struct qn_stream_coders *c, enum qins_dtype dtype,
                                       size_t chunk, const char *names, const char *const *files,
                                       size_t n_files, struct qins_error *err);
void qn_stream_coders_finish(struct qn_stream_coders *c);

/* Whether LIST, with commas between, has NAME; a LIST of NULL has all. */
bool qn_stream_listed(const char *list, const char *name);

/* What the ratios are to. */
#define QN_STREAM_COPY    "memcpy"
#define QN_STREAM_LIBRARY "libzstd-1"
/* What the goals are of. */
#define QN_STREAM_GOAL "tans"

#endif
