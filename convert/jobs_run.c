#include "convert/jobs.h"

#include "convert/sources.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/file.h"
#include "formats/archive/reader.h"

#include <stdlib.h>
#include <string.h>

/* OUTPUT.job.json: {"schema", "qins_version", "job", "steps": those that are done, "archive_hash"}
 */
#define RECORD_SCHEMA "qins/job/1"
enum { MAX_RECORD = 1 << 16 }; /* bytes */

/* One job while it runs. */
struct work {
    const struct qn_job *job;
    const struct qn_jobs_runner *runner;
    const struct qn_monitor *monitor;
    char digest[33]; /* of all that decides what comes out */
    char *record_path;
    json_t *record;
    json_t *entry; /* of the report */
    bool ran;      /* any step */
};

static void add_text(struct qn_hasher *h, const char *text)
{
    qn_hasher_add(h, text, strlen(text) + 1);
}

static enum qins_status add_model(struct qn_hasher *h, const char *model, struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    struct qn_digest d;
    enum qins_status st = qn_checkpoint_open(&ck, model, NULL, err);
    if (st == QINS_OK)
        st = qn_source_digest(ck, &d, err);
    if (st == QINS_OK)
        qn_hasher_add(h, d.bytes, sizeof d.bytes);
    qn_checkpoint_destroy(ck);
    return st;
}

static enum qins_status set_digest(struct work *w, struct qins_error *err)
{
    const struct qn_job *job = w->job;
    struct qn_hasher *h = qn_hasher_create();
    if (!h)
        return qn_fail_memory(err);
    add_text(h, qins_version());
    for (int step = 0; step < QN_JOB_STEPS; step++)
        for (size_t i = 0; i < job->steps[step].n; i++)
            add_text(h, job->steps[step].words[i]);
    enum qins_status st = add_model(h, job->model, err);
    /* Those that are missing are the step's to complain of. */
    for (size_t i = 0; i < job->n_inputs && st == QINS_OK; i++)
        if (qn_exists(job->inputs[i]))
            st = qn_source_add_file(h, job->inputs[i], err);
    const struct qn_digest d = qn_hasher_digest(h);
    qn_digest_hex(&d, w->digest);
    qn_hasher_destroy(h);
    return st;
}

/* What OUTPUT's user block says is its hash; false where there is no archive. */
static bool archive_hash(const char *output, char hex[33])
{
    struct qn_archive *a = NULL;
    const bool opened = qn_exists(output) && qn_archive_open(&a, output, NULL) == QINS_OK;
    if (opened)
        qn_digest_hex(&a->body_hash, hex);
    qn_archive_destroy(a);
    return opened;
}

static bool says(const json_t *object, const char *key, const char *text)
{
    const char *found = json_string_value(json_object_get(object, key));
    return found && strcmp(found, text) == 0;
}

/* The record of an earlier run of the same job, or a new one. */
static enum qins_status open_record(struct work *w, struct qins_error *err)
{
    w->record_path = qn_format(err, "%s.job.json", w->job->output);
    if (!w->record_path)
        return QINS_ERR_MEMORY;
    w->record = qn_exists(w->record_path) ? qn_json_load(w->record_path, MAX_RECORD, NULL) : NULL;
    if (says(w->record, "schema", RECORD_SCHEMA) && says(w->record, "job", w->digest) &&
        json_is_array(json_object_get(w->record, "steps")))
        return QINS_OK;
    json_decref(w->record);
    w->record = qn_report_begin(RECORD_SCHEMA);
    qn_json_put(&w->record, "job", json_string(w->digest));
    qn_json_put(&w->record, "steps", json_array());
    return w->record ? QINS_OK : qn_fail_memory(err);
}

static bool is_done(const struct work *w, enum qn_job_step step)
{
    const json_t *name;
    size_t i;
    json_array_foreach(json_object_get(w->record, "steps"), i, name)
    {
        const char *text = json_string_value(name);
        if (text && strcmp(text, qn_job_step_name(step)) == 0)
            return true;
    }
    return false;
}

/* Whether what STEP made is still what was made. */
static bool stands(const struct work *w, enum qn_job_step step)
{
    const struct qn_command *c = &w->job->steps[step];
    char hex[33];
    if (!is_done(w, step))
        return false;
    if (step == QN_JOB_CALIBRATE || step == QN_JOB_PLAN)
        return qn_exists(c->words[2]);
    return archive_hash(w->job->output, hex) && says(w->record, "archive_hash", hex);
}

static enum qins_status note_done(struct work *w, enum qn_job_step step, struct qins_error *err)
{
    char hex[33];
    json_t *steps = json_object_get(w->record, "steps");
    if (!is_done(w, step) && json_array_append_new(steps, json_string(qn_job_step_name(step))) != 0)
        return qn_fail_memory(err);
    if (step == QN_JOB_CONVERT && archive_hash(w->job->output, hex) &&
        json_object_set_new(w->record, "archive_hash", json_string(hex)) != 0)
        return qn_fail_memory(err);
    return qn_json_save(w->record_path, w->record, err);
}

