#include "convert/jobs.h"

#include "convert/limits.h"
#include "core/buf.h"
#include "core/file.h"
#include "formats/codec/codec.h"
#include "policy/defaults.h"

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const step_names[QN_JOB_STEPS] = {"calibrate", "plan", "convert", "verify"};

const char *qn_job_step_name(enum qn_job_step step)
{
    return step_names[step];
}

/* How a key's value becomes words of a command. */
enum kind {
    K_FLAG,   /* true: the option */
    K_WHOLE,  /* a whole number from min to max */
    K_REAL,   /* a number from min to max */
    K_AUTO,   /* the same, or "auto" */
    K_TEXT,   /* any text */
    K_GROUP,  /* "tensor", "row" or a whole number */
    K_INPUT,  /* a file that the job reads */
    K_INPUTS, /* one or several */
    K_OWN,    /* not of this table: the parser looks for it itself */
};

struct key {
    const char *name, *option;
    enum kind kind;
    double min, max;
};

static const struct key convert_keys[] = {
    {"model", NULL, K_OWN, 0, 0},
    {"output", NULL, K_OWN, 0, 0},
    {"name", NULL, K_OWN, 0, 0},
    {"shards", NULL, K_OWN, 0, 0},
    {"verify", NULL, K_OWN, 0, 0},
    {"calibrate", NULL, K_OWN, 0, 0},
    {"plan", NULL, K_OWN, 0, 0},
    {"comment", NULL, K_OWN, 0, 0},
    {"lossless", "--lossless", K_FLAG, 0, 0},
    {"bits", "--bits", K_WHOLE, QN_MIN_BITS, QN_MAX_BITS},
    {"codec", "--codec", K_TEXT, 0, 0},
    {"group", "--group", K_GROUP, 1, UINT32_MAX},
    {"kappa", "--kappa", K_AUTO, 0, 65536},
    {"clip", "--clip", K_AUTO, 0.01, 1},
    {"grid", "--grid", K_TEXT, 0, 0},
    {"rounding", "--rounding", K_TEXT, 0, 0},
    {"calibration", "--calibration", K_INPUT, 0, 0},
    {"transport", "--transport", K_INPUT, 0, 0},
    {NULL, NULL, K_OWN, 0, 0},
};

static const struct key calibrate_keys[] = {
    {"text", "--text", K_INPUTS, 0, 0},
    {"tokenizer", "--tokenizer", K_INPUT, 0, 0},
    {"tokens", "--tokens", K_WHOLE, 1, 0x1p62},
    {"context", "--context", K_WHOLE, 1, 1 << 24},
    {"seed", "--seed", K_WHOLE, 0, 0x1p62},
    {"keep_rows", "--keep-rows", K_WHOLE, 0, UINT32_MAX},
    {"gram", "--gram", K_FLAG, 0, 0},
    {"sensitivity", "--sensitivity", K_FLAG, 0, 0},
    {NULL, NULL, K_OWN, 0, 0},
};

static const struct key plan_keys[] = {
    {"policy", "--policy", K_INPUT, 0, 0},
    {"costs", "--costs", K_INPUT, 0, 0},
    {"target_bits", "--target-bits", K_REAL, DBL_MIN, 64},
    {"target_size", "--target-size", K_TEXT, 0, 0},
    {"max_error", "--max-error", K_REAL, DBL_MIN, DBL_MAX},
    {"rounding", "--rounding", K_TEXT, 0, 0},
    {NULL, NULL, K_OWN, 0, 0},
};

/* A job while it is read; PLACE is said before what is wrong: "job 3 ('x'): ". */
struct reading {
    struct qn_job *job;
    const json_t *object;
    char place[128];
};

static enum qins_status bad(const struct reading *r, struct qins_error *err, const char *key,
                            const char *want)
{
    return qn_fail(err, QINS_ERR_USAGE, "%s\"%s\" must be %s", r->place, key, want);
}

static enum qins_status add_word(struct qn_command *c, const char *word, struct qins_error *err)
{
    if (c->n == QN_MAX_JOB_WORDS)
        return qn_fail(err, QINS_ERR_USAGE, "a job's command has more than %d words",
                       QN_MAX_JOB_WORDS);
    c->words[c->n] = qn_strdup(word, err);
    if (!c->words[c->n])
        return QINS_ERR_MEMORY;
    c->n++;
    return QINS_OK;
}

static enum qins_status add_words(struct qn_command *c, const char *const *words,
                                  struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (; *words && st == QINS_OK; words++)
        st = add_word(c, *words, err);
    return st;
}

