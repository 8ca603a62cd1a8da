/* A validation that is cut by windows of the text: analyze/validate_part.c makes a part,
 * analyze/validate_merge.c joins all of them.
 *
 * A part is a journal (analyze/journal.h). Beside the records of its windows it has these items:
 *     "part"      struct qn_validated_part, when it is begun
 *     "result"    {"test": NAME, "result": …}, of each test that is not by windows and that this
 * part does whole "complete"  struct qn_validated, and the report without its tests as JSON, when
 * all is done */
#ifndef QINS_ANALYZE_VALIDATE_PART_H
#define QINS_ANALYZE_VALIDATE_PART_H

#include "analyze/validate_job.h"

enum { QN_VALIDATED_REPORT = 1, QN_VALIDATED_ITEMS }; /* of "complete" */
extern const char qn_part_track[], qn_result_track[], qn_complete_track[];

/* Both are structures of memory: all bytes that are not said here are 0. */
struct qn_validated_part {
    char version[32]; /* of qins, NUL-terminated */
    uint32_t index, count;
    uint32_t tests; /* bit i: QN_VALIDATE_TESTS[i] is run */
    uint32_t compares;
};

struct qn_validated {
    uint64_t tokens; /* of the text */
    int64_t bos;
    uint32_t context, style, partial;
    uint32_t kv_heads, kv_head_dim;
    struct qn_kv_options kv;
    struct qn_kv_counts kv_counts;
    struct qn_pass_cost cost; /* of the pass over the text */
    char kv_note[160];
};

/* Of a part: *JOB, which is of all that decides what is in its journal, becomes that of all that
 * decides the report. */
enum qins_status qn_validation_part_job(const struct qn_validation *v, struct qn_digest *job,
                                        struct qins_error *err);
/* Sets v->journal: the finished part, *THERE, or its work in progress, locked. QINS_ERR_USAGE where
 * either is of another job. */
enum qins_status qn_validation_part_open(struct qn_validation *v, const struct qn_digest *job,
                                         bool *there, struct qins_error *err);
/* Runs what the journal lacks, and finishes the part. */
enum qins_status qn_validation_part_run(struct qn_validation *v, struct qins_error *err);
/* docs/schemas/validation-part.schema.json */
json_t *qn_validation_part_report(const struct qn_validation *v, bool there, double seconds);

#endif
