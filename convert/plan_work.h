/* The making of a plan, between its files. */
#ifndef QINS_CONVERT_PLAN_WORK_H
#define QINS_CONVERT_PLAN_WORK_H

#include "convert/feedback.h"
#include "convert/plan_job.h"
#include "model/source.h"
#include "policy/classify.h"
#include "policy/planner.h"

enum { QN_FEW_ITEMS = 8 /* whose studies are kept */ };

struct qn_plan_work {
    const char *path;
    const struct qn_plan_job_options *options;
    const struct qn_monitor *monitor;
    struct qn_source *source;
    size_t *indices;                     /* of the checkpoint's tensors in the source */
    struct qn_feedback_source *feedback; /* or NULL: no calibration */
    const struct qn_calibration *calibration;
    struct qn_policy policy;
    struct qn_costs costs;
    bool measured;                               /* sensitivities are */
    double *lookup_importance, *head_importance; /* of rows, by token; or NULL */
    struct qn_planned *items; /* what is quantised, in the order of tensors and rows */
    size_t n_items, item_capacity;
    struct qn_tensor_study kept[QN_FEW_ITEMS]; /* of the first items; without a tensor: not kept */
    struct qn_plan *plan;
    double lossless_bytes, overhead;
    struct qn_budget budget;
    struct qn_choice_summary summary;
    double target; /* bytes of the whole archive, or < 0 */
};

/* Opens source, calibration, policy and costs. To be finished even on failure. */
enum qins_status qn_plan_work_open(struct qn_plan_work *w, struct qins_error *err);
void qn_plan_work_finish(struct qn_plan_work *w);

/* What the calibration counted of T; unknown without one. */
void qn_plan_access(const struct qn_plan_work *w, const struct qn_tensor *t,
                    struct qn_tensor_access *out);
/* The sensitivity that the calibration measured, or < 0. */
double qn_plan_sensitivity(const struct qn_plan_work *w, const char *name);

/* Studies tensor INDEX of the checkpoint, which RULE (or NULL) treats: a line of the plan, complete
 * where it stays lossless, else items. */
enum qins_status qn_plan_tensor_study(struct qn_plan_work *w, size_t index,
                                      const struct qn_policy_rule *rule, uint64_t done,
                                      uint64_t total, struct qins_error *err);

#endif
