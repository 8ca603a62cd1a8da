#include "convert/calibrate_job.h"

#include "core/clock.h"

#include <stdlib.h>

static const double default_checkpoint = 30.0; /* seconds */

/* A copy of much data is made less often: it may take this share of the time. */
static const double checkpoint_share = 0.05;

static struct qn_tap_worker *take_worker(struct qn_calibrating *job)
{
    pthread_mutex_lock(&job->lock);
    struct qn_tap_worker *w = job->idle[--job->n_idle];
    pthread_mutex_unlock(&job->lock);
    return w;
}

static void give_worker(struct qn_calibrating *job, struct qn_tap_worker *w)
{
    pthread_mutex_lock(&job->lock);
    job->idle[job->n_idle++] = w;
    pthread_mutex_unlock(&job->lock);
}

static enum qins_status work(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct qn_calibrating *job = ctx;
    const struct qn_window *window = &job->windows.items[item];
    struct qn_tap_worker *w = take_worker(job);
    qn_tap_worker_begin(w, &job->slots[slot], (size_t)item);
    enum qins_status st = qn_session_forward(w->session, job->corpus->ids.data + window->first,
                                             window->n, &job->silent, err);
    if (st == QINS_OK && w->out_of_memory)
        st = qn_fail_memory(err);
    give_worker(job, w);
    return st;
}

static bool is_due(const struct qn_calibrating *job)
{
    const double wish = job->o->checkpoint_seconds, rest = job->saving_took / checkpoint_share;
    if (!job->keep || wish < 0)
        return job->keep;
    const double interval = wish > 0 ? wish : default_checkpoint;
    return qn_seconds() - job->saved >= (rest > interval ? rest : interval);
}

static enum qins_status emit(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct qn_calibrating *job = ctx;
    enum qins_status st = QINS_OK;
    if (job->pass == 0)
        st = qn_tap_slot_emit(job, &job->slots[slot], (size_t)item, err);
    if (st != QINS_OK)
        return st;
    job->done = item + 1;
    job->torn = false;
    job->tokens_done += job->windows.items[item].n;
    qn_progress_of(job->monitor, "calibrate", "tokens", job->tokens_done,
                   job->c.tokens * job->n_passes);
    return is_due(job) ? qn_calibrate_save(job, &job->silent, err) : QINS_OK;
}

static enum qins_status start(struct qn_calibrating *job, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    /* With more slots than threads, nobody waits for a window to be added up. */
    job->n_slots = job->threads > 1 ? 2 * job->threads : 1;
    job->slots = calloc(job->n_slots, sizeof *job->slots);
    job->workers = calloc(job->threads, sizeof *job->workers);
    job->idle = calloc(job->threads, sizeof(struct qn_tap_worker *));
    if (!job->slots || !job->workers || !job->idle)
        return qn_fail_memory(err);
    for (unsigned i = 0; i < job->n_slots && st == QINS_OK; i++)
        st = qn_tap_slot_init(&job->slots[i], job, err);
    for (unsigned i = 0; i < job->threads && st == QINS_OK; i++) {
        st = qn_tap_worker_init(&job->workers[i], job, err);
        job->idle[i] = &job->workers[i];
    }
    job->n_idle = job->threads;
    return st;
}

static void stop(struct qn_calibrating *job)
{
    for (unsigned i = 0; i < job->n_slots && job->slots; i++)
        qn_tap_slot_finish(&job->slots[i]);
    for (unsigned i = 0; i < job->threads && job->workers; i++)
        qn_tap_worker_finish(&job->workers[i]);
    free(job->slots);
    free(job->workers);
    free(job->idle);
    job->slots = NULL;
    job->workers = NULL;
    job->idle = NULL;
}

/* Brings OUT.part up to date where work was interrupted. */
static void save_interrupted(struct qn_calibrating *job)
{
    struct qins_error failure;
    if (qn_calibrate_save(job, NULL, &failure) != QINS_OK)
        qn_notice(job->monitor, "%s.part could not be written: %s", job->out, failure.message);
}

enum qins_status qn_calibrate_pass(struct qn_calibrating *job, struct qins_error *err)
{
    enum qins_status st = start(job, err);
    const struct qn_ordered run = {
        .work = work,
        .emit = emit,
        .ctx = job,
        .threads = job->threads,
        .slots = job->n_slots,
        .first = job->done,
        .end = job->windows.n,
        .monitor = job->monitor,
    };
    if (st == QINS_OK)
        st = qn_run_ordered(&run, err);
    stop(job);
    /* Where a window was given up half-way, the last copy stands. */
    if (st == QINS_ERR_INTERRUPTED && job->keep && !job->torn)
        save_interrupted(job);
    return st;
}

static enum qins_status save_measured(void *ctx, struct qins_error *err)
{
    struct qn_calibrating *job = ctx;
    return is_due(job) ? qn_calibrate_save(job, &job->silent, err) : QINS_OK;
}

enum qins_status qn_calibrate_sensitivity(struct qn_calibrating *job, struct qins_error *err)
{
    struct qn_sensitivity_options o = job->o->measure;
    const double begun = qn_seconds();
    o.threads = job->o->threads;
    o.shard = job->o->shard;
    o.measured = save_measured;
    o.ctx = job;
    enum qins_status st = qn_calibrate_touches(job, err);
    if (st == QINS_OK)
        st = qn_measure_sensitivity(job->m, job->corpus, job->c.options.context, &o, job->monitor,
                                    &job->c, err);
    job->measuring_took = qn_seconds() - begun;
    if (st == QINS_ERR_INTERRUPTED && job->keep)
        save_interrupted(job);
    return st;
}
