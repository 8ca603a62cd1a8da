/* The choice among ways to code: each tensor's, or row block's, codings with what they cost, and
 * one of them for each within a budget of bytes or of error, and within the policy's budget of
 * decode time. Pure arithmetic; deterministic. */
#ifndef QINS_POLICY_PLANNER_H
#define QINS_POLICY_PLANNER_H

#include "analyze/candidates.h"
#include "policy/costs.h"
#include "policy/policy.h"

/* One way to code an item. */
struct qn_coding {
    struct qn_candidate candidate;
    enum qn_codec_id codec;
    double bytes;     /* of chunk payloads */
    double cost;      /* what its error does to the model */
    double decode_ns; /* that a token spends on it; 0 where nothing is known of its use */
    bool measured;    /* bytes are no prediction: qn_planned_correct() */
};

/* A tensor, or a run of its rows, that is quantised. */
struct qn_planned {
    size_t tensor; /* the caller's number */
    uint64_t row_begin, row_end, row_length, elements;
    const struct qn_policy_rule *rule; /* or NULL */
    enum qn_class access_class;
    double touches;                         /* a token; < 0: unknown */
    double packed_elements, coded_elements; /* decoded for a token */
    double squares, abs_max;                /* sum of squared values; the largest magnitude */
    double cost_per_error;                  /* of a unit of squared error */
    double extra_bytes;                     /* that any coding takes beside its payloads */
    bool head;                              /* an embedding that is the output head too */
    bool looked_up;                         /* by row */
    struct qn_coding *codings; /* none is beaten in bytes and cost by another one of its coder;
                                  by coder, then bytes */
    size_t n_codings;
    size_t chosen;
};
void qn_planned_finish(struct qn_planned *item); /* a zeroed one is accepted */

/* Fills codings from candidates of any kind that lie within the bits of policy and rule: packed,
 * and by each of the coders whose sizes are counted and whose costs are known. QINS_ERR_UNSUPPORTED
 * where no candidate does. */
enum qins_status qn_planned_fill(struct qn_planned *item, const struct qn_policy *p,
                                 const struct qn_costs *costs,
                                 const struct qn_candidate_list *const *lists, size_t n_lists,
                                 struct qins_error *err);

/* Adds those of N codings whose coder's cost is known; candidate, coder and bytes are given, but
 * for the item's extra ones. */
enum qins_status qn_planned_add(struct qn_planned *item, const struct qn_costs *costs,
                                const struct qn_coding *more, size_t n, struct qins_error *err);

/* Multiplies all costs. */
void qn_planned_scale(struct qn_planned *item, double factor);

/* Feedback rounding codes values whose variance is larger by SPREAD times the error's: what is
 * coded grows by the entropy of a Gaussian of that variance. */
void qn_planned_spread(struct qn_planned *item, double spread);

/* The chosen coding was found to take BYTES, extra ones included. Of the others, those that are
 * coded, not packed, and are not measured, take more or less by the same share. */
void qn_planned_correct(struct qn_planned *item, double bytes);

/* What is to be met: exactly one of the two is >= 0. */
struct qn_budget {
    double bytes, cost;
    double decode_ns; /* a token may spend; infinite: any */
};

struct qn_choice_summary {
    double bytes, cost, decode_ns;
    double multiplier; /* cost a byte */
    bool met;
};

/* Chooses. */
enum qins_status qn_plan_choose(struct qn_planned *items, size_t n, const struct qn_budget *budget,
                                struct qn_choice_summary *out, struct qins_error *err);

/* What a token would spend on decoding if all items were packed. */
double qn_packed_decode_ns(const struct qn_planned *items, size_t n, const struct qn_costs *costs);

/* The plan's line of an item, with the reason for its choice in words. */
void qn_plan_line_of(const struct qn_planned *item, const struct qn_policy *p,
                     const struct qn_costs *costs, enum qn_rounding rounding,
                     struct qn_plan_line *line);

/* What `plan --explain` shows: the corners of the hulls of each coder, and what was chosen. NULL
 * when out of memory. */
json_t *qn_plan_candidates(const struct qn_planned *item);

#endif
