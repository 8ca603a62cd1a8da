/* Steps of the pipeline that run the model beside something on the held-out text. */
#include "analyze/validate.h"
#include "convert/pipeline_job.h"

#include <stdio.h>

/* What is measured beside the model. */
static const struct validation {
    bool archive, transport;
    bool pages; /* leaves some in a file */
    unsigned kv_bits;
    const char *tests; /* NULL: those of the options */
} validations[QN_PIPELINE_STEPS] = {
    [QN_STEP_VALIDATE] = {.archive = true},
    [QN_STEP_NATIVE] = {.transport = true, .tests = "perplexity"},
    [QN_STEP_KV_8] = {.kv_bits = 8, .pages = true, .tests = "perplexity"},
    [QN_STEP_KV_6] = {.kv_bits = 6, .tests = "perplexity"},
};

void qn_pipeline_validation_job(const struct qn_pipeline *p, enum qn_pipeline_step step, char *text,
                                size_t size)
{
    const struct validation *v = &validations[step];
    const char *tests = v->tests ? v->tests : p->o->tests;
    snprintf(text, size, "validate %s %s %u tests %s tokens %u",
             v->archive     ? p->jobs[QN_STEP_CONVERT]
             : v->transport ? p->jobs[QN_STEP_TRANSPORT]
                            : "-",
             v->transport ? "native" : "plain", v->kv_bits, tests ? tests : "all",
             v->archive ? p->o->tokens : 0);
}

enum qins_status qn_pipeline_validate(struct qn_pipeline *p, enum qn_pipeline_step step,
                                      json_t **report, struct qins_error *err)
{
    const struct validation *v = &validations[step];
    const struct qn_validate_options o = {
        .model = p->o->model,
        .candidate = v->archive ? p->files[QN_FILE_ARCHIVE] : NULL,
        .transport = v->transport ? p->files[QN_FILE_TRANSPORT] : NULL,
        .text = p->o->heldout ? p->o->heldout : p->o->text,
        .tokenizer = p->o->tokenizer,
        .tests = v->tests ? v->tests : p->o->tests,
        .tokens = v->archive ? p->o->tokens : 0,
        .context = p->context,
        .kv_bits = v->kv_bits,
        .dump_kv = v->pages ? p->files[QN_FILE_KV_PAGES] : NULL,
        .journal = v->archive ? p->files[QN_FILE_VALIDATE_PART] : NULL,
        .resume = v->archive,
        .threads = p->convert.threads,
    };
    if (!v->kv_bits)
        return qn_validate(&o, p->monitor, report, err);
    struct qins_error unfit = {0};
    enum qins_status st = qn_validate(&o, p->monitor, report, &unfit);
    if (st == QINS_ERR_USAGE) { /* windows too short to fill a page */
        qins_error_format(&unfit, p->no_pages, sizeof p->no_pages);
        return QINS_OK;
    }
    if (st != QINS_OK && err)
        *err = unfit;
    return st;
}
