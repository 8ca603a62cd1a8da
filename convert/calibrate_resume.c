/* Work in progress. OUT.part is a calibration of the windows that are done, replaced as a whole;
 * OUT.part.1, OUT.part.2 … hold the Gram matrices and rows of passes that are done. */
#include "convert/calibrate_job.h"

#include "core/clock.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* PASS 0 is OUT.part itself, of a part (convert/calibrate_part.c) OUT.part.0. Work that is not to
 * be kept has other names than what is. */
static char *work_path(const struct qn_calibrating *job, size_t pass, struct qins_error *err)
{
    if (pass == 0 && job->c.part.shard.count == 0)
        return qn_format(err, "%s.part", job->out);
    return qn_format(err, "%s.%s.%zu", job->out, job->keep ? "part" : "pass", pass);
}

static enum qins_status read_store(void *ctx, size_t point, enum qn_large what, uint64_t first,
                                   uint64_t count, void *dst, struct qins_error *err)
{
    (void)err;
    qn_large_read(ctx, point, what, first, count, dst);
    return QINS_OK;
}

static enum qins_status write_work(struct qn_calibrating *job, size_t number,
                                   const struct qn_monitor *monitor, struct qins_error *err)
{
    const struct qn_large_source source = {read_store, job};
    char *path = work_path(job, number, err);
    enum qins_status st = path ? qn_large_declare(job, NULL, err) : QINS_ERR_MEMORY;
    job->c.progress.unfinished = true;
    job->c.progress.pass = (uint32_t)job->pass;
    job->c.progress.windows = job->done;
    if (st == QINS_OK)
        st = qn_calibration_write(&job->c, path, &source, monitor, err);
    job->c.progress.unfinished = false;
    free(path);
    return st;
}

enum qins_status qn_calibrate_save(struct qn_calibrating *job, const struct qn_monitor *monitor,
                                   struct qins_error *err)
{
    const double begun = qn_seconds();
    enum qins_status st = write_work(job, 0, monitor, err);
    job->saved = qn_seconds();
    job->saving_took = job->saved - begun;
    qn_calibrate_part_beat(job);
    return st;
}

enum qins_status qn_calibrate_next_pass(struct qn_calibrating *job, struct qins_error *err)
{
    enum qins_status st = write_work(job, job->pass + 1, &job->silent, err);
    if (st != QINS_OK)
        return st;
    qn_large_store_finish(&job->store);
    job->pass++;
    job->done = 0;
    st = qn_large_store_init(job, err);
    return st == QINS_OK && job->keep ? qn_calibrate_save(job, &job->silent, err) : st;
}

/* Points in the store come from there, those of earlier passes from their files. */
struct sources {
    struct qn_calibrating *job;
    struct qn_calibration_file *passes; /* [n_passes] */
};

static enum qins_status read_any(void *ctx, size_t point, enum qn_large what, uint64_t first,
                                 uint64_t count, void *dst, struct qins_error *err)
{
    const struct sources *s = ctx;
    size_t pass = 0;
    if (point >= s->job->store.begin)
        return read_store(s->job, point, what, first, count, dst, err);
    while (point >= s->job->pass_end[pass])
        pass++;
    return qn_calibration_read(&s->passes[pass], point, what, first, count, dst, err);
}

static bool same_job(const struct qn_calibrating *job, const struct qn_calibration *c)
{
    return memcmp(c->progress.job.bytes, job->c.progress.job.bytes, sizeof c->progress.job) == 0;
}

static bool same_kept(const struct qn_calibration *a, const struct qn_calibration *b)
{
    bool same = a->n_kept == b->n_kept;
    for (size_t i = 0; i < a->n_kept && same; i++)
        same = qn_kept_compare(&a->kept[i], &b->kept[i]) == 0;
    return same;
}

/* Does F hold what pass PASS of this job made? */
static bool is_pass(const struct qn_calibrating *job, const struct qn_calibration *c, size_t pass)
{
    bool good = same_job(job, c) && c->progress.pass == pass && same_kept(c, &job->c) &&
                c->progress.windows == job->windows.n &&
                qn_calibration_compare(c, "", &job->c, "", QINS_ERR_FORMAT, NULL) == QINS_OK;
    for (size_t i = pass ? job->pass_end[pass - 1] : 0; i < job->pass_end[pass] && good; i++)
        good = c->points[i].gram == job->c.options.gram;
    return good;
}

static enum qins_status open_passes(struct qn_calibrating *job, struct qn_calibration_file *passes,
                                    struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < job->pass && st == QINS_OK; i++) {
        char *path = work_path(job, i + 1, err);
        st = path ? qn_calibration_open(&passes[i], path, QN_CALIBRATION_ANY, job->monitor, err)
                  : QINS_ERR_MEMORY;
        if (st == QINS_OK && !is_pass(job, &passes[i].c, i))
            st = qn_fail_at(err, QINS_ERR_FORMAT, path, NULL, QN_NO_OFFSET,
                            "it is not of the same job as %s.part; remove both", job->out);
        free(path);
    }
    return st;
}

