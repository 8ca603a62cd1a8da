/* A pool of threads for the short parallel loops of a forward pass. Unlike the ordered pipeline
 * (core/thread.h), whose items fail, wait and emit, its items are a few hundred microseconds of
 * arithmetic each, thousands of loops a second. */
#ifndef QINS_CORE_POOL_H
#define QINS_CORE_POOL_H

#include "core/error.h"

struct qn_pool;

/* THREADS >= 1 counts the calling thread. */
enum qins_status qn_pool_create(struct qn_pool **out, unsigned threads, struct qins_error *err);
void qn_pool_destroy(struct qn_pool *p);           /* accepts NULL */
unsigned qn_pool_threads(const struct qn_pool *p); /* 1 for NULL */

/* Calls WORK(ctx, worker, item) once for each item 0 … n-1, worker < threads, and returns when
 * all are done. Items are claimed one by one, so a thread that another process keeps from
 * running holds up at most the item it is at; where that costs more than the help is worth, the
 * calling thread works alone for a while. One loop at a time, from the thread that made the
 * pool. P may be NULL: all on the calling thread. */
void qn_pool_run(struct qn_pool *p, size_t n, void (*work)(void *ctx, unsigned worker, size_t item),
                 void *ctx);

#endif
