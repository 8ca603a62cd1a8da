#include "analyze/gate.h"

#include "analyze/gate_internal.h"
#include "analyze/limits.h"
#include "core/file.h"

#include <stdlib.h>

enum { MAX_GATES = 1 << 20 }; /* bytes */

/* gates.json, which the build turns into these two. */
extern const char qn_gates_json[];
extern const size_t qn_gates_json_size;

static enum qins_status load_spec(struct qn_gate_job *job, const char *path, struct qins_error *err)
{
    struct qn_buf text = {0};
    enum qins_status st = path ? qn_read_whole(path, MAX_GATES, &text, err)
                               : qn_buf_append(&text, qn_gates_json, qn_gates_json_size, err);
    job->spec_path = path;
    if (st == QINS_OK) {
        struct qins_error inner = {.offset = QN_NO_OFFSET};
        job->spec_digest = qn_hash128(text.data, text.size);
        job->spec = qn_json_parse(text.data, text.size, 0, &inner);
        st = job->spec ? qn_gates_check(job->spec, &inner) : inner.status;
        if (st != QINS_OK) {
            if (path)
                qn_error_in_file(&inner, st, path);
            if (err)
                *err = inner;
        }
    }
    qn_buf_finish(&text);
    return st;
}

void qn_gate_job_finish(struct qn_gate_job *job)
{
    for (size_t i = 0; i < job->n_gates; i++) {
        free(job->gates[i].verdicts);
        json_decref(job->gates[i].blocked_by);
    }
    free(job->gates);
    free(job->selected);
    json_decref(job->conflicts);
    json_decref(job->contradictions);
    json_decref(job->spec);
    qn_evidence_finish(&job->evidence);
}

enum qins_status qn_gate_review(const struct qn_gate_options *options,
                                const struct qn_monitor *monitor, json_t **review,
                                struct qins_error *err)
{
    struct qn_steps steps = {.left = QN_EXPR_STEPS};
    struct qn_gate_job job = {.monitor = monitor,
                              .steps = &steps,
                              .conflicts = json_array(),
                              .contradictions = json_array()};
    *review = NULL;
    enum qins_status st = job.conflicts && job.contradictions ? load_spec(&job, options->gates, err)
                                                              : qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_evidence_load(&job.evidence, options->evidence, options->n_evidence, monitor, err);
    if (st == QINS_OK)
        st = qn_gates_judge(&job, err);
    if (st == QINS_OK) {
        *review = qn_gate_report(&job, err);
        st = qn_gates_check_steps(&job, err);
    }
    if (st == QINS_OK) {
        st = *review ? qn_gate_add_history(*review, options->previous, options->output, err)
                     : QINS_ERR_MEMORY;
    }
    if (st != QINS_OK) {
        json_decref(*review);
        *review = NULL;
    }
    qn_gate_job_finish(&job);
    return st;
}

const struct qn_limit qn_gate_limits[] = {
    {"gates", "file", MAX_GATES, "bytes", "memory that the JSON takes"},
    {"gates", "items", QN_GATES_MAX, "items", "gates, criteria of one, rules of a list"},
    {0},
};
