#include "cli/cli.h"

#include "convert/jobs.h"
#include "core/file.h"

#include <stdio.h>
#include <string.h>

/* A command of a job, run like one that was typed. */
static enum qins_status run_command(void *ctx, const struct qn_command *command, json_t **report,
                                    struct qins_error *err)
{
    static const struct cli_verb *const verbs[] = {&cli_calibrate, &cli_plan, &cli_convert,
                                                   &cli_verify};
    const struct cli *parent = ctx;
    struct qn_command words = *command; /* cli_parse() takes what main() gets */
    struct cli c = {0};
    size_t i = 0;
    while (strcmp(verbs[i]->name, words.words[0]) != 0)
        i++;
    enum qins_status st = cli_parse(verbs[i], (int)words.n - 1, words.words + 1, &c, err);
    c.monitor = parent->monitor;
    c.threads = parent->threads;
    if (st == QINS_OK && verbs[i] == &cli_convert)
        c.value[OPT_RESUME] = "";
    if (st == QINS_OK)
        st = verbs[i]->run(&c, err);
    *report = c.report;
    return st;
}

static enum qins_status parse_engine(const char *text, enum qn_job_engine *out,
                                     struct qins_error *err)
{
    for (int i = 0; i < QN_ENGINES; i++)
        if (strcmp(text, qn_job_engine_names()[i]) == 0) {
            *out = (enum qn_job_engine)i;
            return QINS_OK;
        }
    return qn_fail(err, QINS_ERR_USAGE, "'--emit %s': 'slurm', 'parallel' or 'snakemake' is needed",
                   text);
}

static enum qins_status emit(struct cli *c, const struct qn_jobs *jobs, struct qins_error *err)
{
    enum qn_job_engine engine = QN_ENGINE_SLURM;
    if (!c->value[OPT_OUTPUT])
        return qn_fail(err, QINS_ERR_USAGE, "'--emit' needs '-o DIR'");
    enum qins_status st = parse_engine(c->value[OPT_EMIT], &engine, err);
    return st == QINS_OK ? qn_jobs_emit(jobs, engine, c->value[OPT_OUTPUT], &c->report, err) : st;
}

static enum qins_status run_all(struct cli *c, const struct qn_jobs *jobs, struct qins_error *err)
{
    const struct qn_jobs_runner runner = {
        .run = run_command, .ctx = c, .strict = c->value[OPT_STRICT] != NULL};
    struct qins_error save_err = {.offset = QN_NO_OFFSET};
    enum qins_status saved = cli_check_writable(c->value[OPT_SAVE], err);
    if (c->value[OPT_OUTPUT])
        return qn_fail(err, QINS_ERR_USAGE, "'-o' goes with '--emit'");
    if (saved != QINS_OK)
        return saved;
    enum qins_status st = qn_jobs_run(jobs, &runner, &c->monitor, &c->report, err);
    if (c->report && c->value[OPT_SAVE])
        saved = qn_json_save(c->value[OPT_SAVE], c->report, &save_err);
    if (saved == QINS_OK)
        return st;
    *err = save_err;
    return saved;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    struct qn_jobs jobs;
    enum qins_status st = qn_jobs_load(c->operand[0], &jobs, err);
    if (st == QINS_OK)
        st = qn_jobs_check_files(&jobs, c->operand[0], c->value[OPT_SAVE], err);
    if (st == QINS_OK)
        st = c->value[OPT_EMIT] ? emit(c, &jobs, err) : run_all(c, &jobs, err);
    qn_jobs_finish(&jobs);
    return st;
}

static enum qins_status print_emitted(const json_t *report)
{
    const json_t *file;
    size_t i;
    json_array_foreach(json_object_get(report, "files"), i, file)
        cli_print("%s\n", json_string_value(file));
    cli_print("%.0f jobs, %.0f tasks, for %s\n", cli_number(report, "jobs"),
              cli_number(report, "tasks"), cli_string(report, "emitted"));
    return QINS_OK;
}

/* What is to be said of a job beside its figures. */
static void note(struct cli_table *t, const json_t *job)
{
    const json_t *path, *edited = json_object_get(job, "edited");
    char text[1024] = "edited, used as it is: ";
    size_t i;
    if (cli_string(job, "error")[0])
        cli_note(t, cli_string(job, "error"));
    if (json_array_size(edited) == 0)
        return;
    json_array_foreach(edited, i, path)
    {
        const size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%s", i ? ", " : "",
                 qn_path_base(json_string_value(path)));
    }
    cli_note(t, text);
}

static enum qins_status print_report(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"job", "status", "seconds", "archive", "bits/weight"};
    const json_t *job;
    struct cli_table t;
    size_t i;
    char text[64];
    if (cli_string(report, "emitted")[0])
        return print_emitted(report);
    cli_table_begin(&t, "llrrr", heads);
    json_array_foreach(json_object_get(report, "jobs"), i, job)
    {
        const bool sized = json_object_get(job, "archive_bytes");
        cli_cell(&t, "%s", cli_string(job, "name"));
        cli_cell(&t, "%s", cli_string(job, "status"));
        cli_cell(&t, "%.2f", json_number_value(json_object_get(job, "seconds")));
        cli_cell(&t, "%s",
                 sized ? cli_bytes(cli_number(job, "archive_bytes"), text, sizeof text) : "-");
        if (json_is_number(json_object_get(job, "bits_per_weight")))
            cli_cell(&t, "%.3f", cli_number(job, "bits_per_weight"));
        else
            cli_cell(&t, "-");
        note(&t, job);
    }
    enum qins_status st = cli_table_print(&t, err);
    cli_print("%.0f done, %.0f kept, %.0f failed, %.0f not run, %.1f s\n",
              cli_number(report, "done"), cli_number(report, "kept"), cli_number(report, "failed"),
              cli_number(report, "not_run"), cli_number(report, "seconds"));
    return st;
}

const struct cli_verb cli_batch = {
    .name = "batch",
    .summary = "Runs a manifest of jobs, or writes them down for a scheduler.",
    .usage = "batch JOBS.json [--strict] [--save FILE]",
    .more_usage = {"batch JOBS.json --emit slurm|parallel|snakemake -o DIR"},
    .example = "qins batch night.json --save night-report.json",
    .options = {OPT_EMIT, OPT_OUTPUT, OPT_STRICT, OPT_SAVE},
    .help = {{OPT_OUTPUT, "folder for what --emit writes"},
             {OPT_STRICT, "stop at the first job that fails"}},
    .n_operands = 1,
    .run = run,
    .print = print_report,
};
