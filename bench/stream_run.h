/* Coders that are timed on one stream after the other: the buffers, what is run, what is reported.
 */
#ifndef QINS_BENCH_STREAM_RUN_H
#define QINS_BENCH_STREAM_RUN_H

#include "bench/measure.h"
#include "bench/stream_coders.h"

/* Of each coder: coding and decoding a stream from and to memory, and decoding every chunk to the
 * same place, which a cache holds. */
enum qn_stream_way { QN_STREAM_ENCODE, QN_STREAM_DECODE, QN_STREAM_PLACE, QN_STREAM_WAYS };

/* Sizes in bytes. */
struct qn_stream_arena {
    size_t n, chunk, stride, width; /* of the stream, of a chunk, for a coded one; of a symbol */
    uint8_t *symbols, *decoded, *coded;
    size_t *sizes; /* of the chunks of the coder whose turn it is */
};

struct qn_stream_coding {
    struct qn_stream_coder *coder;
    const struct qn_stream_arena *arena;
    const char *stream;
    size_t coded; /* bytes, of all chunks */
};

struct qn_stream_run {
    struct qn_harness harness;
    struct qn_stream_arena arena;
    struct qn_stream_coders coders;
    unsigned ways; /* QN_STREAM_PLACE, or QN_STREAM_WAYS to decode to one place, too */
    struct qn_stream_coding codings[QN_STREAM_MAX_CODERS];
    struct qn_bench_candidate candidates[QN_STREAM_WAYS * QN_STREAM_MAX_CODERS];
};

/* Makes the buffers for the arena's n, chunk and width and for the coders, which the caller has
 * made. QINS_ERR_UNSUPPORTED for a coder that cannot say how much room it takes, naming it. */
enum qins_status qn_stream_run_prepare(struct qn_stream_run *r, struct qins_error *err);
/* Of coders and buffers; the harness stays for the next stream. */
void qn_stream_run_finish(struct qn_stream_run *r);

/* Checks that every coder gives back what is in arena.symbols, called STREAM, and writes nothing
 * behind it; then measures them. QINS_ERR_CHECK, or of a peer QINS_ERR_UNSUPPORTED. */
enum qins_status qn_stream_run_measure(struct qn_stream_run *r, const char *stream,
                                       const struct qn_monitor *monitor, struct qins_error *err);

/* What was measured of all coders, as bench.schema.json has it; NULL without memory. */
json_t *qn_stream_run_report(const struct qn_stream_run *r);

#endif
