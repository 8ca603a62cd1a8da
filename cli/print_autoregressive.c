#include "cli/print_validate.h"

static const struct {
    const char *key, *label;
} kinds[] = {{"free_running", "free-running"}, {"teacher_forced", "teacher-forced"}};
enum { FREE, FORCED, KINDS };

void cli_stability_begin(struct cli_table *t, const char *what)
{
    const char *const heads[] = {what,     "",           "match %",  "least %", "early %",
                                 "late %", "drift, pts", "KL, nats", "differ",  "first at"};
    cli_table_begin(t, "llrrrrrrrr", heads);
}

static void figures(struct cli_table *t, const json_t *j)
{
    cli_cell(t, "%.2f +- %.2f", 100.0 * cli_number(j, "match"),
             100.0 * cli_number(j, "match_standard_error"));
    cli_cell(t, "%.2f", 100.0 * cli_number(j, "minimum_match"));
    cli_cell(t, "%.2f", 100.0 * cli_number(j, "early"));
    cli_cell(t, "%.2f", 100.0 * cli_number(j, "late"));
    cli_cell(t, "%+.2f +- %.2f", 100.0 * cli_number(j, "drift"),
             100.0 * cli_number(j, "drift_standard_error"));
}

void cli_stability_rows(struct cli_table *t, const char *what, const json_t *group)
{
    const json_t *first = json_object_get(group, "first_divergence");
    for (int k = 0; k < KINDS; k++) {
        const json_t *j = json_object_get(group, kinds[k].key);
        cli_cell(t, "%s", k == FREE ? what : "");
        cli_cell(t, "%s", kinds[k].label);
        figures(t, j);
        if (k == FORCED) {
            cli_cell(t, "%.3g +- %.2g", cli_number(j, "kl"), cli_number(j, "kl_standard_error"));
            cli_cell(t, "-");
        } else {
            cli_cell(t, "-");
            cli_cell(t, "%.0f of %zu", cli_number(first, "diverged"),
                     json_array_size(json_object_get(group, "prompts")));
        }
        if (k == FREE && json_is_integer(json_object_get(first, "median")))
            cli_cell(t, "%.0f", cli_number(first, "median"));
        else
            cli_cell(t, "-");
    }
}

/* "10 prompts, shipped (2 news, 2 code)". */
static void print_prompts(const json_t *group)
{
    const char *kind;
    json_t *count;
    bool more = false;
    cli_print("%zu prompts, %s (", json_array_size(json_object_get(group, "prompts")),
              cli_string(group, "source"));
    json_object_foreach(json_object_get(group, "kinds"), kind, count)
    {
        cli_print("%s%.0f %s", more ? ", " : "", json_number_value(count), kind);
        more = true;
    }
    cli_print(")");
}

enum qins_status print_autoregressive(const json_t *report, const json_t *test,
                                      struct qins_error *err)
{
    const json_t *text = json_object_get(test, "text");
    struct cli_table t;
    (void)report;
    cli_print("greedy, up to %.0f tokens behind each of ", cli_number(test, "tokens"));
    print_prompts(test);
    if (text) {
        cli_print("; beside them ");
        print_prompts(text);
    }
    cli_print("\n");
    cli_stability_begin(&t, "prompts");
    cli_stability_rows(&t, cli_string(test, "source"), test);
    if (text)
        cli_stability_rows(&t, cli_string(text, "source"), text);
    enum qins_status st = cli_table_print(&t, err);
    cli_print("free-running text is another text from the first difference on, so its match tells "
              "when that came (first at: the median prompt's token);\nteacher-forced match is one "
              "less the rate of differences\n");
    return st;
}
