#include "convert/pipeline_job.h"

#include "analyze/validate.h"
#include "convert/calibrate_job.h"
#include "convert/sources.h"
#include "core/bytes.h"
#include "core/file.h"
#include "model/corpus.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const file_names[QN_PIPELINE_FILES] = {
    [QN_FILE_CALIBRATION] = "calibration.h5",
    [QN_FILE_CALIBRATION_PART] = "calibration.h5.part",
    [QN_FILE_CALIBRATE_REPORT] = "calibrate.json",
    [QN_FILE_TRANSPORT] = "transport.h5",
    [QN_FILE_TRANSPORT_REPORT] = "transport.json",
    [QN_FILE_PLAN] = "plan.json",
    [QN_FILE_ARCHIVE] = "model.qins",
    [QN_FILE_ARCHIVE_PART] = "model.qins.part",
    [QN_FILE_CONVERT_REPORT] = "convert.json",
    [QN_FILE_VERIFY_REPORT] = "verify.json",
    [QN_FILE_ANALYSIS] = "analysis",
    [QN_FILE_ANALYSIS_REPORT] = "analysis/entropy_analysis.json",
    [QN_FILE_ANALYSIS_PAGE] = "analysis/index.html",
    [QN_FILE_VALIDATE_REPORT] = "validation.json",
    [QN_FILE_VALIDATE_PART] = "validation.json.part",
    [QN_FILE_NATIVE_REPORT] = "validation-transport.json",
    [QN_FILE_KV_8_REPORT] = "validation-kv-8.json",
    [QN_FILE_KV_6_REPORT] = "validation-kv-6.json",
    [QN_FILE_KV_PAGES] = "kv-pages.h5",
    [QN_FILE_REVIEW] = "review",
    [QN_FILE_REVIEW_REPORT] = "review/gate_review.json",
    [QN_FILE_REVIEW_PAGE] = "review/index.html",
    [QN_FILE_PAGE] = "index.html",
};

static enum qins_status name_files(struct qn_pipeline *p, struct qins_error *err)
{
    for (int i = 0; i < QN_PIPELINE_FILES; i++) {
        p->files[i] = qn_path_join(p->o->dir, file_names[i], err);
        if (!p->files[i])
            return QINS_ERR_MEMORY;
    }
    p->steps = json_array();
    return p->steps ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status refuse_inputs(const struct qn_pipeline *p, const struct qn_checkpoint *ck,
                                      struct qins_error *err)
{
    const struct qn_inputs inputs[] = {{.checkpoint = ck, .file = p->o->text},
                                       {.file = p->o->heldout},
                                       {.file = p->o->tokenizer},
                                       {.file = p->o->plan.policy},
                                       {.file = p->o->plan.costs}};
    enum qins_status st = QINS_OK;
    for (int i = 0; i < QN_PIPELINE_FILES && st == QINS_OK; i++)
        for (size_t k = 0; k < sizeof inputs / sizeof *inputs && st == QINS_OK; k++)
            st = qn_refuse_input(&inputs[k], p->files[i], err);
    return st;
}

/* Tokens of the text; where it has more than MOST, some number that exceeds MOST. */
static enum qins_status count_tokens(const char *text, const struct qn_tokenizer *tokenizer,
                                     size_t most, size_t *count, struct qins_error *err)
{
    size_t size = (size_t)1 << 16; /* of the piece looked at: for most windows long enough */
    struct qn_file f;
    struct qn_buf piece = {0};
    struct qn_ids ids = {0};
    enum qins_status st = qn_file_open(&f, text, err);
    while (st == QINS_OK) {
        size = (size_t)qn_min_u64(size, f.size);
        ids.count = 0;
        st = qn_buf_reserve(&piece, size, err);
        if (st == QINS_OK && size > 0)
            st = qn_file_read(&f, 0, piece.data, size, err);
        if (st == QINS_OK)
            st = qn_tokenizer_encode(tokenizer, piece.data, size, QN_ENCODE_PLAIN, &ids, err);
        /* What follows may change the tokens at the end of a piece, but never half of them. */
        if (size == f.size || ids.count / 2 > most)
            break;
        size *= 4;
    }
    *count = ids.count;
    qn_ids_finish(&ids);
    qn_buf_finish(&piece);
    qn_file_close(&f);
    return st;
}

static enum qins_status open_tokenizer(const struct qn_pipeline *p, uint32_t vocab,
                                       const struct qn_attachment_list *files,
                                       struct qn_tokenizer **out, struct qins_error *err)
{
    if (!p->o->tokenizer && !qn_attachment_find(files, "tokenizer.json") &&
        !qn_attachment_find(files, "tokenizer.bin"))
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, p->o->model, NULL, QN_NO_OFFSET,
                          "the model comes without a tokenizer: give --tokenizer");
    return qn_tokenizer_open(out, p->o->tokenizer, files, vocab, err);
}