/* A text of 1 to QN_MAX_JOB_TEXT bytes, or NULL. */
static const char *text_of(const json_t *value)
{
    const size_t size = json_string_length(value);
    return size > 0 && size <= QN_MAX_JOB_TEXT ? json_string_value(value) : NULL;
}

/* A path as an argument that is taken for no option; heap. */
static char *path_word(const char *path, struct qins_error *err)
{
    return qn_format(err, "%s%s", path[0] == '-' ? "./" : "", path);
}

static enum qins_status add_path(struct qn_command *c, const char *path, struct qins_error *err)
{
    char *word = path_word(path, err);
    enum qins_status st = word ? add_word(c, word, err) : QINS_ERR_MEMORY;
    free(word);
    return st;
}

static enum qins_status add_input(struct reading *r, struct qn_command *c, const struct key *key,
                                  const json_t *value, struct qins_error *err)
{
    struct qn_job *job = r->job;
    const char *text = text_of(value);
    if (!text)
        return bad(r, err, key->name, "the path of a file");
    char **inputs = realloc(job->inputs, (job->n_inputs + 1) * sizeof *inputs);
    if (!inputs)
        return qn_fail_memory(err);
    job->inputs = inputs;
    inputs[job->n_inputs] = qn_strdup(text, err);
    if (!inputs[job->n_inputs])
        return QINS_ERR_MEMORY;
    job->n_inputs++;
    return add_path(c, text, err);
}

static enum qins_status add_inputs(struct reading *r, struct qn_command *c, const struct key *key,
                                   const json_t *value, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (!json_is_array(value))
        return add_input(r, c, key, value, err);
    if (json_array_size(value) == 0)
        return bad(r, err, key->name, "a file or a list of files");
    for (size_t i = 0; i < json_array_size(value) && st == QINS_OK; i++)
        st = add_input(r, c, key, json_array_get(value, i), err);
    return st;
}

static enum qins_status add_number(const struct reading *r, struct qn_command *c,
                                   const struct key *key, const json_t *value,
                                   struct qins_error *err)
{
    char text[96];
    const double x = json_number_value(value);
    const bool whole = key->kind == K_WHOLE || key->kind == K_GROUP;
    if (!json_is_number(value) || (whole && !json_is_integer(value)) ||
        !(x >= key->min && x <= key->max)) {
        snprintf(text, sizeof text, "a %snumber from %g to %g", whole ? "whole " : "", key->min,
                 key->max);
        return bad(r, err, key->name, text);
    }
    if (json_is_integer(value))
        snprintf(text, sizeof text, "%" PRId64, (int64_t)json_integer_value(value));
    else
        snprintf(text, sizeof text, "%.17g", x);
    return add_word(c, text, err);
}

static enum qins_status add_value(struct reading *r, struct qn_command *c, const struct key *key,
                                  const json_t *value, struct qins_error *err)
{
    const char *text = text_of(value);
    const bool names = text && (strcmp(text, "tensor") == 0 || strcmp(text, "row") == 0);
    enum qins_status st = QINS_OK;
    if (key->kind == K_FLAG) {
        if (!json_is_boolean(value))
            return bad(r, err, key->name, "true or false");
        return json_is_true(value) ? add_word(c, key->option, err) : QINS_OK;
    }
    st = add_word(c, key->option, err);
    if (st != QINS_OK)
        return st;
    if (key->kind == K_INPUT || key->kind == K_INPUTS)
        return add_inputs(r, c, key, value, err);
    if (key->kind == K_TEXT)
        return text ? add_word(c, text, err) : bad(r, err, key->name, "a text");
    if ((key->kind == K_AUTO && text && strcmp(text, "auto") == 0) ||
        (key->kind == K_GROUP && names))
        return add_word(c, text, err);
    return add_number(r, c, key, value, err);
}

/* Every key of J is one of KEYS; those with an option become words of C. WITHIN is "" or
 * "calibrate: ". */
static enum qins_status take_keys(struct reading *r, const json_t *j, const char *within,
                                  const struct key *keys, struct qn_command *c,
                                  struct qins_error *err)
{
    const char *name;
    json_t *value;
    enum qins_status st = QINS_OK;
    json_object_foreach((json_t *)(uintptr_t)j, name, value)
    {
        const struct key *key = keys;
        while (key->name && strcmp(key->name, name) != 0)
            key++;
        if (!key->name)
            return qn_fail(err, QINS_ERR_USAGE, "%s%sunknown key \"%.80s\"", r->place, within,
                           name);
        if (key->kind != K_OWN)
            st = add_value(r, c, key, value, err);
        if (st != QINS_OK)
            return st;
    }
    return QINS_OK;
}

