/* Whether jobs would write over what a job or the batch itself reads or writes. */
#include "convert/jobs.h"

#include "core/file.h"
#include "core/folder.h"
#include "formats/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the order in which those of one file stand. */
enum use {
    USE_WRITTEN, /* an archive, a record, the report */
    USE_MADE,    /* a calibration or a plan, which a later job may read */
    USE_INPUT,   /* of one job, beside its model */
    USE_SOURCE,  /* the manifest, or of a model */
};

struct use_of_file {
    char *file; /* heap; one text for one file */
    enum use use;
    size_t job; /* or THE_BATCH */
};

#define THE_BATCH SIZE_MAX /* its manifest and its report */

struct uses {
    struct use_of_file *items;
    size_t n, room;
};

/* Appends the parts of REST to AT, which has room for them. */
static void append_parts(char *at, const char *rest)
{
    while (*rest) {
        const size_t n = strcspn(rest, "/");
        char *end = at + strlen(at);
        if (n == 2 && memcmp(rest, "..", 2) == 0) {
            char *last = strrchr(at, '/');
            if (last)
                *last = '\0';
        } else if (n > 0 && !(n == 1 && *rest == '.')) {
            snprintf(end, n + 2, "/%s", rest);
        }
        rest += n + (rest[n] == '/');
    }
}

/* PATH without links, and from the root on, also where the end of it is not there yet. */
static char *real_path(const char *path, struct qins_error *err)
{
    char *there = qn_strdup(path, err), *found = NULL, *whole = NULL;
    size_t n = strlen(path);
    while (there &&
           !(found = realpath(n              ? there
                              : *path == '/' ? "/"
                                             : ".",
                              NULL)) &&
           n > 0 && errno != ENOMEM) {
        while (n > 0 && there[n - 1] == '/')
            n--;
        while (n > 0 && there[n - 1] != '/')
            n--;
        there[n] = '\0';
    }
    if (there && !found)
        qn_fail_errno(err, path, "cannot find its folder");
    const size_t room = found ? strlen(found) + strlen(path + n) + 2 : 0;
    if (found && !(whole = malloc(room)))
        qn_fail_memory(err);
    if (whole) {
        snprintf(whole, room, "%s", strcmp(found, "/") == 0 ? "" : found);
        append_parts(whole, path + n);
    }
    free(found);
    free(there);
    return whole;
}

static enum qins_status add(struct uses *u, const char *path, enum use use, size_t job,
                            struct qins_error *err)
{
    if (u->n == u->room) {
        const size_t room = 2 * u->room + 16;
        struct use_of_file *items = realloc(u->items, room * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        u->items = items;
        u->room = room;
    }
    char *file = real_path(path, err);
    if (!file)
        return err ? err->status : QINS_ERR_MEMORY;
    u->items[u->n++] = (struct use_of_file){file, use, job};
    return QINS_OK;
}

static enum qins_status add_suffixed(struct uses *u, const char *path, const char *suffix,
                                     enum use use, size_t job, struct qins_error *err)
{
    char *whole = qn_format(err, "%s%s", path, suffix);
    enum qins_status st = whole ? add(u, whole, use, job, err) : QINS_ERR_MEMORY;
    free(whole);
    return st;
}

static bool is_of_model(const char *name)
{
    return qn_is_model_file(name) || qn_has_suffix(name, ".safetensors") ||
           qn_has_suffix(name, ".safetensors.index.json");
}

/* A model that is not there is for its own job to fail of. */
static enum qins_status add_model(struct uses *u, const char *model, size_t job,
                                  struct qins_error *err)
{
    DIR *dir = opendir(model);
    const char *name = "";
    enum qins_status st = add(u, model, USE_SOURCE, job, err);
    while (dir && name && st == QINS_OK) {
        st = qn_folder_next(dir, model, &name, err);
        if (st != QINS_OK || !name || !is_of_model(name))
            continue;
        char *path = qn_path_join(model, name, err);
        st = path ? add(u, path, USE_SOURCE, job, err) : QINS_ERR_MEMORY;
        free(path);
    }
    if (dir)
        closedir(dir);
    return st;
}

static enum qins_status add_job(struct uses *u, const struct qn_jobs *jobs, size_t i,
                                struct qins_error *err)
{
    const struct qn_job *job = &jobs->items[i];
    const bool again = i > 0 && strcmp(job->model, jobs->items[i - 1].model) == 0;
    enum qins_status st = again ? QINS_OK : add_model(u, job->model, i, err);
    for (int step = QN_JOB_CALIBRATE; step <= QN_JOB_PLAN && st == QINS_OK; step++)
        if (job->steps[step].n > 0)
            st = add(u, job->steps[step].words[2], USE_MADE, i, err);
    if (st == QINS_OK)
        st = add(u, job->output, USE_WRITTEN, i, err);
    if (st == QINS_OK)
        st = add_suffixed(u, job->output, ".job.json", USE_WRITTEN, i, err);
    for (size_t k = 0; k < job->n_inputs && st == QINS_OK; k++)
        st = add(u, job->inputs[k], USE_INPUT, i, err);
    return st;
}

static int by_file(const void *a, const void *b)
{
    const struct use_of_file *x = a, *y = b;
    const int order = strcmp(x->file, y->file);
    if (order != 0)
        return order;
    return x->use != y->use ? (x->use > y->use) - (x->use < y->use)
                            : (x->job > y->job) - (x->job < y->job);
}

static const char *who(const struct qn_jobs *jobs, size_t job, char text[120])
{
    snprintf(text, 120, "job '%.100s'", job == THE_BATCH ? "" : jobs->items[job].name);
    return job == THE_BATCH ? "the batch" : text;
}

/* FIRST writes its file; OTHER is another use of it. */
static bool is_harm(const struct use_of_file *first, const struct use_of_file *other)
{
    const bool read_later = first->use == USE_MADE && other->use == USE_INPUT;
    return !read_later || other->job <= first->job;
}

static enum qins_status check(const struct uses *u, const struct qn_jobs *jobs,
                              struct qins_error *err)
{
    char one[120], two[120];
    for (size_t first = 0, i = 1; i < u->n; i++) {
        const struct use_of_file *a = &u->items[first], *b = &u->items[i];
        if (strcmp(a->file, b->file) != 0)
            first = i;
        else if (a->use <= USE_MADE && is_harm(a, b))
            return qn_fail_at(err, QINS_ERR_USAGE, a->file, NULL, QN_NO_OFFSET,
                              "%s would write it, and %s %s it", who(jobs, a->job, one),
                              who(jobs, b->job, two), b->use <= USE_MADE ? "writes" : "reads");
    }
    return QINS_OK;
}

enum qins_status qn_jobs_check_files(const struct qn_jobs *jobs, const char *manifest,
                                     const char *report, struct qins_error *err)
{
    struct uses u = {0};
    enum qins_status st = add(&u, manifest, USE_SOURCE, THE_BATCH, err);
    if (st == QINS_OK && report)
        st = add(&u, report, USE_WRITTEN, THE_BATCH, err);
    for (size_t i = 0; i < jobs->n && st == QINS_OK; i++)
        st = add_job(&u, jobs, i, err);
    if (st == QINS_OK && u.items) {
        qsort(u.items, u.n, sizeof *u.items, by_file);
        st = check(&u, jobs, err);
    }
    for (size_t i = 0; i < u.n; i++)
        free(u.items[i].file);
    free(u.items);
    return st;
}
