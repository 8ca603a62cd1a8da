#include "convert/pipeline.h"

#include "analyze/validate.h"
#include "convert/calibrate.h"
#include "convert/report.h"
#include "convert/sources.h"
#include "convert/verify.h"
#include "convert/work.h"
#include "core/bytes.h"
#include "core/file.h"
#include "model/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t max_report = 1u << 28; /* bytes */
static const uint64_t max_text = UINT64_C(1) << 32;
/* Tokens of a window, unless model or text are shorter; validate's default, too. */
enum { WINDOW = 512 };

/* What a run leaves in its folder. */
enum file {
    CALIBRATION,
    CALIBRATION_PART,
    CALIBRATE_REPORT,
    ARCHIVE,
    ARCHIVE_PART,
    CONVERT_REPORT,
    VERIFY_REPORT,
    VALIDATE_REPORT,
    PAGE,
    N_FILES,
};
static const char *const file_names[N_FILES] = {
    "calibration.h5", "calibration.h5.part", "calibrate.json",  "model.qins", "model.qins.part",
    "convert.json",   "verify.json",         "validation.json", "index.html"};

struct pipeline {
    const char *model, *text, *dir;
    const struct qn_convert_options *options;
    const struct qn_monitor *monitor;
    char job[33];      /* what decides the archive */
    char text_job[33]; /* and the text: what decides the steps that run the model */
    uint32_t window;   /* tokens that the user asked for, or 0 */
    uint32_t context;  /* tokens of a window of those steps; 0: the model cannot be run, */
    char why[512];     /* and why */
    char *files[N_FILES];
    json_t *convert, *verify, *calibrate, *validate, *steps;
};

