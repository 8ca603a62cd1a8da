/* The benchmarks of `qins bench`. */
#ifndef QINS_BENCH_BENCH_H
#define QINS_BENCH_BENCH_H

#include "core/json.h"
#include "core/thread.h"

enum { QN_BENCH_MAX_TOKENS = 1 << 16 };

struct qn_bench_options {
    const char *model; /* path; NULL: random weights in the shape of a llama of 210 M parameters */
    const char *archive; /* of the same model, or of whatever qn_bench_coders() is to look at */
    unsigned threads;    /* compared with one: 2 … QN_BENCH_MAX_THREADS */
    uint32_t tokens;  /* of a prefill, 2 … QN_BENCH_MAX_TOKENS; 0: 512, or the model's context */
    uint32_t context; /* of a window, the same range; 0: 256, or the model's context */
    unsigned rounds;  /* 1 … QN_BENCH_MAX_ROUNDS; 0: the benchmark's own number */
    unsigned mebi;    /* how much: of each benchmark what it says; 0: its own number */
    bool costs;       /* of qn_bench_coders(): a table of costs, not streams */
    /* Of qn_bench_coders() and qn_bench_lossless(), whose MEBI are symbols of a stream (0: 32): */
    unsigned chunk_kibi;          /* symbols of a chunk; 0: 512 */
    const char *streams, *coders; /* names with commas between; NULL: all */
    const char *const *peers;     /* n_peers files */
    size_t n_peers;
    const char *folder; /* of qn_bench_convert()'s files; NULL: one in memory, or a temporary one */
    const struct qn_monitor *monitor;
};

/* Prefill, decoding and evaluation of windows, on one thread and on several, with and without
 * another process on one core, beside the matrix products alone. *report
 * (docs/schemas/bench.schema.json) belongs to the caller, NULL on failure. */
enum qins_status qn_bench_forward(const struct qn_bench_options *options, json_t **report,
                                  struct qins_error *err);

/* A prefill and single tokens with weights as they are and coded in several forms, multiplied as
 * they are coded, all decoded before each pass, or decoded in turn within it, on one thread and on
 * several, and what each form holds in memory. QINS_ERR_UNSUPPORTED where the model carries a
 * transport. */
enum qins_status qn_bench_forward_fused(const struct qn_bench_options *options, json_t **report,
                                        struct qins_error *err);

/* Calibrating against prefill of the same windows, with and without Gram matrices. TOKENS are
 * those of the text. */
enum qins_status qn_bench_calibrate(const struct qn_bench_options *options, json_t **report,
                                    struct qins_error *err);

/* What it costs to keep weights coded: a prefill and single tokens on one thread, of the model, of
 * its archive decoded at load, of that with its matrices multiplied as they are coded (without a
 * transport), and of that with the weights of a class decoded again for every forward pass.
 * QINS_ERR_UNSUPPORTED where the archive is another model's. */
enum qins_status qn_bench_hot_path(const struct qn_bench_options *options, json_t **report,
                                   struct qins_error *err);

/* The most memory that a process holds which opens a model and runs a text through it: the
 * checkpoint, its archive decoded when it is loaded, and that fused (model/fused.h). There may be
 * no threads yet. QINS_ERR_UNSUPPORTED where the archive is another model's or carries a transport.
 */
enum qins_status qn_bench_memory(const struct qn_bench_options *options, json_t **report,
                                 struct qins_error *err);

/* Prefill and generation on one thread, with V in a plain cache and in coded pages. */
enum qins_status qn_bench_kv_cache(const struct qn_bench_options *options, json_t **report,
                                   struct qins_error *err);

/* On one thread. Without an archive: every coder on each CPU level, libzstd and peers on symbol
 * streams, coding and decoding, beside copying as much; or, with COSTS, decoding chunks of every
 * coder to float32, *report being a table of costs as policy/costs.h reads it. With an archive:
 * size and time of each coder and page size on a sample of the archive's quantised weights. */
enum qins_status qn_bench_coders(const struct qn_bench_options *options, json_t **report,
                                 struct qins_error *err);

/* On one thread: chunks of weights that are kept bit for bit, on each CPU level, beside libzstd
 * with and without a shuffle of bytes, peers and memcpy(); decoding from and to memory, and to one
 * place over and over. */
enum qins_status qn_bench_lossless(const struct qn_bench_options *options, json_t **report,
                                   struct qins_error *err);

/* Products of a matrix larger than the caches with one and more rows of inputs, on one thread and
 * several: of floats, of codes as they are packed or entropy-coded (model/packed.h), and of codes
 * that are decoded to memory first, or a few rows at a time to a buffer; beside reading and copying
 * as many bytes. MEBI Mi weights; 0: 64, more where the last cache takes more than half of that. */
enum qins_status qn_bench_gemv(const struct qn_bench_options *options, json_t **report,
                               struct qins_error *err);

/* Converts, verifies and restores synthetic checkpoints of F32 and BF16 by several codings, on one
 * thread and on THREADS, beside copying a file and memcpy(). MEBI: of each checkpoint; 0: 256. The
 * folder needs room for about four times as much. */
enum qins_status qn_bench_convert(const struct qn_bench_options *options, json_t **report,
                                  struct qins_error *err);

#endif
