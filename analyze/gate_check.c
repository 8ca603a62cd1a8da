#include "analyze/gate_internal.h"

#include <stdio.h>
#include <string.h>

struct key;
/* Checks VALUE, which stands at PLACE. */
typedef enum qins_status check_fn(const json_t *value, const char *place, struct qins_error *err);

struct key {
    const char *name;
    check_fn *check;
    bool required;
};

static enum qins_status bad(struct qins_error *err, const char *place, const char *what)
{
    return qn_fail(err, QINS_ERR_FORMAT, "gates: %s: %s", *place ? place : "the file", what);
}

/* Puts "gates: " in front of what the language's checks say. */
static enum qins_status of_gates(enum qins_status st, struct qins_error *err)
{
    if (st == QINS_OK || !err)
        return st;
    const struct qins_error inner = *err;
    return qn_fail(err, st, "gates: %s", inner.message);
}

static enum qins_status check_object(const json_t *j, const char *place, const struct key *keys,
                                     size_t n, struct qins_error *err)
{
    const char *name;
    json_t *value;
    char below[QN_EXPR_PLACE];
    if (!json_is_object(j))
        return bad(err, place, "an object is needed");
    const char *where = *place ? place : "the file";
    json_object_foreach((json_t *)(uintptr_t)j, name, value)
    {
        size_t i = 0;
        while (i < n && strcmp(keys[i].name, name) != 0)
            i++;
        if (i == n)
            return qn_fail(err, QINS_ERR_FORMAT, "gates: %s: unknown key \"%.60s\"", where, name);
        qn_place_of_key(below, place, name);
        const enum qins_status st = keys[i].check(value, below, err);
        if (st != QINS_OK)
            return st;
    }
    for (size_t i = 0; i < n; i++)
        if (keys[i].required && !json_object_get(j, keys[i].name))
            return qn_fail(err, QINS_ERR_FORMAT, "gates: %s: key \"%s\" is missing", where,
                           keys[i].name);
    return QINS_OK;
}

static enum qins_status check_list(const json_t *j, const char *place, size_t most, check_fn *check,
                                   struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (!json_is_array(j) || json_array_size(j) > most)
        return qn_fail(err, QINS_ERR_FORMAT, "gates: %s: a list of at most %zu is needed", place,
                       most);
    for (size_t i = 0; i < json_array_size(j) && st == QINS_OK; i++) {
        char below[QN_EXPR_PLACE];
        qn_place_of_item(below, place, i);
        st = check(json_array_get(j, i), below, err);
    }
    return st;
}

static enum qins_status check_text(const json_t *j, const char *place, struct qins_error *err)
{
    const char *text = json_string_value(j);
    if (!text || json_string_length(j) > QN_GATE_TEXT)
        return bad(err, place, "a text of at most 2000 bytes is needed");
    for (const char *p = text; *p; p++)
        if (*p != '\n' && qn_text_unsafe(p) > 0)
            return bad(err, place, "it has control characters");
    return QINS_OK;
}

/* Ids stand in texts between braces, and in places of other reports. */
static enum qins_status check_id(const json_t *j, const char *place, struct qins_error *err)
{
    const char *id = json_string_value(j);
    size_t n = id ? strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-_") : 0;
    return n > 0 && n <= 48 && !id[n]
               ? QINS_OK
               : bad(err, place, "a name of 1 to 48 of a-z 0-9 - _ is needed");
}

static enum qins_status check_bool(const json_t *j, const char *place, struct qins_error *err)
{
    return json_is_boolean(j) ? QINS_OK : bad(err, place, "true or false is needed");
}

static enum qins_status check_expr(const json_t *j, const char *place, struct qins_error *err)
{
    return of_gates(qn_expr_check(j, place, err), err);
}

static enum qins_status check_condition(const json_t *j, const char *place, struct qins_error *err)
{
    return of_gates(qn_condition_check(j, place, err), err);
}

static enum qins_status check_path(const json_t *j, const char *place, struct qins_error *err)
{
    return json_is_string(j) ? check_expr(j, place, err) : bad(err, place, "a path is needed");
}

