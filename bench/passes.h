/* A prefill and the decoding of single tokens behind it, to be run over and over. */
#ifndef QINS_BENCH_PASSES_H
#define QINS_BENCH_PASSES_H

#include "model/ids.h"
#include "model/session.h"

struct qn_passes_options {
    size_t tokens;        /* of a prefill, and of the sequence that decoding ends */
    size_t decoded;       /* its last tokens, one at a time; the others are in the cache before */
    size_t batch;         /* of a prefill; 0: at most QN_PASSES_BATCH */
    struct qn_pool *pool; /* or NULL */
    const struct qn_kv_options *kv;     /* or NULL: a plain cache */
    const struct qn_listener *listener; /* or NULL; outlives the passes */
};
enum { QN_PASSES_BATCH = 512 };

struct qn_passes {
    const struct qn_ids *ids;
    struct qn_passes_options options;
    struct qn_session *prefill, *decode;
    float *logits; /* [vocab] */
};

/* IDS, of which there are options.tokens, outlive it. Zero-initialised before; finish it whatever
 * the result. */
enum qins_status qn_passes_init(struct qn_passes *p, const struct qn_model *m,
                                const struct qn_ids *ids, const struct qn_passes_options *options,
                                struct qins_error *err);
void qn_passes_finish(struct qn_passes *p);

/* What a candidate runs. */
struct qn_passes_run {
    struct qn_passes *passes;
    /* Before each forward pass, which is a batch of a prefill or a token; or NULL. */
    enum qins_status (*before)(void *ctx, struct qins_error *err);
    void *ctx;
};
/* As run() of struct qn_bench_candidate: CTX is a struct qn_passes_run. */
enum qins_status qn_run_prefill(void *ctx, struct qins_error *err);
enum qins_status qn_run_decode(void *ctx, struct qins_error *err);

#endif
