#include "analyze/gate_expr.h"

#include "analyze/gate_operators.h"
#include "core/thread.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool none(struct qn_expr_scope *s, const char *what)
{
    snprintf(s->why, QN_REASON_BYTES, "%s", what);
    return false;
}

/* One step. */
static bool spend(struct qn_expr_scope *s)
{
    if (qn_check_stop(s->monitor, NULL) != QINS_OK)
        s->steps->left = 0;
    if (s->steps->left == 0)
        return none(s, "more steps than a review may take");
    s->steps->left--;
    return true;
}

/* What PATH names; *F is to be finished either way. */
static bool find(const char *text, struct qn_expr_scope *s, struct qn_path *path,
                 struct qn_path_found *f)
{
    *f = (struct qn_path_found){.steps = s->steps};
    if (qn_path_parse(text, path, NULL) != QINS_OK) /* was checked before */
        return none(s, "a path that is none");
    if (qn_path_find(path, path->root ? s->report : s->element, f))
        return true;
    return none(s, f->why);
}

static bool take(const json_t *j, const char *path, struct qn_expr_scope *s, struct qn_figure *out)
{
    *out = (struct qn_figure){0};
    if (json_is_number(j)) {
        out->number = json_number_value(j);
        if (isfinite(out->number))
            return true;
    } else if (json_is_boolean(j)) {
        out->kind = QN_FIGURE_BOOL;
        out->number = json_is_true(j) ? 1.0 : 0.0;
        return true;
    } else if (json_is_string(j)) {
        out->kind = QN_FIGURE_TEXT;
        out->text = json_string_value(j);
        return true;
    }
    snprintf(s->why, QN_REASON_BYTES, "%.200s is %s", path,
             json_is_null(j) ? "null: not measured, or not finite" : "no number, text or boolean");
    return false;
}

static bool at_path(const char *text, struct qn_expr_scope *s, struct qn_figure *out)
{
    struct qn_path path;
    struct qn_path_found f;
    bool ok = find(text, s, &path, &f);
    if (ok && f.n == 1) {
        ok = take(f.values[0], text, s, out);
    } else if (ok) {
        ok = false;
        snprintf(s->why, QN_REASON_BYTES, "%.200s names %zu values, not one", text, f.n);
    }
    qn_path_found_finish(&f);
    return ok;
}

static bool number(const json_t *expr, struct qn_expr_scope *s, double *out)
{
    struct qn_figure f;
    if (!qn_expr_eval(expr, s, &f))
        return false;
    *out = f.number;
    if (f.kind == QN_FIGURE_TEXT)
        snprintf(s->why, QN_REASON_BYTES, "\"%.80s\" is no number", f.text);
    else if (f.kind == QN_FIGURE_BOOL)
        (void)none(s, "a boolean is no number");
    return f.kind == QN_FIGURE_NUMBER;
}

/* A running sum, product, extreme or mean. */
struct fold {
    enum qn_operator_kind kind;
    double value;
    uint64_t n;
};

static void fold_add(struct fold *f, double x)
{
    if (f->n++ == 0)
        f->value = x;
    else if (f->kind == QN_OP_MIN)
        f->value = x < f->value ? x : f->value;
    else if (f->kind == QN_OP_MAX)
        f->value = x > f->value ? x : f->value;
    else if (f->kind == QN_OP_PRODUCT)
        f->value *= x;
    else if (f->kind == QN_OP_RATIO)
        f->value /= x; /* not finite where x is 0: qn_expr_eval() sees it */
    else if (f->kind == QN_OP_DIFFERENCE)
        f->value -= x;
    else
        f->value += x;
}

static bool fold_end(const struct fold *f, struct qn_expr_scope *s, struct qn_figure *out)
{
    *out = (struct qn_figure){.number = f->value};
    if (f->kind == QN_OP_MEAN && f->n)
        out->number /= (double)f->n;
    return f->n > 0 || f->kind == QN_OP_SUM || none(s, "there is no element to look at");
}

static bool fold_list(const struct qn_operator *op, const json_t *list, struct qn_expr_scope *s,
                      struct qn_figure *out)
{
    struct fold f = {.kind = op->kind};
    for (size_t i = 0; i < json_array_size(list); i++) {
        double x;
        if (!number(json_array_get(list, i), s, &x))
            return false;
        fold_add(&f, x);
    }
    return fold_end(&f, s, out);
}

static bool fold_path(const struct qn_operator *op, const char *text, struct qn_expr_scope *s,
                      struct qn_figure *out)
{
    struct qn_path path;
    struct qn_path_found found;
    struct fold f = {.kind = op->kind};
    bool ok = find(text, s, &path, &found);
    for (size_t i = 0; i < found.n && ok; i++) {
        struct qn_figure x;
        ok = take(found.values[i], text, s, &x);
        if (ok && x.kind != QN_FIGURE_NUMBER)
            ok = none(s, x.kind == QN_FIGURE_TEXT ? "a text is among the numbers"
                                                  : "a boolean is among the numbers");
        if (ok)
            fold_add(&f, x.number);
    }
    qn_path_found_finish(&found);
    return ok && fold_end(&f, s, out);
}

