/* The last step of the pipeline: the phase gates, judged by the reports of the others. */
#include "analyze/gate.h"
#include "convert/pipeline_job.h"
#include "core/file.h"

#include <string.h>

/* In the order in which they are shown. */
static const struct {
    enum qn_pipeline_step step;
    enum qn_pipeline_file report;
} evidence[] = {
    {QN_STEP_CALIBRATE, QN_FILE_CALIBRATE_REPORT},
    {QN_STEP_TRANSPORT, QN_FILE_TRANSPORT_REPORT},
    {QN_STEP_PLAN, QN_FILE_PLAN},
    {QN_STEP_CONVERT, QN_FILE_CONVERT_REPORT},
    {QN_STEP_VERIFY, QN_FILE_VERIFY_REPORT},
    {QN_STEP_KV_8, QN_FILE_KV_8_REPORT},
    {QN_STEP_KV_6, QN_FILE_KV_6_REPORT},
    {QN_STEP_ANALYZE, QN_FILE_ANALYSIS_REPORT},
    {QN_STEP_VALIDATE, QN_FILE_VALIDATE_REPORT},
    {QN_STEP_NATIVE, QN_FILE_NATIVE_REPORT},
};
enum { N_EVIDENCE = sizeof evidence / sizeof *evidence };

enum qins_status qn_pipeline_gate_job(const struct qn_pipeline *p, struct qn_digest *job,
                                      struct qins_error *err)
{
    struct qn_hasher *h = qn_hasher_create();
    enum qins_status st = h ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        qn_hasher_add(h, qins_version(), strlen(qins_version()));
    for (size_t i = 0; i < N_EVIDENCE && st == QINS_OK; i++) {
        struct qn_digest d = {{0}};
        if (p->reports[evidence[i].step])
            st = qn_hash_file(p->files[evidence[i].report], &d, err);
        qn_hasher_add(h, d.bytes, sizeof d.bytes);
    }
    if (st == QINS_OK)
        *job = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    return st;
}

enum qins_status qn_pipeline_gate(struct qn_pipeline *p, json_t **report, struct qins_error *err)
{
    const char *files[N_EVIDENCE];
    struct qn_gate_options o = {.evidence = files, .output = p->files[QN_FILE_REVIEW]};
    for (size_t i = 0; i < N_EVIDENCE; i++)
        if (p->reports[evidence[i].step])
            files[o.n_evidence++] = p->files[evidence[i].report];
    if (qn_exists(p->files[QN_FILE_REVIEW_REPORT]))
        o.previous = p->files[QN_FILE_REVIEW_REPORT];
    enum qins_status st = qn_gate_review(&o, p->monitor, report, err);
    if (st == QINS_OK)
        st = qn_make_directories(p->files[QN_FILE_REVIEW], err);
    if (st == QINS_OK)
        st = qn_review_write(p->files[QN_FILE_REVIEW], *report, &o, p->monitor, err);
    return st;
}
