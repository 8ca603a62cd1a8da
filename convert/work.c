#include "convert/work.h"

#include <stdlib.h>

enum qins_status qn_workspace_pool_init(struct qn_workspace_pool *p, unsigned n,
                                        struct qins_error *err)
{
    *p = (struct qn_workspace_pool){.idle = calloc(n, sizeof(struct qn_workspace *))};
    if (!p->idle)
        return qn_fail_memory(err);
    pthread_mutex_init(&p->lock, NULL);
    while (p->n < n) {
        p->idle[p->n] = calloc(1, sizeof **p->idle);
        if (!p->idle[p->n]) {
            qn_workspace_pool_finish(p);
            return qn_fail_memory(err);
        }
        p->n_idle = ++p->n;
    }
    return QINS_OK;
}

void qn_workspace_pool_finish(struct qn_workspace_pool *p)
{
    if (!p->idle)
        return;
    for (unsigned i = 0; i < p->n_idle; i++) {
        struct qn_workspace *w = p->idle[i];
        qn_buf_finish(&w->source);
        qn_buf_finish(&w->decoded);
        qn_buf_finish(&w->payload);
        qn_buf_finish(&w->result);
        qn_buf_finish(&w->runs);
        qn_chunk_work_finish(&w->chunk);
        free(w);
    }
    pthread_mutex_destroy(&p->lock);
    free(p->idle);
    *p = (struct qn_workspace_pool){0};
}

struct qn_workspace *qn_workspace_take(struct qn_workspace_pool *p)
{
    pthread_mutex_lock(&p->lock);
    struct qn_workspace *w = p->idle[--p->n_idle];
    pthread_mutex_unlock(&p->lock);
    return w;
}

void qn_workspace_give(struct qn_workspace_pool *p, struct qn_workspace *w)
{
    pthread_mutex_lock(&p->lock);
    p->idle[p->n_idle++] = w;
    pthread_mutex_unlock(&p->lock);
}

enum qins_status qn_buf_resize(struct qn_buf *b, size_t size, struct qins_error *err)
{
    enum qins_status st = qn_buf_reserve(b, size, err);
    if (st == QINS_OK)
        b->size = size;
    return st;
}
