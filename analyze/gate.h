/* Phase gates: criteria that are data (analyze/gates.json, docs/schemas/gates.schema.json), judged
 * by evidence that other verbs wrote. */
#ifndef QINS_ANALYZE_GATE_H
#define QINS_ANALYZE_GATE_H

#include "core/json.h"
#include "core/thread.h"

struct qn_gate_options {
    const char *const
        *evidence; /* folders (or single JSON files), searched for reports by their "schema" */
    size_t n_evidence;
    const char *gates;    /* path, or NULL: the shipped ones */
    const char *previous; /* an earlier review's folder or gate_review.json, or NULL */
    const char *output;   /* the folder that qn_review_write() will get, or NULL; PREVIOUS may be
                           * it: the report tells that that one is replaced */
};

/* Judges every gate in order: pass, fail, not_run (a criterion has no evidence) or blocked (an
 * earlier gate did not pass, or its evidence contradicts itself); never pass without evidence.
 * *review is docs/schemas/gate_review.schema.json, the caller's. QINS_ERR_FORMAT for gates or
 * evidence that cannot be read, naming file and place. Whether all gates passed is "passed" of the
 * review: the caller's exit code. */
enum qins_status qn_gate_review(const struct qn_gate_options *options,
                                const struct qn_monitor *monitor, json_t **review,
                                struct qins_error *err);

/* Writes gate_review.json, plots/, index.html and, where a browser is found, review.pdf into the
 * folder DIR, which must be there: once all are made. EVIDENCE as given to qn_gate_review(): curves
 * are drawn from it. */
enum qins_status qn_review_write(const char *dir, const json_t *review,
                                 const struct qn_gate_options *options,
                                 const struct qn_monitor *monitor, struct qins_error *err);

#endif