/* Elements of PATH for which "where" of EXPR holds, one after the other, to VISIT. */
static bool for_each(const json_t *expr, const char *text, struct qn_expr_scope *s,
                     bool (*visit)(void *ctx, struct qn_expr_scope *element), void *ctx)
{
    const json_t *where = json_object_get(expr, "where");
    struct qn_path path;
    struct qn_path_found found;
    bool ok = find(text, s, &path, &found);
    for (size_t i = 0; i < found.n && ok; i++) {
        struct qn_expr_scope inner = *s;
        inner.element = found.values[i];
        const enum qn_truth holds = where ? qn_condition_eval(where, &inner) : QN_TRUE;
        ok = holds == QN_FALSE || (holds == QN_TRUE && visit(ctx, &inner));
    }
    qn_path_found_finish(&found);
    return ok;
}

struct folding {
    struct fold fold;
    const json_t *expr;
    const json_t *of; /* or NULL */
    double picked;    /* "of" the element that the fold's value is of */
};

static bool visit_fold(void *ctx, struct qn_expr_scope *element)
{
    struct folding *f = ctx;
    const struct fold before = f->fold;
    double x;
    if (!number(f->expr, element, &x))
        return false;
    fold_add(&f->fold, x);
    return !f->of || (before.n > 0 && f->fold.value == before.value) ||
           number(f->of, element, &f->picked);
}

static bool visit_count(void *ctx, struct qn_expr_scope *element)
{
    (void)element;
    ++*(uint64_t *)ctx;
    return true;
}

struct sharing {
    const json_t *condition, *weight;
    double part, whole;
};

static bool visit_share(void *ctx, struct qn_expr_scope *element)
{
    struct sharing *h = ctx;
    double weight = 1.0;
    if (h->weight && !number(h->weight, element, &weight))
        return false;
    const enum qn_truth holds = qn_condition_eval(h->condition, element);
    h->whole += weight;
    h->part += holds == QN_TRUE ? weight : 0.0;
    return holds != QN_UNKNOWN;
}

static bool operate(const json_t *expr, struct qn_expr_scope *s, struct qn_figure *out)
{
    const json_t *argument = NULL;
    const struct qn_operator *op = qn_operator_of(expr, &argument);
    const char *over = json_string_value(json_object_get(expr, "over"));
    *out = (struct qn_figure){0};
    if (!op)
        return none(s, "an operator that is none");
    if (op->kind == QN_OP_COUNT) {
        uint64_t n = 0;
        const bool ok = for_each(expr, json_string_value(argument), s, visit_count, &n);
        out->number = (double)n;
        return ok;
    }
    if (op->kind == QN_OP_SHARE) {
        struct sharing h = {.condition = argument, .weight = json_object_get(expr, "weight")};
        if (!for_each(expr, over, s, visit_share, &h))
            return false;
        out->number = h.part / h.whole;
        return h.whole > 0.0 || none(s, "there is no element to look at");
    }
    if (op->kind == QN_OP_ABS) {
        const bool ok = number(argument, s, &out->number);
        out->number = fabs(out->number);
        return ok;
    }
    if (over) {
        struct folding f = {
            .fold = {.kind = op->kind}, .expr = argument, .of = json_object_get(expr, "of")};
        if (!for_each(expr, over, s, visit_fold, &f) || !fold_end(&f.fold, s, out))
            return false;
        out->number = f.of ? f.picked : out->number;
        return true;
    }
    return json_is_string(argument) ? fold_path(op, json_string_value(argument), s, out)
                                    : fold_list(op, argument, s, out);
}

bool qn_expr_eval(const json_t *expr, struct qn_expr_scope *s, struct qn_figure *out)
{
    if (!spend(s))
        return false;
    if (json_is_number(expr))
        return take(expr, "the constant", s, out);
    if (json_is_string(expr))
        return at_path(json_string_value(expr), s, out);
    if (!operate(expr, s, out))
        return false;
    return isfinite(out->number) || none(s, "a quotient by 0, or a figure that is not finite");
}

static bool is_of_kind(const struct qn_figure *f, const json_t *t)
{
    switch (f->kind) {
    case QN_FIGURE_NUMBER:
        return json_is_number(t);
    case QN_FIGURE_BOOL:
        return json_is_boolean(t);
    default:
        return json_is_string(t);
    }
}

/* Whether F can be compared with T, or with one of a list. */
static bool is_comparable(const struct qn_figure *f, const json_t *t)
{
    if (!json_is_array(t))
        return is_of_kind(f, t);
    for (size_t i = 0; i < json_array_size(t); i++)
        if (is_of_kind(f, json_array_get(t, i)))
            return true;
    return false;
}

