/* What the sweeps over chunks of convert, verify and restore share: numbering of the chunks of
 * many tensors as one run of items, and buffers that workers borrow. */
#ifndef QINS_CONVERT_WORK_H
#define QINS_CONVERT_WORK_H

#include "formats/archive/layout.h"
#include "formats/codec/chunk.h"
#include "formats/codec/search.h"

#include <pthread.h>

/* Chunks of tensors 0 ... n-1, numbered through. Zero-initialised is empty. */
struct qn_chunk_map {
    uint64_t *first; /* n + 1 of them: items before tensor i */
    size_t n;
};

/* COUNT(ctx, i) is the number of chunks of tensor i. */
enum qins_status qn_chunk_map_init(struct qn_chunk_map *m, size_t n,
                                   uint64_t (*count)(const void *ctx, size_t i), const void *ctx,
                                   struct qins_error *err);
void qn_chunk_map_finish(struct qn_chunk_map *m);
static inline uint64_t qn_chunk_map_total(const struct qn_chunk_map *m)
{
    return m->first[m->n];
}
/* ITEM < total. */
void qn_chunk_map_find(const struct qn_chunk_map *m, uint64_t item, size_t *tensor,
                       uint64_t *chunk);

/* Buffers of one running worker. */
struct qn_workspace {
    struct qn_buf source, decoded, payload;
    struct qn_chunk_work chunk;
    struct qn_hist hist;
};

/* As many workspaces as threads: a slot of the ordered pipeline holds only its result, so
 * memory grows with threads, not with slots. Thread-safe between init and finish. */
struct qn_workspace_pool {
    pthread_mutex_t lock;
    struct qn_workspace **idle;
    unsigned n_idle, n;
};

enum qins_status qn_workspace_pool_init(struct qn_workspace_pool *p, unsigned n,
                                        struct qins_error *err);
/* Every workspace must have come back. A zeroed pool is accepted. */
void qn_workspace_pool_finish(struct qn_workspace_pool *p);
/* At most n at a time: there is always one. */
struct qn_workspace *qn_workspace_take(struct qn_workspace_pool *p);
void qn_workspace_give(struct qn_workspace_pool *p, struct qn_workspace *w);

/* Sets the buffer's size to SIZE, contents unspecified. */
enum qins_status qn_buf_resize(struct qn_buf *b, size_t size, struct qins_error *err);

/* Seconds from a clock that never goes back. */
double qn_seconds(void);

#endif
