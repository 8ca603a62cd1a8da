#include "convert/pipeline.h"

#include "convert/report.h"
#include "convert/sources.h"
#include "convert/verify.h"
#include "convert/work.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t max_report = 1u << 28; /* bytes */

struct pipeline {
    const char *model, *dir;
    const struct qn_convert_options *options;
    const struct qn_monitor *monitor;
    char job[33];
    char *archive, *part, *convert_path, *verify_path, *page_path;
    json_t *convert, *verify, *steps;
};

static enum qins_status name_files(struct pipeline *p, struct qins_error *err)
{
    p->archive = qn_path_join(p->dir, "model.qins", err);
    p->part = qn_path_join(p->dir, "model.qins.part", err);
    p->convert_path = qn_path_join(p->dir, "convert.json", err);
    p->verify_path = qn_path_join(p->dir, "verify.json", err);
    p->page_path = qn_path_join(p->dir, "index.html", err);
    p->steps = json_array();
    if (!p->archive || !p->part || !p->convert_path || !p->verify_path || !p->page_path ||
        !p->steps)
        return qn_fail_memory(err);
    return QINS_OK;
}

static enum qins_status refuse_inputs(const struct pipeline *p, const struct qn_inputs *in,
                                      struct qins_error *err)
{
    const char *const outputs[] = {p->archive, p->part, p->convert_path, p->verify_path,
                                   p->page_path};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs && st == QINS_OK; i++)
        st = qn_refuse_input(in, outputs[i], err);
    return st;
}

/* Which job this is; nothing has been written by then. */
static enum qins_status look_at_inputs(struct pipeline *p, const char *text, struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    struct qn_digest job;
    enum qins_status st = qn_checkpoint_open(&ck, p->model, NULL, err);
    struct qn_inputs inputs = {.checkpoint = ck, .file = text};
    if (st == QINS_OK)
        st = refuse_inputs(p, &inputs, err);
    if (st == QINS_OK)
        st = qn_convert_digest(ck, p->options, &job, err);
    if (st == QINS_OK)
        qn_digest_hex(&job, p->job);
    qn_checkpoint_destroy(ck);
    return st;
}

/* The report at PATH if an earlier run wrote it for this job, or NULL. */
static json_t *kept_report(const struct pipeline *p, const char *path)
{
    json_t *j = qn_exists(path) ? qn_json_load(path, max_report, NULL) : NULL;
    const char *job = json_string_value(json_object_get(j, "job"));
    if (job && strcmp(job, p->job) == 0)
        return j;
    json_decref(j);
    return NULL;
}

static const char *archive_hash(const json_t *report)
{
    return json_string_value(json_object_get(report, "archive_hash"));
}

/* True if the archive is there, sound, and the one that REPORT is about. */
static bool archive_stands(const struct pipeline *p, const json_t *report)
{
    struct qn_archive *a = NULL;
    const char *reported = archive_hash(report);
    char found[33];
    bool stands = false;
    if (reported && qn_exists(p->archive) && qn_archive_open(&a, p->archive, NULL) == QINS_OK) {
        qn_digest_hex(&a->body_hash, found);
        stands =
            strcmp(found, reported) == 0 && qn_archive_check_hash(a, p->monitor, NULL) == QINS_OK;
    }
    qn_archive_destroy(a);
    return stands;
}

/* True if the report VERIFY found the archive of CONVERT to be right. */
static bool verified(const json_t *verify, const json_t *convert)
{
    const char *a = archive_hash(verify), *b = archive_hash(convert);
    return json_is_true(json_object_get(verify, "ok")) && a && b && strcmp(a, b) == 0;
}

static enum qins_status save_report(const struct pipeline *p, const char *path, json_t **report,
                                    struct qins_error *err)
{
    qn_json_put(report, "job", json_string(p->job));
    return *report ? qn_json_save(path, *report, err) : qn_fail_memory(err);
}

