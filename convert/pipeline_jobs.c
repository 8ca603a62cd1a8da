/* What decides the outcome of a step: an earlier run's is kept where this is the same. */
#include "convert/pipeline_job.h"

#include "convert/sources.h"
#include "core/file.h"

#include <stdio.h>
#include <string.h>

/* All that decides what running the model, or the archive too, comes to. */
struct run_job {
    struct qn_digest made_from, text, tokenizer;
    uint32_t context;
    char version[28];
};

static void set_job(struct qn_pipeline *p, enum qn_pipeline_step step, const struct qn_digest *d)
{
    qn_digest_hex(d, p->jobs[step]);
}

static void set_run_job(struct qn_pipeline *p, enum qn_pipeline_step step,
                        const struct qn_digest *made_from, const struct qn_digest *text)
{
    struct run_job job = {
        .made_from = *made_from, .text = *text, .tokenizer = p->tokenizer, .context = p->context};
    snprintf(job.version, sizeof job.version, "%s", qins_version());
    const struct qn_digest d = qn_hash128(&job, sizeof job);
    set_job(p, step, &d);
}

/* A name, or what a file holds. */
static enum qins_status add_choice(struct qn_hasher *h, const char *file, struct qins_error *err)
{
    struct qn_digest d = {{0}};
    enum qins_status st = QINS_OK;
    if (file && qn_exists(file))
        st = qn_hash_file(file, &d, err);
    else if (file)
        d = qn_hash128(file, strlen(file));
    qn_hasher_add(h, d.bytes, sizeof d.bytes);
    return st;
}

static enum qins_status set_plan_job(struct qn_pipeline *p, struct qins_error *err)
{
    const struct qn_plan_job_options *o = &p->o->plan;
    struct qn_hasher *h = qn_hasher_create();
    char text[160];
    if (!h)
        return qn_fail_memory(err);
    snprintf(text, sizeof text, "plan %s %s %a %llu %a %d", qins_version(),
             p->reports[QN_STEP_CALIBRATE] ? p->jobs[QN_STEP_CALIBRATE] : "-", o->target_bits,
             (unsigned long long)o->target_bytes, o->max_error, o->rounding);
    qn_hasher_add(h, text, strlen(text));
    qn_hasher_add(h, p->source.bytes, sizeof p->source.bytes);
    enum qins_status st = add_choice(h, o->policy, err);
    if (st == QINS_OK)
        st = add_choice(h, o->costs, err);
    const struct qn_digest d = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    set_job(p, QN_STEP_PLAN, &d);
    return st;
}

static enum qins_status set_convert_job(struct qn_pipeline *p, struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    struct qn_digest d = {{0}};
    enum qins_status st = qn_checkpoint_open(&ck, p->o->model, NULL, err);
    if (st == QINS_OK)
        st = qn_convert_digest(ck, &p->convert, &d, err);
    qn_checkpoint_destroy(ck);
    set_job(p, QN_STEP_CONVERT, &d);
    return st;
}

static void set_transport_job(struct qn_pipeline *p)
{
    char text[96];
    snprintf(text, sizeof text, "transport %s %s", qins_version(), p->jobs[QN_STEP_CALIBRATE]);
    const struct qn_digest d = qn_hash128(text, strlen(text));
    set_job(p, QN_STEP_TRANSPORT, &d);
}

static void set_validation_job(struct qn_pipeline *p, enum qn_pipeline_step step)
{
    char text[1024];
    qn_pipeline_validation_job(p, step, text, sizeof text);
    struct qn_digest made[2] = {p->source, qn_hash128(text, strlen(text))};
    const struct qn_digest d = qn_hash128(made, sizeof made);
    set_run_job(p, step, &d, &p->heldout);
}

static void set_analyze_job(struct qn_pipeline *p)
{
    char text[200];
    snprintf(text, sizeof text, "analyze %s %s %s %s %s", qins_version(),
             p->reports[QN_STEP_CALIBRATE] ? p->jobs[QN_STEP_CALIBRATE] : "-",
             p->reports[QN_STEP_TRANSPORT] ? p->jobs[QN_STEP_TRANSPORT] : "-",
             p->reports[QN_STEP_KV_8] ? p->jobs[QN_STEP_KV_8] : "-", p->jobs[QN_STEP_CONVERT]);
    const struct qn_digest d = qn_hash128(text, strlen(text));
    set_job(p, QN_STEP_ANALYZE, &d);
}

enum qins_status qn_pipeline_job(struct qn_pipeline *p, enum qn_pipeline_step step,
                                 struct qins_error *err)
{
    struct qn_digest d = {{0}};
    enum qins_status st = QINS_OK;
    switch (step) {
    case QN_STEP_CALIBRATE:
        set_run_job(p, step, &p->source, &p->text);
        break;
    case QN_STEP_TRANSPORT:
        set_transport_job(p);
        break;
    case QN_STEP_PLAN:
        st = set_plan_job(p, err);
        break;
    case QN_STEP_CONVERT:
        st = set_convert_job(p, err);
        break;
    case QN_STEP_ANALYZE:
        set_analyze_job(p);
        break;
    case QN_STEP_VALIDATE:
    case QN_STEP_NATIVE:
    case QN_STEP_KV_8:
    case QN_STEP_KV_6:
        set_validation_job(p, step);
        break;
    case QN_STEP_GATE:
        st = qn_pipeline_gate_job(p, &d, err);
        set_job(p, step, &d);
        break;
    default:
        memcpy(p->jobs[step], p->jobs[QN_STEP_CONVERT], sizeof *p->jobs);
        break;
    }
    return st;
}