enum qins_status qn_calibrate_write(struct qn_calibrating *job, struct qins_error *err)
{
    struct qn_calibration_file *passes = calloc(job->n_passes, sizeof *passes);
    struct sources s = {job, passes};
    const struct qn_large_source source = {read_any, &s};
    enum qins_status st = passes ? open_passes(job, passes, err) : qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_calibrate_touches(job, err);
    if (st == QINS_OK)
        st = qn_large_declare(job, passes, err);
    if (st == QINS_OK)
        st = qn_calibration_write(&job->c, job->out, &source, job->monitor, err);
    for (size_t i = 0; i < job->n_passes && passes; i++)
        qn_calibration_close(&passes[i]);
    free(passes);
    return st;
}

void qn_calibrate_remove_work(const struct qn_calibrating *job)
{
    for (size_t i = job->keep ? 0 : 1; i < job->n_passes; i++) {
        char *path = work_path(job, i, NULL);
        if (path)
            unlink(path);
        free(path);
    }
}

enum qins_status qn_calibrate_interrupted(const struct qn_calibrating *job, struct qins_error *err)
{
    char *part = work_path(job, 0, NULL);
    const bool left = job->keep && part && qn_exists(part);
    free(part);
    return qn_fail(err, QINS_ERR_INTERRUPTED, "interrupted%s",
                   !left            ? ""
                   : job->o->resume ? "; go on with the same command"
                                    : "; go on with --resume");
}

/* Is F, OUT.part, the beginning of this job? Says what differs. */
static enum qins_status check_job(const struct qn_calibrating *job, const char *part,
                                  const struct qn_calibration *c, struct qins_error *err)
{
    char made_of[33] = "none", given[33];
    enum qins_status st = qn_calibration_compare(c, part, &job->c, "this run", QINS_ERR_USAGE, err);
    if (st != QINS_OK)
        return st;
    if (c->n_texts == 1)
        qn_digest_hex(&c->texts[0], made_of);
    qn_digest_hex(&job->c.texts[0], given);
    if (strcmp(made_of, given) != 0 || c->tokens != job->c.tokens)
        return qn_fail(
            err, QINS_ERR_USAGE, "%.200s is of %llu tokens of text %s, this run of %llu of %s",
            part, (unsigned long long)c->tokens, made_of, (unsigned long long)job->c.tokens, given);
    if (!c->progress.unfinished || !same_job(job, c) || c->progress.pass >= job->n_passes ||
        c->windows != job->c.windows || !same_kept(c, &job->c))
        return qn_fail(err, QINS_ERR_USAGE,
                       "%.200s is of another version of qins, of texts cut elsewhere or with other "
                       "limits; remove it",
                       part);
    return QINS_OK;
}

/* Takes over the figures. */
static void adopt(struct qn_calibrating *job, struct qn_calibration *c)
{
    for (size_t i = 0; i < c->n_points; i++)
        qn_point_add(&job->c.points[i], &c->points[i]);
    qn_access_add(&job->c.access, &c->access);
    job->c.sensitivities = c->sensitivities;
    job->c.n_sensitivities = c->n_sensitivities;
    c->sensitivities = NULL;
    c->n_sensitivities = 0;
    free(job->c.head_variance);
    job->c.head_variance = c->head_variance;
    job->c.n_head_rows = c->n_head_rows;
    c->head_variance = NULL;
    job->tokens_done = c->progress.pass * job->c.tokens;
    job->pass = c->progress.pass;
    job->done = c->progress.windows;
    for (size_t i = 0; i < job->done; i++)
        job->tokens_done += job->windows.items[i].n;
    job->tokens_resumed = job->tokens_done;
    job->resumed = true;
}

enum qins_status qn_calibrate_resume(struct qn_calibrating *job, struct qins_error *err)
{
    struct qn_calibration_file f = {0};
    char *part = work_path(job, 0, err);
    if (!part)
        return QINS_ERR_MEMORY;
    const bool there = qn_exists(part);
    enum qins_status st = QINS_OK;
    job->keep = job->o->resume || !there;
    if (there && !job->o->resume)
        qn_notice(job->monitor,
                  "%s is left of an earlier run; --resume would continue it, and this run leaves "
                  "it alone",
                  part);
    if (there && job->o->resume) {
        st = qn_calibration_open(&f, part, QN_CALIBRATION_ANY, job->monitor, err);
        if (st == QINS_OK)
            st = check_job(job, part, &f.c, err);
        if (st == QINS_OK)
            adopt(job, &f.c);
    }
    if (st == QINS_OK)
        st = qn_large_store_init(job, err);
    if (st == QINS_OK && job->resumed)
        st = qn_large_load(job, &f, err);
    qn_calibration_close(&f);
    free(part);
    job->saved = qn_seconds();
    return st;
}
