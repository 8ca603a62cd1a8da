#include "core/pool.h"

#include "core/clock.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A thread that waits looks again and again for SPIN_SECONDS, about what it costs to sleep and be
 * woken on a virtual machine, giving its processor to whoever else wants it after the first
 * EAGER_TURNS. Then it sleeps. */
enum { EAGER_TURNS = 100, TURNS_A_LOOK = 20 };
#define SPIN_SECONDS 50e-6

/* Helpers cost more than they gain where another process keeps the processors busy: one that is
 * kept from running in the middle of an item holds up the loop. After each MEASURED_SECONDS of
 * helped loops the account is closed; if it shows a loss the caller works alone for a while, longer
 * from one loss to the next. */
#define MEASURED_SECONDS      10e-3
#define FIRST_ALONE_SECONDS   50e-3
#define LONGEST_ALONE_SECONDS 800e-3

struct account {
    double gain; /* what the caller's share of the items would have cost more */
    double loss; /* waking helpers, waiting for them */
    double time; /* of helped loops */
    double alone_until, alone_for;
};

/* Loops are numbered. The ticket holds the number of the present loop and the next item nobody
 * has taken, so that a thread which wakes up late can never take an item of another loop than
 * the one whose description it has read. */
struct qn_pool {
    _Alignas(64) atomic_uint_least64_t ticket; /* loop << 32 | item */
    _Alignas(64) atomic_size_t done;           /* items of this loop that are finished */
    _Alignas(64) atomic_uint alarm;            /* what workers wait for; one more a loop */
    _Atomic uint32_t sleepers;
    atomic_uint finished; /* what the caller waits for; one more a loop */
    atomic_bool caller_sleeps, halt;
    /* The loop's description: written between loops, read by late workers at any time. */
    atomic_size_t n;
    void (*_Atomic work)(void *, unsigned, size_t);
    void *_Atomic ctx;
    struct account account; /* the caller's */
    unsigned threads;       /* with the caller */
    pthread_t *ids;         /* threads - 1 */
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

/* Until *WORD is not what it was SEEN to be, or time is up. */
static void spin_while(const atomic_uint *word, unsigned seen)
{
    for (int i = 0; i < EAGER_TURNS && atomic_load(word) == seen; i++)
        relax();
    if (atomic_load(word) != seen)
        return;
    double end = qn_seconds() + SPIN_SECONDS;
    while (atomic_load(word) == seen && qn_seconds() < end) {
        for (int i = 0; i < TURNS_A_LOOK && atomic_load(word) == seen; i++)
            relax();
        sched_yield();
    }
}

static uint32_t loop_of(uint64_t ticket)
{
    return (uint32_t)(ticket >> 32);
}

/* Takes items of loop LOOP until there are none; returns how many. */
static size_t take_items(struct qn_pool *p, unsigned worker, uint32_t loop)
{
    uint64_t ticket = atomic_load(&p->ticket);
    for (size_t taken = 0;;) {
        size_t n = atomic_load(&p->n);
        void (*work)(void *, unsigned, size_t) = atomic_load(&p->work);
        void *ctx = atomic_load(&p->ctx);
        size_t item = (uint32_t)ticket;
        if (loop_of(ticket) != loop || item >= n)
            return taken;
        if (!atomic_compare_exchange_weak(&p->ticket, &ticket, ticket + 1))
            continue;
        work(ctx, worker, item);
        taken++;
        if (atomic_fetch_add(&p->done, 1) + 1 == n) {
            atomic_fetch_add(&p->finished, 1);
            if (atomic_load(&p->caller_sleeps))
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
        spin_while(&p->alarm, seen);
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
    unsigned seen = atomic_load(&p->finished);
    if (atomic_load(&p->done) < n)
        spin_while(&p->finished, seen);
    if (atomic_load(&p->done) == n)
        return;
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

static void close_account(struct account *a, double now)
{
    if (a->loss > a->gain) {
        a->alone_for = a->alone_for == 0.0 ? FIRST_ALONE_SECONDS : a->alone_for * 2;
        if (a->alone_for > LONGEST_ALONE_SECONDS)
            a->alone_for = LONGEST_ALONE_SECONDS;
        a->alone_until = now + a->alone_for;
    } else {
        a->alone_for = 0.0;
    }
    a->gain = a->loss = a->time = 0.0;
}

/* A loop of N items, of which the caller did OWN between AWAKE and EMPTY. */
static void enter(struct account *a, size_t n, size_t own, double start, double awake, double empty,
                  double end)
{
    double item = own > 0 ? (empty - awake) / (double)own : 0.0;
    a->gain += item * (double)(n - own);
    a->loss += (awake - start) + (end - empty);
    a->time += end - start;
    if (a->time >= MEASURED_SECONDS)
        close_account(a, end);
}

void qn_pool_run(struct qn_pool *p, size_t n, void (*work)(void *ctx, unsigned worker, size_t item),
                 void *ctx)
{
    bool shared = p && p->threads > 1 && n >= 2 && n < UINT32_MAX;
    double start = shared ? qn_seconds() : 0.0;
    if (!shared || start < p->account.alone_until) {
        for (size_t i = 0; i < n; i++)
            work(ctx, 0, i);
        return;
    }
    uint32_t loop = publish(p, n, work, ctx);
    size_t helpers = p->threads - 1 < n - 1 ? p->threads - 1 : n - 1;
    wake_workers(p, (int)helpers);
    double awake = qn_seconds();
    size_t own = take_items(p, 0, loop);
    double empty = qn_seconds();
    wait_until_done(p, n);
    enter(&p->account, n, own, start, awake, empty, qn_seconds());
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