/* Figures of the archive, of a report of `convert` or `verify`. */
static void copy_figures(json_t **entry, const json_t *report)
{
    static const char *const keys[] = {"input_bytes", "archive_bytes", "bits_per_weight"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(report, keys[i]);
        if (value)
            qn_json_put(entry, keys[i], json_incref(value));
    }
}

static enum qins_status run_step(struct work *w, enum qn_job_step step, struct qins_error *err)
{
    const struct qn_command *c = &w->job->steps[step];
    json_t *report = NULL;
    enum qins_status st = qn_check_stop(w->monitor, err);
    if (st != QINS_OK || c->n == 0 || stands(w, step))
        return st;
    w->ran = true;
    st = w->runner->run(w->runner->ctx, c, &report, err);
    if (st == QINS_OK)
        copy_figures(&w->entry, report);
    json_decref(report);
    return st == QINS_OK ? note_done(w, step, err) : st;
}

static enum qins_status run_steps(struct work *w, struct qins_error *err)
{
    enum qins_status st = set_digest(w, err);
    if (st == QINS_OK)
        st = open_record(w, err);
    for (int step = 0; step < QN_JOB_STEPS && st == QINS_OK; step++)
        st = run_step(w, (enum qn_job_step)step, err);
    return st;
}

static const char *const status_names[] = {"done", "kept", "failed", "interrupted", "not_run"};
enum { S_DONE, S_KEPT, S_FAILED, S_INTERRUPTED, S_NOT_RUN, N_STATUSES };

/* Runs JOB and says in ENTRIES what came of it; its own failure is no failure of this. */
static enum qins_status run_job(const struct qn_job *job, const struct qn_jobs_runner *runner,
                                const struct qn_monitor *monitor, bool skip, json_t **entries,
                                int *status)
{
    struct work w = {.job = job, .runner = runner, .monitor = monitor};
    struct qins_error err = {.offset = QN_NO_OFFSET};
    const double begun = qn_seconds();
    char line[1024];
    w.entry = json_object();
    qn_json_put(&w.entry, "name", qn_json_text(job->name));
    qn_json_put(&w.entry, "output", qn_json_text(job->output));
    enum qins_status st = skip ? QINS_OK : run_steps(&w, &err);
    *status = skip                         ? S_NOT_RUN
              : st == QINS_ERR_INTERRUPTED ? S_INTERRUPTED
              : st != QINS_OK              ? S_FAILED
              : w.ran                      ? S_DONE
                                           : S_KEPT;
    qn_json_put(&w.entry, "status", json_string(status_names[*status]));
    qn_json_put(&w.entry, "seconds", skip ? json_null() : qn_json_real(qn_seconds() - begun));
    if (*status == S_FAILED)
        qn_json_put(&w.entry, "error", qn_json_text(qins_error_format(&err, line, sizeof line)));
    qn_json_append(entries, w.entry);
    json_decref(w.record);
    free(w.record_path);
    return st;
}

static enum qins_status verdict(const size_t *counts, const struct qn_jobs *jobs,
                                struct qins_error *err)
{
    if (counts[S_INTERRUPTED] > 0)
        return qn_fail(err, QINS_ERR_INTERRUPTED,
                       "interrupted: %zu of %zu jobs are done; the same command goes on",
                       counts[S_DONE] + counts[S_KEPT], jobs->n);
    if (counts[S_FAILED] > 0)
        return qn_fail(err, QINS_ERR_CHECK, "%zu of %zu jobs failed", counts[S_FAILED], jobs->n);
    return QINS_OK;
}

enum qins_status qn_jobs_run(const struct qn_jobs *jobs, const struct qn_jobs_runner *runner,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err)
{
    size_t counts[N_STATUSES] = {0};
    const double begun = qn_seconds();
    json_t *j = qn_report_begin("qins/batch/1"), *entries = json_array();
    for (size_t i = 0; i < jobs->n; i++) {
        const bool skip = counts[S_INTERRUPTED] > 0 || (runner->strict && counts[S_FAILED] > 0);
        int status;
        const enum qins_status st =
            run_job(&jobs->items[i], runner, monitor, skip, &entries, &status);
        counts[status]++;
        if (!skip && st != QINS_OK && st != QINS_ERR_INTERRUPTED)
            qn_notice(monitor, "job '%s' failed: %s", jobs->items[i].name,
                      json_string_value(json_object_get(json_array_get(entries, i), "error")));
    }
    qn_json_put(&j, "jobs", entries);
    for (int s = 0; s < N_STATUSES; s++)
        qn_json_put(&j, status_names[s], json_integer((json_int_t)counts[s]));
    qn_json_put(&j, "seconds", qn_json_real(qn_seconds() - begun));
    *report = j;
    return j ? verdict(counts, jobs, err) : qn_fail_memory(err);
}
