#include "convert/jobs.h"

#include "convert/sources.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/folder.h"
#include "formats/archive/reader.h"

#include <stdlib.h>
#include <string.h>

/* OUTPUT.job.json: {"schema", "qins_version", "job", "steps": those that are done, "made": hashes
 * of what they made, "used": of what later steps were done with}. These differ where a file was
 * edited in between. */
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
    json_t *entry;             /* of the report */
    bool ran;                  /* any step */
    bool edited[QN_JOB_STEPS]; /* what it made is there, and has been edited since */
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
    for (size_t i = 0; i < job->n_inputs && st == QINS_OK; i++) {
        enum qn_entry what;
        st = qn_find(job->inputs[i], true, &what, err);
        if (st == QINS_OK && what != QN_ENTRY_NONE)
            st = qn_source_add_file(h, job->inputs[i], err);
    }
    const struct qn_digest d = qn_hasher_digest(h);
    qn_digest_hex(&d, w->digest);
    qn_hasher_destroy(h);
    return st;
}

/* What OUTPUT's user block says is its hash; "" where there is no archive. */
static enum qins_status archive_hash(const char *output, char hex[33], struct qins_error *err)
{
    struct qn_archive *a = NULL;
    bool there = false;
    enum qins_status st = qn_find_regular(output, &there, err);
    if (st != QINS_OK || !there)
        return st;
    st = qn_archive_open(&a, output, err);
    if (st == QINS_OK)
        qn_digest_hex(&a->body_hash, hex);
    qn_archive_destroy(a);
    /* One that is damaged is as good as none; one that cannot be read may be whole. */
    return st == QINS_ERR_IO || st == QINS_ERR_MEMORY ? st : QINS_OK;
}

