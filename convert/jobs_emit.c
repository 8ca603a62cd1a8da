/* Jobs written down for engines. The scripts are those of examples/, which take what is theirs from
 * the environment or from lists beside them. */
#include "convert/jobs.h"

#include "core/buf.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Embedded by the build. */
extern const char qn_slurm_submit[], qn_slurm_array[], qn_slurm_merge[], qn_slurm_report[],
    qn_parallel_run[], qn_snakefile[];
extern const size_t qn_slurm_submit_size, qn_slurm_array_size, qn_slurm_merge_size,
    qn_slurm_report_size, qn_parallel_run_size, qn_snakefile_size;

static const char *const engine_names[QN_ENGINES] = {"slurm", "parallel", "snakemake"};

const char *const *qn_job_engine_names(void)
{
    return engine_names;
}

/* Commands in the order in which a job's are run. */
enum list { L_PREPARE, L_TASKS, L_MERGE, L_VERIFY, N_LISTS };
static const char *const list_names[N_LISTS] = {"prepare", "tasks", "merge", "verify"};

struct emission {
    const struct qn_jobs *jobs;
    const char *dir;
    char *here; /* paths of the manifest are relative to it */
    json_t *files;
    size_t tasks;
};

static enum qins_status put(struct qn_buf *b, const char *text, struct qins_error *err)
{
    return qn_buf_append(b, text, strlen(text), err);
}

static enum qins_status put_all(struct qn_buf *b, const char *const *texts, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (; *texts && st == QINS_OK; texts++)
        st = put(b, *texts, err);
    return st;
}

static bool has_controls(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return true;
    return false;
}

/* TEXT as one word of bash on one line, whatever is in it. */
static enum qins_status put_quoted(struct qn_buf *b, const char *text, struct qins_error *err)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./,:=+@";
    const bool ansi = has_controls(text);
    char byte[8];
    if (text[0] && text[strspn(text, plain)] == '\0')
        return put(b, text, err);
    enum qins_status st = put(b, ansi ? "$'" : "'", err);
    for (; *text && st == QINS_OK; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c < ' ' || c == 0x7f)
            snprintf(byte, sizeof byte, "\\x%02x", c);
        else if (c == '\'')
            snprintf(byte, sizeof byte, ansi ? "\\'" : "'\\''");
        else if (c == '\\' && ansi)
            snprintf(byte, sizeof byte, "\\\\");
        else
            snprintf(byte, sizeof byte, "%c", c);
        st = put(b, byte, err);
    }
    return st == QINS_OK ? put(b, "'", err) : st;
}

/* Words BEGIN … END - 1, a blank before each. */
static enum qins_status put_words(struct qn_buf *b, char *const *words, size_t begin, size_t end,
                                  struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = begin; i < end && st == QINS_OK; i++) {
        st = put(b, " ", err);
        if (st == QINS_OK)
            st = put_quoted(b, words[i], err);
    }
    return st;
}

static const char program[] = "\"${QINS:-qins}\"";

/* A command of qins and MORE behind its options. */
static enum qins_status put_command(struct qn_buf *b, const struct qn_command *c, const char *more,
                                    struct qins_error *err)
{
    size_t operands = 0;
    while (strcmp(c->words[operands], "--") != 0)
        operands++;
    enum qins_status st = put(b, program, err);
    if (st == QINS_OK)
        st = put_words(b, c->words, 0, operands, err);
    if (st == QINS_OK)
        st = put(b, more, err);
    return st == QINS_OK ? put_words(b, c->words, operands, c->n, err) : st;
}

/* "cd HERE", from where the manifest's paths are right. */
static enum qins_status put_here(struct qn_buf *b, const struct emission *e, struct qins_error *err)
{
    enum qins_status st = put(b, "cd ", err);
    return st == QINS_OK ? put_quoted(b, e->here, err) : st;
}

/* The same, and AND the folder of JOB's output, which need not be there yet. */
static enum qins_status put_folder(struct qn_buf *b, const struct emission *e,
                                   const struct qn_job *job, const char *and,
                                   struct qins_error *err)
{
    enum qins_status st = put_here(b, e, err);
    char *dir = qn_path_dir(job->output, err);
    if (st == QINS_OK && !dir)
        st = QINS_ERR_MEMORY;
    if (st == QINS_OK && strcmp(dir, ".") != 0) {
        const char *const make[] = {and, "mkdir -p -- ", NULL};
        st = put_all(b, make, err);
        if (st == QINS_OK)
            st = put_quoted(b, dir, err);
    }
    free(dir);
    return st;
}

