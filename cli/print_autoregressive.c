#include "cli/print_validate.h"

#include "analyze/prompts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *key, *label;
} kinds[] = {{"free_running", "free-running"}, {"teacher_forced", "teacher-forced"}};
enum { FREE, FORCED, KINDS };

static void percent(struct cli_table *t, const json_t *j, const char *key, bool sign, bool error)
{
    char name[64], text[64];
    const double value = 100.0 * cli_number(j, key);
    snprintf(name, sizeof name, "%s_standard_error", key);
    const double e = error ? 100.0 * cli_number(j, name) : NAN;
    int n = snprintf(text, sizeof text, sign ? "%+.2f" : "%.2f", value);
    if (isfinite(e))
        snprintf(text + n, sizeof text - (size_t)n, " +- %.2f", e);
    cli_cell(t, "%s", isfinite(value) ? text : "-");
}

void cli_share(struct cli_table *t, const json_t *j, const char *key, bool error)
{
    percent(t, j, key, false, error);
}

void cli_drift(struct cli_table *t, const json_t *j)
{
    percent(t, j, "drift", true, true);
}

void cli_stability_begin(struct cli_table *t, const char *what)
{
    const char *const heads[] = {what,     "",           "match %",  "least %", "early %",
                                 "late %", "drift, pts", "KL, nats", "differ",  "first at"};
    cli_table_begin(t, "llrrrrrrrr", heads);
}

void cli_stability_rows(struct cli_table *t, const char *what, const json_t *group)
{
    const json_t *first = json_object_get(group, "first_divergence");
    for (int k = 0; k < KINDS; k++) {
        const json_t *j = json_object_get(group, kinds[k].key);
        cli_cell(t, "%s", k == FREE ? what : "");
        cli_cell(t, "%s", kinds[k].label);
        cli_share(t, j, "match", true);
        cli_share(t, j, "minimum_match", false);
        cli_share(t, j, "early", false);
        cli_share(t, j, "late", false);
        cli_drift(t, j);
        if (k == FORCED) {
            const double e = cli_number(j, "kl_standard_error");
            cli_cell(t, isfinite(e) ? "%.3g +- %.2g" : "%.3g", cli_number(j, "kl"), e);
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
    const char *kind, *source = cli_string(group, "source");
    json_t *count;
    bool more = false;
    const size_t n = json_array_size(json_object_get(group, "prompts"));
    if (strcmp(source, QN_PROMPTS_TEXT) == 0) {
        cli_print("%zu prompt%s, cut from the text", n, n == 1 ? "" : "s");
        return;
    }
    cli_print("%zu prompt%s, %s (", n, n == 1 ? "" : "s", source);
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