static enum qins_status take_text(const struct reading *r, const char *key, char **out,
                                  struct qins_error *err)
{
    const char *text = text_of(json_object_get(r->object, key));
    if (!text)
        return bad(r, err, key, "a text of 1 to 4096 bytes");
    *out = qn_strdup(text, err);
    return *out ? QINS_OK : QINS_ERR_MEMORY;
}

/* qins VERB -o OUTPUT+SUFFIX, to which options and the model are added. */
static enum qins_status begin_step(struct qn_job *job, enum qn_job_step step, const char *suffix,
                                   struct qins_error *err)
{
    char *out = qn_format(err, "%s%s", job->output, suffix);
    const char *words[] = {step_names[step], "-o", out, NULL};
    enum qins_status st = out ? add_words(&job->steps[step], words, err) : QINS_ERR_MEMORY;
    free(out);
    return st;
}

static enum qins_status end_step(struct qn_job *job, enum qn_job_step step, struct qins_error *err)
{
    enum qins_status st = add_word(&job->steps[step], "--", err);
    return st == QINS_OK ? add_word(&job->steps[step], job->model, err) : st;
}

/* --OPTION with what an earlier step makes: OUTPUT+SUFFIX. */
static enum qins_status add_made(struct qn_job *job, enum qn_job_step step, const char *option,
                                 const char *suffix, struct qins_error *err)
{
    char *made = qn_format(err, "%s%s", job->output, suffix);
    enum qins_status st = made ? add_word(&job->steps[step], option, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = add_path(&job->steps[step], made, err);
    free(made);
    return st;
}

static const char calibration_suffix[] = ".calibration.h5", plan_suffix[] = ".plan.json";

static enum qins_status take_calibrate(struct reading *r, const json_t *j, struct qins_error *err)
{
    struct qn_command *c = &r->job->steps[QN_JOB_CALIBRATE];
    if (!j)
        return QINS_OK;
    if (!json_is_object(j) || !json_object_get(j, "text"))
        return bad(r, err, "calibrate", "an object with \"text\"");
    enum qins_status st = begin_step(r->job, QN_JOB_CALIBRATE, calibration_suffix, err);
    if (st == QINS_OK)
        st = take_keys(r, j, "calibrate: ", calibrate_keys, c, err);
    if (st == QINS_OK)
        st = add_word(c, "--resume", err);
    return st == QINS_OK ? end_step(r->job, QN_JOB_CALIBRATE, err) : st;
}

/* A plan's file, or how one is to be made. */
static enum qins_status take_plan(struct reading *r, const json_t *j, struct qins_error *err)
{
    static const struct key file = {"plan", "--plan", K_INPUT, 0, 0};
    struct qn_job *job = r->job;
    if (!j)
        return QINS_OK;
    if (json_is_string(j))
        return add_value(r, &job->steps[QN_JOB_CONVERT], &file, j, err);
    if (!json_is_object(j))
        return bad(r, err, "plan", "the path of a plan or an object");
    enum qins_status st = begin_step(job, QN_JOB_PLAN, plan_suffix, err);
    if (st == QINS_OK)
        st = take_keys(r, j, "plan: ", plan_keys, &job->steps[QN_JOB_PLAN], err);
    if (st == QINS_OK && job->steps[QN_JOB_CALIBRATE].n > 0)
        st = add_made(job, QN_JOB_PLAN, "--calibration", calibration_suffix, err);
    if (st == QINS_OK)
        st = end_step(job, QN_JOB_PLAN, err);
    return st == QINS_OK ? add_made(job, QN_JOB_CONVERT, "--plan", plan_suffix, err) : st;
}

static enum qins_status take_convert(struct reading *r, struct qins_error *err)
{
    struct qn_job *job = r->job;
    struct qn_command *c = &job->steps[QN_JOB_CONVERT];
    enum qins_status st = take_calibrate(r, json_object_get(r->object, "calibrate"), err);
    const bool calibrates = job->steps[QN_JOB_CALIBRATE].n > 0;
    if (st == QINS_OK && calibrates && json_object_get(r->object, "calibration"))
        st = qn_fail(err, QINS_ERR_USAGE, "%s\"calibrate\" and \"calibration\" exclude each other",
                     r->place);
    if (st == QINS_OK)
        st = begin_step(job, QN_JOB_CONVERT, "", err);
    if (st == QINS_OK)
        st = take_keys(r, r->object, "", convert_keys, c, err);
    /* A calibration without Gram matrices serves the plan alone. */
    const json_t *gram = json_object_get(json_object_get(r->object, "calibrate"), "gram");
    if (st == QINS_OK && calibrates && json_is_true(gram))
        st = add_made(job, QN_JOB_CONVERT, "--calibration", calibration_suffix, err);
    if (st == QINS_OK)
        st = take_plan(r, json_object_get(r->object, "plan"), err);
    return st == QINS_OK ? end_step(job, QN_JOB_CONVERT, err) : st;
}

static enum qins_status take_verify(struct reading *r, struct qins_error *err)
{
    const json_t *j = json_object_get(r->object, "verify");
    const char *words[] = {"verify", "--against", r->job->model, "--", r->job->output, NULL};
    if (j && !json_is_boolean(j))
        return bad(r, err, "verify", "true or false");
    return json_is_false(j) ? QINS_OK : add_words(&r->job->steps[QN_JOB_VERIFY], words, err);
}

static enum qins_status take_shards(struct reading *r, struct qins_error *err)
{
    uint64_t n = 1;
    const json_t *j = json_object_get(r->object, "shards");
    if (j && (!qn_json_u64(j, &n) || n < 1 || n > QN_MAX_SHARDS))
        return bad(r, err, "shards", "a whole number from 1 to 99999");
    r->job->shards = (unsigned)n;
    return QINS_OK;
}

static enum qins_status take_job(struct reading *r, struct qins_error *err)
{
    struct qn_job *job = r->job;
    enum qins_status st = take_text(r, "model", &job->model, err);
    if (st == QINS_OK)
        st = take_text(r, "output", &job->output, err);
    if (st == QINS_OK && json_object_get(r->object, "name")) {
        st = take_text(r, "name", &job->name, err);
    } else if (st == QINS_OK) {
        job->name = qn_strdup(qn_path_base(job->output), err);
        st = job->name ? QINS_OK : QINS_ERR_MEMORY;
    }
    if (st == QINS_OK)
        st = take_shards(r, err);
    if (st == QINS_OK)
        st = take_convert(r, err);
    return st == QINS_OK ? take_verify(r, err) : st;
}

/* A plan says all that these would ('qins convert' refuses both): a job that has the one does not
 * want the others from the defaults, and the other way round. */
static bool default_yields(const json_t *own, const char *name)
{
    static const char *const codings[] = {"bits", "codec", "group",    "kappa",
                                          "clip", "grid",  "rounding", "lossless"};
    const bool plan = strcmp(name, "plan") == 0;
    bool coding = false, has_coding = false;
    for (size_t i = 0; i < sizeof codings / sizeof *codings; i++) {
        coding = coding || strcmp(name, codings[i]) == 0;
        has_coding = has_coding || json_object_get(own, codings[i]);
    }
    return (coding && json_object_get(own, "plan")) || (plan && has_coding);
}

/* Adds to WHOLE, a copy of OWN, what the defaults say and it does not. */
static enum qins_status add_defaults(json_t *whole, const json_t *own, const json_t *defaults,
                                     struct qins_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)defaults, name, value)
    {
        if (!json_object_get(own, name) && !default_yields(own, name) &&
            json_object_set(whole, name, value) != 0)
            return qn_fail_memory(err);
    }
    return QINS_OK;
}

