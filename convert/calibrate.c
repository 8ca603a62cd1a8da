#include "convert/calibrate.h"

#include "convert/calibrate_job.h"
#include "convert/report.h"
#include "convert/sources.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/linalg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char *qn_calibrate_model_name(const char *path, struct qins_error *err)
{
    char *real = realpath(path, NULL);
    if (!real && errno == ENOMEM) { /* else it would be called otherwise then */
        qn_fail_memory(err);
        return NULL;
    }
    char *name = qn_strdup(real ? qn_path_base(real) : path, err);
    free(real);
    if (name && !qn_utf8_valid(name, strlen(name)))
        for (char *p = name; *p; p++)
            if ((unsigned char)*p >= 0x80)
                *p = '?';
    return name;
}

enum qins_status qn_calibrate_identify(struct qn_calibration *c, const struct qn_model *m,
                                       struct qins_error *err)
{
    struct qn_archive *archive = NULL;
    c->model = m->fingerprint;
    c->model_name = qn_calibrate_model_name(m->path ? m->path : "model", err);
    if (!c->model_name)
        return QINS_ERR_MEMORY;
    enum qins_status st =
        m->path && !m->synthetic ? qn_path_is_archive(m->path, &c->has_archive, err) : QINS_OK;
    if (st != QINS_OK || !c->has_archive)
        return st;
    st = qn_archive_open(&archive, m->path, err);
    if (st == QINS_OK)
        c->archive = archive->body_hash;
    qn_archive_destroy(archive);
    return st;
}

enum qins_status qn_calibrate_add_tap(struct qn_calibration *c, const struct qn_model *m,
                                      const struct qn_tap_point *tap, struct qins_error *err)
{
    const bool mlp = tap->kind == QN_TAP_MLP || tap->kind == QN_TAP_DOWN;
    struct qn_calibration_point *p = NULL;
    enum qins_status st = QINS_OK;
    size_t n = 0;
    while (n < QN_POINT_TENSORS && tap->tensors[n])
        n++;
    if (c->options.gram)
        st = qn_gram_check(tap->name, tap->channels, err);
    if (st == QINS_OK)
        st = qn_calibration_add_point(c, tap->name, tap->kind, tap->channels, tap->tensors, n, &p,
                                      err);
    if (st != QINS_OK)
        return st;
    if (tap->kind != QN_TAP_HEAD)
        p->layer = tap->layer;
    if (mlp && m->config.n_experts > 0)
        p->expert = tap->expert;
    return QINS_OK;
}

static enum qins_status add_points(struct qn_calibrating *job, struct qins_error *err)
{
    enum qins_status st = qn_taps_init(&job->taps, job->m, err);
    for (size_t i = 0; i < job->taps.n && st == QINS_OK; i++)
        st = qn_calibrate_add_tap(&job->c, job->m, &job->taps.points[i], err);
    return st;
}

static enum qins_status cut_windows(struct qn_calibrating *job, struct qins_error *err)
{
    const struct qn_corpus *corpus = job->corpus;
    const struct qn_window_source source = {
        .ids = corpus->ids.data, .begin = corpus->begin, .n_parts = corpus->n_parts};
    if (corpus->ids.count == 0)
        return qn_fail(err, QINS_ERR_FORMAT, "the text has no tokens");
    enum qins_status st = qn_windows_init(&job->windows, &source, &job->c.options, err);
    if (st != QINS_OK)
        return st;
    if (job->o->shard.count > 0)
        st = qn_calibrate_part_cut(job, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < job->windows.n; i++)
        job->c.tokens += job->windows.items[i].n;
    job->c.windows = job->windows.n;
    const size_t n = job->windows.n_kept;
    job->c.kept = calloc(n + 1, sizeof *job->c.kept);
    if (!job->c.kept)
        return qn_fail_memory(err);
    memcpy(job->c.kept, job->windows.kept, n * sizeof *job->c.kept);
    job->c.n_kept = (uint32_t)n;
    return QINS_OK;
}

/* What a pass holds of a point. */
static uint64_t large_bytes(const struct qn_calibrating *job, size_t point)
{
    const uint64_t channels = job->c.points[point].channels;
    const uint64_t rows = job->windows.n_kept * channels * sizeof(float);
    return rows + (job->c.options.gram ? qn_gram_bytes((uint32_t)channels) : 0);
}

static enum qins_status plan_passes(struct qn_calibrating *job, struct qins_error *err)
{
    const uint64_t limit = job->o->large_bytes ? job->o->large_bytes : QN_CALIBRATE_LARGE;
    const size_t n = job->c.n_points;
    job->pass_end = calloc(n, sizeof *job->pass_end);
    if (!job->pass_end)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n;) {
        uint64_t bytes = large_bytes(job, i++);
        while (i < n && bytes + large_bytes(job, i) <= limit)
            bytes += large_bytes(job, i++);
        job->pass_end[job->n_passes++] = i;
    }
    return QINS_OK;
}

