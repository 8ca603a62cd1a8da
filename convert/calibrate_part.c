/* A part of a calibration that is cut by windows: OUT-00003-of-00008. Its work in progress is
 * OUT-00003-of-00008.part, which one process at a time has locked and which says what job it is of,
 * and beside it OUT-00003-of-00008.part.0 and so on (convert/calibrate_resume.c). */
#include "convert/calibrate_job.h"

#include "core/file.h"
#include "core/folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORK_VERSION = 1 };
static const char work_magic[QN_WORK_MAGIC_SIZE] = "QINSCAL";

enum qins_status qn_calibrate_part_cut(struct qn_calibrating *job, struct qins_error *err)
{
    struct qn_calibration_part *p = &job->c.part;
    const struct qn_calibration *c = &job->c;
    const struct qn_corpus *corpus = job->corpus;
    const struct qn_sensitivity_options *s = &job->o->measure;
    struct qn_hasher *h = qn_hasher_create();
    uint64_t begin, end;
    char text[160];
    if (!h)
        return qn_fail_memory(err);
    snprintf(text, sizeof text, "%s %u %llu %u %d %zu %u %d %llu %a", qins_version(),
             (unsigned)c->options.context, (unsigned long long)c->options.seed,
             (unsigned)c->options.keep_rows, c->options.gram, job->windows.n, job->o->shard.count,
             job->o->sensitivity, (unsigned long long)s->max_tokens, s->target_bits);
    qn_hasher_add(h, text, strlen(text));
    qn_hasher_add(h, c->model.bytes, sizeof c->model.bytes);
    qn_hasher_add(h, c->archive.bytes, sizeof c->archive.bytes);
    qn_hasher_add(h, c->tokenizer.bytes, sizeof c->tokenizer.bytes);
    qn_hasher_add(h, c->texts[0].bytes, sizeof c->texts[0].bytes);
    /* Where the texts end decides the windows. */
    qn_hasher_add(h, corpus->begin, (corpus->n_parts + 1) * sizeof *corpus->begin);
    *p = (struct qn_calibration_part){
        .shard = job->o->shard, .job = qn_hasher_digest(h), .windows = job->windows.n};
    qn_hasher_destroy(h);
    qn_shard_range(&p->shard, job->windows.n, &begin, &end);
    qn_windows_restrict(&job->windows, (size_t)begin, (size_t)end);
    return QINS_OK;
}

/* Is F, the finished part, of this job? Says what differs. */
static enum qins_status check_finished(const struct qn_calibrating *job,
                                       const struct qn_calibration *c, struct qins_error *err)
{
    const struct qn_calibration_part *own = &job->c.part;
    enum qins_status st =
        qn_calibration_compare(c, job->out, &job->c, "this run", QINS_ERR_USAGE, err);
    if (st == QINS_OK &&
        (memcmp(&c->part.job, &own->job, sizeof own->job) != 0 ||
         c->part.shard.index != own->shard.index || c->part.shard.count != own->shard.count))
        st = qn_fail(err, QINS_ERR_USAGE,
                     "%.300s is there already, of another job: other texts, options or version of "
                     "qins; remove it or choose another name",
                     job->out);
    return st;
}

/* *THERE is whether the part is finished; its description takes the place of the job's then. */
static enum qins_status look(struct qn_calibrating *job, bool *there, struct qins_error *err)
{
    struct qn_calibration_file f;
    *there = false;
    struct stat info;
    bool found;
    enum qins_status st = qn_look_at(job->out, &info, &found, err);
    if (!found)
        return st;
    st = qn_calibration_open(&f, job->out, QN_CALIBRATION_PARTS_TOO, job->monitor, err);
    if (st == QINS_ERR_FORMAT || st == QINS_ERR_UNSUPPORTED)
        st = qn_error_append(err, st, "; it is in the way of the part: move or remove it");
    if (st == QINS_OK)
        st = check_finished(job, &f.c, err);
    if (st == QINS_OK) {
        const struct qn_calibration own = job->c;
        job->c = f.c;
        f.c = own;
        *there = true;
    }
    qn_calibration_close(&f);
    return st;
}

/* Locks the work in progress and says whose it is. */
static enum qins_status take(struct qn_calibrating *job, struct qins_error *err)
{
    const struct qn_work_head head = qn_work_head(work_magic, WORK_VERSION, &job->c.progress.job);
    struct qn_work_head found;
    char *path = qn_format(err, "%s.part", job->out);
    enum qins_status st = path ? qn_work_file_open(&job->work, path, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_work_file_head(&job->work, &found, err);
    if (st == QINS_OK && memcmp(&found, &head, sizeof found) != 0) {
        if (memcmp(&found, work_magic, sizeof work_magic) == 0 && qn_work_head_intact(&found))
            st = qn_fail_at(err, QINS_ERR_USAGE, path, NULL, QN_NO_OFFSET,
                            "is work in progress of another job: other texts, options or version "
                            "of qins; remove it and %s.*",
                            qn_path_base(path));
        else
            st = qn_work_file_begin(&job->work, &head, err);
    }
    if (st != QINS_OK)
        qn_file_close(&job->work);
    free(path);
    return st;
}

enum qins_status qn_calibrate_part_begin(struct qn_calibrating *job, bool *there,
                                         struct qins_error *err)
{
    enum qins_status st = look(job, there, err);
    if (st == QINS_OK && !*there)
        st = take(job, err);
    /* Another process may have finished it before this one had the lock. */
    if (st == QINS_OK && !*there)
        st = look(job, there, err);
    if (*there)
        qn_notice(job->monitor, "%s is there already", job->out);
    return st;
}

void qn_calibrate_part_beat(const struct qn_calibrating *job)
{
    if (job->work.path)
        (void)!futimens(job->work.fd, NULL); /* a wrong time harms nothing */
}

void qn_calibrate_part_end(struct qn_calibrating *job)
{
    char *saved = job->work.path ? qn_format(NULL, "%s.0", job->work.path) : NULL;
    if (saved && !qn_exists(saved))
        unlink(job->work.path);
    if (job->work.path)
        qn_file_close(&job->work);
    free(saved);
}
