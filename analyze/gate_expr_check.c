#include "analyze/gate_expr.h"

#include "analyze/gate_operators.h"

#include <stdio.h>
#include <string.h>

void qn_place_of_key(char *out, const char *place, const char *key)
{
    snprintf(out, QN_EXPR_PLACE, "%s%s%.60s", place, *place ? "." : "", key);
}

void qn_place_of_item(char *out, const char *place, size_t i)
{
    snprintf(out, QN_EXPR_PLACE, "%.160s[%zu]", place, i);
}

static enum qins_status bad(struct qins_error *err, const char *place, const char *what)
{
    return qn_fail(err, QINS_ERR_FORMAT, "%s: %s", place, what);
}

const struct qn_operator *qn_operator_find(const char *name)
{
    static const struct qn_operator operators[] = {
        {"ratio", QN_OP_RATIO, false, 2, 2},
        {"difference", QN_OP_DIFFERENCE, false, 2, 2},
        {"product", QN_OP_PRODUCT, false, 1, QN_EXPR_ARGUMENTS},
        {"abs", QN_OP_ABS, false, 0, 0},
        {"sum", QN_OP_SUM, true, 1, QN_EXPR_ARGUMENTS},
        {"min", QN_OP_MIN, true, 1, QN_EXPR_ARGUMENTS},
        {"max", QN_OP_MAX, true, 1, QN_EXPR_ARGUMENTS},
        {"mean", QN_OP_MEAN, true, 1, QN_EXPR_ARGUMENTS},
        {"count", QN_OP_COUNT, false, 0, 0},
        {"share", QN_OP_SHARE, false, 0, 0},
    };
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (strcmp(operators[i].name, name) == 0)
            return &operators[i];
    return NULL;
}

const struct qn_operator *qn_operator_of(const json_t *expr, const json_t **argument)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)expr, key, value)
    {
        const struct qn_operator *op = qn_operator_find(key);
        if (op) {
            *argument = value;
            return op;
        }
    }
    return NULL;
}

static enum qins_status check_path(const json_t *j, const char *place, struct qins_error *err)
{
    struct qn_path path;
    struct qins_error inner = {0};
    if (!json_is_string(j))
        return bad(err, place, "a path is needed");
    const enum qins_status st = qn_path_parse(json_string_value(j), &path, &inner);
    return st == QINS_OK ? st : bad(err, place, inner.message);
}

/* A key of an object that has not been looked at. */
static enum qins_status check_keys(const json_t *object, const char *const *keys, const char *place,
                                   struct qins_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        size_t i = 0;
        (void)value;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            return qn_fail(err, QINS_ERR_FORMAT, "%s: unknown key \"%.60s\"", place, key);
    }
    return QINS_OK;
}

static enum qins_status check_expr(const json_t *e, const char *place, int depth,
                                   struct qins_error *err);
static enum qins_status check_condition(const json_t *c, const char *place, int depth,
                                        struct qins_error *err);

static enum qins_status check_list(const json_t *list, const char *place, int depth,
                                   enum qins_status (*check)(const json_t *, const char *, int,
                                                             struct qins_error *),
                                   struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < json_array_size(list) && st == QINS_OK; i++) {
        char below[QN_EXPR_PLACE];
        qn_place_of_item(below, place, i);
        st = check(json_array_get(list, i), below, depth + 1, err);
    }
    return st;
}

/* The keys beside the operator. */
static enum qins_status check_beside(const json_t *e, const struct qn_operator *op,
                                     const char *place, int depth, struct qins_error *err)
{
    const char *keys[] = {op->name, NULL, NULL, NULL, NULL};
    const json_t *over = json_object_get(e, "over"), *where = json_object_get(e, "where"),
                 *weight = json_object_get(e, "weight"), *of = json_object_get(e, "of");
    size_t n = 1;
    char below[QN_EXPR_PLACE];
    if (op->folds || op->kind == QN_OP_SHARE)
        keys[n++] = "over";
    if (over || op->kind == QN_OP_COUNT)
        keys[n++] = "where";
    if (op->kind == QN_OP_SHARE)
        keys[n++] = "weight";
    if (over && (op->kind == QN_OP_MIN || op->kind == QN_OP_MAX))
        keys[n++] = "of";
    enum qins_status st = check_keys(e, keys, place, err);
    if (st == QINS_OK && (over || op->kind == QN_OP_SHARE)) {
        qn_place_of_key(below, place, "over");
        st = check_path(over, below, err);
    }
    if (st == QINS_OK && where) {
        qn_place_of_key(below, place, "where");
        st = check_condition(where, below, depth + 1, err);
    }
    if (st == QINS_OK && of) {
        qn_place_of_key(below, place, "of");
        st = check_expr(of, below, depth + 1, err);
    }
    if (st == QINS_OK && weight) {
        qn_place_of_key(below, place, "weight");
        st = check_expr(weight, below, depth + 1, err);
    }
    return st;
}

static enum qins_status check_operator(const json_t *e, const char *place, int depth,
                                       struct qins_error *err)
{
    const json_t *argument = NULL;
    const struct qn_operator *op = qn_operator_of(e, &argument);
    char below[QN_EXPR_PLACE];
    if (!op)
        return bad(err, place,
                   "an operator is needed: ratio, difference, product, abs, sum, min, "
                   "max, mean, count or share");
    enum qins_status st = check_beside(e, op, place, depth, err);
    if (st != QINS_OK)
        return st;
    qn_place_of_key(below, place, op->name);
    if (op->kind == QN_OP_COUNT)
        return check_path(argument, below, err);
    if (op->kind == QN_OP_SHARE)
        return check_condition(argument, below, depth + 1, err);
    if (op->kind == QN_OP_ABS || (op->folds && json_object_get(e, "over")))
        return check_expr(argument, below, depth + 1, err);
    if (op->folds && json_is_string(argument))
        return check_path(argument, below, err);
    const size_t n = json_array_size(argument);
    if (!json_is_array(argument) || n < op->least || n > op->most)
        return bad(err, below,
                   op->least == 2 ? "two expressions are needed"
                                  : "a list of 1 to 32 expressions is needed");
    return check_list(argument, below, depth, check_expr, err);
}

