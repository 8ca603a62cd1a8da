#include "core/pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Turns of a waiting loop before the thread sleeps: some microseconds, about what going to sleep
 * and being woken costs. */
enum { SPIN_TURNS = 200 };

/* Loops are numbered. The ticket holds the number of the present loop and the next item nobody
 * has taken, so that a thread which wakes up late can never take an item of another loop than
 * the one whose description it has read. */
struct qn_pool {
    _Alignas(64) atomic_uint_least64_t ticket; /* loop << 32 | item */
    _Alignas(64) atomic_size_t done;           /* items of this loop that are finished */
    _Alignas(64) atomic_uint alarm;            /* what workers sleep on; one more a loop */
    _Atomic uint32_t sleepers;
    atomic_uint finished; /* what the caller sleeps on; one more a loop that it slept in */
    atomic_bool caller_sleeps, halt;
    /* The loop's description: written between loops, read by late workers at any time. */
    atomic_size_t n;
    void (*_Atomic work)(void *, unsigned, size_t);
    void *_Atomic ctx;
    unsigned threads; /* with the caller */
    pthread_t *ids;   /* threads - 1 */
    struct qn_pool_worker {
        struct qn_pool *pool;
        unsigned number;
    } * workers;
};

static void futex_wait(atomic_uint *word, unsigned seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word, int threads)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static uint32_t loop_of(uint64_t ticket)
{
    return (uint32_t)(ticket >> 32);
}

/* Takes items of loop LOOP until there are none. */
static void take_items(struct qn_pool *p, unsigned worker, uint32_t loop)
{
    uint64_t ticket = atomic_load(&p->ticket);
    for (;;) {
        size_t n = atomic_load(&p->n);
        void (*work)(void *, unsigned, size_t) = atomic_load(&p->work);
        void *ctx = atomic_load(&p->ctx);
        size_t item = (uint32_t)ticket;
        if (loop_of(ticket) != loop || item >= n)
            return;
        if (!atomic_compare_exchange_weak(&p->ticket, &ticket, ticket + 1))
            continue;
        work(ctx, worker, item);
        if (atomic_fetch_add(&p->done, 1) + 1 == n && atomic_load(&p->caller_sleeps)) {
            atomic_fetch_add(&p->finished, 1);
            futex_wake(&p->finished, 1);
        }
        ticket = atomic_load(&p->ticket);
    }
}

static void *worker_main(void *arg)
{
    struct qn_pool_worker *w = arg;
    struct qn_pool *p = w->pool;
    while (!atomic_load(&p->halt)) {
        unsigned seen = atomic_load(&p->alarm);
        take_items(p, w->number, loop_of(atomic_load(&p->ticket)));
        for (int i = 0; i < SPIN_TURNS && atomic_load(&p->alarm) == seen; i++)
            relax();
        if (atomic_load(&p->alarm) != seen)
            continue;
        atomic_fetch_add(&p->sleepers, 1);
        if (!atomic_load(&p->halt))
            futex_wait(&p->alarm, seen);
        atomic_fetch_sub(&p->sleepers, 1);
    }
    return NULL;
}

static void wake_workers(struct qn_pool *p, int threads)
{
    atomic_fetch_add(&p->alarm, 1);
    if (atomic_load(&p->sleepers) > 0)
        futex_wake(&p->alarm, threads);
}

/* Waits for items that other threads have begun. */
static void wait_until_done(struct qn_pool *p, size_t n)
{
    for (int i = 0; i < SPIN_TURNS && atomic_load(&p->done) < n; i++)
        relax();
    if (atomic_load(&p->done) == n)
        return;
    unsigned seen = atomic_load(&p->finished);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->done) < n) {
        futex_wait(&p->finished, seen);
        seen = atomic_load(&p->finished);
    }
    atomic_store(&p->caller_sleeps, false);
}

/* Publishes a loop. While its description changes, the ticket offers no item of any loop. */
static uint32_t publish(struct qn_pool *p, size_t n, void (*work)(void *, unsigned, size_t),
                        void *ctx)
{
    uint32_t loop = loop_of(atomic_load(&p->ticket)) + 1;
    atomic_store(&p->ticket, (uint64_t)loop << 32 | UINT32_MAX);
    atomic_store(&p->done, 0);
    atomic_store(&p->n, n);
    atomic_store(&p->work, work);
    atomic_store(&p->ctx, ctx);
    atomic_store(&p->ticket, (uint64_t)loop << 32);
    return loop;
}

void qn_pool_run(struct qn_pool *p, size_t n, void (*work)(void *ctx, unsigned worker, size_t item),
                 void *ctx)
{
    if (!p || p->threads == 1 || n < 2 || n >= UINT32_MAX) {
        for (size_t i = 0; i < n; i++)
            work(ctx, 0, i);
        return;
    }
    uint32_t loop = publish(p, n, work, ctx);
    size_t helpers = p->threads - 1 < n - 1 ? p->threads - 1 : n - 1;
    wake_workers(p, (int)helpers);
    take_items(p, 0, loop);
    wait_until_done(p, n);
}

unsigned qn_pool_threads(const struct qn_pool *p)
{
    return p ? p->threads : 1;
}

enum qins_status qn_pool_create(struct qn_pool **out, unsigned threads, struct qins_error *err)
{
    *out = NULL;
    if (threads < 1)
        threads = 1;
    struct qn_pool *p = aligned_alloc(_Alignof(struct qn_pool), sizeof *p);
    if (!p)
        return qn_fail_memory(err);
    *p = (struct qn_pool){.threads = 1};
    p->ids = calloc(threads, sizeof *p->ids);
    p->workers = calloc(threads, sizeof *p->workers);
    if (!p->ids || !p->workers) {
        qn_pool_destroy(p);
        return qn_fail_memory(err);
    }
    /* Fewer threads than asked for are slower, not wrong. */
    for (unsigned i = 1; i < threads; i++) {
        p->workers[i] = (struct qn_pool_worker){p, i};
        if (pthread_create(&p->ids[i - 1], NULL, worker_main, &p->workers[i]) != 0)
            break;
        p->threads = i + 1;
    }
    *out = p;
    return QINS_OK;
}

void qn_pool_destroy(struct qn_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->halt, true);
    wake_workers(p, INT_MAX);
    for (unsigned i = 1; i < p->threads; i++)
        pthread_join(p->ids[i - 1], NULL);
    free(p->ids);
    free(p->workers);
    free(p);
}
