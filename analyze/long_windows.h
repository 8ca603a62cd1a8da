/* Two models on long windows of a text: figures by position in the window. */
#ifndef QINS_ANALYZE_LONG_WINDOWS_H
#define QINS_ANALYZE_LONG_WINDOWS_H

#include "analyze/continuation_report.h"

enum { QN_EIGHTHS = 8 };

struct qn_long_windows {
    const char *test;     /* of the journal: static */
    size_t context;       /* tokens of a window, >= QN_EIGHTHS */
    uint64_t of, windows; /* windows that the text has, and how many of them are run: 1 … of */
};

/* Runs those windows that the journal has not. */
enum qins_status qn_long_windows_run(struct qn_validation *v, const struct qn_long_windows *w,
                                     struct qins_error *err);
/* *OUT is the part of the report, the caller's. Early is the first quarter of a window, late the
 * last. Standard errors as analyze/estimate.h has them. */
enum qins_status qn_long_windows_report(const struct qn_validation *v,
                                        const struct qn_long_windows *w, struct qn_stability *found,
                                        json_t **out, struct qins_error *err);

#endif
