/* What stream_coders.h lists, for the files that write coders. */
#ifndef QINS_BENCH_STREAM_ENGINES_H
#define QINS_BENCH_STREAM_ENGINES_H

#include "bench/stream_coders.h"
#include "formats/codec/chunk.h"

/* Shared by coders, which take turns. */
struct qn_stream_scratch {
    enum qins_dtype dtype; /* of what is coded */
    uint8_t *coder;        /* as much as any coder of ours wants */
    uint16_t *codes;       /* of a chunk */
    unsigned base, bits;   /* of bit-packing: the least symbol, and what the others above it take */
    bool is_signed;
    struct qn_chunk_work work;
    struct qn_buf shuffled;
};

struct qn_stream_row {
    const char *name;
    const struct qn_stream_engine *engine;
    int argument;
    bool levels; /* has kernels for each */
};

/* Of bytes, and of weights that are kept bit for bit. In the order of the tables. */
extern const struct qn_stream_row qn_symbol_coders[], qn_lossless_coders[];
extern const size_t qn_n_symbol_coders, qn_n_lossless_coders;

/* Calls of memcpy; frames of libzstd at level ARGUMENT; peers. */
extern const struct qn_stream_engine qn_copy_engine, qn_zstd_engine, qn_peer_engine;

#endif