static enum qins_status name_files(struct pipeline *p, struct qins_error *err)
{
    for (int i = 0; i < N_FILES; i++) {
        p->files[i] = qn_path_join(p->dir, file_names[i], err);
        if (!p->files[i])
            return QINS_ERR_MEMORY;
    }
    p->steps = json_array();
    return p->steps ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status refuse_inputs(const struct pipeline *p, const struct qn_inputs *in,
                                      struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (int i = 0; i < N_FILES && st == QINS_OK; i++)
        st = qn_refuse_input(in, p->files[i], err);
    return st;
}

/* Sets p->context, or leaves it 0 where the checkpoint holds no model that can read the text. */
static enum qins_status find_context(struct pipeline *p, const struct qn_attachment_list *files,
                                     const struct qn_buf *text, struct qins_error *err)
{
    struct qn_model_config config;
    struct qn_tokenizer *tokenizer = NULL;
    struct qn_ids ids = {0};
    struct qins_error e = {0};
    enum qins_status st = qn_config_find(files, &config, &e);
    if (st == QINS_OK)
        st = qn_tokenizer_open(&tokenizer, NULL, files, config.vocab, &e);
    if (st == QINS_OK)
        st = qn_tokenizer_encode(tokenizer, text->data, text->size, QN_ENCODE_PLAIN, &ids, &e);
    if (st == QINS_OK && ids.count < 2)
        st = qn_fail(&e, QINS_ERR_FORMAT, "the text has fewer than two tokens");
    if (st == QINS_OK) {
        uint64_t most = p->window ? p->window : qn_min_u64(WINDOW, config.max_positions);
        p->context = (uint32_t)qn_min_u64(most, ids.count - 1);
    }
    qn_ids_finish(&ids);
    qn_tokenizer_destroy(tokenizer);
    if (st == QINS_ERR_FORMAT || st == QINS_ERR_UNSUPPORTED) {
        qins_error_format(&e, p->why, sizeof p->why);
        return QINS_OK;
    }
    if (st != QINS_OK && err)
        *err = e;
    return st;
}

/* Which job this is; nothing has been written by then. */
static enum qins_status look_at_inputs(struct pipeline *p, struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    struct qn_buf text = {0};
    struct qn_digest job[2];
    struct qn_buf key = {0};
    enum qins_status st = qn_read_whole(p->text, max_text, &text, err);
    if (st == QINS_OK)
        st = qn_checkpoint_open(&ck, p->model, NULL, err);
    struct qn_inputs inputs = {.checkpoint = ck, .file = p->text};
    if (st == QINS_OK)
        st = refuse_inputs(p, &inputs, err);
    if (st == QINS_OK)
        st = qn_convert_digest(ck, p->options, &job[0], err);
    if (st == QINS_OK) {
        qn_digest_hex(&job[0], p->job);
        st = find_context(p, &ck->attachments, &text, err);
    }
    if (st == QINS_OK) {
        job[1] = qn_hash128(text.data, text.size);
        st = qn_buf_append(&key, job, sizeof job, err);
    }
    if (st == QINS_OK)
        st = qn_buf_append(&key, &p->context, sizeof p->context, err);
    if (st == QINS_OK) {
        job[1] = qn_hash128(key.data, key.size);
        qn_digest_hex(&job[1], p->text_job);
    }
    qn_buf_finish(&key);
    qn_checkpoint_destroy(ck);
    qn_buf_finish(&text);
    return st;
}

/* The report in FILE if an earlier run wrote it for that job, or NULL. */
static json_t *kept_report(const struct pipeline *p, enum file file, const char *wanted)
{
    const char *path = p->files[file];
    json_t *j = qn_exists(path) ? qn_json_load(path, max_report, NULL) : NULL;
    const char *job = json_string_value(json_object_get(j, "job"));
    if (job && strcmp(job, wanted) == 0)
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
    if (reported && qn_exists(p->files[ARCHIVE]) &&
        qn_archive_open(&a, p->files[ARCHIVE], NULL) == QINS_OK) {
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

static enum qins_status save_report(const struct pipeline *p, enum file file, const char *job,
                                    json_t **report, struct qins_error *err)
{
    qn_json_put(report, "job", json_string(job));
    return *report ? qn_json_save(p->files[file], *report, err) : qn_fail_memory(err);
}

static enum qins_status note_step(struct pipeline *p, const char *name, const char *status,
                                  double begun, struct qins_error *err)
{
    json_t *step = json_object();
    bool skipped = strcmp(status, "skipped") == 0;
    qn_json_put(&step, "name", json_string(name));
    qn_json_put(&step, "status", json_string(status));
    qn_json_put(&step, "seconds", skipped ? json_null() : qn_json_real(qn_seconds() - begun));
    if (skipped)
        qn_json_put(&step, "reason", qn_json_text(p->why));
    return json_array_append_new(p->steps, step) == 0 ? QINS_OK : qn_fail_memory(err);
}

/* XXH3-128 of a file's bytes, in hexadecimal; empty where it cannot be read. */
static void hash_file(const char *path, char out[33])
{
    struct qn_file f;
    struct qn_hasher *h = qn_hasher_create();
    struct qn_digest d;
    uint8_t piece[1 << 14];
    uint64_t at = 0;
    out[0] = '\0';
    if (h && qn_file_open(&f, path, NULL) == QINS_OK) {
        size_t n = sizeof piece;
        while (at < f.size) {
            n = (size_t)qn_min_u64(sizeof piece, f.size - at);
            if (qn_file_read(&f, at, piece, n, NULL) != QINS_OK)
                break;
            qn_hasher_add(h, piece, n);
            at += n;
        }
        if (at == f.size) {
            d = qn_hasher_digest(h);
            qn_digest_hex(&d, out);
        }
        qn_file_close(&f);
    }
    qn_hasher_destroy(h);
}

static enum qins_status calibrate_step(struct pipeline *p, struct qins_error *err)
{
    double begun = qn_seconds();
    struct qn_calibrate_options o = {.corpus = {.texts = &p->text, .n_texts = 1},
                                     .sample = {.context = p->context},
                                     .resume = true,
                                     .threads = p->options->threads};
    char found[33];
    if (p->context == 0)
        return note_step(p, "calibrate", "skipped", begun, err);
    p->calibrate = kept_report(p, CALIBRATE_REPORT, p->text_job);
    hash_file(p->files[CALIBRATION], found);
    const char *hash = json_string_value(json_object_get(p->calibrate, "calibration_hash"));
    if (hash && strcmp(hash, found) == 0)
        return note_step(p, "calibrate", "kept", begun, err);
    json_decref(p->calibrate);
    p->calibrate = NULL;
    enum qins_status st =
        qn_calibrate(p->model, p->files[CALIBRATION], &o, p->monitor, &p->calibrate, err);
    if (st != QINS_OK)
        return st;
    hash_file(p->files[CALIBRATION], found);
    qn_json_put(&p->calibrate, "calibration_hash", json_string(found));
    st = save_report(p, CALIBRATE_REPORT, p->text_job, &p->calibrate, err);
    return st == QINS_OK ? note_step(p, "calibrate", "done", begun, err) : st;
}

static enum qins_status convert_step(struct pipeline *p, bool *kept, struct qins_error *err)
{
    double begun = qn_seconds();
    enum qins_status st = QINS_OK;
    p->convert = kept_report(p, CONVERT_REPORT, p->job);
    *kept = p->convert && archive_stands(p, p->convert);
    if (!*kept) {
        json_decref(p->convert);
        p->convert = NULL;
        st = qn_convert(p->model, p->files[ARCHIVE], p->options, p->monitor, &p->convert, err);
        if (st == QINS_OK)
            st = save_report(p, CONVERT_REPORT, p->job, &p->convert, err);
    }
    return st == QINS_OK ? note_step(p, "convert", *kept ? "kept" : "done", begun, err) : st;
}

/* QINS_ERR_CHECK leaves the report in place: the page shows what differs. */
static enum qins_status verify_step(struct pipeline *p, bool may_keep, struct qins_error *err)
{
    double begun = qn_seconds();
    enum qins_status st = QINS_OK;
    p->verify = may_keep ? kept_report(p, VERIFY_REPORT, p->job) : NULL;
    bool kept = verified(p->verify, p->convert);
    if (!kept) {
        json_decref(p->verify);
        p->verify = NULL;
        st = qn_verify(p->files[ARCHIVE], p->model, p->options->threads, p->monitor, &p->verify,
                       err);
        if (st == QINS_OK || st == QINS_ERR_CHECK) {
            enum qins_status saved = save_report(p, VERIFY_REPORT, p->job, &p->verify, err);
            st = saved != QINS_OK ? saved : st;
        }
    }
    if (st != QINS_OK && st != QINS_ERR_CHECK)
        return st;
    enum qins_status noted = note_step(p, "verify", kept ? "kept" : "done", begun, err);
    return noted != QINS_OK ? noted : st;
}

/* Perplexity of the model and of its archive on the text. */
static enum qins_status validate_step(struct pipeline *p, bool may_keep, struct qins_error *err)
{
    double begun = qn_seconds();
    struct qn_validate_options o = {.model = p->model,
                                    .candidate = p->files[ARCHIVE],
                                    .text = p->text,
                                    .context = p->context,
                                    .threads = p->options->threads};
    if (p->context == 0)
        return note_step(p, "validate", "skipped", begun, err);
    p->validate = may_keep ? kept_report(p, VALIDATE_REPORT, p->text_job) : NULL;
    if (p->validate)
        return note_step(p, "validate", "kept", begun, err);
    enum qins_status st = qn_validate(&o, p->monitor, &p->validate, err);
    if (st == QINS_OK)
        st = save_report(p, VALIDATE_REPORT, p->text_job, &p->validate, err);
    return st == QINS_OK ? note_step(p, "validate", "done", begun, err) : st;
}

static json_t *make_report(const struct pipeline *p)
{
    static const char *const copied[] = {"source_format", "input_bytes", "archive_bytes",
                                         "bits_per_weight"};
    json_t *j = qn_report_begin("qins/pipeline/1");
    qn_json_put(&j, "model", qn_json_text(p->model));
    qn_json_put(&j, "text", qn_json_text(p->text));
    qn_json_put(&j, "output", qn_json_text(p->dir));
    qn_json_put(&j, "job", json_string(p->job));
    qn_json_put(&j, "ok", json_boolean(json_is_true(json_object_get(p->verify, "ok"))));
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        qn_json_put(&j, copied[i], json_incref(json_object_get(p->convert, copied[i])));
    qn_json_put(&j, "steps", json_incref(p->steps));
    return j;
}

static enum qins_status run(struct pipeline *p, json_t **report, struct qins_error *err)
{
    bool kept = false;
    enum qins_status st = name_files(p, err);
    if (st == QINS_OK)
        st = look_at_inputs(p, err);
    if (st == QINS_OK)
        st = qn_make_directories(p->dir, err);
    if (st == QINS_OK)
        st = calibrate_step(p, err);
    if (st == QINS_OK)
        st = convert_step(p, &kept, err);
    if (st == QINS_OK)
        st = verify_step(p, kept, err);
    bool differs = st == QINS_ERR_CHECK;
    if (st == QINS_OK)
        st = validate_step(p, kept, err);
    if (st != QINS_OK && !differs)
        return st;
    *report = make_report(p);
    if (!*report)
        return qn_fail_memory(err);
    struct qins_error page_err;
    enum qins_status page =
        qn_write_summary(p->files[PAGE], p->convert, p->verify, p->validate, *report, &page_err);
    if (page != QINS_OK && err)
        *err = page_err;
    return page != QINS_OK ? page : st;
}

enum qins_status qn_pipeline(const char *model, const char *text, const char *dir, uint32_t context,
                             const struct qn_convert_options *options,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err)
{
    struct qn_convert_options resumed = *options;
    resumed.resume = true;
    struct pipeline p = {.model = model,
                         .text = text,
                         .dir = dir,
                         .window = context,
                         .options = &resumed,
                         .monitor = monitor};
    *report = NULL;
    enum qins_status st = run(&p, report, err);
    for (int i = 0; i < N_FILES; i++)
        free(p.files[i]);
    json_decref(p.calibrate);
    json_decref(p.convert);
    json_decref(p.verify);
    json_decref(p.validate);
    json_decref(p.steps);
    if (st != QINS_OK && st != QINS_ERR_CHECK) {
        json_decref(*report);
        *report = NULL;
    }
    return st;
}
