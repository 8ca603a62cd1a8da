/* Programs of others as child processes: no shell, no input, and an end. */
#ifndef QINS_ANALYZE_CHILD_H
#define QINS_ANALYZE_CHILD_H

#include "core/thread.h"

struct qn_child {
    const char *const *argv; /* ended by NULL; the first is looked for on PATH */
    const char *folder;      /* where it runs */
    const char *home;        /* its home in place of the user's, or NULL */
    unsigned seconds;        /* after these it is ended */
};

/* Runs a program, its standard streams /dev/null; in the end whatever it started is ended with it.
 * *ok: it ended by itself, with status 0. QINS_ERR_UNSUPPORTED where there is no such program. */
enum qins_status qn_child_run(const struct qn_child *child, const struct qn_monitor *monitor,
                              bool *ok, struct qins_error *err);

/* For a handler of signals that does not wait: ends the program that runs, with all that it
 * started. */
void qn_child_abandon(void);

#endif
