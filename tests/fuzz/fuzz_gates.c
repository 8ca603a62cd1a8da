/* Gates that somebody wrote, on a report that somebody made: the text before the first NUL byte,
 * and what follows it. */
#include "analyze/gate_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes over REPORT. */
static void judge(json_t *spec, json_t *report)
{
    struct qn_evidence_file file = {.path = (char *)(uintptr_t) "report.json",
                                    .schema = json_string_value(json_object_get(report, "schema")),
                                    .report = report};
    struct qn_steps steps = {.left = 1u << 20}; /* a text that is small takes no more */
    struct qn_gate_job job = {.spec = spec,
                              .steps = &steps,
                              .conflicts = json_array(),
                              .contradictions = json_array(),
                              .evidence = {.files = &file, .n = 1, .notes = json_array()}};
    if (file.schema && job.conflicts && job.contradictions && job.evidence.notes &&
        qn_gates_judge(&job, NULL) == QINS_OK) {
        json_t *review = qn_gate_report(&job, NULL);
        if (review)
            (void)qn_gate_add_history(review, NULL, NULL, NULL);
        json_decref(review);
    }
    json_decref(job.evidence.notes);
    job.evidence = (struct qn_evidence){0};
    qn_gate_job_finish(&job);
    json_decref(report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    const size_t n = end ? (size_t)(end - data) : size;
    json_t *spec = qn_json_parse(data, n, 0, NULL);
    if (spec && qn_gates_check(spec, NULL) == QINS_OK && end) {
        json_t *report = qn_json_parse(end + 1, size - n - 1, 0, NULL);
        judge(json_incref(spec), report ? report : json_object());
    }
    json_decref(spec);
    return 0;
}
