#include "cli/print_validate.h"

static void long_row(struct cli_table *t, const json_t *length)
{
    const json_t *text = json_object_get(length, "text");
    cli_cell(t, "%.0f", cli_number(length, "tokens"));
    cli_cell(t, "%.0f", cli_number(length, "windows"));
    cli_cell(t, "%.2f +- %.2f", 100.0 * cli_number(text, "match"),
             100.0 * cli_number(text, "match_standard_error"));
    cli_cell(t, "%.2f", 100.0 * cli_number(text, "early"));
    cli_cell(t, "%.2f", 100.0 * cli_number(text, "late"));
    cli_cell(t, "%+.2f +- %.2f", 100.0 * cli_number(text, "drift"),
             100.0 * cli_number(text, "drift_standard_error"));
    cli_cell(t, "%.4g", cli_number(text, "kl"));
    cli_cell(t, "%+.2g", cli_number(text, "nll_difference"));
    cli_cell(t, "%s", json_is_true(json_object_get(length, "passed")) ? "yes" : "no");
}

enum qins_status print_long_context(const json_t *report, const json_t *test,
                                    struct qins_error *err)
{
    static const char *const heads[] = {"tokens", "windows", "match %", "early %", "late %",
                                        "drift",  "KL",      "NLL",     "passed"};
    const json_t *lengths = json_object_get(test, "lengths"), *length;
    struct cli_table t;
    size_t i;
    (void)report;
    cli_print("long context: the same likeliest token on the text, by the length of windows:\n");
    cli_table_begin(&t, "rrrrrrrrl", heads);
    json_array_foreach(lengths, i, length)
    {
        if (json_object_get(length, "text"))
            long_row(&t, length);
    }
    enum qins_status st = cli_table_print(&t, err);
    json_array_foreach(lengths, i, length)
    {
        const json_t *behind = json_object_get(length, "continuation");
        if (behind) {
            cli_print("greedy, %.0f tokens behind %.0f of the text:\n",
                      cli_number(behind, "tokens"), cli_number(behind, "prompt_tokens"));
            cli_print_stability(behind);
        } else {
            cli_print("%.0f tokens: skipped, %s\n", cli_number(length, "tokens"),
                      cli_string(length, "skipped"));
        }
    }
    cli_print_thresholds(test);
    return st;
}
