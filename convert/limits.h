/* All limits on what files may ask for: the figures behind docs/limits.md. */
#ifndef QINS_CONVERT_LIMITS_H
#define QINS_CONVERT_LIMITS_H

#include "core/error.h"
#include "core/json.h"
#include "core/limit.h"

extern const struct qn_limit qn_jobs_limits[]; /* ends with an entry without a name */

/* docs/schemas/limits.schema.json. NULL when out of memory. */
json_t *qn_limits_report(struct qins_error *err);

#endif
