/* Plan files: how each tensor is to be coded, and why. docs/plan-format.md describes the JSON;
 * docs/schemas/plan.schema.json checks it. A person may edit it: everything is checked. */
#ifndef QINS_FORMATS_PLAN_H
#define QINS_FORMATS_PLAN_H

#include "core/json.h"
#include "formats/archive/manifest.h"

/* Touches a token: from the first on weights are hot, up to the second cold, where no policy says
 * otherwise; docs/policy-format.md. */
#define QN_HOT_TOUCHES  0.5
#define QN_COLD_TOUCHES 0.1

struct qn_plan_tensor {
    char *name;
    enum qins_dtype dtype;
    unsigned rank;
    uint64_t shape[QINS_MAX_RANK];
    struct qn_plan_line line;     /* where there are blocks: what they have in common; what a
                                     block's JSON leaves out is taken from here */
    struct qn_plan_block *blocks; /* or NULL; cover all rows, ascending, without gaps */
    size_t n_blocks;
    json_t *candidates; /* what was considered, for `plan --explain`; or NULL */
    /* Predictions; NaN where there are none. */
    double predicted_bytes, predicted_error, sensitivity;
};

struct qn_plan {
    struct qn_plan_tensor *tensors;
    size_t count, capacity;
    json_t *summary; /* budgets, totals, policy, fingerprints: an object, kept as it is; or NULL */
};

void qn_plan_finish(struct qn_plan *p); /* a zeroed one is accepted */
/* Appends an empty line for T, whose name is copied; *out is valid until the next call. */
enum qins_status qn_plan_add(struct qn_plan *p, const struct qn_tensor *t,
                             struct qn_plan_tensor **out, struct qins_error *err);
const struct qn_plan_tensor *qn_plan_find(const struct qn_plan *p, const char *name);
/* The same where it is most likely line INDEX: plans are in the order of their checkpoint. */
const struct qn_plan_tensor *qn_plan_at(const struct qn_plan *p, size_t index, const char *name);

/* Puts class, levels, bits, kappa, clip, group, codec, rounding, access_frequency and reason of a
 * line into *J, as plans and reports have them: null where lossless or to be searched. */
void qn_plan_line_put(json_t **j, const struct qn_plan_line *line);
/* The array of N blocks, or NULL when out of memory. */
json_t *qn_plan_blocks_to_json(const struct qn_plan_block *blocks, size_t n);

json_t *qn_plan_to_json(const struct qn_plan *p); /* NULL when out of memory */
/* Trusts nothing: QINS_ERR_FORMAT names tensor and key. kappa, clip: null means "search". */
enum qins_status qn_plan_from_json(const json_t *j, struct qn_plan *out, struct qins_error *err);
enum qins_status qn_plan_load(const char *path, struct qn_plan *out, struct qins_error *err);
enum qins_status qn_plan_save(const char *path, const struct qn_plan *p, struct qins_error *err);

/* QINS_ERR_FORMAT, naming the tensor, unless the plan has a line for each tensor of the list,
 * with its type and shape, that can be carried out (a quantiser for a float type, blocks that cover
 * its rows, ...), and for no others. */
enum qins_status qn_plan_check(const struct qn_plan *p, const char *plan_path,
                               const struct qn_tensor_list *tensors, struct qins_error *err);

#endif
