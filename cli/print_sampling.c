#include "cli/print_validate.h"

/* A column for each k. */
static enum qins_status print_overlaps(const json_t *list, struct qins_error *err)
{
    enum { K = 10 };
    static const struct {
        const char *key, *label;
    } rows[] = {{"overlap", "in common, %"}, {"standard_error", "its error, points"}};
    static const char *const heads[K + 1] = {
        "k likeliest tokens", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"};
    struct cli_table t;
    cli_table_begin(&t, "lrrrrrrrrrr", heads);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cli_cell(&t, "%s", rows[i].label);
        for (size_t k = 0; k < K; k++)
            cli_figure_cell(&t, &cli_percent, json_array_get(list, k), rows[i].key, NULL);
    }
    return cli_table_print(&t, err);
}

enum qins_status print_sampling(const json_t *report, const json_t *test, struct qins_error *err)
{
    static const struct cli_style share = {"%.4f", "%.4f", 1.0, "none"},
                                  points = {"%.3f", "%.3f", 100.0, "none"},
                                  tail = {"%.2g", NULL, 1.0, "infinite"};
    const json_t *kl = json_object_get(test, "kl");
    char rms[CLI_FIGURE], tv[CLI_FIGURE];
    struct cli_table t;
    (void)report;
    cli_print("%.0f positions; standard errors from %s\n", cli_number(test, "tokens"),
              cli_string(test, "errors_by"));
    cli_distribution_begin(&t, "KL, nats a token");
    cli_distribution_row(&t, "model || candidate", &cli_nats, &tail,
                         json_object_get(kl, "model_candidate"));
    cli_distribution_row(&t, "candidate || model", &cli_nats, &tail,
                         json_object_get(kl, "candidate_model"));
    enum qins_status st = cli_table_print(&t, err);
    if (st == QINS_OK)
        st = print_overlaps(json_object_get(test, "top_k"), err);
    cli_print(
        "sampled at temperature %.2g and top-p %.2g: total variation %s;\n"
        "probability of the token that follows: RMS change %s percent points\n",
        cli_number(test, "temperature"), cli_number(test, "top_p"),
        cli_figure(tv, &share, json_object_get(test, "total_variation"), "mean", "standard_error"),
        cli_figure(rms, &points, json_object_get(test, "rms_delta_p"), "value", "standard_error"));
    return st;
}
