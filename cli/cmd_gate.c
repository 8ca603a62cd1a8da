#include "cli/cli.h"

#include "analyze/gate.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>

static void print_criterion(struct cli_table *t, const json_t *c)
{
    const json_t *value = json_object_get(c, "value_text");
    const char *status = cli_string(c, "status");
    const bool decides = !json_is_false(json_object_get(c, "decides"));
    cli_cell(t, "%s", "");
    cli_cell(t, "%s%s",
             strcmp(status, "not_run") == 0 ? "not run"
             : decides                      ? status
             : strcmp(status, "pass") == 0  ? "met"
                                            : "missed",
             decides ? "" : " (reported)");
    cli_cell(t, "%s", json_is_string(value) ? json_string_value(value) : "-");
    cli_cell(t, "%s", cli_string(c, "threshold_text"));
    cli_cell(t, "%s", cli_string(c, "name"));
}

static bool same_reason(const json_t *a, const json_t *b)
{
    return json_is_string(json_object_get(a, "reason")) &&
           json_equal(json_object_get(a, "reason"), json_object_get(b, "reason"));
}

/* Why criteria were not run: those with one reason in one line. */
static void print_reasons(const json_t *gate)
{
    const json_t *criteria = json_object_get(gate, "criteria");
    const size_t n = json_array_size(criteria);
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(criteria, i);
        bool told = !json_is_string(json_object_get(c, "reason"));
        for (size_t k = 0; k < i && !told; k++)
            told = same_reason(c, json_array_get(criteria, k));
        if (told)
            continue;
        cli_print("not run: %s: %s", cli_string(gate, "id"), cli_string(c, "id"));
        for (size_t k = i + 1; k < n; k++)
            if (same_reason(c, json_array_get(criteria, k)))
                cli_print(", %s", cli_string(json_array_get(criteria, k), "id"));
        cli_print(": %s\n", cli_string(c, "reason"));
    }
}

/* Verdicts that may be chance. */
static void print_close(const json_t *gate)
{
    const json_t *criteria = json_object_get(gate, "criteria");
    for (size_t i = 0; i < json_array_size(criteria); i++) {
        const json_t *c = json_array_get(criteria, i), *why = json_object_get(c, "close");
        if (json_is_string(why))
            cli_print("close: %s: %s: %s\n", cli_string(gate, "id"), cli_string(c, "id"),
                      json_string_value(why));
    }
}

static enum qins_status print_gates(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"gate", "status", "value", "bar", "criterion"};
    const json_t *gates = json_object_get(report, "gates");
    struct cli_table t;
    cli_table_begin(&t, "lllll", heads);
    for (size_t i = 0; i < json_array_size(gates); i++) {
        const json_t *g = json_array_get(gates, i), *criteria = json_object_get(g, "criteria");
        cli_cell(&t, "%s", cli_string(g, "id"));
        cli_cell(&t, "%s",
                 strcmp(cli_string(g, "status"), "not_run") == 0 ? "NOT RUN"
                 : strcmp(cli_string(g, "status"), "pass") == 0  ? "PASS"
                 : strcmp(cli_string(g, "status"), "fail") == 0  ? "FAIL"
                                                                 : "BLOCKED");
        cli_cell(&t, "%s", "");
        cli_cell(&t, "%s", "");
        cli_cell(&t, "%s", cli_string(g, "title"));
        for (size_t k = 0; k < json_array_size(criteria); k++)
            print_criterion(&t, json_array_get(criteria, k));
    }
    return cli_table_print(&t, err);
}

static void print_lines(const char *head, const json_t *texts)
{
    for (size_t i = 0; i < json_array_size(texts); i++)
        cli_print("%s: %s\n", head, json_string_value(json_array_get(texts, i)));
}

static enum qins_status print_review(const json_t *report, struct qins_error *err)
{
    const json_t *ship = json_object_get(report, "ship"),
                 *counts = json_object_get(json_object_get(report, "summary"), "gates");
    const json_t *gates = json_object_get(report, "gates");
    const enum qins_status st = print_gates(report, err);
    for (size_t i = 0; i < json_array_size(gates); i++) {
        print_close(json_array_get(gates, i));
        print_reasons(json_array_get(gates, i));
    }
    print_lines("conflict", json_object_get(report, "conflicts"));
    print_lines("note", json_object_get(report, "notes"));
    for (size_t i = 0; i < json_array_size(gates); i++) {
        const json_t *g = json_array_get(gates, i);
        cli_print("%s: %s\n", cli_string(g, "id"), cli_string(g, "decision"));
        print_lines(cli_string(g, "id"), json_object_get(g, "notes"));
    }
    for (size_t i = 0; i < json_array_size(ship); i++) {
        const json_t *j = json_array_get(ship, i), *ready = json_object_get(j, "ready");
        cli_print("%s %s: %s\n",
                  json_is_true(json_object_get(j, "blocked")) ? "[blocked]"
                  : json_is_true(ready)                       ? "[ships]  "
                  : json_is_false(ready)                      ? "[stays]  "
                                                              : "[unknown]",
                  cli_string(j, "name"), cli_string(j, "text"));
    }
    cli_print("gates: %.0f passed, %.0f failed, %.0f not run, %.0f blocked\n",
              cli_number(counts, "pass"), cli_number(counts, "fail"), cli_number(counts, "not_run"),
              cli_number(counts, "blocked"));
    cli_print("decision: %s\n", cli_string(report, "decision"));
    return st;
}

/* What is missing, where a verb of this program makes it, is told by each criterion's command. */
static enum qins_status run(struct cli *c, struct qins_error *err)
{
    const char *dir = c->value[OPT_OUTPUT];
    const struct qn_gate_options options = {
        .evidence = c->list,
        .n_evidence = c->n_list,
        .gates = c->value[OPT_GATES],
        .previous = c->value[OPT_PREVIOUS],
        .output = dir,
    };
    if (!c->n_list)
        return qn_fail(err, QINS_ERR_USAGE, "'--evidence DIR' is missing");
    enum qins_status st = cli_refuse_other_page(dir, "gate_review.json", err);
    if (st == QINS_OK)
        st = qn_gate_review(&options, &c->monitor, &c->report, err);
    if (st == QINS_OK)
        st = qn_make_directories(dir, err);
    if (st == QINS_OK)
        st = qn_review_write(dir, c->report, &options, &c->monitor, err);
    if (st == QINS_OK && !json_is_true(json_object_get(c->report, "passed"))) {
        char *page = qn_path_join(dir, "index.html", err);
        st = page ? qn_fail(err, QINS_ERR_CHECK, "not all gates passed; %s says which", page)
                  : QINS_ERR_MEMORY;
        free(page);
    }
    return st;
}

const struct cli_verb cli_gate = {
    .name = "gate",
    .summary = "Judges phase gates by what other verbs measured.",
    .usage = "gate --evidence DIR... -o REVIEW_DIR [options]",
    .example = "qins gate --evidence run/ --previous review-1 -o review-2",
    .options = {OPT_EVIDENCE, OPT_OUTPUT, OPT_GATES, OPT_PREVIOUS},
    .help = {{OPT_OUTPUT, "folder for gate_review.json and its page"}},
    .many = OPT_EVIDENCE,
    .needs_output = true,
    .run = run,
    .print = print_review,
};
