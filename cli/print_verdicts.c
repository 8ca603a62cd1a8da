#include "cli/print_validate.h"

#include <math.h>
#include <string.h>

/* How a figure that is judged is written. */
enum unit { PLAIN, FINE, PERCENT, POINTS };

static const struct {
    const char *test, *name; /* keys of the report */
    const char *label;
    enum unit unit;
} measures[] = {
    {"consistency", "min_cosine", "lowest cosine of a tensor", FINE},
    {"consistency", "max_p99_rel_error", "99 % of relative errors, worst tensor", PERCENT},
    {"autoregressive", "match", "match of free-running text", PERCENT},
    {"autoregressive", "drift", "its drift, late less early", POINTS},
    {"sampling", "kl_mean", "mean KL, nats", PLAIN},
    {"sampling", "top10_overlap", "ten likeliest tokens in common", PERCENT},
    {"perplexity", "perplexity_difference", "perplexity, change", PLAIN},
    {"perplexity", "perplexity_relative_difference", "or, as a share of it", PERCENT},
    {"long_context", "match", "match on the text, worst length", PERCENT},
    {"long_context", "drift", "drift, worst length", POINTS},
    {"long_context", "late", "match in the last quarter, worst length", PERCENT},
};
enum { MEASURES = sizeof measures / sizeof *measures };

static const struct {
    const char *sign, *words;
} comparisons[] = {{">=", "at least"}, {"<=", "at most"}, {">", "above"}, {"<", "below"}};
enum { COMPARISONS = sizeof comparisons / sizeof *comparisons };

/* The number of a measure, MEASURES of one that is not known. */
static int find(const char *test, const char *name)
{
    int i = 0;
    while (i < MEASURES &&
           (strcmp(measures[i].test, test) != 0 || strcmp(measures[i].name, name) != 0))
        i++;
    return i;
}

static void value_cell(struct cli_table *t, enum unit unit, double value)
{
    if (!isfinite(value))
        cli_cell(t, "no number");
    else if (unit == PERCENT)
        cli_cell(t, "%.4g %%", 100.0 * value);
    else if (unit == POINTS)
        cli_cell(t, "%+.2f points", 100.0 * value);
    else
        cli_cell(t, unit == FINE ? "%.6f" : "%.4g", value);
}

static void bar_cell(struct cli_table *t, enum unit unit, const json_t *bar)
{
    const double value = cli_number(bar, "bar");
    const char *words = cli_string(bar, "comparison");
    for (int i = 0; i < COMPARISONS; i++)
        if (strcmp(words, comparisons[i].sign) == 0)
            words = comparisons[i].words;
    if (unit == PERCENT || unit == POINTS)
        cli_cell(t, "%s %.4g %s", words, 100.0 * value, unit == PERCENT ? "%" : "points");
    else
        cli_cell(t, "%s %.6g", words, value);
}

/* "-" of what was not judged. */
static const char *verdict(const json_t *passed, bool judged)
{
    if (json_is_true(passed))
        return "yes";
    return judged && json_is_false(passed) ? "no" : "-";
}

static void add_test(struct cli_table *t, const char *key, const char *title, const json_t *test)
{
    const char *name, *passed = verdict(json_object_get(test, "passed"), true);
    const bool judged = json_is_boolean(json_object_get(test, "passed"));
    json_t *bar;
    json_object_foreach(json_object_get(test, "thresholds"), name, bar)
    {
        const int m = find(key, name);
        const enum unit unit = m < MEASURES ? measures[m].unit : PLAIN;
        cli_cell(t, "%s", title);
        cli_cell(t, "%s", passed);
        cli_cell(t, "%s", m < MEASURES ? measures[m].label : name);
        value_cell(t, unit, cli_number(bar, "value"));
        bar_cell(t, unit, bar);
        cli_cell(
            t, "%s",
            verdict(json_object_get(bar, "passed"), judged || isfinite(cli_number(bar, "value"))));
        title = passed = ""; /* of the rows that follow */
    }
}

enum qins_status cli_print_verdicts(const struct cli_printed *tests, size_t n,
                                    const json_t *results, bool *none, struct qins_error *err)
{
    static const char *const heads[] = {"test", "passed", "judged by", "value", "bar", "met"};
    struct cli_table t;
    *none = true;
    for (size_t i = 0; i < n; i++)
        *none &= !json_object_get(json_object_get(results, tests[i].name), "thresholds");
    if (*none)
        return QINS_OK;
    cli_table_begin(&t, "lllrll", heads);
    for (size_t i = 0; i < n; i++)
        add_test(&t, tests[i].name, tests[i].title, json_object_get(results, tests[i].name));
    return cli_table_print(&t, err);
}

const char *cli_bar_source(const json_t *test)
{
    const json_t *bars = json_object_get(test, "thresholds");
    return cli_string(json_object_iter_value(json_object_iter((json_t *)bars)), "source");
}
