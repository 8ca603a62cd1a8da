#include "tests/unit/testing.h"

#include "analyze/gate_expr.h"
#include "core/thread.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char report_text[] =
    "{'n': 3, 'half': 0.5, 'yes': true, 'name': 'a.b', 'nothing': null, 'a.b': 7, 'empty': [],"
    " 'map': {'x': 1, 'y': 2.5}, 'chosen': 1,"
    " 'list': [{'kind': 'cold', 'n': 10, 'e': 0.25, 'ok': true},"
    "          {'kind': 'hot', 'n': 30, 'e': 0.75, 'ok': false},"
    "          {'kind': 'cold', 'n': 60, 'e': null, 'ok': true}],"
    " 'deep': [{'pick': 2, 'of': [1, 2, 4]}, {'pick': 0, 'of': [8]}],"
    " 'numbers': [4, -1, 2.5]}";

/* Text with single quotes for double ones. */
static json_t *parse(const char *text)
{
    char copy[4096];
    json_error_t error;
    assert_true(strlen(text) < sizeof copy);
    memcpy(copy, text, strlen(text) + 1);
    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    json_t *j = json_loads(copy, JSON_DECODE_ANY, &error);
    if (!j)
        fail_msg("%s: %s", text, error.text);
    return j;
}

static bool eval(const json_t *expr, struct qn_figure *f, char *why)
{
    json_t *report = parse(report_text);
    struct qn_steps steps = {.left = QN_EXPR_STEPS};
    struct qn_expr_scope s = {.report = report, .element = report, .steps = &steps, .why = why};
    check_ok(qn_expr_check(expr, "value", &e_));
    const bool ok = qn_expr_eval(expr, &s, f);
    f->text = NULL; /* of the report, which goes */
    json_decref(report);
    return ok;
}