/* { [ MADE -nt BEFORE ] || qins ...; }: what is newer than what it is made by stands, so that a job
 * that is submitted again does not begin with another calibration, of which its parts are not. */
static enum qins_status put_unless_newer(struct qn_buf *b, const struct qn_command *c,
                                         const char *before, struct qins_error *err)
{
    const char *const texts[] = {" && { [ ", c->words[2], " -nt ", before, " ] || ", NULL};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; texts[i] && st == QINS_OK; i++)
        st = i % 2 ? put_quoted(b, texts[i], err) : put(b, texts[i], err);
    if (st == QINS_OK)
        st = put_command(b, c, " --quiet", err);
    return st == QINS_OK ? put(b, "; }", err) : st;
}

/* LIST: the name of the file that this goes into. */
static enum qins_status put_prepare(struct qn_buf *b, const struct emission *e,
                                    const struct qn_job *job, const char *list,
                                    struct qins_error *err)
{
    char *path = qn_path_join(e->dir, list, err);
    const char *before = path;
    enum qins_status st = path ? put_folder(b, e, job, " && ", err) : QINS_ERR_MEMORY;
    for (int step = QN_JOB_CALIBRATE; step <= QN_JOB_PLAN && st == QINS_OK; step++) {
        const struct qn_command *c = &job->steps[step];
        if (c->n == 0)
            continue;
        st = put_unless_newer(b, c, before, err);
        before = c->words[2];
    }
    free(path);
    return st;
}

/* qins merge -o OUT -- OUT-?????-of-N, by a glob that only bash expands. */
static enum qins_status put_merge(struct qn_buf *b, const struct qn_job *job,
                                  struct qins_error *err)
{
    char parts[64];
    snprintf(parts, sizeof parts, "-[0-9][0-9][0-9][0-9][0-9]-of-%05u", job->shards);
    const char *const before[] = {" && ", program, " merge --quiet -o ", NULL};
    enum qins_status st = put_all(b, before, err);
    if (st == QINS_OK)
        st = put_quoted(b, job->output, err);
    if (st == QINS_OK)
        st = put(b, " -- ", err);
    if (st == QINS_OK)
        st = put_quoted(b, job->output, err);
    return st == QINS_OK ? put(b, parts, err) : st;
}

static size_t lines_of(const struct qn_job *job, enum list list)
{
    switch (list) {
    case L_PREPARE:
        return job->steps[QN_JOB_CALIBRATE].n > 0 || job->steps[QN_JOB_PLAN].n > 0;
    case L_TASKS:
        return job->shards;
    case L_MERGE:
        return job->shards > 1;
    default:
        return job->steps[QN_JOB_VERIFY].n > 0;
    }
}

/* Line I, from 0 on, of a job in LIST, whose file is called NAME. */
static enum qins_status put_line(struct qn_buf *b, const struct emission *e,
                                 const struct qn_job *job, enum list list, const char *name,
                                 size_t i, struct qins_error *err)
{
    char more[48] = " --resume --quiet";
    if (list == L_PREPARE)
        return put_prepare(b, e, job, name, err);
    enum qins_status st =
        list == L_TASKS ? put_folder(b, e, job, " && ", err) : put_here(b, e, err);
    if (st == QINS_OK && list == L_MERGE)
        return put_merge(b, job, err);
    if (list == L_VERIFY)
        snprintf(more, sizeof more, " --quiet");
    else if (job->shards > 1)
        snprintf(more, sizeof more, " --shard %zu/%u --quiet", i + 1, job->shards);
    if (st == QINS_OK)
        st = put(b, " && ", err);
    return st == QINS_OK
               ? put_command(b, &job->steps[list == L_VERIFY ? QN_JOB_VERIFY : QN_JOB_CONVERT],
                             more, err)
               : st;
}

/* What line I of a job in LIST makes, or looks at, as one word from anywhere, and a tab. */
static enum qins_status put_made(struct qn_buf *b, const struct emission *e,
                                 const struct qn_job *job, enum list list, size_t i,
                                 struct qins_error *err)
{
    const bool planned = job->steps[QN_JOB_PLAN].n > 0;
    const char *path = job->output;
    char part[32] = "";
    if (list == L_PREPARE)
        path = job->steps[planned ? QN_JOB_PLAN : QN_JOB_CALIBRATE].words[2];
    if (list == L_TASKS && job->shards > 1)
        snprintf(part, sizeof part, "-%05zu-of-%05u", i + 1, job->shards);
    char *made = qn_format(err, "%s%s%s%s", path[0] == '/' ? "" : e->here,
                           path[0] == '/' ? "" : "/", path, part);
    enum qins_status st = made ? put_quoted(b, made, err) : QINS_ERR_MEMORY;
    free(made);
    return st == QINS_OK ? put(b, "\t", err) : st;
}