/* Job I, with what the defaults say and it does not. */
static enum qins_status read_job(struct qn_job *job, size_t i, const json_t *own,
                                 const json_t *defaults, struct qins_error *err)
{
    struct reading r = {.job = job};
    const char *name = json_string_value(json_object_get(own, "name"));
    snprintf(r.place, sizeof r.place, "job %zu%s%.80s%s: ", i + 1, name ? " (" : "",
             name ? name : "", name ? ")" : "");
    if (!json_is_object(own))
        return qn_fail(err, QINS_ERR_USAGE, "%smust be an object", r.place);
    json_t *whole = qn_json_copy(own);
    enum qins_status st = whole ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = add_defaults(whole, own, defaults, err);
    r.object = whole;
    if (st == QINS_OK)
        st = take_job(&r, err);
    json_decref(whole);
    return st;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* No two jobs have one WHAT, which is at OFFSET of a job. */
static enum qins_status check_distinct(const struct qn_jobs *jobs, size_t offset, const char *what,
                                       struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    const char **sorted = calloc(jobs->n ? jobs->n : 1, sizeof *sorted);
    if (!sorted)
        return qn_fail_memory(err);
    for (size_t i = 0; i < jobs->n; i++)
        sorted[i] = *(char *const *)((const char *)&jobs->items[i] + offset);
    qsort(sorted, jobs->n, sizeof *sorted, by_text);
    for (size_t i = 1; i < jobs->n && st == QINS_OK; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            st = qn_fail(err, QINS_ERR_USAGE, "two jobs have the %s '%.200s'", what, sorted[i]);
    free(sorted);
    return st;
}

/* "defaults" holds no key that tells one job from another. */
static enum qins_status check_top(const json_t *j, struct qins_error *err)
{
    static const char *const known[] = {"schema", "qins_version", "comment", "defaults", "jobs"};
    static const char *const own[] = {"name", "model", "output"};
    const json_t *defaults = json_object_get(j, "defaults");
    const char *schema = json_string_value(json_object_get(j, "schema")), *name;
    json_t *value;
    if (!json_is_object(j) || !schema || strcmp(schema, QN_JOBS_SCHEMA) != 0)
        return qn_fail(err, QINS_ERR_USAGE, "\"schema\" must be \"" QN_JOBS_SCHEMA "\"");
    json_object_foreach((json_t *)(uintptr_t)j, name, value)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i], name) != 0)
            i++;
        if (i == sizeof known / sizeof *known)
            return qn_fail(err, QINS_ERR_USAGE, "unknown key \"%.80s\"", name);
    }
    if (defaults && !json_is_object(defaults))
        return qn_fail(err, QINS_ERR_USAGE, "\"defaults\" must be an object");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (json_object_get(defaults, own[i]))
            return qn_fail(err, QINS_ERR_USAGE, "\"defaults\" cannot have \"%s\"", own[i]);
    return QINS_OK;
}

