#include "cli/print_validate.h"

#include <stdio.h>

static void long_row(struct cli_table *t, const json_t *length)
{
    static const struct cli_style nll = {"%+.2g", NULL, 1.0, "infinite"};
    const json_t *text = json_object_get(length, "text"),
                 *passed = json_object_get(length, "passed");
    cli_cell(t, "%.0f", cli_number(length, "tokens"));
    cli_cell(t, "%.0f", cli_number(length, "windows"));
    cli_figure_cell(t, &cli_percent, text, "match", "match_standard_error");
    cli_figure_cell(t, &cli_percent, text, "early", NULL);
    cli_figure_cell(t, &cli_percent, text, "late", NULL);
    cli_figure_cell(t, &cli_points, text, "drift", "drift_standard_error");
    cli_figure_cell(t, &cli_nats, text, "kl", NULL);
    cli_figure_cell(t, &nll, text, "nll_difference", NULL);
    cli_cell(t, "%s", cli_string(text, "errors_by"));
    cli_cell(t, "%s", json_is_null(passed) ? "-" : json_is_true(passed) ? "yes" : "no");
}

static enum qins_status print_text(const json_t *lengths, struct qins_error *err)
{
    static const char *const heads[] = {
        "tokens",        "windows",  "match %",   "early %",   "late %",
        "drift, points", "KL, nats", "NLL, nats", "errors by", "met"};
    const json_t *length;
    struct cli_table t;
    size_t i;
    cli_print("the text, by length of windows: positions where both have the same likeliest token; "
              "NLL: candidate's\nless model's; errors by tokens, where there are fewer than ten "
              "windows, are too small\n");
    cli_table_begin(&t, "rrrrrrrrll", heads);
    json_array_foreach(lengths, i, length)
    {
        if (json_object_get(length, "text"))
            long_row(&t, length);
    }
    return cli_table_print(&t, err);
}

/* Of all lengths that were run. */
static enum qins_status print_continuations(const json_t *lengths, struct qins_error *err)
{
    const json_t *length;
    struct cli_table t;
    size_t i;
    cli_print(
        "greedy, behind the beginnings of such windows: tokens of prompt + continuation, errors "
        "over\nprompts; not judged\n");
    cli_stability_begin(&t, "tokens");
    json_array_foreach(lengths, i, length)
    {
        const json_t *behind = json_object_get(length, "continuation");
        char label[64];
        snprintf(label, sizeof label, "%.0f + %.0f", cli_number(behind, "prompt_tokens"),
                 cli_number(behind, "tokens"));
        if (behind)
            cli_stability_rows(&t, label, behind);
    }
    return cli_table_print(&t, err);
}

enum qins_status print_long_context(const json_t *report, const json_t *test,
                                    struct qins_error *err)
{
    const json_t *lengths = json_object_get(test, "lengths"), *length;
    enum qins_status st = QINS_OK;
    size_t i;
    (void)report;
    if (json_object_get(test, "thresholds")) { /* of the lengths that were run */
        st = print_text(lengths, err);
        if (st == QINS_OK)
            st = print_continuations(lengths, err);
    }
    json_array_foreach(lengths, i, length)
    {
        const char *skipped = cli_string(length, "skipped");
        if (*skipped)
            cli_print("%.0f tokens: skipped, %s\n", cli_number(length, "tokens"), skipped);
    }
    return st;
}