static void test_figures(void **state)
{
    (void)state;
    static const struct {
        const char *expr;
        double value;
    } cases[] = {
        {"4.5", 4.5},
        {"'n'", 3},
        {"'yes'", 1},
        {"'$.n'", 3},
        {"'map.y'", 2.5},
        {"'list[1].n'", 30},
        {"'list[kind=hot].e'", 0.75},
        {"'list[n>=60].n'", 60},
        {"'list[ok=false].n'", 30},
        {"'list[kind!=cold].n'", 30},
        {"'list[@chosen].n'", 30},
        {"{'ratio': ['n', 'half']}", 6},
        {"{'difference': ['half', 'n']}", -2.5},
        {"{'product': ['n', 'half', 2]}", 3},
        {"{'abs': {'difference': ['half', 'n']}}", 2.5},
        {"{'sum': ['n', 'half']}", 3.5},
        {"{'min': 'numbers[]'}", -1},
        {"{'max': 'numbers[]'}", 4},
        {"{'mean': 'list[].n'}", 100.0 / 3},
        {"{'sum': 'map.*'}", 3.5},
        {"{'sum': 'empty[]'}", 0},
        {"{'max': 'deep[].of[@pick]'}", 8},
        {"{'sum': {'product': ['n', 2]}, 'over': 'list[]', 'where': {'value': 'kind', "
         "'comparison': '=', 'threshold': 'cold'}}",
         140},
        {"{'max': {'ratio': ['n', '$.half']}, 'over': 'list[]'}", 120},
        {"{'sum': {'max': 'of[]'}, 'over': 'deep[]'}", 12},
        {"{'max': '.', 'over': 'numbers[]', 'where': {'value': '.', 'comparison': '<', "
         "'threshold': 4}}",
         2.5},
        {"{'max': 'n', 'of': {'ratio': ['n', 2]}, 'over': 'list[]', 'where': {'value': 'ok', "
         "'comparison': '=', 'threshold': true}}",
         30},
        {"{'min': 'n', 'of': 'e', 'over': 'list[]'}", 0.25}, /* the last one's e is null */
        {"{'count': 'list[]'}", 3},
        {"{'count': 'empty[]'}", 0},
        {"{'count': 'list[]', 'where': {'value': 'e', 'comparison': 'present'}}", 2},
        {"{'count': '.', 'where': [{'value': 'map', 'comparison': 'present'}, {'value': 'no', "
         "'comparison': 'absent'}]}",
         1},
        {"{'share': {'value': 'kind', 'comparison': '=', 'threshold': 'cold'}, 'over': 'list[]'}",
         2.0 / 3},
        {"{'share': {'value': 'kind', 'comparison': '=', 'threshold': 'cold'}, 'over': 'list[]', "
         "'weight': 'n'}",
         0.7},
        {"{'share': {'value': 'ok', 'comparison': '=', 'threshold': true}, 'over': 'list[]', "
         "'where': {'value': 'n', 'comparison': 'in', 'threshold': [10, 30]}}",
         0.5},
        {"{'count': 'list[]', 'where': {'any': [{'value': 'n', 'comparison': '<', 'threshold': "
         "20}, {'not': {'value': 'kind', 'comparison': '=', 'threshold': 'cold'}}]}}",
         2},
        {"{'count': 'list[]', 'where': {'value': 'n', 'comparison': 'between', 'threshold': [10, "
         "30]}}",
         2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[QN_REASON_BYTES] = "";
        struct qn_figure f;
        json_t *expr = parse(cases[i].expr);
        if (!eval(expr, &f, why))
            fail_msg("%s: %s", cases[i].expr, why);
        if (fabs(f.number - cases[i].value) > 1e-12)
            fail_msg("%s: %g, not %g", cases[i].expr, f.number, cases[i].value);
        json_decref(expr);
    }
}

static void test_quoted_key(void **state)
{
    (void)state;
    char why[QN_REASON_BYTES] = "";
    struct qn_figure f;
    json_t *expr = json_string("'a.b'");
    assert_true(eval(expr, &f, why));
    assert_true(f.number == 7.0);
    json_decref(expr);
}

static void test_reasons(void **state)
{
    (void)state;
    static const struct {
        const char *expr, *why;
    } cases[] = {
        {"'no.way'", "no is missing"},
        {"'map.z.q'", "map.z is missing"},
        {"'nothing'", "null"},
        {"'nothing.x'", "what it is part of is null"},
        {"'map'", "no number"},
        {"'list[5].n'", "list[5] is missing"},
        {"'list[].n'", "3 values"},
        {"'list[kind=warm].n'", "0 values"},
        {"'list[@n].n'", "list[@n] is missing"},
        {"'n[]'", "there is no list"},
        {"'n.*'", "there is no object"},
        {"{'ratio': ['n', 0]}", "quotient by 0"},
        {"{'product': [1e200, 1e200]}", "not finite"},
        {"{'min': 'empty[]'}", "no element"},
        {"{'mean': 'list[].e'}", "null"},
        {"{'sum': 'list[].kind'}", "text is among"},
        {"{'max': 'n', 'of': 'e', 'over': 'list[]'}", "null"},
        {"{'count': 'list[]', 'where': {'value': 'kind', 'comparison': '!=', 'threshold': 3}}",
         "a text, and what it is compared with is not"},
        {"{'count': 'list[]', 'where': {'value': 'n', 'comparison': 'in', 'threshold': ['hot', "
         "true]}}",
         "a number, and what it is compared with is not"},
        {"{'count': 'list[]', 'where': {'value': 'ok', 'comparison': '<', 'threshold': 1}}",
         "a boolean, and no number"},
        {"{'abs': 'name'}", "is no number"},
        {"{'abs': 'yes'}", "a boolean is no number"},
        {"{'ratio': [32, 'yes']}", "a boolean is no number"},
        {"{'max': 'list[].ok'}", "a boolean is among"},
        {"{'min': 'ok', 'over': 'list[]'}", "a boolean is no number"},
        {"{'share': {'value': 'e', 'comparison': '<', 'threshold': 1}, 'over': 'list[]'}", "null"},
        {"{'share': {'value': 'e', 'comparison': '<', 'threshold': 1}, 'over': 'empty[]'}",
         "no element"},
        {"{'sum': 'n', 'over': 'list[]', 'where': {'value': 'e', 'comparison': '<', 'threshold': "
         "1}}",
         "null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[QN_REASON_BYTES] = "";
        struct qn_figure f;
        json_t *expr = parse(cases[i].expr);
        if (eval(expr, &f, why) || !strstr(why, cases[i].why))
            fail_msg("%s: \"%s\", not \"%s\"", cases[i].expr, why, cases[i].why);
        json_decref(expr);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *expr, *says;
    } cases[] = {
        {"''", "a key is needed at byte 0"},
        {"'a..b'", "a key is needed at byte 2"},
        {"'a.'", "a key is needed at byte 2"},
        {"'a[1'", "']' is needed"},
        {"'a[b]'", "one of = != <"},
        {"'a[b!3]'", "one of = != <"},
        {"'a]b'", "'.' or '[' is needed at byte 1"},
        {"'$x'", "'.' is needed at byte 1"},
        {"'a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z'", "more steps"},
        {"true", "value: a number, a path or an operator"},
        {"[]", "a number, a path or an operator"},
        {"{}", "an operator is needed"},
        {"{'median': 'a[]'}", "an operator is needed"},
        {"{'ratio': [1]}", "value.ratio: two expressions"},
        {"{'ratio': [1, 2, 3]}", "value.ratio: two expressions"},
        {"{'ratio': [1, '.x']}", "value.ratio[1]: path \".x\""},
        {"{'ratio': [1, 2], 'over': 'a[]'}", "unknown key \"over\""},
        {"{'sum': []}", "a list of 1 to 32"},
        {"{'sum': 'a', 'where': {}}", "unknown key \"where\""},
        {"{'sum': 'a', 'over': 3}", "value.over: a path is needed"},
        {"{'min': 'a[]', 'max': 'a[]'}", "unknown key"},
        {"{'sum': 'a', 'of': 'b', 'over': 'c[]'}", "unknown key \"of\""},
        {"{'min': 'a', 'of': true, 'over': 'c[]'}", "value.of: a number, a path"},
        {"{'count': 3}", "value.count: a path is needed"},
        {"{'share': {'value': 'a', 'comparison': '<', 'threshold': 1}}", "value.over: a path"},
        {"{'share': 3, 'over': 'a[]'}", "value.share: a condition"},
        {"{'share': {'value': 'a', 'comparison': '~', 'threshold': 1}, 'over': 'a[]'}",
         "\"comparison\" must be one of"},
        {"{'share': {'value': 'a', 'comparison': '<', 'threshold': 'b'}, 'over': 'a[]'}",
         "must be a number"},
        {"{'share': {'value': 'a', 'comparison': 'between', 'threshold': [2, 1]}, 'over': 'a[]'}",
         "[low, high]"},
        {"{'share': {'value': 'a', 'comparison': 'in', 'threshold': []}, 'over': 'a[]'}",
         "a list of 1 to 32"},
        {"{'share': {'value': 'a', 'comparison': 'present', 'threshold': 1}, 'over': 'a[]'}",
         "no meaning"},
        {"{'share': {'any': []}, 'over': 'a[]'}", "\"any\" must be"},
        {"{'share': {'not': 1}, 'over': 'a[]'}", "value.share.not: a condition"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qins_error err = {0};
        json_t *expr = parse(cases[i].expr);
        if (qn_expr_check(expr, "value", &err) != QINS_ERR_FORMAT ||
            !strstr(err.message, cases[i].says))
            fail_msg("%s: \"%s\", not \"%s\"", cases[i].expr, err.message, cases[i].says);
        json_decref(expr);
    }
}

/* What is nested as deep as is allowed, and one deeper. */
static void test_depth(void **state)
{
    (void)state;
    for (int depth = QN_EXPR_DEPTH; depth <= QN_EXPR_DEPTH + 1; depth++) {
        json_t *expr = json_integer(-3);
        for (int i = 0; i < depth; i++)
            expr = json_pack("{so}", "abs", expr);
        struct qins_error err = {0};
        const enum qins_status st = qn_expr_check(expr, "value", &err);
        assert_int_equal(st, depth <= QN_EXPR_DEPTH ? QINS_OK : QINS_ERR_FORMAT);
        json_decref(expr);
    }
}

/* Loops over loops end with the steps. */
static void test_steps(void **state)
{
    (void)state;
    json_t *list = json_array(), *expr = json_integer(1);
    for (int i = 0; i < 300; i++)
        json_array_append_new(list, json_integer(i));
    for (int i = 0; i < 6; i++)
        expr = json_pack("{so,ss}", "sum", expr, "over", "$[]");
    struct qn_steps steps = {.left = 100000};
    char why[QN_REASON_BYTES] = "";
    struct qn_expr_scope s = {.report = list, .element = list, .steps = &steps, .why = why};
    struct qn_figure f;
    check_ok(qn_expr_check(expr, "value", &e_));
    assert_false(qn_expr_eval(expr, &s, &f));
    assert_non_null(strstr(why, "more steps than a review may take"));
    json_decref(expr);
    json_decref(list);
}

/* Constants are steps too, and a review that is stopped ends. */
static void test_constants_cost(void **state)
{
    (void)state;
    json_t *list = json_array(), *constants = json_array();
    for (int i = 0; i < 100; i++) {
        json_array_append_new(list, json_integer(i));
        if (i < QN_EXPR_ARGUMENTS)
            json_array_append_new(constants, json_integer(1));
    }
    json_t *expr = json_pack("{s{so}ss}", "sum", "sum", constants, "over", "$[]");
    char why[QN_REASON_BYTES] = "";
    struct qn_figure f;
    check_ok(qn_expr_check(expr, "value", &e_));
    /* An operator, a path of 1 + 100 values, and 100 times an operator of 32 constants. */
    const uint64_t needed = 1 + 101 + 100 * 33;
    for (uint64_t i = 0; i < 2; i++) {
        struct qn_steps steps = {.left = needed - 1 + i};
        struct qn_expr_scope s = {.report = list, .element = list, .steps = &steps, .why = why};
        assert_int_equal(qn_expr_eval(expr, &s, &f), i == 1);
        assert_int_equal(steps.left, 0);
    }
    atomic_bool stop = true;
    const struct qn_monitor monitor = {.stop = &stop};
    struct qn_steps steps = {.left = QN_EXPR_STEPS};
    struct qn_expr_scope s = {
        .report = list, .element = list, .steps = &steps, .monitor = &monitor, .why = why};
    assert_false(qn_expr_eval(expr, &s, &f));
    assert_int_equal(steps.left, 0);
    json_decref(expr);
    json_decref(list);
}

static void test_unknown(void **state)
{
    (void)state;
    static const struct {
        const char *condition;
        enum qn_truth truth;
    } cases[] = {
        {"{'value': 'nothing', 'comparison': '<', 'threshold': 1}", QN_UNKNOWN},
        {"{'not': {'value': 'nothing', 'comparison': '<', 'threshold': 1}}", QN_UNKNOWN},
        {"{'value': 'nothing', 'comparison': 'present'}", QN_FALSE},
        {"{'value': 'map', 'comparison': 'present'}", QN_TRUE},
        {"{'value': 'list', 'comparison': 'absent'}", QN_FALSE},
        {"{'value': 'name', 'comparison': '<', 'threshold': 1}", QN_UNKNOWN},
        {"{'value': 'name', 'comparison': '=', 'threshold': 'a.b'}", QN_TRUE},
        {"{'value': 'n', 'comparison': '=', 'threshold': '3'}", QN_UNKNOWN},
        {"{'value': 'yes', 'comparison': '=', 'threshold': 1}", QN_UNKNOWN},
        {"{'value': 'yes', 'comparison': '!=', 'threshold': false}", QN_TRUE},
        {"[]", QN_TRUE},
        {"[{'value': 'n', 'comparison': '>', 'threshold': 9}, {'value': 'no', 'comparison': '<', "
         "'threshold': 1}]",
         QN_FALSE},
        {"[{'value': 'no', 'comparison': '<', 'threshold': 1}, {'value': 'n', 'comparison': '<', "
         "'threshold': 9}]",
         QN_UNKNOWN},
        {"{'any': [{'value': 'no', 'comparison': '<', 'threshold': 1}, {'value': 'n', "
         "'comparison': '<', 'threshold': 9}]}",
         QN_TRUE},
    };
    json_t *report = parse(report_text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_steps steps = {.left = QN_EXPR_STEPS};
        char why[QN_REASON_BYTES] = "";
        struct qn_expr_scope s = {.report = report, .element = report, .steps = &steps, .why = why};
        json_t *condition = parse(cases[i].condition);
        check_ok(qn_condition_check(condition, "where", &e_));
        if (qn_condition_eval(condition, &s) != cases[i].truth)
            fail_msg("%s", cases[i].condition);
        json_decref(condition);
    }
    json_decref(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),        cmocka_unit_test(test_quoted_key),
        cmocka_unit_test(test_reasons),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_depth),          cmocka_unit_test(test_steps),
        cmocka_unit_test(test_constants_cost), cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
