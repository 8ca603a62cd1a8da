/* What gate_expr.c and gate_expr_check.c share. */
#ifndef QINS_ANALYZE_GATE_OPERATORS_H
#define QINS_ANALYZE_GATE_OPERATORS_H

#include "core/json.h"

enum qn_operator_kind {
    QN_OP_RATIO,
    QN_OP_DIFFERENCE,
    QN_OP_PRODUCT,
    QN_OP_ABS,
    QN_OP_SUM,
    QN_OP_MIN,
    QN_OP_MAX,
    QN_OP_MEAN,
    QN_OP_COUNT,
    QN_OP_SHARE,
};

struct qn_operator {
    const char *name;
    enum qn_operator_kind kind;
    bool folds;         /* takes a path of many values, or "over" */
    size_t least, most; /* arguments, where they are a list */
};

enum qn_comparison {
    QN_CMP_LESS,
    QN_CMP_AT_MOST,
    QN_CMP_MORE,
    QN_CMP_AT_LEAST,
    QN_CMP_EQUAL,
    QN_CMP_UNEQUAL,
    QN_CMP_BETWEEN,
    QN_CMP_IN,
    QN_CMP_PRESENT,
    QN_CMP_ABSENT,
    QN_CMP_COUNT /* none of them */
};

const struct qn_operator *qn_operator_find(const char *name); /* or NULL */
/* The operator among an object's keys, and what stands behind it; NULL: none. */
const struct qn_operator *qn_operator_of(const json_t *expr, const json_t **argument);
enum qn_comparison qn_comparison_of(const json_t *object);

#endif