static enum qins_status identify(struct qn_calibrating *job, struct qins_error *err)
{
    static const struct qn_digest none = {{0}};
    struct qn_calibration *c = &job->c;
    const struct qn_corpus *corpus = job->corpus;
    enum qins_status st = qn_calibrate_identify(c, job->m, err);
    if (st != QINS_OK)
        return st;
    c->tokenizer = corpus->tokenizer_digest;
    c->has_tokenizer = memcmp(c->tokenizer.bytes, none.bytes, sizeof none.bytes) != 0;
    return qn_calibration_add_text(c, &corpus->text_digest, err);
}

/* Digest of all that decides what a run does, its passes included. */
static enum qins_status digest_job(struct qn_calibrating *job, struct qins_error *err)
{
    const struct qn_calibration *c = &job->c;
    struct qn_hasher *h = qn_hasher_create();
    const struct qn_sensitivity_options *s = &job->o->measure;
    char text[160];
    if (!h)
        return qn_fail_memory(err);
    snprintf(text, sizeof text, "%s %u %llu %u %d %llu %llu %zu", qins_version(),
             (unsigned)c->options.context, (unsigned long long)c->options.seed,
             (unsigned)c->options.keep_rows, c->options.gram, (unsigned long long)c->tokens,
             (unsigned long long)c->windows, job->n_passes);
    qn_hasher_add(h, text, strlen(text));
    qn_hasher_add(h, c->model.bytes, sizeof c->model.bytes);
    qn_hasher_add(h, c->archive.bytes, sizeof c->archive.bytes);
    qn_hasher_add(h, c->tokenizer.bytes, sizeof c->tokenizer.bytes);
    qn_hasher_add(h, c->texts[0].bytes, sizeof c->texts[0].bytes);
    /* Where the texts end decides the windows. */
    qn_hasher_add(h, job->corpus->begin, (job->corpus->n_parts + 1) * sizeof *job->corpus->begin);
    if (job->o->sensitivity) {
        snprintf(text, sizeof text, "sensitivity %llu %a", (unsigned long long)s->max_tokens,
                 s->target_bits);
        qn_hasher_add(h, text, strlen(text));
    }
    for (size_t i = 0; i < job->n_passes; i++) {
        uint64_t end = job->pass_end[i];
        qn_hasher_add(h, &end, sizeof end);
    }
    if (c->part.shard.count > 0) {
        qn_hasher_add(h, c->part.job.bytes, sizeof c->part.job.bytes);
        qn_hasher_add(h, &c->part.shard, sizeof c->part.shard);
    }
    job->c.progress.job = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    return QINS_OK;
}

static enum qins_status prepare(struct qn_calibrating *job, struct qins_error *err)
{
    job->c.options = job->o->sample;
    job->c.options.context = qn_window_size(&job->m->config, job->o->sample.context, job->monitor);
    enum qins_status st = qn_linalg_init(err);
    if (st == QINS_OK)
        st = identify(job, err);
    if (st == QINS_OK)
        st = add_points(job, err);
    if (st == QINS_OK)
        st = qn_calibrate_access_init(job, err);
    if (st == QINS_OK)
        st = cut_windows(job, err);
    if (st == QINS_OK)
        st = plan_passes(job, err);
    if (st == QINS_OK)
        st = digest_job(job, err);
    job->threads = 1;
    if (st == QINS_OK && !job->c.options.gram && job->windows.n > 0)
        job->threads =
            job->windows.n < job->o->threads ? (unsigned)job->windows.n : job->o->threads;
    return st;
}

static enum qins_status run(struct qn_calibrating *job, struct qins_error *err)
{
    enum qins_status st = qn_calibrate_resume(job, err);
    /* Only now: resuming reads HDF5 in a forked child, which must not inherit a lock of the memory
     * allocator that a thread just being born holds. */
    if (st == QINS_OK && job->c.options.gram)
        st = qn_pool_create(&job->pool, job->o->threads, err);
    while (st == QINS_OK) {
        st = qn_calibrate_pass(job, err);
        if (st != QINS_OK || job->pass + 1 == job->n_passes)
            break;
        st = qn_calibrate_next_pass(job, err);
    }
    if (st == QINS_OK && job->o->sensitivity)
        st = qn_calibrate_sensitivity(job, err);
    if (st == QINS_OK)
        st = qn_calibrate_write(job, err);
    if (st == QINS_OK || !job->keep)
        qn_calibrate_remove_work(job);
    return st == QINS_ERR_INTERRUPTED ? qn_calibrate_interrupted(job, err) : st;
}