static enum qins_status read_jobs(const json_t *j, struct qn_jobs *out, struct qins_error *err)
{
    const json_t *list = json_object_get(j, "jobs");
    const size_t n = json_array_size(list);
    enum qins_status st = check_top(j, err);
    if (st != QINS_OK)
        return st;
    if (n == 0 || n > QN_MAX_JOBS)
        return qn_fail(err, QINS_ERR_USAGE, "\"jobs\" must be a list of 1 to %d jobs", QN_MAX_JOBS);
    out->items = calloc(n, sizeof *out->items);
    if (!out->items)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        st = read_job(&out->items[out->n++], i, json_array_get(list, i),
                      json_object_get(j, "defaults"), err);
    if (st == QINS_OK)
        st = check_distinct(out, offsetof(struct qn_job, name), "name", err);
    return st == QINS_OK ? check_distinct(out, offsetof(struct qn_job, output), "output", err) : st;
}

enum qins_status qn_jobs_parse(const void *text, size_t size, struct qn_jobs *out,
                               struct qins_error *err)
{
    *out = (struct qn_jobs){0};
    json_t *j = qn_json_parse(text, size, 0, err);
    enum qins_status st = j ? read_jobs(j, out, err) : err ? err->status : QINS_ERR_FORMAT;
    json_decref(j);
    return st;
}

enum qins_status qn_jobs_load(const char *path, struct qn_jobs *out, struct qins_error *err)
{
    struct qn_buf text = {0};
    *out = (struct qn_jobs){0};
    enum qins_status st = qn_read_whole(path, QN_MAX_JOBS_SIZE, &text, err);
    if (st == QINS_OK)
        st = qn_jobs_parse(text.data, text.size, out, err);
    qn_buf_finish(&text);
    return qn_error_in_file(err, st, path);
}

static void finish_job(struct qn_job *job)
{
    for (int step = 0; step < QN_JOB_STEPS; step++)
        for (size_t i = 0; i < job->steps[step].n; i++)
            free(job->steps[step].words[i]);
    for (size_t i = 0; i < job->n_inputs; i++)
        free(job->inputs[i]);
    free(job->inputs);
    free(job->name);
    free(job->model);
    free(job->output);
}

void qn_jobs_finish(struct qn_jobs *jobs)
{
    for (size_t i = 0; i < jobs->n; i++)
        finish_job(&jobs->items[i]);
    free(jobs->items);
    *jobs = (struct qn_jobs){0};
}

const struct qn_limit qn_jobs_limits[] = {
    {"batch", "file", QN_MAX_JOBS_SIZE, "bytes", "memory that the JSON takes"},
    {"batch", "jobs", QN_MAX_JOBS, "jobs", "time and memory for lists of jobs"},
    {0},
};