static bool says(const json_t *object, const char *key, const char *text)
{
    const char *found = json_string_value(json_object_get(object, key));
    return found && strcmp(found, text) == 0;
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

/* The step whose file STEP looks at. */
static const char *maker(enum qn_job_step step)
{
    return qn_job_step_name(step == QN_JOB_VERIFY ? QN_JOB_CONVERT : step);
}

/* Whether HEX is what the record says that STEP made, or was "used" of it. */
static bool recorded(const json_t *record, const char *which, enum qn_job_step step,
                     const char *hex)
{
    return says(json_object_get(record, which), maker(step), hex);
}

static enum qins_status note_hash(struct work *w, const char *which, enum qn_job_step step,
                                  const char *hex, struct qins_error *err)
{
    json_t *hashes = json_object_get(w->record, which);
    return json_object_set_new(hashes, maker(step), json_string(hex)) == 0 ? QINS_OK
                                                                           : qn_fail_memory(err);
}

/* A file that is there to be edited between steps. */
static bool is_intermediate(enum qn_job_step step)
{
    return step == QN_JOB_CALIBRATE || step == QN_JOB_PLAN;
}

/* The hash of the file that STEP makes or looks at, "" where there is none. A calibration or a plan
 * that cannot be read is a failure, not absent: it may have been edited. */
static enum qins_status file_hash(const struct qn_job *job, enum qn_job_step step, char hex[33],
                                  struct qins_error *err)
{
    struct qn_digest d;
    const char *path = job->steps[step].words[2];
    bool there = false;
    hex[0] = '\0';
    if (!is_intermediate(step))
        return archive_hash(job->output, hex, err);
    enum qins_status st = qn_find_regular(path, &there, err);
    if (st != QINS_OK || !there)
        return st;
    st = qn_hash_file(path, &d, err);
    if (st == QINS_OK)
        qn_digest_hex(&d, hex);
    return st;
}

/* *EDITED: the plan that RECORD tells of is there, and another than was made. */
static enum qins_status is_plan_edited(const json_t *record, const struct qn_job *job, bool *edited,
                                       struct qins_error *err)
{
    char hex[33] = "";
    enum qins_status st = QINS_OK;
    if (job->steps[QN_JOB_PLAN].n > 0 &&
        json_object_get(json_object_get(record, "made"), maker(QN_JOB_PLAN)))
        st = file_hash(job, QN_JOB_PLAN, hex, err);
    *edited = hex[0] && !recorded(record, "made", QN_JOB_PLAN, hex);
    return st;
}

static void forget(struct work *w, enum qn_job_step step)
{
    json_t *steps = json_object_get(w->record, "steps");
    for (size_t i = json_array_size(steps); i-- > 0;) {
        const char *text = json_string_value(json_array_get(steps, i));
        if (text && strcmp(text, qn_job_step_name(step)) == 0)
            json_array_remove(steps, i);
    }
}

/* Steps behind STEP, whose file is HEX now, are to be done again, but a plan that was edited is
 * kept. */
static enum qins_status use(struct work *w, enum qn_job_step step, const char *hex,
                            struct qins_error *err)
{
    bool edited;
    if (recorded(w->record, "used", step, hex))
        return QINS_OK;
    enum qins_status st = is_plan_edited(w->record, w->job, &edited, err);
    if (st != QINS_OK)
        return st;
    for (int later = (int)step + 1; later < QN_JOB_STEPS; later++)
        if (later != QN_JOB_PLAN || !edited)
            forget(w, (enum qn_job_step)later);
    return note_hash(w, "used", step, hex, err);
}

/* *STANDS: what STEP made is there, and an archive is the one that was made. Calibration and plan
 * may have been edited since: then they are used as they are, and what follows is done again. */
static enum qins_status look(struct work *w, enum qn_job_step step, bool *stands,
                             struct qins_error *err)
{
    char hex[33] = "";
    enum qins_status st = is_done(w, step) ? file_hash(w->job, step, hex, err) : QINS_OK;
    const bool made = recorded(w->record, "made", step, hex);
    *stands = hex[0] && (made || is_intermediate(step));
    w->edited[step] = *stands && !made;
    return st == QINS_OK && *stands ? use(w, step, hex, err) : st;
}

static enum qins_status note_done(struct work *w, enum qn_job_step step, struct qins_error *err)
{
    char hex[33];
    json_t *steps = json_object_get(w->record, "steps");
    enum qins_status st = file_hash(w->job, step, hex, err);
    if (st == QINS_OK && step != QN_JOB_VERIFY)
        st = use(w, step, hex, err);
    if (st == QINS_OK && step != QN_JOB_VERIFY)
        st = note_hash(w, "made", step, hex, err);
    if (st == QINS_OK && !is_done(w, step) &&
        json_array_append_new(steps, json_string(qn_job_step_name(step))) != 0)
        st = qn_fail_memory(err);
    return st == QINS_OK ? qn_json_save(w->record_path, w->record, err) : st;
}

/* A plan that was edited is not made anew for another job: that would lose what was edited. */
static enum qins_status check_edited(const json_t *record, const struct qn_job *job,
                                     struct qins_error *err)
{
    bool edited;
    enum qins_status st = is_plan_edited(record, job, &edited, err);
    if (st != QINS_OK || !edited)
        return st;
    return qn_error_in_file(
        err,
        qn_fail(err, QINS_ERR_USAGE,
                "was edited, and the job has changed since: name it as the job's \"plan\" under "
                "another name, or remove it"),
        job->steps[QN_JOB_PLAN].words[2]);
}

/* One that is no JSON is none. */
static enum qins_status load_record(struct work *w, struct qins_error *err)
{
    struct qins_error bad = {.offset = QN_NO_OFFSET};
    bool there = false;
    enum qins_status st = qn_find_regular(w->record_path, &there, err);
    if (st != QINS_OK || !there)
        return st;
    w->record = qn_json_load(w->record_path, MAX_RECORD, &bad);
    if (w->record || bad.status == QINS_ERR_FORMAT)
        return QINS_OK;
    if (err)
        *err = bad;
    return bad.status;
}

/* The record of an earlier run of the same job, or a new one. */
static enum qins_status open_record(struct work *w, struct qins_error *err)
{
    w->record_path = qn_format(err, "%s.job.json", w->job->output);
    if (!w->record_path)
        return QINS_ERR_MEMORY;
    enum qins_status st = load_record(w, err);
    if (st != QINS_OK)
        return st;
    const bool known = says(w->record, "schema", RECORD_SCHEMA) &&
                       json_is_array(json_object_get(w->record, "steps")) &&
                       json_is_object(json_object_get(w->record, "made")) &&
                       json_is_object(json_object_get(w->record, "used"));
    if (known && says(w->record, "job", w->digest))
        return QINS_OK;
    st = known ? check_edited(w->record, w->job, err) : QINS_OK;
    json_decref(w->record);
    w->record = qn_report_begin(RECORD_SCHEMA);
    qn_json_put(&w->record, "job", json_string(w->digest));
    qn_json_put(&w->record, "steps", json_array());
    qn_json_put(&w->record, "made", json_object());
    qn_json_put(&w->record, "used", json_object());
    return st != QINS_OK || w->record ? st : qn_fail_memory(err);
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
    bool stands = c->n == 0;
    enum qins_status st = qn_check_stop(w->monitor, err);
    if (st == QINS_OK && !stands)
        st = look(w, step, &stands, err);
    if (st != QINS_OK || stands)
        return st;
    w->ran = true;
    st = w->runner->run(w->runner->ctx, c, &report, err);
    if (st == QINS_OK)
        copy_figures(&w->entry, report);
    json_decref(report);
    return st == QINS_OK ? note_done(w, step, err) : st;
}

/* Names in the entry what was edited and used as it is. */
static void tell_edited(struct work *w)
{
    json_t *paths = json_array();
    for (int step = 0; step < QN_JOB_STEPS; step++)
        if (w->edited[step])
            qn_json_append(&paths, qn_json_text(w->job->steps[step].words[2]));
    if (!paths || json_array_size(paths) > 0)
        qn_json_put(&w->entry, "edited", json_incref(paths));
    json_decref(paths);
}

/* The folder that the output and all that stands beside it go into. */
static enum qins_status make_folder(const struct qn_job *job, struct qins_error *err)
{
    char *dir = qn_path_dir(job->output, err);
    enum qins_status st = dir ? qn_make_directories(dir, err) : QINS_ERR_MEMORY;
    free(dir);
    return st;
}

static enum qins_status run_steps(struct work *w, struct qins_error *err)
{
    enum qins_status st = set_digest(w, err);
    if (st == QINS_OK)
        st = make_folder(w->job, err);
    if (st == QINS_OK)
        st = open_record(w, err);
    for (int step = 0; step < QN_JOB_STEPS && st == QINS_OK; step++)
        st = run_step(w, (enum qn_job_step)step, err);
    tell_edited(w);
    return st;
}

static const char *const status_names[] = {"done", "kept", "failed", "interrupted", "not_run"};
enum { S_DONE, S_KEPT, S_FAILED, S_INTERRUPTED, S_NOT_RUN, N_STATUSES };

/* Runs JOB and says in ENTRIES what came of it; its own failure is no failure of this. */
static void run_job(const struct qn_job *job, const struct qn_jobs_runner *runner,
                    const struct qn_monitor *monitor, bool skip, json_t **entries, int *status)
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
    if (*status == S_FAILED) {
        qins_error_format(&err, line, sizeof line);
        qn_json_put(&w.entry, "error", qn_json_text(line));
        qn_notice_failure(monitor, "job '%s' failed: %s", job->name, line);
    }
    qn_json_append(entries, w.entry);
    json_decref(w.record);
    free(w.record_path);
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
        run_job(&jobs->items[i], runner, monitor, skip, &entries, &status);
        counts[status]++;
    }
    qn_json_put(&j, "jobs", entries);
    for (int s = 0; s < N_STATUSES; s++)
        qn_json_put(&j, status_names[s], json_integer((json_int_t)counts[s]));
    qn_json_put(&j, "seconds", qn_json_real(qn_seconds() - begun));
    *report = j;
    return j ? verdict(counts, jobs, err) : qn_fail_memory(err);
}
