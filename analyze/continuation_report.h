/* How well a candidate keeps to the model in continuations (analyze/continuation.h), as JSON. */
#ifndef QINS_ANALYZE_CONTINUATION_REPORT_H
#define QINS_ANALYZE_CONTINUATION_REPORT_H

#include "analyze/continuation.h"

enum {
    QN_MATCH_WINDOW = 50, /* tokens that a share of matches is shown of */
    QN_SHOWN_IDS = 256    /* of each continuation, at most */
};

/* What a report is judged by. Shares are 0 … 1. */
struct qn_stability_bars {
    double match, drift;
    double late; /* NaN: nothing is asked of it */
    const char *source;
};

/* Shares of positions where a candidate keeps to the model: mean of all, and of the early and the
 * late part alone; drift is late less early. */
struct qn_stability {
    double match, drift, late;
};

/* Adds to *group (json_object()) "free_running" and "teacher_forced" with their thresholds,
 * "first_divergence" and "prompts". PARTS: early is the first tokens / PARTS of a continuation,
 * late the last of them. Free-running positions are those of the longer of both continuations:
 * where one has ended there is no match. OUT or NULL: [2], free-running and teacher-forced. */
enum qins_status qn_continuation_report(const struct qn_validation *v,
                                        const struct qn_continuation_job *job, unsigned parts,
                                        const struct qn_stability_bars *bars, json_t **group,
                                        struct qn_stability *out, struct qins_error *err);

/* {"match": …, "drift": …, "late": …} by qn_validation_bar(); *PASSED is whether all of them do,
 * null where one of them is not defined (continuations are too short to have parts). */
json_t *qn_stability_thresholds(const struct qn_stability *s, const struct qn_stability_bars *bars,
                                json_t **passed);

#endif
