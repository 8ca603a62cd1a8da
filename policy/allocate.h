/* Bits across tensors by one Lagrange multiplier: Everett 1963, "Generalized Lagrange multiplier
 * method"; Shoham and Gersho 1988 for convex hulls of rate and distortion. Pure arithmetic. */
#ifndef QINS_POLICY_ALLOCATE_H
#define QINS_POLICY_ALLOCATE_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A way to code an item. */
struct qn_choice {
    double bytes;
    double cost; /* what it does to the model: g * D */
};

/* Something that is coded in one of several ways. */
struct qn_alloc_item {
    const struct qn_choice *choices;
    size_t n_choices; /* >= 1 */
    size_t chosen;    /* the result */
};

struct qn_allocation {
    double bytes, cost, multiplier;
    bool
        met; /* false: even the smallest (or for a cost budget, the best) choices miss the budget */
};

/* Least total cost with total bytes <= BUDGET: the multiplier is found exactly, by taking the steps
 * of all hulls in the order of their slopes; then greedily into what is left of the budget, so that
 * the total comes close to it from below. Deterministic. A choice that is not finite is left out;
 * QINS_ERR_USAGE for an item without any other. */
enum qins_status qn_allocate_bytes(struct qn_alloc_item *items, size_t n, double budget,
                                   struct qn_allocation *out, struct qins_error *err);
/* Least total bytes with total cost <= BUDGET. */
enum qins_status qn_allocate_cost(struct qn_alloc_item *items, size_t n, double budget,
                                  struct qn_allocation *out, struct qins_error *err);

#endif