/* Checked with the whole object: qn_comparison_check(). */
static enum qins_status check_later(const json_t *j, const char *place, struct qins_error *err)
{
    (void)j, (void)place, (void)err;
    return QINS_OK;
}

static enum qins_status check_schema(const json_t *j, const char *place, struct qins_error *err)
{
    const char *text = json_string_value(j);
    return text && strcmp(text, QN_GATES_SCHEMA) == 0
               ? QINS_OK
               : bad(err, place, "\"" QN_GATES_SCHEMA "\" is needed");
}

static enum qins_status check_source(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {{"file", check_text, true}, {"heading", check_text, true}};
    return check_object(j, place, keys, sizeof keys / sizeof *keys, err);
}

#define COMPARED                                                                                   \
    {"value", check_expr, true}, {"comparison", check_later, true},                                \
    {                                                                                              \
        "threshold", check_later, false                                                            \
    }

static enum qins_status check_need(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {{"name", check_text, true}, COMPARED};
    const enum qins_status st = check_object(j, place, keys, sizeof keys / sizeof *keys, err);
    return st == QINS_OK ? of_gates(qn_comparison_check(j, place, err), err) : st;
}

static enum qins_status check_needs(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_need, err);
}

static enum qins_status check_alternative(const json_t *j, const char *place,
                                          struct qins_error *err)
{
    static const struct key keys[] = {
        {"name", check_text, true}, {"unit", check_text, false}, COMPARED};
    const enum qins_status st = check_object(j, place, keys, sizeof keys / sizeof *keys, err);
    return st == QINS_OK ? of_gates(qn_comparison_check(j, place, err), err) : st;
}

static enum qins_status check_alternatives(const json_t *j, const char *place,
                                           struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_alternative, err);
}

static enum qins_status check_beside(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {
        {"name", check_text, true}, {"unit", check_text, false}, {"value", check_expr, true}};
    return check_object(j, place, keys, sizeof keys / sizeof *keys, err);
}

static enum qins_status check_besides(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_beside, err);
}

/* [low, high], of which either may be null. */
static enum qins_status check_range(const json_t *j, const char *place, struct qins_error *err)
{
    bool good = json_array_size(j) == 2;
    for (size_t i = 0; i < 2 && good; i++)
        good = json_is_number(json_array_get(j, i)) || json_is_null(json_array_get(j, i));
    return good ? QINS_OK : bad(err, place, "[low, high] is needed, numbers or null");
}

/* Of a measurement: its least and its greatest value. */
static enum qins_status check_spread(const json_t *j, const char *place, struct qins_error *err)
{
    return json_array_size(j) == 2 ? check_list(j, place, 2, check_expr, err)
                                   : bad(err, place, "a list of two expressions is needed");
}

static enum qins_status check_criterion(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {
        {"id", check_id, true},           {"name", check_text, true},
        {"evidence", check_id, true},     COMPARED,
        {"unit", check_text, false},      {"standard_error", check_expr, false},
        {"decides", check_bool, false},   {"held_out", check_bool, false},
        {"needs", check_needs, false},    {"alternatives", check_alternatives, false},
        {"beside", check_besides, false}, {"range", check_range, false},
        {"spread", check_spread, false},  {"source", check_source, true},
        {"command", check_text, false}, /* check_gate_references() */
        {"limits", check_text, false},    {"plot", check_id, false},
    };
    const enum qins_status st = check_object(j, place, keys, sizeof keys / sizeof *keys, err);
    return st == QINS_OK ? of_gates(qn_comparison_check(j, place, err), err) : st;
}

static enum qins_status check_criteria(const json_t *j, const char *place, struct qins_error *err)
{
    return json_array_size(j) > 0 ? check_list(j, place, QN_GATES_MAX, check_criterion, err)
                                  : bad(err, place,
                                        "a list of criteria is needed: a gate without "
                                        "any would pass without evidence");
}

static enum qins_status check_status(const json_t *j, const char *place, struct qins_error *err)
{
    const char *text = json_string_value(j);
    for (int i = 0; text && i <= QN_GATE_BLOCKED; i++)
        if (strcmp(text, qn_gate_status_names[i]) == 0)
            return QINS_OK;
    return bad(err, place, "pass, fail, not_run or blocked is needed");
}

