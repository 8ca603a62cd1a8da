/* What the sweeps over chunks of convert, verify and restore share: buffers that workers borrow. */
#ifndef QINS_CONVERT_WORK_H
#define QINS_CONVERT_WORK_H

#include "core/clock.h"
#include "formats/archive/chunk_map.h"
#include "formats/codec/chunk.h"
#include "formats/codec/search.h"

#include <pthread.h>

/* Buffers of one running worker. */
struct qn_workspace {
    struct qn_buf source, decoded, payload, result;
    struct qn_buf runs; /* struct qn_chunk_run, qn_shape_runs() */
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

#endif
