#include "cli/print_validate.h"

#include "analyze/prompts.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *key, *label;
} kinds[] = {{"free_running", "free-running"}, {"teacher_forced", "teacher-forced"}};
enum { FREE, FORCED, KINDS };

static const struct cli_style kl_style = {"%.3g", "%.2g", 1.0, "infinite"};
static const char shipped[] = "shipped"; /* a source, as reports name it */

void cli_stability_begin(struct cli_table *t, const char *what)
{
    const char *const heads[] = {
        what, "", "match %", "early %", "late %", "drift, points", "prompts that differ"};
    cli_table_begin(t, "llrrrrl", heads);
}

/* How many prompts differ, and where the median one does first. */
static void first_cell(struct cli_table *t, const json_t *group)
{
    const json_t *first = json_object_get(group, "first_divergence");
    const double differ = cli_number(first, "diverged"), at = cli_number(first, "median");
    const size_t n = json_array_size(json_object_get(group, "prompts"));
    if (isfinite(at))
        cli_cell(t, "%.0f of %zu, median at %.0f", differ, n, at);
    else
        cli_cell(t, "%.0f of %zu", differ, n);
}

void cli_stability_rows(struct cli_table *t, const char *what, const json_t *group)
{
    char kl[CLI_FIGURE];
    for (int k = 0; k < KINDS; k++) {
        const json_t *j = json_object_get(group, kinds[k].key);
        cli_cell(t, "%s", k == FREE ? what : "");
        cli_cell(t, "%s", kinds[k].label);
        cli_figure_cell(t, &cli_percent, j, "match", "match_standard_error");
        cli_figure_cell(t, &cli_percent, j, "early", NULL);
        cli_figure_cell(t, &cli_percent, j, "late", NULL);
        cli_figure_cell(t, &cli_points, j, "drift", "drift_standard_error");
        if (k == FREE)
            first_cell(t, group);
        else
            cli_cell(t, "KL %s", cli_figure(kl, &kl_style, j, "kl", "kl_standard_error"));
    }
}

/* "    10 shipped prompts: 2 news, 2 code". */
static void print_prompts(const json_t *group)
{
    const char *kind, *source = cli_string(group, "source"), *before = ": ";
    json_t *count;
    const size_t n = json_array_size(json_object_get(group, "prompts"));
    const char *prompts = n == 1 ? "prompt" : "prompts";
    if (strcmp(source, QN_PROMPTS_TEXT) == 0) {
        cli_print("    %zu %s cut from the text\n", n, prompts);
        return;
    }
    if (strcmp(source, shipped) == 0)
        cli_print("    %zu shipped %s", n, prompts);
    else
        cli_print("    %zu %s of %s", n, prompts, source);
    json_object_foreach(json_object_get(group, "kinds"), kind, count)
    {
        cli_print("%s%.0f %s", before, json_number_value(count), kind);
        before = ", ";
    }
    cli_print("\n");
}

/* In a table: a file's name may be long. */
static const char *short_source(const json_t *group)
{
    const char *source = cli_string(group, "source");
    const bool known = strcmp(source, shipped) == 0 || strcmp(source, QN_PROMPTS_TEXT) == 0;
    return known ? source : "file";
}

enum qins_status print_autoregressive(const json_t *report, const json_t *test,
                                      struct qins_error *err)
{
    const json_t *text = json_object_get(test, "text");
    struct cli_table t;
    (void)report;
    cli_print("greedy, errors over prompts, up to %.0f tokens behind each of\n",
              cli_number(test, "tokens"));
    print_prompts(test);
    if (text)
        print_prompts(text);
    cli_stability_begin(&t, "prompts");
    cli_stability_rows(&t, short_source(test), test);
    if (text)
        cli_stability_rows(&t, short_source(text), text);
    enum qins_status st = cli_table_print(&t, err);
    cli_print(
        "free-running text is another text from the first difference on: its match tells when "
        "that came\n(of the prompts that differ the median one, at that token); "
        "teacher-forced match is one less the\nrate of differences; KL in nats\n");
    return st;
}