static enum qins_status check_rule(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {
        {"gate", check_id, false},          {"criterion", check_id, false},
        {"status", check_status, false},    {"alone", check_status, false},
        {"comparison", check_later, false}, {"threshold", check_later, false},
    };
    const bool compares = json_object_get(j, "comparison") != NULL,
               status = json_object_get(j, "status") != NULL,
               alone = json_object_get(j, "alone") != NULL,
               criterion = json_object_get(j, "criterion") != NULL;
    const enum qins_status st = check_object(j, place, keys, sizeof keys / sizeof *keys, err);
    if (st != QINS_OK)
        return st;
    if (compares + status + alone != 1 || (compares && !criterion) || (alone && criterion))
        return bad(err, place,
                   "one of \"status\", \"alone\" (of a gate) and \"comparison\" (of a "
                   "criterion) is needed");
    return compares ? of_gates(qn_comparison_check(j, place, err), err) : QINS_OK;
}

static enum qins_status check_rules(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_rule, err);
}

static enum qins_status check_decision(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {{"when", check_rules, false},
                                      {"text", check_text, true},
                                      {"fallback", check_text, false},
                                      {"as", check_id, false}, /* check_references() */
                                      {"source", check_source, false}};
    return check_object(j, place, keys, sizeof keys / sizeof *keys, err);
}

static enum qins_status check_decisions(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_decision, err);
}

static enum qins_status check_requires(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_id, err);
}

static enum qins_status check_gate(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {
        {"id", check_id, true},
        {"title", check_text, true},
        {"from", check_text, false},
        {"to", check_text, false},
        {"description", check_text, false},
        {"requires", check_requires, false},
        {"source", check_source, true},
        {"criteria", check_criteria, true},
        {"decisions", check_decisions, false},
    };
    return check_object(j, place, keys, sizeof keys / sizeof *keys, err);
}

static enum qins_status check_gates(const json_t *j, const char *place, struct qins_error *err)
{
    return json_array_size(j) > 0 ? check_list(j, place, QN_GATES_MAX, check_gate, err)
                                  : bad(err, place, "a list of gates is needed");
}

static enum qins_status check_kind(const json_t *j, const char *place, struct qins_error *err)
{
    const char *kind = json_string_value(j);
    for (size_t i = 0; kind && qn_gate_identities[i]; i++)
        if (strcmp(kind, qn_gate_identities[i]) == 0)
            return QINS_OK;
    return bad(err, place, "model, archive, transport, text or prompts is needed");
}

static enum qins_status check_about(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_kind, err);
}

/* An object of at most MOST members, each of which CHECK takes. */
static enum qins_status check_members(const json_t *j, const char *place, size_t most,
                                      check_fn *check, struct qins_error *err)
{
    const char *name;
    json_t *value;
    enum qins_status st = QINS_OK;
    if (!json_is_object(j) || json_object_size(j) > most)
        return qn_fail(err, QINS_ERR_FORMAT, "gates: %s: an object of at most %zu is needed", place,
                       most);
    json_object_foreach((json_t *)(uintptr_t)j, name, value)
    {
        char below[QN_EXPR_PLACE];
        qn_place_of_key(below, place, name);
        st = st == QINS_OK ? check(value, below, err) : st;
    }
    return st;
}

/* Paths by names. */
static enum qins_status check_paths(const json_t *j, const char *place, struct qins_error *err)
{
    return check_members(j, place, QN_GATES_MAX, check_path, err);
}

/* Options of a command and where the report says what they were. */
static enum qins_status check_options(const json_t *j, const char *place, struct qins_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)j, name, value)
    {
        char below[QN_EXPR_PLACE];
        (void)value;
        qn_place_of_key(below, place, name);
        if (strncmp(name, "--", 2) != 0 ||
            name[2 + strspn(name + 2, "abcdefghijklmnopqrstuvwxyz-")])
            return bad(err, below, "an option is two hyphens and small letters");
    }
    return check_paths(j, place, err);
}

