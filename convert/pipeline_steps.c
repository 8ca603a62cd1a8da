#include "convert/pipeline_job.h"

#include "analyze/entropy_report.h"
#include "convert/calibrate.h"
#include "convert/gram.h"
#include "convert/transport.h"
#include "convert/verify.h"
#include "core/bytes.h"
#include "core/clock.h"
#include "core/file.h"
#include "formats/archive/reader.h"
#include "model/taps.h"

#include <string.h>
#include <unistd.h>

static const uint64_t max_report = 1u << 28; /* bytes */

static const char *text_of(const json_t *report, const char *key)
{
    return json_string_value(json_object_get(report, key));
}

static bool same_text(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

void qn_pipeline_cannot_run(struct qn_pipeline *p, const struct qins_error *e)
{
    qins_error_format(e, p->why, sizeof p->why);
    p->context = 0;
}

/* "calibration_hash" is of the whole file, which has no hash of its own. */
static enum qins_status put_calibration_hash(const struct qn_pipeline *p, json_t **report,
                                             struct qins_error *err)
{
    struct qn_digest d;
    enum qins_status st = qn_hash_file(p->files[QN_FILE_CALIBRATION], &d, err);
    if (st == QINS_OK)
        qn_json_put(report, "calibration_hash", qn_json_digest(&d));
    return st;
}

/* What is worth its time and memory. */
static enum qins_status choose_measurements(const struct qn_model *m,
                                            struct qn_calibrate_options *o, struct qins_error *err)
{
    struct qn_tap_list taps = {0};
    uint64_t bytes = 0, matrices = 2, sum = 0, row = 0;
    const uint64_t experts = m->config.n_experts ? m->config.n_experts : 1;
    const enum qins_status st = qn_taps_init(&taps, m, err);
    bool gram = st == QINS_OK;
    for (size_t i = 0; i < taps.n && gram; i++) {
        bytes = qn_gram_bytes(taps.points[i].channels);
        gram = qn_add_u64(sum, bytes, &sum) && sum <= QN_CALIBRATE_LARGE;
    }
    for (size_t i = 0; i < taps.n; i++)
        row += taps.points[i].channels * sizeof(float);
    qn_taps_finish(&taps);
    o->sample.gram = gram;
    if (gram && row * QN_PIPELINE_ROWS <= QN_CALIBRATE_LARGE - sum)
        o->sample.keep_rows = QN_PIPELINE_ROWS;
    /* Four of attention, and three of each MLP; many experts are measured together. */
    matrices += m->config.n_layers * (4 + 3 * (experts > QN_SENSITIVITY_EXPERTS ? 1 : experts));
    o->sensitivity = m->n_parameters <= QN_PIPELINE_SENSITIVITY / matrices;
    return st;
}

static enum qins_status calibrate(struct qn_pipeline *p, json_t **report, struct qins_error *err)
{
    const struct qn_pipeline_options *po = p->o;
    struct qn_calibrate_options o = {.corpus = {.texts = &po->text,
                                                .n_texts = 1,
                                                .tokenizer = po->tokenizer,
                                                .monitor = p->monitor},
                                     .sample = {.context = p->context},
                                     .resume = true,
                                     .threads = p->convert.threads};
    struct qn_model *m = NULL;
    struct qn_corpus corpus = {0};
    struct qins_error unfit = {0};
    enum qins_status st = qn_model_open(&m, po->model, o.threads, p->monitor, err);
    if (st != QINS_OK)
        return st;
    st = qn_corpus_open(&corpus, m, &o.corpus, &unfit);
    if (st == QINS_OK)
        st = choose_measurements(m, &o, &unfit);
    if (st == QINS_OK)
        st = qn_calibrate_corpus(m, &corpus, p->files[QN_FILE_CALIBRATION], &o, p->monitor, report,
                                 err);
    else if (st == QINS_ERR_FORMAT || st == QINS_ERR_UNSUPPORTED)
        qn_pipeline_cannot_run(p, &unfit);
    else if (err)
        *err = unfit;
    qn_corpus_finish(&corpus);
    qn_model_destroy(m);
    if (st == QINS_OK)
        return put_calibration_hash(p, report, err);
    return p->context == 0 ? QINS_OK : st;
}

static bool calibration_stands(const struct qn_pipeline *p, const json_t *report)
{
    struct qn_digest d;
    char found[33];
    if (qn_hash_file(p->files[QN_FILE_CALIBRATION], &d, NULL) != QINS_OK)
        return false;
    qn_digest_hex(&d, found);
    return same_text(text_of(report, "calibration_hash"), found);
}

static enum qins_status transport(struct qn_pipeline *p, json_t **report, struct qins_error *err)
{
    const struct qn_transport_options o = {.method = QN_SPLIT,
                                           .bits = 8,
                                           .kappa = -1.0F,
                                           .clip = -1.0F,
                                           .threads = p->convert.threads};
    struct qins_error unfit = {0};
    enum qins_status st =
        qn_transport_make(p->o->model, p->files[QN_FILE_CALIBRATION], p->files[QN_FILE_TRANSPORT],
                          &o, p->monitor, report, &unfit);
    if (st == QINS_ERR_UNSUPPORTED || st == QINS_ERR_USAGE) {
        qins_error_format(&unfit, p->no_transport, sizeof p->no_transport);
        return QINS_OK;
    }
    if (st != QINS_OK && err)
        *err = unfit;
    return st;
}

static bool transport_stands(const struct qn_pipeline *p, const json_t *report)
{
    struct qn_transport t = {0};
    struct qn_digest d;
    (void)report;
    const bool stands =
        p->kept[QN_STEP_CALIBRATE] && qn_exists(p->files[QN_FILE_TRANSPORT]) &&
        qn_transport_read(&t, p->files[QN_FILE_TRANSPORT], p->monitor, NULL) == QINS_OK &&
        qn_hash_file(p->files[QN_FILE_CALIBRATION], &d, NULL) == QINS_OK &&
        memcmp(&d, &t.calibration, sizeof d) == 0;
    qn_transport_finish(&t);
    return stands;
}

static enum qins_status plan(struct qn_pipeline *p, json_t **report, struct qins_error *err)
{
    struct qn_plan_job_options o = p->o->plan;
    struct qn_plan made = {0};
    o.calibration = p->reports[QN_STEP_CALIBRATE] ? p->files[QN_FILE_CALIBRATION] : NULL;
    o.threads = p->convert.threads;
    enum qins_status st = qn_make_plan(p->o->model, &o, p->monitor, &made, err);
    if (st == QINS_OK) {
        *report = qn_plan_to_json(&made);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    qn_plan_finish(&made);
    return st;
}

static enum qins_status convert(struct qn_pipeline *p, json_t **report, struct qins_error *err)
{
    return qn_convert(p->o->model, p->files[QN_FILE_ARCHIVE], &p->convert, p->monitor, report, err);
}

/* The archive is there, sound, and the one that was reported. */
static bool archive_stands(const struct qn_pipeline *p, const json_t *report)
{
    struct qn_archive *a = NULL;
    char found[33];
    bool stands = false;
    if (qn_exists(p->files[QN_FILE_ARCHIVE]) &&
        qn_archive_open(&a, p->files[QN_FILE_ARCHIVE], NULL) == QINS_OK) {
        qn_digest_hex(&a->body_hash, found);
        stands = same_text(text_of(report, "archive_hash"), found) &&
                 qn_archive_check_hash(a, p->convert.threads, p->monitor, NULL) == QINS_OK;
    }
    qn_archive_destroy(a);
    return stands;
}

static enum qins_status verify(struct qn_pipeline *p, json_t **report, struct qins_error *err)
{
    return qn_verify(p->files[QN_FILE_ARCHIVE], p->o->model, p->convert.threads, p->monitor, report,
                     err);
}

static bool is_of_archive(const struct qn_pipeline *p, const json_t *report)
{
    return p->kept[QN_STEP_CONVERT] &&
           same_text(text_of(report, "archive_hash"),
                     text_of(p->reports[QN_STEP_CONVERT], "archive_hash"));
}

static bool verification_stands(const struct qn_pipeline *p, const json_t *report)
{
    return json_is_true(json_object_get(report, "ok")) && is_of_archive(p, report);
}

static enum qins_status analyze(struct qn_pipeline *p, json_t **report, struct qins_error *err)
{
    const struct qn_analyze_options o = {
        .calibration = p->reports[QN_STEP_CALIBRATE] ? p->files[QN_FILE_CALIBRATION] : NULL,
        .transport = p->reports[QN_STEP_TRANSPORT] ? p->files[QN_FILE_TRANSPORT] : NULL,
        .plan = p->reports[QN_STEP_PLAN] ? p->files[QN_FILE_PLAN] : NULL,
        .archive = p->files[QN_FILE_ARCHIVE],
        .kv = p->reports[QN_STEP_KV_8] ? p->files[QN_FILE_KV_PAGES] : NULL,
        .threads = p->convert.threads};
    return qn_analyze(p->o->model, p->files[QN_FILE_ANALYSIS], &o, p->monitor, report, err);
}

static bool analysis_stands(const struct qn_pipeline *p, const json_t *report)
{
    (void)report;
    return qn_exists(p->files[QN_FILE_ANALYSIS_PAGE]);
}

static enum qins_status validate(struct qn_pipeline *p, json_t **report, struct qins_error *err)
{
    return qn_pipeline_validate(p, QN_STEP_VALIDATE, report, err);
}

static enum qins_status validate_native(struct qn_pipeline *p, json_t **report,
                                        struct qins_error *err)
{
    return qn_pipeline_validate(p, QN_STEP_NATIVE, report, err);
}

static enum qins_status validate_kv_8(struct qn_pipeline *p, json_t **report,
                                      struct qins_error *err)
{
    return qn_pipeline_validate(p, QN_STEP_KV_8, report, err);
}

static enum qins_status validate_kv_6(struct qn_pipeline *p, json_t **report,
                                      struct qins_error *err)
{
    return qn_pipeline_validate(p, QN_STEP_KV_6, report, err);
}

static bool pages_stand(const struct qn_pipeline *p, const json_t *report)
{
    (void)report;
    return qn_exists(p->files[QN_FILE_KV_PAGES]);
}

static bool review_stands(const struct qn_pipeline *p, const json_t *report)
{
    (void)report;
    return qn_exists(p->files[QN_FILE_REVIEW_PAGE]);
}

static bool native_validation_stands(const struct qn_pipeline *p, const json_t *report)
{
    (void)report;
    return p->kept[QN_STEP_TRANSPORT];
}

static bool validation_stands(const struct qn_pipeline *p, const json_t *report)
{
    return is_of_archive(p, json_object_get(report, "candidate"));
}

/* Whatever a person made of it since, if it is a plan; or of the same model and text. */
static bool stands_anyway(const struct qn_pipeline *p, const json_t *report)
{
    (void)p;
    (void)report;
    return true;
}

static const struct step {
    const char *name;
    enum qn_pipeline_file report;
    bool runs_model;
    /* *report stays NULL on QINS_OK where it turns out that the model cannot be run. */
    enum qins_status (*run)(struct qn_pipeline *p, json_t **report, struct qins_error *err);
    /* Whether what an earlier run reported of the same job still holds. */
    bool (*stands)(const struct qn_pipeline *p, const json_t *report);
    const char *job_in; /* the object of the report that has its job; NULL: the report itself */
    enum qn_pipeline_file work; /* kept until the report is saved; 0: none */
} steps[QN_PIPELINE_STEPS] = {
    [QN_STEP_CALIBRATE] = {"calibrate", QN_FILE_CALIBRATE_REPORT, true, calibrate,
                           calibration_stands, NULL},
    [QN_STEP_TRANSPORT] = {"transport", QN_FILE_TRANSPORT_REPORT, true, transport, transport_stands,
                           NULL},
    [QN_STEP_PLAN] = {"plan", QN_FILE_PLAN, false, plan, stands_anyway, "summary"},
    [QN_STEP_CONVERT] = {"convert", QN_FILE_CONVERT_REPORT, false, convert, archive_stands, NULL},
    [QN_STEP_VERIFY] = {"verify", QN_FILE_VERIFY_REPORT, false, verify, verification_stands, NULL},
    [QN_STEP_KV_8] = {"validate-kv-8", QN_FILE_KV_8_REPORT, true, validate_kv_8, pages_stand, NULL},
    [QN_STEP_KV_6] = {"validate-kv-6", QN_FILE_KV_6_REPORT, true, validate_kv_6, stands_anyway,
                      NULL},
    [QN_STEP_ANALYZE] = {"analyze", QN_FILE_ANALYSIS_REPORT, false, analyze, analysis_stands, NULL},
    [QN_STEP_VALIDATE] = {"validate", QN_FILE_VALIDATE_REPORT, true, validate, validation_stands,
                          NULL, QN_FILE_VALIDATE_PART},
    [QN_STEP_NATIVE] = {"validate-transport", QN_FILE_NATIVE_REPORT, true, validate_native,
                        native_validation_stands, NULL},
    [QN_STEP_GATE] = {"gate", QN_FILE_REVIEW_REPORT, false, qn_pipeline_gate, review_stands, NULL},
};

/* The report in PATH if it is of JOB, or NULL. */
static json_t *earlier_report(const char *path, const char *job_in, const char *job)
{
    json_t *j = qn_exists(path) ? qn_json_load(path, max_report, NULL) : NULL;
    if (same_text(text_of(job_in ? json_object_get(j, job_in) : j, "job"), job))
        return j;
    json_decref(j);
    return NULL;
}

static enum qins_status save_report(const struct step *s, const char *path, const char *job,
                                    json_t *report, struct qins_error *err)
{
    json_t *in = s->job_in ? json_object_get(report, s->job_in) : report;
    if (!in && s->job_in) {
        in = json_object();
        if (json_object_set_new(report, s->job_in, in) != 0)
            return qn_fail_memory(err);
    }
    if (json_object_set_new(in, "job", json_string(job)) != 0)
        return qn_fail_memory(err);
    return qn_json_save(path, report, err);
}

static const char uniform_reason[] = "the options choose one coding for all tensors";

static const char *why_skipped(const struct qn_pipeline *p, enum qn_pipeline_step step)
{
    if (step == QN_STEP_PLAN)
        return uniform_reason;
    const bool native = step == QN_STEP_TRANSPORT || step == QN_STEP_NATIVE;
    const bool pages = step == QN_STEP_KV_8 || step == QN_STEP_KV_6;
    if (pages && p->no_pages[0])
        return p->no_pages;
    return native && p->no_transport[0] ? p->no_transport : p->why;
}

static enum qins_status note_step(struct qn_pipeline *p, enum qn_pipeline_step step, double seconds,
                                  struct qins_error *err)
{
    json_t *j = json_object();
    bool skipped = !p->reports[step];
    qn_json_put(&j, "name", json_string(steps[step].name));
    qn_json_put(&j, "status", json_string(skipped ? "skipped" : p->kept[step] ? "kept" : "done"));
    qn_json_put(&j, "seconds", skipped ? json_null() : qn_json_real(seconds));
    if (skipped)
        qn_json_put(&j, "reason", qn_json_text(why_skipped(p, step)));
    return json_array_append_new(p->steps, j) == 0 ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status run_step(struct qn_pipeline *p, enum qn_pipeline_step step,
                                 struct qins_error *err)
{
    const struct step *s = &steps[step];
    const char *path = p->files[s->report];
    json_t **report = &p->reports[step];
    enum qins_status st = qn_pipeline_job(p, step, err);
    if (st != QINS_OK)
        return st;
    *report = earlier_report(path, s->job_in, p->jobs[step]);
    p->kept[step] = *report && s->stands(p, *report);
    if (p->kept[step])
        return QINS_OK;
    json_decref(*report);
    *report = NULL;
    st = s->run(p, report, err);
    if ((st == QINS_OK || st == QINS_ERR_CHECK) && *report) {
        enum qins_status saved = save_report(s, path, p->jobs[step], *report, err);
        st = saved != QINS_OK ? saved : st;
        if (saved == QINS_OK && s->work)
            unlink(p->files[s->work]);
    }
    return st;
}

/* The archive is made by the plan, and what rounding takes from the calibration. */
static void direct_convert(struct qn_pipeline *p)
{
    p->convert.plan_file = p->files[QN_FILE_PLAN];
    if (p->reports[QN_STEP_CALIBRATE])
        p->convert.calibration = p->files[QN_FILE_CALIBRATION];
}

enum qins_status qn_pipeline_step(struct qn_pipeline *p, enum qn_pipeline_step step,
                                  struct qins_error *err)
{
    double begun = qn_seconds();
    enum qins_status st = QINS_OK;
    const bool cannot = steps[step].runs_model && p->context == 0;
    const bool unwanted = (step == QN_STEP_PLAN && p->o->uniform) ||
                          (step == QN_STEP_NATIVE && !p->reports[QN_STEP_TRANSPORT]) ||
                          (step == QN_STEP_KV_6 && !p->reports[QN_STEP_KV_8]);
    if (step == QN_STEP_CONVERT && !p->o->uniform)
        direct_convert(p);
    if (!cannot && !unwanted)
        st = run_step(p, step, err);
    if (st != QINS_OK && st != QINS_ERR_CHECK)
        return st;
    enum qins_status noted = note_step(p, step, qn_seconds() - begun, err);
    return noted != QINS_OK ? noted : st;
}
