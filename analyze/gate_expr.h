/* The language of gates: figures worked out from a report, and conditions on them; JSON
 * throughout, so that a gate can be written by hand and checked by a schema (docs/gates.md).
 *
 *   EXPR       number | "path" | {"ratio": [a, b]} | {"difference": [a, b]} | {"abs": a}
 *              | {"sum" | "product" | "min" | "max" | "mean": [a, …]}       of expressions
 *              | {"sum" | "min" | "max" | "mean": "path"}                    of all it names
 *              | {"sum" | "min" | "max" | "mean": EXPR, "over": PATH, "where": CONDITION}
 *              | {"min" | "max": EXPR, "of": EXPR, "over": PATH, "where": CONDITION}
 *              | {"count": PATH, "where": CONDITION}
 *              | {"share": CONDITION, "over": PATH, "weight": EXPR, "where": CONDITION}
 *   CONDITION  {"value": EXPR, "comparison": C, "threshold": T} | [CONDITION, …] (all hold)
 *              | {"any": [CONDITION, …]} | {"not": CONDITION}
 *   C          < <= > >= = != between in present absent
 *
 * Within "over" paths begin at the element, "." is the element itself and "$" the report. */
#ifndef QINS_ANALYZE_GATE_EXPR_H
#define QINS_ANALYZE_GATE_EXPR_H

#include "analyze/gate_path.h"

enum {
    QN_EXPR_DEPTH = 12,
    QN_EXPR_ARGUMENTS = 32, /* of an operator, conditions of a list, texts of "in" */
    QN_EXPR_PLACE = 192,    /* bytes of "gates[2].criteria[0].value" */
};

/* Steps of a whole review (expressions, conditions, values looked at): those of the shipped gates
 * on a model of some thousand tensors are about a million. */
#define QN_EXPR_STEPS ((uint64_t)50000000)

enum qn_figure_kind { QN_FIGURE_NUMBER, QN_FIGURE_BOOL, QN_FIGURE_TEXT };

struct qn_figure {
    enum qn_figure_kind kind;
    double number; /* finite; of a bool 0 or 1 */
    const char *text;
};

/* What expressions are evaluated on. */
struct qn_expr_scope {
    const json_t *report, *element; /* the same outside of "over" */
    struct qn_steps *steps;         /* none left once the monitor stopped it, too */
    const struct qn_monitor *monitor;
    char *why; /* [QN_REASON_BYTES]: why there is no figure */
};

enum qn_truth { QN_FALSE, QN_TRUE, QN_UNKNOWN };

/* "PLACE.KEY" (KEY where PLACE is empty) and "PLACE[I]" to OUT[QN_EXPR_PLACE], cut where it is too
 * long. */
void qn_place_of_key(char *out, const char *place, const char *key);
void qn_place_of_item(char *out, const char *place, size_t i);

/* QINS_ERR_FORMAT, naming PLACE and what is below it, for what is not of the language. */
enum qins_status qn_expr_check(const json_t *expr, const char *place, struct qins_error *err);
enum qins_status qn_condition_check(const json_t *condition, const char *place,
                                    struct qins_error *err);
/* "comparison" and "threshold" of OBJECT fit together. */
enum qins_status qn_comparison_check(const json_t *object, const char *place,
                                     struct qins_error *err);

/* Checked expressions only. False, with why, where there is no figure: something is missing, null,
 * not finite or of the wrong kind. */
bool qn_expr_eval(const json_t *expr, struct qn_expr_scope *s, struct qn_figure *out);
/* Unknown, with why, where a figure that is compared is not there. */
enum qn_truth qn_condition_eval(const json_t *condition, struct qn_expr_scope *s);
/* OBJECT has "comparison" and "threshold" for F. Unknown where kinds do not fit. */
enum qn_truth qn_comparison_eval(const json_t *object, const struct qn_figure *f, char *why);

#endif