static enum qins_status check_selector(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {
        {"schema", check_text, true},       {"description", check_text, true},
        {"where", check_condition, false},  {"any_model", check_bool, false},
        {"about", check_about, false},      {"options", check_options, false},
        {"unavailable", check_text, false},
    };
    return check_object(j, place, keys, sizeof keys / sizeof *keys, err);
}

static enum qins_status check_selectors(const json_t *j, const char *place, struct qins_error *err)
{
    return check_members(j, place, QN_GATE_SELECTORS, check_selector, err);
}

/* What words of commands stand for. */
static enum qins_status check_words(const json_t *j, const char *place, struct qins_error *err)
{
    return check_members(j, place, QN_GATES_MAX, check_kind, err);
}

static enum qins_status check_fact(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_expr, err);
}

/* Expressions that must come to the same, by what they are. */
static enum qins_status check_facts(const json_t *j, const char *place, struct qins_error *err)
{
    return check_members(j, place, QN_GATES_MAX, check_fact, err);
}

static enum qins_status check_identity(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {
        {"schema", check_text, true},          {"model", check_path, false},
        {"archive", check_path, false},        {"transport", check_path, false},
        {"text", check_path, false},           {"prompts", check_path, false},
        {"model_name", check_path, false},     {"archive_name", check_path, false},
        {"transport_name", check_path, false}, {"text_name", check_path, false},
        {"prompts_name", check_path, false},   {"settings", check_paths, false},
        {"facts", check_facts, false},         {"options", check_options, false},
        {"words", check_words, false},
    };
    return check_object(j, place, keys, sizeof keys / sizeof *keys, err);
}

static enum qins_status check_identities(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATE_SELECTORS, check_identity, err);
}

static enum qins_status check_item(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {
        {"id", check_id, true},
        {"name", check_text, true},
        {"when", check_rules, true},
        {"ready", check_text, true},
        {"not_ready", check_text, true},
        {"unknown", check_text, true},
        {"unknown_when", check_rules, false},
    };
    return check_object(j, place, keys, sizeof keys / sizeof *keys, err);
}

static enum qins_status check_ship(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_item, err);
}

/* The gate of that id among the first N; NULL: none. */
static const json_t *gate_of(const json_t *gates, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *g = json_array_get(gates, i);
        if (strcmp(json_string_value(json_object_get(g, "id")), id) == 0)
            return g;
    }
    return NULL;
}

static bool has_criterion(const json_t *gate, const char *id)
{
    const json_t *criteria = json_object_get(gate, "criteria");
    for (size_t i = 0; i < json_array_size(criteria); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(criteria, i), "id")), id) == 0)
            return true;
    return false;
}

/* A gate whose criteria only report would pass without evidence. */
static bool is_decided(const json_t *criteria)
{
    for (size_t i = 0; i < json_array_size(criteria); i++)
        if (!json_is_false(json_object_get(json_array_get(criteria, i), "decides")))
            return true;
    return false;
}

/* Rules of each of LIST name gates and criteria that are there; GATE is where none is named. */
static enum qins_status check_references(const json_t *gates, size_t n, const json_t *gate,
                                         const json_t *list, const char *key, const char *place,
                                         struct qins_error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *rules = json_object_get(json_array_get(list, i), key);
        const char *as = json_string_value(json_object_get(json_array_get(list, i), "as"));
        if (as && (gate || !gate_of(gates, n, as)))
            return qn_fail(err, QINS_ERR_FORMAT, "gates: %s[%zu].as: %s", place, i,
                           gate ? "a gate decides for itself" : "there is no such gate");
        for (size_t k = 0; k < json_array_size(rules); k++) {
            const json_t *rule = json_array_get(rules, k);
            const char *id = json_string_value(json_object_get(rule, "gate")),
                       *criterion = json_string_value(json_object_get(rule, "criterion"));
            const json_t *of = id ? gate_of(gates, n, id) : gate;
            if (!of)
                return qn_fail(err, QINS_ERR_FORMAT, "gates: %s[%zu].%s[%zu]: there is no gate %s",
                               place, i, key, k, id ? id : "that it is of");
            if (criterion && !has_criterion(of, criterion))
                return qn_fail(err, QINS_ERR_FORMAT,
                               "gates: %s[%zu].%s[%zu]: there is no criterion %s", place, i, key, k,
                               criterion);
        }
    }
    return QINS_OK;
}

