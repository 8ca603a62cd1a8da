/* Test C's figures as JSON, from positions of two models. */
#ifndef QINS_ANALYZE_SAMPLING_REPORT_H
#define QINS_ANALYZE_SAMPLING_REPORT_H

#include "analyze/position_report.h"

/* "sampling" of docs/schemas/validation.schema.json; *OUT is the caller's. Standard errors as
 * analyze/estimate.h has them. */
enum qins_status qn_sampling_report(const struct qn_positions *p, json_t **out,
                                    struct qins_error *err);

#endif