static enum qins_status note_step(struct pipeline *p, const char *name, bool kept, double seconds,
                                  struct qins_error *err)
{
    json_t *step = json_object();
    qn_json_put(&step, "name", json_string(name));
    qn_json_put(&step, "status", json_string(kept ? "kept" : "done"));
    qn_json_put(&step, "seconds", qn_json_real(seconds));
    return json_array_append_new(p->steps, step) == 0 ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status convert_step(struct pipeline *p, bool *kept, struct qins_error *err)
{
    double begun = qn_seconds();
    enum qins_status st = QINS_OK;
    p->convert = kept_report(p, p->convert_path);
    *kept = p->convert && archive_stands(p, p->convert);
    if (!*kept) {
        json_decref(p->convert);
        p->convert = NULL;
        st = qn_convert(p->model, p->archive, p->options, p->monitor, &p->convert, err);
        if (st == QINS_OK)
            st = save_report(p, p->convert_path, &p->convert, err);
    }
    return st == QINS_OK ? note_step(p, "convert", *kept, qn_seconds() - begun, err) : st;
}

/* QINS_ERR_CHECK leaves the report in place: the page shows what differs. */
static enum qins_status verify_step(struct pipeline *p, bool may_keep, struct qins_error *err)
{
    double begun = qn_seconds();
    enum qins_status st = QINS_OK;
    p->verify = may_keep ? kept_report(p, p->verify_path) : NULL;
    bool kept = verified(p->verify, p->convert);
    if (!kept) {
        json_decref(p->verify);
        p->verify = NULL;
        st = qn_verify(p->archive, p->model, p->options->threads, p->monitor, &p->verify, err);
        if (st == QINS_OK || st == QINS_ERR_CHECK) {
            enum qins_status saved = save_report(p, p->verify_path, &p->verify, err);
            st = saved != QINS_OK ? saved : st;
        }
    }
    if (st != QINS_OK && st != QINS_ERR_CHECK)
        return st;
    enum qins_status noted = note_step(p, "verify", kept, qn_seconds() - begun, err);
    return noted != QINS_OK ? noted : st;
}

static json_t *make_report(const struct pipeline *p, const char *text)
{
    static const char *const copied[] = {"source_format", "input_bytes", "archive_bytes",
                                         "bits_per_weight"};
    json_t *j = qn_report_begin("qins/pipeline/1");
    qn_json_put(&j, "model", qn_json_text(p->model));
    qn_json_put(&j, "text", qn_json_text(text));
    qn_json_put(&j, "output", qn_json_text(p->dir));
    qn_json_put(&j, "job", json_string(p->job));
    qn_json_put(&j, "ok", json_boolean(json_is_true(json_object_get(p->verify, "ok"))));
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        qn_json_put(&j, copied[i], json_incref(json_object_get(p->convert, copied[i])));
    qn_json_put(&j, "steps", json_incref(p->steps));
    return j;
}

static enum qins_status run(struct pipeline *p, const char *text, json_t **report,
                            struct qins_error *err)
{
    bool kept = false;
    enum qins_status st = name_files(p, err);
    if (st == QINS_OK)
        st = look_at_inputs(p, text, err);
    if (st == QINS_OK)
        st = qn_make_directories(p->dir, err);
    if (st == QINS_OK)
        st = convert_step(p, &kept, err);
    if (st == QINS_OK)
        st = verify_step(p, kept, err);
    if (st != QINS_OK && st != QINS_ERR_CHECK)
        return st;
    *report = make_report(p, text);
    if (!*report)
        return qn_fail_memory(err);
    struct qins_error page_err;
    enum qins_status page =
        qn_write_summary(p->page_path, p->convert, p->verify, *report, &page_err);
    if (page != QINS_OK && err)
        *err = page_err;
    return page != QINS_OK ? page : st;
}

enum qins_status qn_pipeline(const char *model, const char *text, const char *dir,
                             const struct qn_convert_options *options,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err)
{
    struct qn_convert_options resumed = *options;
    resumed.resume = true;
    struct pipeline p = {.model = model, .dir = dir, .options = &resumed, .monitor = monitor};
    struct qn_file f;
    *report = NULL;
    enum qins_status st = qn_file_open(&f, text, err); /* before an hour's work, not after it */
    if (st == QINS_OK) {
        qn_file_close(&f);
        st = run(&p, text, report, err);
    }
    free(p.archive);
    free(p.part);
    free(p.convert_path);
    free(p.verify_path);
    free(p.page_path);
    json_decref(p.convert);
    json_decref(p.verify);
    json_decref(p.steps);
    if (st != QINS_OK && st != QINS_ERR_CHECK) {
        json_decref(*report);
        *report = NULL;
    }
    return st;
}