static enum qins_status check_expr(const json_t *e, const char *place, int depth,
                                   struct qins_error *err)
{
    if (depth > QN_EXPR_DEPTH)
        return bad(err, place, "expressions nest deeper than is allowed");
    if (json_is_number(e))
        return QINS_OK;
    if (json_is_string(e))
        return check_path(e, place, err);
    if (json_is_object(e))
        return check_operator(e, place, depth, err);
    return bad(err, place, "a number, a path or an operator is needed");
}

static const char *const comparisons[] = {
    [QN_CMP_LESS] = "<",          [QN_CMP_AT_MOST] = "<=", [QN_CMP_MORE] = ">",
    [QN_CMP_AT_LEAST] = ">=",     [QN_CMP_EQUAL] = "=",    [QN_CMP_UNEQUAL] = "!=",
    [QN_CMP_BETWEEN] = "between", [QN_CMP_IN] = "in",      [QN_CMP_PRESENT] = "present",
    [QN_CMP_ABSENT] = "absent",
};

enum qn_comparison qn_comparison_of(const json_t *object)
{
    const char *text = json_string_value(json_object_get(object, "comparison"));
    for (int i = 0; text && i < QN_CMP_COUNT; i++)
        if (strcmp(text, comparisons[i]) == 0)
            return (enum qn_comparison)i;
    return QN_CMP_COUNT;
}

static bool is_plain(const json_t *j)
{
    return json_is_number(j) || json_is_string(j) || json_is_boolean(j);
}

static bool is_range(const json_t *j)
{
    const json_t *low = json_array_get(j, 0), *high = json_array_get(j, 1);
    return json_array_size(j) == 2 && json_is_number(low) && json_is_number(high) &&
           json_number_value(low) <= json_number_value(high);
}

static bool is_set(const json_t *j)
{
    const size_t n = json_array_size(j);
    for (size_t i = 0; i < n; i++)
        if (!is_plain(json_array_get(j, i)))
            return false;
    return json_is_array(j) && n > 0 && n <= QN_EXPR_ARGUMENTS;
}

enum qins_status qn_comparison_check(const json_t *object, const char *place,
                                     struct qins_error *err)
{
    const json_t *t = json_object_get(object, "threshold");
    switch (qn_comparison_of(object)) {
    case QN_CMP_COUNT:
        return bad(err, place,
                   "\"comparison\" must be one of < <= > >= = != between in present "
                   "absent");
    case QN_CMP_PRESENT:
    case QN_CMP_ABSENT:
        return t ? bad(err, place, "\"threshold\" has no meaning here") : QINS_OK;
    case QN_CMP_BETWEEN:
        return is_range(t) ? QINS_OK : bad(err, place, "\"threshold\" must be [low, high]");
    case QN_CMP_IN:
        return is_set(t) ? QINS_OK
                         : bad(err, place, "\"threshold\" must be a list of 1 to 32 values");
    case QN_CMP_EQUAL:
    case QN_CMP_UNEQUAL:
        return is_plain(t) ? QINS_OK
                           : bad(err, place,
                                 "\"threshold\" must be a number, a text, true or "
                                 "false");
    default:
        return json_is_number(t) ? QINS_OK : bad(err, place, "\"threshold\" must be a number");
    }
}

static enum qins_status check_condition(const json_t *c, const char *place, int depth,
                                        struct qins_error *err)
{
    static const char *const keys[] = {"value", "comparison", "threshold", NULL};
    static const char *const any_keys[] = {"any", NULL}, *const not_keys[] = {"not", NULL};
    const json_t *any = json_object_get(c, "any"), *not = json_object_get(c, "not");
    char below[QN_EXPR_PLACE];
    if (depth > QN_EXPR_DEPTH)
        return bad(err, place, "conditions nest deeper than is allowed");
    if (json_is_array(c) && json_array_size(c) <= QN_EXPR_ARGUMENTS)
        return check_list(c, place, depth, check_condition, err);
    if (!json_is_object(c))
        return bad(err, place, "a condition, or a list of at most 32, is needed");
    if (any) {
        const size_t n = json_array_size(any);
        if (n < 1 || n > QN_EXPR_ARGUMENTS)
            return bad(err, place, "\"any\" must be a list of 1 to 32 conditions");
        qn_place_of_key(below, place, "any");
        const enum qins_status st = check_keys(c, any_keys, place, err);
        return st == QINS_OK ? check_list(any, below, depth, check_condition, err) : st;
    }
    if (not ) {
        qn_place_of_key(below, place, "not");
        const enum qins_status st = check_keys(c, not_keys, place, err);
        return st == QINS_OK ? check_condition(not, below, depth + 1, err) : st;
    }
    enum qins_status st = check_keys(c, keys, place, err);
    if (st == QINS_OK) {
        qn_place_of_key(below, place, "value");
        st = check_expr(json_object_get(c, "value"), below, depth + 1, err);
    }
    return st == QINS_OK ? qn_comparison_check(c, place, err) : st;
}

enum qins_status qn_expr_check(const json_t *expr, const char *place, struct qins_error *err)
{
    return check_expr(expr, place, 0, err);
}

enum qins_status qn_condition_check(const json_t *condition, const char *place,
                                    struct qins_error *err)
{
    return check_condition(condition, place, 0, err);
}
