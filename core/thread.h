/* Work on several threads with a deterministic outcome, and the caller's callbacks. */
#ifndef QINS_CORE_THREAD_H
#define QINS_CORE_THREAD_H

#include "core/error.h"

#include <stdatomic.h>

/* How a long operation talks to its caller. Zero-initialised is silent. Callbacks come from the
 * thread that called the operation. `stop` may be set from a signal handler. */
struct qn_monitor {
    void (*notice)(void *ctx, const char *line); /* one thing the user should know */
    /* One that failed while others go on: said where notices are not, too. */
    void (*failure)(void *ctx, const char *line);
    /* WHAT is a short verb phrase; DONE and TOTAL count UNIT ("tokens"), or bytes of input where
     * it is NULL */
    void (*progress)(void *ctx, const char *what, const char *unit, uint64_t done, uint64_t total);
    void *ctx;
    atomic_bool *stop; /* may be NULL */
};

void qn_notice(const struct qn_monitor *m, const char *format, ...) QN_PRINTF(2, 3);
void qn_notice_failure(const struct qn_monitor *m, const char *format, ...) QN_PRINTF(2, 3);
/* In bytes, or in UNIT. */
void qn_progress(const struct qn_monitor *m, const char *what, uint64_t done, uint64_t total);
void qn_progress_of(const struct qn_monitor *m, const char *what, const char *unit, uint64_t done,
                    uint64_t total);
/* QINS_ERR_INTERRUPTED once the caller has asked to stop. m may be NULL in all of these. */
enum qins_status qn_check_stop(const struct qn_monitor *m, struct qins_error *err);

/* Online processors, at least 1. */
unsigned qn_cpu_count(void);

/* An ordered pipeline over items 0 … n-1: work() runs on the workers, out of order, and leaves
 * its result in one of SLOTS numbered slots; emit() runs on the calling thread, in order, and
 * frees the slot. At most `slots` items are in flight. With threads <= 1 all runs on the
 * calling thread. When several items fail, the error of the lowest is returned. */
struct qn_ordered {
    enum qins_status (*work)(void *ctx, unsigned slot, uint64_t item, struct qins_error *err);
    /* may be NULL */
    enum qins_status (*emit)(void *ctx, unsigned slot, uint64_t item, struct qins_error *err);
    void *ctx;
    unsigned threads, slots; /* slots >= threads, both >= 1 */
    uint64_t first, end;     /* items first … end-1 */
    const struct qn_monitor *monitor;
};

enum qins_status qn_run_ordered(const struct qn_ordered *job, struct qins_error *err);

#endif