static bool equal(const struct qn_figure *f, const json_t *t)
{
    switch (f->kind) {
    case QN_FIGURE_NUMBER:
        return json_is_number(t) && f->number == json_number_value(t);
    case QN_FIGURE_BOOL:
        return json_is_boolean(t) && (f->number != 0.0) == json_is_true(t);
    default:
        return json_is_string(t) && strcmp(f->text, json_string_value(t)) == 0;
    }
}

static bool is_in(const struct qn_figure *f, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (equal(f, json_array_get(list, i)))
            return true;
    return false;
}

enum qn_truth qn_comparison_eval(const json_t *object, const struct qn_figure *f, char *why)
{
    const json_t *t = json_object_get(object, "threshold");
    const enum qn_comparison c = qn_comparison_of(object);
    const double bar = json_number_value(t);
    if (!is_comparable(f, t)) {
        static const char *const words[] = {[QN_FIGURE_NUMBER] = "a number",
                                            [QN_FIGURE_BOOL] = "a boolean",
                                            [QN_FIGURE_TEXT] = "a text"};
        snprintf(why, QN_REASON_BYTES, "the value is %s%s", words[f->kind],
                 c == QN_CMP_EQUAL || c == QN_CMP_UNEQUAL || c == QN_CMP_IN
                     ? ", and what it is compared with is not"
                     : ", and no number");
        return QN_UNKNOWN;
    }
    if (c == QN_CMP_EQUAL || c == QN_CMP_UNEQUAL)
        return equal(f, t) == (c == QN_CMP_EQUAL) ? QN_TRUE : QN_FALSE;
    if (c == QN_CMP_IN)
        return is_in(f, t) ? QN_TRUE : QN_FALSE;
    switch (c) {
    case QN_CMP_LESS:
        return f->number < bar ? QN_TRUE : QN_FALSE;
    case QN_CMP_AT_MOST:
        return f->number <= bar ? QN_TRUE : QN_FALSE;
    case QN_CMP_MORE:
        return f->number > bar ? QN_TRUE : QN_FALSE;
    case QN_CMP_AT_LEAST:
        return f->number >= bar ? QN_TRUE : QN_FALSE;
    default:
        return f->number >= json_number_value(json_array_get(t, 0)) &&
                       f->number <= json_number_value(json_array_get(t, 1))
                   ? QN_TRUE
                   : QN_FALSE;
    }
}

static enum qn_truth all_hold(const json_t *list, struct qn_expr_scope *s)
{
    enum qn_truth result = QN_TRUE;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const enum qn_truth t = qn_condition_eval(json_array_get(list, i), s);
        if (t == QN_FALSE)
            return QN_FALSE;
        result = t == QN_UNKNOWN ? t : result;
    }
    return result;
}

static enum qn_truth any_holds(const json_t *list, struct qn_expr_scope *s)
{
    enum qn_truth result = QN_FALSE;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const enum qn_truth t = qn_condition_eval(json_array_get(list, i), s);
        if (t == QN_TRUE)
            return QN_TRUE;
        result = t == QN_UNKNOWN ? t : result;
    }
    return result;
}

/* Something stands there that is not null: an object or a list, too. */
static enum qn_truth is_there(const json_t *expr, struct qn_expr_scope *s)
{
    struct qn_path path;
    struct qn_path_found found;
    struct qn_figure f;
    if (!json_is_string(expr))
        return qn_expr_eval(expr, s, &f) ? QN_TRUE : QN_FALSE;
    bool there = find(json_string_value(expr), s, &path, &found) && found.n > 0;
    for (size_t i = 0; i < found.n; i++)
        there = there && !json_is_null(found.values[i]);
    qn_path_found_finish(&found);
    return there ? QN_TRUE : QN_FALSE;
}

static enum qn_truth presence(const json_t *condition, bool wanted, struct qn_expr_scope *s)
{
    const enum qn_truth there = is_there(json_object_get(condition, "value"), s);
    if (s->steps->left == 0)
        return QN_UNKNOWN;
    return (there == QN_TRUE) == wanted ? QN_TRUE : QN_FALSE;
}

enum qn_truth qn_condition_eval(const json_t *condition, struct qn_expr_scope *s)
{
    const enum qn_comparison c = qn_comparison_of(condition);
    const json_t *any = json_object_get(condition, "any"), *not = json_object_get(condition, "not");
    struct qn_figure f;
    if (!spend(s))
        return QN_UNKNOWN;
    if (json_is_array(condition))
        return all_hold(condition, s);
    if (any)
        return any_holds(any, s);
    if (not ) {
        const enum qn_truth t = qn_condition_eval(not, s);
        return t == QN_UNKNOWN ? t : t == QN_TRUE ? QN_FALSE : QN_TRUE;
    }
    if (c == QN_CMP_PRESENT || c == QN_CMP_ABSENT)
        return presence(condition, c == QN_CMP_PRESENT, s);
    if (!qn_expr_eval(json_object_get(condition, "value"), s, &f))
        return QN_UNKNOWN;
    return qn_comparison_eval(condition, &f, s->why);
}
