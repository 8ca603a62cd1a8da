/* Programs of others as child processes: no shell, no input, and an end. */
#ifndef QINS_ANALYZE_CHILD_H
#define QINS_ANALYZE_CHILD_H

#include "core/thread.h"

/* Runs ARGV (ended by NULL; its first is looked for on PATH) in FOLDER, its standard streams
 * /dev/null, at most SECONDS long; then it and whatever it started are ended. *ok: it ended by
 * itself, with status 0. QINS_ERR_UNSUPPORTED where there is no such program. */
enum qins_status qn_child_run(const char *const *argv, const char *folder, unsigned seconds,
                              const struct qn_monitor *monitor, bool *ok, struct qins_error *err);

#endif