static enum qins_status save(struct emission *e, const char *name, const void *data, size_t size,
                             struct qins_error *err)
{
    char *path = qn_path_join(e->dir, name, err);
    enum qins_status st = path ? qn_write_whole(path, data, size, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        qn_json_append(&e->files, qn_json_text(path));
    free(path);
    return st;
}

/* LIST of all jobs; where TABLE, the job's number and what is made stand before each line. */
static enum qins_status emit_list(struct emission *e, enum list list, bool table,
                                  struct qins_error *err)
{
    struct qn_buf b = {0};
    char name[32], number[24];
    enum qins_status st = QINS_OK;
    snprintf(name, sizeof name, "%s.%s", list_names[list], table ? "tsv" : "txt");
    for (size_t k = 0; k < e->jobs->n && st == QINS_OK; k++) {
        const struct qn_job *job = &e->jobs->items[k];
        const size_t n = lines_of(job, list);
        snprintf(number, sizeof number, "%zu\t", k + 1);
        for (size_t i = 0; i < n && st == QINS_OK; i++) {
            st = put(&b, table ? number : "", err);
            if (st == QINS_OK && table)
                st = put_made(&b, e, job, list, i, err);
            if (st == QINS_OK)
                st = put_line(&b, e, job, list, name, i, err);
            if (st == QINS_OK)
                st = put(&b, "\n", err);
        }
        e->tasks += n;
    }
    if (st == QINS_OK)
        st = save(e, name, b.data ? (const void *)b.data : "", b.size, err);
    qn_buf_finish(&b);
    return st;
}

static enum qins_status emit_lists(struct emission *e, bool table, struct qins_error *err)
{
    enum qins_status st = table ? save(e, "Snakefile", qn_snakefile, qn_snakefile_size, err)
                                : save(e, "run.sh", qn_parallel_run, qn_parallel_run_size, err);
    for (int list = 0; list < N_LISTS && st == QINS_OK; list++)
        st = emit_list(e, (enum list)list, table, err);
    return st;
}

/* A batch script of its own for what comes before the array; its name, too. */
static enum qins_status emit_prepare(struct emission *e, size_t k, char *name, size_t size,
                                     struct qins_error *err)
{
    struct qn_buf b = {0};
    snprintf(name, size, "prepare-%05zu.sbatch", k + 1);
    enum qins_status st = put(&b,
                              "#!/bin/bash\n#SBATCH --job-name=qins-prepare\n#SBATCH --requeue\n"
                              "#SBATCH --open-mode=append\n",
                              err);
    if (st == QINS_OK)
        st = put_prepare(&b, e, &e->jobs->items[k], name, err);
    if (st == QINS_OK)
        st = put(&b, "\n", err);
    if (st == QINS_OK)
        st = save(e, name, b.data, b.size, err);
    qn_buf_finish(&b);
    return st;
}

/* NAME=QUOTED and a blank. */
static enum qins_status put_variable(struct qn_buf *b, const char *name, const char *value,
                                     struct qins_error *err)
{
    const char *const texts[] = {name, "=", NULL};
    enum qins_status st = put_all(b, texts, err);
    if (st == QINS_OK)
        st = put_quoted(b, value, err);
    return st == QINS_OK ? put(b, " ", err) : st;
}

/* The options of `convert` alone, as OPTIONS of submit.sh has them. */
static enum qins_status put_options(struct qn_buf *b, const struct qn_job *job,
                                    struct qins_error *err)
{
    const struct qn_command *c = &job->steps[QN_JOB_CONVERT];
    struct qn_buf options = {0};
    enum qins_status st = put_words(&options, c->words, 3, c->n - 2, err);
    if (st == QINS_OK)
        st = qn_buf_append_zeros(&options, 1, err);
    if (st == QINS_OK)
        st = put_variable(b, "OPTIONS", (const char *)options.data, err);
    qn_buf_finish(&options);
    return st;
}

/* --output=OUT.prepare.log, where sbatch would take % for a pattern. */
static enum qins_status put_log(struct qn_buf *b, const struct qn_job *job, struct qins_error *err)
{
    static const char end[] = ".prepare.log";
    struct qn_buf path = {0};
    enum qins_status st = QINS_OK;
    for (const char *c = job->output; *c && st == QINS_OK; c++)
        st = qn_buf_append(&path, *c == '%' ? "%%" : c, *c == '%' ? 2 : 1, err);
    if (st == QINS_OK)
        st = qn_buf_append(&path, end, sizeof end, err);
    if (st == QINS_OK)
        st = put(b, "--output=", err);
    if (st == QINS_OK)
        st = put_quoted(b, (const char *)path.data, err);
    qn_buf_finish(&path);
    return st;
}

/* Submits NAME; the array waits for it. */
static enum qins_status put_preparation(struct qn_buf *b, const struct emission *e,
                                        const struct qn_job *job, const char *name,
                                        struct qins_error *err)
{
    const char *const texts[] = {" ${SBATCH_OPTIONS:-} \"$here/", name, "\")\n",
                                 "DEPENDENCY=afterok:${prepare%%;*} ", NULL};
    enum qins_status st = put_folder(b, e, job, "\n", err);
    if (st == QINS_OK)
        st = put(b, "\nprepare=$(sbatch --parsable --export=ALL ", err);
    if (st == QINS_OK)
        st = put_log(b, job, err);
    return st == QINS_OK ? put_all(b, texts, err) : st;
}

static enum qins_status put_submission(struct qn_buf *b, struct emission *e, size_t k,
                                       struct qins_error *err)
{
    const struct qn_job *job = &e->jobs->items[k];
    char name[40], text[80];
    enum qins_status st = QINS_OK;
    if (lines_of(job, L_PREPARE) > 0) {
        st = emit_prepare(e, k, name, sizeof name, err);
        st = st == QINS_OK ? put_preparation(b, e, job, name, err) : st;
    }
    if (st == QINS_OK)
        st = put_variable(b, "MODEL", job->model, err);
    if (st == QINS_OK)
        st = put_variable(b, "OUT", job->output, err);
    if (st == QINS_OK)
        st = put_options(b, job, err);
    snprintf(text, sizeof text, "VERIFY=%d bash \"$here/submit.sh\" %u\n",
             job->steps[QN_JOB_VERIFY].n > 0, job->shards);
    e->tasks += lines_of(job, L_PREPARE) + job->shards + 2;
    return st == QINS_OK ? put(b, text, err) : st;
}

static enum qins_status emit_slurm(struct emission *e, struct qins_error *err)
{
    const struct {
        const char *name, *text;
        size_t size;
    } scripts[] = {{"submit.sh", qn_slurm_submit, qn_slurm_submit_size},
                   {"convert-array.sbatch", qn_slurm_array, qn_slurm_array_size},
                   {"merge.sbatch", qn_slurm_merge, qn_slurm_merge_size},
                   {"report.sbatch", qn_slurm_report, qn_slurm_report_size}};
    struct qn_buf b = {0};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts && st == QINS_OK; i++)
        st = save(e, scripts[i].name, scripts[i].text, scripts[i].size, err);
    if (st == QINS_OK)
        st = put(&b,
                 "#!/bin/bash\n# Submits all jobs of a manifest; prints the ids of each.\n"
                 "set -euo pipefail\nhere=$(dirname \"$(readlink -f \"$0\")\")\n",
                 err);
    if (st == QINS_OK)
        st = put_here(&b, e, err);
    if (st == QINS_OK)
        st = put(&b, "\n", err);
    for (size_t k = 0; k < e->jobs->n && st == QINS_OK; k++)
        st = put_submission(&b, e, k, err);
    if (st == QINS_OK)
        st = save(e, "submit-all.sh", b.data, b.size, err);
    qn_buf_finish(&b);
    return st;
}

enum qins_status qn_jobs_emit(const struct qn_jobs *jobs, enum qn_job_engine engine,
                              const char *dir, json_t **report, struct qins_error *err)
{
    struct emission e = {.jobs = jobs, .dir = dir};
    json_t *j = NULL;
    enum qins_status st = QINS_OK;
    e.here = getcwd(NULL, 0);
    if (!e.here)
        return qn_fail_errno(err, ".", "cannot tell the working folder");
    e.files = json_array();
    st = qn_make_directories(dir, err);
    if (st == QINS_OK)
        st = engine == QN_ENGINE_SLURM ? emit_slurm(&e, err)
                                       : emit_lists(&e, engine == QN_ENGINE_SNAKEMAKE, err);
    if (st == QINS_OK) {
        j = qn_report_begin("qins/batch/1");
        qn_json_put(&j, "emitted", json_string(engine_names[engine]));
        qn_json_put(&j, "jobs", json_integer((json_int_t)jobs->n));
        qn_json_put(&j, "tasks", json_integer((json_int_t)e.tasks));
        qn_json_put(&j, "files", json_incref(e.files));
        st = j ? QINS_OK : qn_fail_memory(err);
        *report = j;
    }
    json_decref(e.files);
    free(e.here);
    return st;
}
