/* `qins plan`: studies a checkpoint's tensors and decides how each is coded. */
#ifndef QINS_CONVERT_PLAN_JOB_H
#define QINS_CONVERT_PLAN_JOB_H

#include "core/json.h"
#include "core/thread.h"
#include "formats/plan.h"

struct qn_plan_job_options {
    const char *calibration; /* path, or NULL: no access counts, no weights, no sensitivities */
    const char *policy;      /* path, "default" or "archive"; NULL: default */
    const char *costs;       /* path, or NULL: the shipped table */
    double target_bits;      /* at most one of the three is > 0; none: the policy's */
    uint64_t target_bytes;
    double max_error; /* predicted mean KL where there are sensitivities, else relative error: the
                         share of the squared norm, all tensors alike */
    int rounding; /* enum qn_rounding, or -1: feedback where the calibration has Gram matrices */
    unsigned threads;
};

/* Plans PATH, a checkpoint. *plan belongs to the caller. */
enum qins_status qn_make_plan(const char *path, const struct qn_plan_job_options *options,
                              const struct qn_monitor *monitor, struct qn_plan *plan,
                              struct qins_error *err);

#endif
