/* Manifests of jobs (schema qins/jobs/1, docs/operations.md): which models become which archives,
 * and how; run one after another, or written down for an engine that schedules them. */
#ifndef QINS_CONVERT_JOBS_H
#define QINS_CONVERT_JOBS_H

#include "core/json.h"
#include "core/shard.h"
#include "core/thread.h"

#define QN_JOBS_SCHEMA "qins/jobs/1"

enum {
    QN_MAX_JOBS = 10000,
    QN_MAX_JOB_TEXT = 4096,       /* bytes of a name, a path or a value */
    QN_MAX_JOB_WORDS = 64,        /* of a command */
    QN_MAX_JOBS_SIZE = 16U << 20, /* bytes of a manifest */
};

enum qn_job_step {
    QN_JOB_CALIBRATE,
    QN_JOB_PLAN,
    QN_JOB_CONVERT,
    QN_JOB_VERIFY,
    QN_JOB_STEPS,
};

/* The words of a qins command, the verb first; n 0: this step is not asked for. */
struct qn_command {
    char *words[QN_MAX_JOB_WORDS + 1]; /* heap; NULL behind the last */
    size_t n;
};

struct qn_job {
    char *name, *model, *output;
    unsigned shards; /* >= 1; what an engine cuts `convert` into */
    struct qn_command steps[QN_JOB_STEPS];
    char **inputs; /* files beside the model that the job reads and does not make */
    size_t n_inputs;
};

struct qn_jobs {
    struct qn_job *items;
    size_t n;
};

/* Parses an untrusted manifest. QINS_ERR_USAGE, naming job and key, for what is no manifest: an
 * unknown key, a value that the key cannot have, two jobs of one name or one output. *out is to be
 * finished either way. */
enum qins_status qn_jobs_parse(const void *text, size_t size, struct qn_jobs *out,
                               struct qins_error *err);
enum qins_status qn_jobs_load(const char *path, struct qn_jobs *out, struct qins_error *err);
void qn_jobs_finish(struct qn_jobs *jobs);

/* QINS_ERR_USAGE, naming the file and who uses it, where a job or REPORT (a path, or NULL) would be
 * written over another job's output, a model, a file that a job reads, or MANIFEST, under whatever
 * spelling. A calibration or a plan that one job makes may be an input of a later one. Files of a
 * model's folder are known by their names. */
enum qins_status qn_jobs_check_files(const struct qn_jobs *jobs, const char *manifest,
                                     const char *report, struct qins_error *err);

/* "calibrate", "plan", "convert" or "verify". */
const char *qn_job_step_name(enum qn_job_step step);

struct qn_jobs_runner {
    /* Runs a command of qins. *report (may stay NULL) belongs to the caller. */
    enum qins_status (*run)(void *ctx, const struct qn_command *command, json_t **report,
                            struct qins_error *err);
    void *ctx;
    bool strict; /* the first failure ends all */
};

/* Runs the jobs one after another. What is done of a job stands in OUTPUT.job.json, so that a job
 * that an earlier call finished, of the same model, inputs and options, is not done again, and one
 * that was interrupted goes on. A job that fails does not stop the others. *report (schema
 * qins/batch/1) is set unless memory was short, and belongs to the caller. QINS_ERR_CHECK where a
 * job failed, QINS_ERR_INTERRUPTED. */
enum qins_status qn_jobs_run(const struct qn_jobs *jobs, const struct qn_jobs_runner *runner,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err);

/* What is written down for an engine. */
enum qn_job_engine { QN_ENGINE_SLURM, QN_ENGINE_PARALLEL, QN_ENGINE_SNAKEMAKE, QN_ENGINES };
const char *const *qn_job_engine_names(void); /* QN_ENGINES of them */
/* Writes the files of ENGINE into DIR, which is made if need be; they run the jobs from where this
 * process works. *report (schema qins/batch/1, with "emitted") belongs to the caller. */
enum qins_status qn_jobs_emit(const struct qn_jobs *jobs, enum qn_job_engine engine,
                              const char *dir, json_t **report, struct qins_error *err);

#endif