/* A part that is there already is left as it is. */
static enum qins_status run_part(struct qn_calibrating *job, struct qins_error *err)
{
    bool there = false;
    enum qins_status st = qn_calibrate_part_begin(job, &there, err);
    if (st == QINS_OK && !there)
        st = run(job, err);
    qn_calibrate_part_end(job);
    return st;
}

static void finish(struct qn_calibrating *job)
{
    qn_large_store_finish(&job->store);
    qn_pool_destroy(job->pool);
    qn_calibration_finish(&job->c);
    qn_windows_finish(&job->windows);
    qn_taps_finish(&job->taps);
    free(job->pass_end);
    pthread_mutex_destroy(&job->lock);
}

/* What only the run itself knows: the texts' names, which the calibration has no room for, and the
 * time of measuring. False when out of memory. */
static bool complete_report(const struct qn_calibrating *job, json_t *report)
{
    const struct qn_corpus_options *corpus = &job->o->corpus;
    json_t *paths = json_array();
    bool good = paths != NULL;
    for (size_t i = 0; i < corpus->n_texts && good; i++)
        good = json_array_append_new(paths, qn_json_text(corpus->texts[i])) == 0;
    good = json_object_set_new(report, "text_paths", paths) == 0 && good;
    if (job->o->sensitivity && job->c.n_sensitivities > 0)
        good = json_object_set_new(json_object_get(report, "sensitivity"), "seconds",
                                   qn_json_real(job->measuring_took)) == 0 &&
               good;
    return good;
}

enum qins_status qn_calibrate_corpus(const struct qn_model *m, const struct qn_corpus *corpus,
                                     const char *out, const struct qn_calibrate_options *o,
                                     const struct qn_monitor *monitor, json_t **report,
                                     struct qins_error *err)
{
    struct qn_calibrating job = {.m = m,
                                 .corpus = corpus,
                                 .o = o,
                                 .monitor = monitor,
                                 .out = out,
                                 .work = {.fd = -1},
                                 .lock = PTHREAD_MUTEX_INITIALIZER};
    if (monitor)
        job.silent.stop = monitor->stop;
    const double begun = qn_seconds();
    enum qins_status st = prepare(&job, err);
    if (st == QINS_OK)
        st = o->shard.count > 0 ? run_part(&job, err) : run(&job, err);
    if (st == QINS_OK && report) {
        const double took = qn_seconds() - begun - job.measuring_took;
        *report = qn_calibrate_report(&job.c, out, o->threads, took,
                                      job.tokens_done - job.tokens_resumed, monitor);
        st = *report && complete_report(&job, *report) ? QINS_OK : qn_fail_memory(err);
    }
    finish(&job);
    return st;
}

static enum qins_status refuse_inputs(const char *model, const char *out,
                                      const struct qn_calibrate_options *o, struct qins_error *err)
{
    const char *names[2] = {out, NULL};
    const char *others[2] = {o->corpus.tokenizer, o->corpus.ids};
    char *part = qn_format(err, "%s.part", out);
    enum qins_status st = part ? QINS_OK : QINS_ERR_MEMORY;
    names[1] = part;
    for (int i = 0; i < 2 && st == QINS_OK; i++) {
        st = qn_refuse_model_input(model, o->corpus.texts, o->corpus.n_texts, names[i], err);
        if (st == QINS_OK)
            st = qn_refuse_model_input(model, others, 2, names[i], err);
    }
    free(part);
    return st;
}

enum qins_status qn_calibrate(const char *model, const char *out,
                              const struct qn_calibrate_options *options,
                              const struct qn_monitor *monitor, json_t **report,
                              struct qins_error *err)
{
    struct qn_model *m = NULL;
    struct qn_corpus corpus = {0};
    struct qn_corpus_options texts = options->corpus;
    struct qn_calibrate_options o = *options;
    char *part = o.shard.count > 0 ? qn_shard_path(out, &o.shard, err) : NULL;
    enum qins_status st = o.shard.count > 0 && !part ? QINS_ERR_MEMORY : QINS_OK;
    if (part) {
        out = part;
        o.resume = true;
    }
    if (st == QINS_OK)
        st = refuse_inputs(model, out, options, err);
    texts.monitor = monitor;
    if (st == QINS_OK)
        st = qn_model_open_plain(&m, model, options->threads, monitor, err);
    if (st == QINS_OK)
        st = qn_corpus_open(&corpus, m, &texts, err);
    if (st == QINS_OK)
        st = qn_calibrate_corpus(m, &corpus, out, &o, monitor, report, err);
    qn_corpus_finish(&corpus);
    qn_model_destroy(m);
    free(part);
    return st;
}