static enum qins_status check_gate_references(const json_t *spec, size_t at, struct qins_error *err)
{
    const json_t *gates = json_object_get(spec, "gates"), *g = json_array_get(gates, at),
                 *criteria = json_object_get(g, "criteria"),
                 *requires = json_object_get(g, "requires");
    const char *id = json_string_value(json_object_get(g, "id"));
    char place[QN_EXPR_PLACE];
    if (gate_of(gates, at, id))
        return qn_fail(err, QINS_ERR_FORMAT, "gates: gates[%zu].id: %s is there twice", at, id);
    if (!is_decided(criteria))
        return qn_fail(err, QINS_ERR_FORMAT, "gates: gates[%zu].criteria: none of them decides",
                       at);
    for (size_t i = 0; i < json_array_size(requires); i++) {
        const char *needed = json_string_value(json_array_get(requires, i));
        if (!gate_of(gates, at, needed))
            return qn_fail(err, QINS_ERR_FORMAT,
                           "gates: gates[%zu].requires[%zu]: no earlier gate is %s", at, i, needed);
    }
    for (size_t i = 0; i < json_array_size(criteria); i++) {
        const json_t *c = json_array_get(criteria, i);
        const char *name = json_string_value(json_object_get(c, "id")),
                   *selector = json_string_value(json_object_get(c, "evidence"));
        for (size_t k = 0; k < i; k++)
            if (strcmp(name,
                       json_string_value(json_object_get(json_array_get(criteria, k), "id"))) == 0)
                return qn_fail(err, QINS_ERR_FORMAT,
                               "gates: gates[%zu].criteria[%zu].id: %s is there twice", at, i,
                               name);
        const json_t *selected = json_object_get(json_object_get(spec, "selectors"), selector);
        if (selected && !json_object_get(c, "command") && !json_object_get(selected, "unavailable"))
            return qn_fail(err, QINS_ERR_FORMAT,
                           "gates: gates[%zu].criteria[%zu]: key \"command\" is missing", at, i);
        if (!selected)
            return qn_fail(err, QINS_ERR_FORMAT,
                           "gates: gates[%zu].criteria[%zu].evidence: there is no selector %s", at,
                           i, selector);
    }
    snprintf(place, sizeof place, "gates[%zu].decisions", at);
    return check_references(gates, at + 1, g, json_object_get(g, "decisions"), "when", place, err);
}

static enum qins_status check_term(const json_t *j, const char *place, struct qins_error *err)
{
    static const struct key keys[] = {{"term", check_text, true}, {"text", check_text, true}};
    return check_object(j, place, keys, sizeof keys / sizeof *keys, err);
}

static enum qins_status check_legend(const json_t *j, const char *place, struct qins_error *err)
{
    return check_list(j, place, QN_GATES_MAX, check_term, err);
}

enum qins_status qn_gates_check(const json_t *spec, struct qins_error *err)
{
    static const struct key keys[] = {
        {"schema", check_schema, true},       {"qins_version", check_text, false},
        {"title", check_text, true},          {"description", check_text, false},
        {"legend", check_legend, false},      {"identities", check_identities, false},
        {"selectors", check_selectors, true}, {"gates", check_gates, true},
        {"ship", check_ship, false},          {"decisions", check_decisions, false},
    };
    const json_t *gates = json_object_get(spec, "gates"), *ship = json_object_get(spec, "ship");
    const size_t n = json_array_size(gates);
    enum qins_status st = check_object(spec, "", keys, sizeof keys / sizeof *keys, err);
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        st = check_gate_references(spec, i, err);
    if (st == QINS_OK)
        st = check_references(gates, n, NULL, ship, "when", "ship", err);
    if (st == QINS_OK)
        st = check_references(gates, n, NULL, ship, "unknown_when", "ship", err);
    if (st == QINS_OK)
        st = check_references(gates, n, NULL, json_object_get(spec, "decisions"), "when",
                              "decisions", err);
    return st;
}
