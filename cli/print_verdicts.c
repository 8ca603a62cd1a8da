#include "cli/print_validate.h"

#include <math.h>
#include <string.h>

/* How a figure that is judged is written. */
enum unit { PLAIN, FINE, PERCENT, POINTS };

static const struct {
    const char *test, *name; /* keys of the report */
    const char *label;
    enum unit unit;
    /* Where what is judged is a magnitude: the key under "difference" of what has a sign, and what
     * it is where nothing differs. */
    const char *signed_key;
    double nothing;
} measures[] = {
    {"consistency", "min_cosine", "lowest cosine of a tensor", FINE, NULL, 0.0},
    {"consistency", "max_p99_rel_error", "99 % rel. error, worst tensor", PERCENT, NULL, 0.0},
    {"autoregressive", "match", "match of free-running text", PERCENT, NULL, 0.0},
    {"autoregressive", "drift", "its drift, late less early", POINTS, NULL, 0.0},
    {"sampling", "kl_mean", "mean KL, nats", PLAIN, NULL, 0.0},
    {"sampling", "top10_overlap", "ten likeliest tokens in common", PERCENT, NULL, 0.0},
    {"perplexity", "perplexity_difference", "perplexity, change", PLAIN, "perplexity", 0.0},
    {"perplexity", "perplexity_relative_difference", "or, as a share of it", PERCENT,
     "perplexity_ratio", 1.0},
    {"long_context", "match", "match on the text, worst length", PERCENT, NULL, 0.0},
    {"long_context", "drift", "drift, worst length", POINTS, NULL, 0.0},
    {"long_context", "late", "late match, worst length", PERCENT, NULL, 0.0},
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

static void value_cell(struct cli_table *t, enum unit unit, double value, bool has_sign)
{
    if (!isfinite(value))
        cli_cell(t, "none");
    else if (unit == PERCENT)
        cli_cell(t, has_sign ? "%+.4g %%" : "%.4g %%", 100.0 * value);
    else if (unit == POINTS)
        cli_cell(t, "%+.2f points", 100.0 * value);
    else if (unit == FINE)
        cli_cell(t, "%.6f", value);
    else
        cli_cell(t, has_sign ? "%+.4g" : "%.4g", value);
}

static void bar_cell(struct cli_table *t, enum unit unit, const json_t *bar, bool has_sign)
{
    const double value = cli_number(bar, "bar");
    const char *words = cli_string(bar, "comparison");
    for (int i = 0; i < COMPARISONS; i++)
        if (strcmp(words, comparisons[i].sign) == 0)
            words = comparisons[i].words;
    if (has_sign)
        words = "within +-";
    if (unit == PERCENT || unit == POINTS)
        cli_cell(t, "%s %.4g %s", words, 100.0 * value, unit == PERCENT ? "%" : "points");
    else
        cli_cell(t, "%s %.6g", words, value);
}

static const char *met(const json_t *passed, bool judged)
{
    if (!judged)
        return "-";
    return json_is_true(passed) ? "yes" : "no";
}

/* One bar of a test. */
static void add_bar(struct cli_table *t, const char *key, const json_t *test, const char *name,
                    const json_t *bar)
{
    const int m = find(key, name);
    const bool known = m < MEASURES, has_sign = known && measures[m].signed_key;
    const enum unit unit = known ? measures[m].unit : PLAIN;
    double value = cli_number(bar, "value");
    const bool judged = isfinite(value) || json_is_boolean(json_object_get(test, "passed"));
    if (has_sign && isfinite(value))
        value = cli_number(json_object_get(test, "difference"), measures[m].signed_key) -
                measures[m].nothing;
    cli_cell(t, "%s", known ? measures[m].label : name);
    value_cell(t, unit, value, has_sign);
    bar_cell(t, unit, bar, has_sign);
    cli_cell(t, "%s", met(json_object_get(bar, "passed"), judged));
}

static const char *verdict(const json_t *test)
{
    const json_t *passed = json_object_get(test, "passed");
    if (json_is_boolean(passed))
        return json_is_true(passed) ? "passed" : "not passed";
    return json_object_get(test, "skipped") ? "skipped" : "not judged";
}

static void add_test(struct cli_table *t, const struct cli_printed *p, const json_t *report,
                     const json_t *test)
{
    enum { BAR_CELLS = 3 };
    const json_t *bars = json_object_get(test, "thresholds");
    const char *name, *title = p->title, *said = verdict(test);
    json_t *bar;
    if (json_object_size(bars) == 0) {
        const char *skipped = cli_string(test, "skipped");
        cli_cell(t, "%s", title);
        cli_cell(t, "%s", said);
        if (*skipped)
            cli_cell(t, "%s", skipped);
        else
            cli_cell(t, "%s",
                     json_object_get(report, "candidate") ? "nothing is compared"
                                                          : "there is no candidate");
        for (int i = 0; i < BAR_CELLS; i++)
            cli_cell(t, "-");
    }
    json_object_foreach((json_t *)bars, name, bar)
    {
        cli_cell(t, "%s", title);
        cli_cell(t, "%s", said);
        add_bar(t, p->name, test, name, bar);
        title = said = ""; /* of the rows that follow */
    }
}

enum qins_status cli_print_verdicts(const struct cli_printed *tests, size_t n, const json_t *report,
                                    struct qins_error *err)
{
    static const char *const heads[] = {"test",  "verdict", "deciding figure",
                                        "value", "bar",     "met"};
    const json_t *results = json_object_get(report, "tests");
    struct cli_table t;
    cli_table_begin(&t, "lllrll", heads);
    for (size_t i = 0; i < n; i++) {
        const json_t *test = json_object_get(results, tests[i].name);
        if (test)
            add_test(&t, &tests[i], report, test);
    }
    return cli_table_print(&t, err);
}

void cli_print_gates(const json_t *report)
{
    const json_t *results = json_object_get(report, "tests"),
                 *a = json_object_get(results, "consistency"),
                 *b = json_object_get(results, "autoregressive"),
                 *lossless = json_array_get(json_object_get(a, "modes"), 0),
                 *forced = json_object_get(b, "teacher_forced"),
                 *stands = json_object_get(forced, "passed");
    char cosine[CLI_FIGURE], error[CLI_FIGURE], match[CLI_FIGURE], drift[CLI_FIGURE];
    if (json_object_get(a, "thresholds") &&
        !json_equal(json_object_get(a, "passed"), json_object_get(lossless, "passed")))
        cli_print(
            "gates ask consistency of the lossless mode: lowest cosine %s, 99 %% rel. error %s "
            "%%: %s\n",
            cli_figure(cosine, &cli_cosine, lossless, "min_cosine", NULL),
            cli_figure(error, &cli_error, lossless, "max_p99_rel_error", NULL), verdict(lossless));
    if (json_is_boolean(stands) && !json_equal(json_object_get(b, "passed"), stands))
        cli_print("gates judge autoregressive teacher-forced: match %s %%, drift %s points: %s\n",
                  cli_figure(match, &cli_percent, forced, "match", "match_standard_error"),
                  cli_figure(drift, &cli_points, forced, "drift", NULL), verdict(forced));
}

const char *cli_bar_source(const json_t *test)
{
    const json_t *bars = json_object_get(test, "thresholds");
    return cli_string(json_object_iter_value(json_object_iter((json_t *)bars)), "source");
}
