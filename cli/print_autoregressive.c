#include "cli/print_validate.h"

static const struct {
    const char *key, *label;
} kinds[] = {{"free_running", "free-running"}, {"teacher_forced", "teacher-forced"}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

void cli_print_stability(const json_t *group)
{
    for (int k = 0; k < N_KINDS; k++) {
        const json_t *j = json_object_get(group, kinds[k].key);
        cli_print("  %s: match %.2f +- %.2f %%, least %.2f %%; early %.2f %%, late %.2f %%, drift "
                  "%+.2f +- %.2f points: %s\n",
                  kinds[k].label, 100.0 * cli_number(j, "match"),
                  100.0 * cli_number(j, "match_standard_error"),
                  100.0 * cli_number(j, "minimum_match"), 100.0 * cli_number(j, "early"),
                  100.0 * cli_number(j, "late"), 100.0 * cli_number(j, "drift"),
                  100.0 * cli_number(j, "drift_standard_error"),
                  json_is_true(json_object_get(j, "passed")) ? "passed" : "not passed");
    }
    const json_t *forced = json_object_get(group, "teacher_forced"),
                 *first = json_object_get(group, "first_divergence");
    cli_print("  teacher-forced KL %.4g +- %.2g nats; %.0f of %zu prompts diverge",
              cli_number(forced, "kl"), cli_number(forced, "kl_standard_error"),
              cli_number(first, "diverged"), json_array_size(json_object_get(group, "prompts")));
    if (json_is_integer(json_object_get(first, "median")))
        cli_print(", first at token %.0f in the median", cli_number(first, "median"));
    cli_print("\n");
}

/* "10 prompts, shipped (2 news, 2 code …):" and its figures. */
static void print_group(const json_t *group)
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
    cli_print("):\n");
    cli_print_stability(group);
}

enum qins_status print_autoregressive(const json_t *report, const json_t *test,
                                      struct qins_error *err)
{
    const json_t *text = json_object_get(test, "text");
    (void)report;
    (void)err;
    cli_print("autoregressive, greedy, up to %.0f tokens from each prompt:\n",
              cli_number(test, "tokens"));
    print_group(test);
    if (text)
        print_group(text);
    cli_print("judged, free-running text:\n");
    cli_print_thresholds(test);
    cli_print("free-running text is another text from the first difference on, so that its match "
              "tells when\nthat came; teacher-forced match is the rate of differences\n");
    return QINS_OK;
}