/* The most tokens that a window can have, given both texts. */
static enum qins_status fit_window(const struct qn_pipeline *p, const struct qn_tokenizer *t,
                                   uint32_t window, uint32_t *out, struct qins_error *err)
{
    const char *const texts[] = {p->o->text, p->o->heldout};
    enum qins_status st = QINS_OK;
    *out = window;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && texts[i] && st == QINS_OK; i++) {
        size_t count = 0;
        st = count_tokens(texts[i], t, window, &count, err);
        if (st == QINS_OK && count < 2)
            st = qn_fail_at(err, QINS_ERR_FORMAT, texts[i], NULL, QN_NO_OFFSET,
                            "the text has fewer than two tokens");
        if (st == QINS_OK)
            *out = (uint32_t)qn_min_u64(*out, count - 1);
    }
    return st;
}

/* Sets p->context, or leaves it 0 where the checkpoint holds no model that can read the text. */
static enum qins_status find_context(struct qn_pipeline *p, const struct qn_attachment_list *files,
                                     struct qn_digest *tokenizer_digest, struct qins_error *err)
{
    struct qn_model_config config;
    struct qn_tokenizer *tokenizer = NULL;
    struct qins_error e = {0};
    uint32_t window = 0;
    bool fits; /* or not, which does not keep it from being converted */
    enum qins_status st = qn_model_check(p->o->model, &config, &fits, &e);
    const bool unfit = st == QINS_OK && !fits;
    if (st == QINS_OK && fits)
        st = open_tokenizer(p, config.vocab, files, &tokenizer, &e);
    if (st == QINS_OK && fits) {
        *tokenizer_digest = *qn_tokenizer_digest(tokenizer);
        st = fit_window(p, tokenizer, qn_window_size(&config, p->o->context, NULL), &window, &e);
    }
    if (st == QINS_OK && fits)
        p->context = window;
    qn_tokenizer_destroy(tokenizer);
    if (unfit || st == QINS_ERR_FORMAT || st == QINS_ERR_UNSUPPORTED) {
        qn_pipeline_cannot_run(p, &e);
        return QINS_OK;
    }
    if (st != QINS_OK && err)
        *err = e;
    return st;
}

/* What is read and found out before anything is written. */
static enum qins_status look_at_inputs(struct qn_pipeline *p, struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    enum qins_status st = qn_validate_check_tests(p->o->tests, err);
    if (st == QINS_OK)
        st = qn_hash_file(p->o->text, &p->text, err);
    p->heldout = p->text;
    if (st == QINS_OK)
        st = qn_corpus_check_text(p->o->text, err);
    if (st == QINS_OK && p->o->heldout)
        st = qn_hash_file(p->o->heldout, &p->heldout, err);
    if (st == QINS_OK && p->o->heldout)
        st = qn_corpus_check_text(p->o->heldout, err);
    if (st == QINS_OK)
        st = qn_checkpoint_open(&ck, p->o->model, NULL, err);
    if (st == QINS_OK)
        st = refuse_inputs(p, ck, err);
    if (st == QINS_OK)
        st = qn_source_digest(ck, &p->source, err);
    if (st == QINS_OK)
        st = find_context(p, &ck->attachments, &p->tokenizer, err);
    qn_checkpoint_destroy(ck);
    return st;
}

static json_t *make_report(const struct qn_pipeline *p)
{
    static const char *const copied[] = {"source_format", "input_bytes", "archive_bytes",
                                         "bits_per_weight"};
    const json_t *ok = json_object_get(p->reports[QN_STEP_VERIFY], "ok");
    json_t *j = qn_report_begin("qins/pipeline/1");
    qn_json_put(&j, "model", qn_json_text(p->o->model));
    qn_json_put(&j, "text", qn_json_text(p->o->text));
    qn_json_put(&j, "heldout", p->o->heldout ? qn_json_text(p->o->heldout) : json_null());
    qn_json_put(&j, "tokenizer", p->o->tokenizer ? qn_json_text(p->o->tokenizer) : json_null());
    qn_json_put(&j, "output", qn_json_text(p->o->dir));
    qn_json_put(&j, "job", json_string(p->jobs[QN_STEP_CONVERT]));
    qn_json_put(&j, "ok", json_boolean(json_is_true(ok)));
    qn_json_put(&j, "passed", json_incref(json_object_get(p->reports[QN_STEP_GATE], "passed")));
    qn_json_put(&j, "decision", json_incref(json_object_get(p->reports[QN_STEP_GATE], "decision")));
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        qn_json_put(&j, copied[i],
                    json_incref(json_object_get(p->reports[QN_STEP_CONVERT], copied[i])));
    qn_json_put(&j, "steps", json_incref(p->steps));
    return j;
}

