#include "core/thread.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void tell(void (*to)(void *ctx, const char *line), void *ctx, const char *format, va_list ap)
{
    char line[1024];
    vsnprintf(line, sizeof line, format, ap);
    to(ctx, line);
}

void qn_notice(const struct qn_monitor *m, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (m && m->notice)
        tell(m->notice, m->ctx, format, ap);
    va_end(ap);
}

void qn_notice_failure(const struct qn_monitor *m, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (m && m->failure)
        tell(m->failure, m->ctx, format, ap);
    va_end(ap);
}

void qn_progress(const struct qn_monitor *m, const char *what, uint64_t done, uint64_t total)
{
    qn_progress_of(m, what, NULL, done, total);
}

void qn_progress_of(const struct qn_monitor *m, const char *what, const char *unit, uint64_t done,
                    uint64_t total)
{
    if (m && m->progress)
        m->progress(m->ctx, what, unit, done, total);
}

enum qins_status qn_check_stop(const struct qn_monitor *m, struct qins_error *err)
{
    if (m && m->stop && atomic_load(m->stop))
        return qn_fail(err, QINS_ERR_INTERRUPTED, "interrupted");
    return QINS_OK;
}

unsigned qn_cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n < 65536 ? (unsigned)n : 1;
}

enum slot_state { SLOT_FREE, SLOT_BUSY, SLOT_DONE };

struct slot {
    enum slot_state state;
    uint64_t item;
};

struct run {
    const struct qn_ordered *job;
    pthread_mutex_t lock;
    pthread_cond_t worker_wake, emitter_wake;
    struct slot *slots;
    uint64_t next; /* first item nobody has taken */
    bool halt;     /* take no more items */
    enum qins_status status;
    uint64_t failed_item;
    struct qins_error error;
};

/* Items are taken in order, so every item below a failed one is finished or in flight: waiting
 * for the flight makes the lowest failure the one reported, whatever the timing. */
static void record_failure(struct run *r, uint64_t item, enum qins_status st,
                           const struct qins_error *e)
{
    if (r->status == QINS_OK || item < r->failed_item) {
        r->status = st;
        r->failed_item = item;
        r->error = *e;
    }
    r->halt = true;
}

/* Slot of ITEM is fixed, item modulo slots, so a slot is free exactly when the item that many
 * places before was emitted. */
static struct slot *slot_of(struct run *r, uint64_t item)
{
    return &r->slots[item % r->job->slots];
}

static void *worker(void *arg)
{
    struct run *r = arg;
    struct qins_error e = {0};
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (!r->halt && r->next < r->job->end && slot_of(r, r->next)->state != SLOT_FREE)
            pthread_cond_wait(&r->worker_wake, &r->lock);
        if (r->halt || r->next >= r->job->end)
            break;
        uint64_t item = r->next++;
        struct slot *s = slot_of(r, item);
        *s = (struct slot){SLOT_BUSY, item};
        pthread_mutex_unlock(&r->lock);
        enum qins_status st = r->job->work(r->job->ctx, (unsigned)(item % r->job->slots), item, &e);
        pthread_mutex_lock(&r->lock);
        s->state = SLOT_DONE;
        if (st != QINS_OK)
            record_failure(r, item, st, &e);
        pthread_cond_signal(&r->emitter_wake);
    }
    pthread_cond_signal(&r->emitter_wake);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Runs on the calling thread with the lock held on entry and exit. */
static void emit_all(struct run *r)
{
    const struct qn_ordered *job = r->job;
    for (uint64_t item = job->first; item < job->end; item++) {
        struct slot *s = slot_of(r, item);
        while (!(r->next > item && s->state == SLOT_DONE) && !(r->halt && r->next <= item))
            pthread_cond_wait(&r->emitter_wake, &r->lock);
        if (r->next <= item || (r->status != QINS_OK && r->failed_item <= item))
            return;
        struct qins_error e = {0};
        pthread_mutex_unlock(&r->lock);
        enum qins_status st = qn_check_stop(job->monitor, &e);
        if (st == QINS_OK && job->emit)
            st = job->emit(job->ctx, (unsigned)(item % job->slots), item, &e);
        pthread_mutex_lock(&r->lock);
        s->state = SLOT_FREE;
        if (st != QINS_OK) {
            record_failure(r, item, st, &e);
            return;
        }
        pthread_cond_broadcast(&r->worker_wake);
    }
}

static enum qins_status run_serial(const struct qn_ordered *job, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (uint64_t i = job->first; i < job->end && st == QINS_OK; i++) {
        st = qn_check_stop(job->monitor, err);
        if (st == QINS_OK)
            st = job->work(job->ctx, 0, i, err);
        if (st == QINS_OK && job->emit)
            st = job->emit(job->ctx, 0, i, err);
    }
    return st;
}

static unsigned start_workers(struct run *r, pthread_t *ids, unsigned want)
{
    unsigned n = 0;
    while (n < want && pthread_create(&ids[n], NULL, worker, r) == 0)
        n++;
    return n;
}

enum qins_status qn_run_ordered(const struct qn_ordered *job, struct qins_error *err)
{
    uint64_t items = job->end > job->first ? job->end - job->first : 0;
    unsigned threads = job->threads < items ? job->threads : (unsigned)items;
    if (threads <= 1)
        return run_serial(job, err);

    struct run r = {.job = job, .next = job->first};
    pthread_t *ids = calloc(threads, sizeof *ids);
    r.slots = calloc(job->slots, sizeof *r.slots);
    if (!ids || !r.slots) {
        free(ids);
        free(r.slots);
        return qn_fail_memory(err);
    }
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.worker_wake, NULL);
    pthread_cond_init(&r.emitter_wake, NULL);

    unsigned started = start_workers(&r, ids, threads);
    if (started > 0) {
        pthread_mutex_lock(&r.lock);
        emit_all(&r);
        r.halt = true;
        pthread_cond_broadcast(&r.worker_wake);
        pthread_mutex_unlock(&r.lock);
        for (unsigned i = 0; i < started; i++)
            pthread_join(ids[i], NULL);
    }
    pthread_cond_destroy(&r.emitter_wake);
    pthread_cond_destroy(&r.worker_wake);
    pthread_mutex_destroy(&r.lock);
    free(r.slots);
    free(ids);
    if (started == 0)
        return run_serial(job, err);
    if (r.status != QINS_OK && err)
        *err = r.error;
    return r.status;
}
