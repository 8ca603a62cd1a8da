#include "convert/work.h"

#include "core/bytes.h"

#include <stdlib.h>
#include <time.h>

enum qins_status qn_chunk_map_init(struct qn_chunk_map *m, size_t n,
                                   uint64_t (*count)(const void *ctx, size_t i), const void *ctx,
                                   struct qins_error *err)
{
    *m = (struct qn_chunk_map){.first = calloc(n + 1, sizeof *m->first), .n = n};
    if (!m->first)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        if (!qn_add_u64(m->first[i], count(ctx, i), &m->first[i + 1]))
            return qn_fail(err, QINS_ERR_UNSUPPORTED, "too many chunks");
    return QINS_OK;
}

void qn_chunk_map_finish(struct qn_chunk_map *m)
{
    free(m->first);
    *m = (struct qn_chunk_map){0};
}

void qn_chunk_map_find(const struct qn_chunk_map *m, uint64_t item, size_t *tensor, uint64_t *chunk)
{
    size_t low = 0, high = m->n; /* first[low] <= item < first[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (m->first[middle] <= item)
            low = middle;
        else
            high = middle;
    }
    *tensor = low;
    *chunk = item - m->first[low];
}

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

double qn_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