static enum qins_status write_page(const struct qn_pipeline *p, const json_t *report,
                                   struct qins_error *err)
{
    static const struct {
        enum qn_pipeline_step step;
        enum qn_pipeline_file file;
    } made[] = {
        {QN_STEP_GATE, QN_FILE_REVIEW_PAGE},
        {QN_STEP_ANALYZE, QN_FILE_ANALYSIS_PAGE},
        {QN_STEP_CONVERT, QN_FILE_ARCHIVE},
        {QN_STEP_CALIBRATE, QN_FILE_CALIBRATION},
        {QN_STEP_PLAN, QN_FILE_PLAN},
        {QN_STEP_CONVERT, QN_FILE_CONVERT_REPORT},
        {QN_STEP_VERIFY, QN_FILE_VERIFY_REPORT},
        {QN_STEP_CALIBRATE, QN_FILE_CALIBRATE_REPORT},
        {QN_STEP_VALIDATE, QN_FILE_VALIDATE_REPORT},
        {QN_STEP_TRANSPORT, QN_FILE_TRANSPORT},
        {QN_STEP_TRANSPORT, QN_FILE_TRANSPORT_REPORT},
        {QN_STEP_NATIVE, QN_FILE_NATIVE_REPORT},
        {QN_STEP_KV_8, QN_FILE_KV_8_REPORT},
        {QN_STEP_KV_6, QN_FILE_KV_6_REPORT},
        {QN_STEP_KV_8, QN_FILE_KV_PAGES},
        {QN_STEP_GATE, QN_FILE_REVIEW_REPORT},
    };
    const char *files[sizeof made / sizeof *made];
    struct qn_summary s = {.pipeline = report,
                           .calibrate = p->reports[QN_STEP_CALIBRATE],
                           .convert = p->reports[QN_STEP_CONVERT],
                           .verify = p->reports[QN_STEP_VERIFY],
                           .validate = p->reports[QN_STEP_VALIDATE],
                           .transport = p->reports[QN_STEP_TRANSPORT],
                           .native = p->reports[QN_STEP_NATIVE],
                           .review = p->reports[QN_STEP_GATE],
                           .files = files};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (p->reports[made[i].step])
            files[s.n_files++] = file_names[made[i].file];
    char *name = qn_calibrate_model_name(p->o->model, err);
    s.name = name;
    enum qins_status st =
        name ? qn_write_summary(p->files[QN_FILE_PAGE], &s, err) : QINS_ERR_MEMORY;
    free(name);
    return st;
}

static enum qins_status run(struct qn_pipeline *p, json_t **report, struct qins_error *err)
{
    enum qins_status st = name_files(p, err);
    if (st == QINS_OK)
        st = look_at_inputs(p, err);
    if (st == QINS_OK)
        st = qn_make_directories(p->o->dir, err);
    for (int i = 0; i < QN_PIPELINE_STEPS && st == QINS_OK; i++)
        st = qn_pipeline_step(p, i, err);
    if (st != QINS_OK && st != QINS_ERR_CHECK)
        return st;
    *report = make_report(p);
    if (!*report)
        return qn_fail_memory(err);
    struct qins_error page_err;
    enum qins_status page = write_page(p, *report, &page_err);
    if (page != QINS_OK && err)
        *err = page_err;
    return page != QINS_OK ? page : st;
}

enum qins_status qn_pipeline(const struct qn_pipeline_options *options,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err)
{
    struct qn_pipeline p = {.o = options, .convert = options->convert, .monitor = monitor};
    p.convert.resume = true;
    *report = NULL;
    enum qins_status st = run(&p, report, err);
    if (st == QINS_ERR_INTERRUPTED)
        st = qn_fail(err, st, "interrupted; the same command goes on from here");
    for (int i = 0; i < QN_PIPELINE_FILES; i++)
        free(p.files[i]);
    for (int i = 0; i < QN_PIPELINE_STEPS; i++)
        json_decref(p.reports[i]);
    json_decref(p.steps);
    if (st != QINS_OK && st != QINS_ERR_CHECK) {
        json_decref(*report);
        *report = NULL;
    }
    return st;
}
