#include "cli/print_validate.h"

#include <stdio.h>

static void print_divergence(const char *what, const json_t *kl)
{
    const json_t *tails = json_object_get(kl, "quantiles");
    cli_print("KL(%s), nats a token: mean %.4g +- %.2g; median %.2g, 99 %% %.2g, max %.2g\n", what,
              cli_number(kl, "mean"), cli_number(kl, "standard_error"), cli_number(tails, "p50"),
              cli_number(tails, "p99"), cli_number(kl, "max"));
}

/* A column for each k. */
static enum qins_status print_overlaps(const json_t *list, struct qins_error *err)
{
    enum { K = 10 };
    static const struct {
        const char *key, *label;
    } rows[] = {{"overlap", "in common, %"}, {"standard_error", "std. error"}};
    static const char *const heads[K + 1] = {"k likeliest", "1", "2", "3", "4", "5",
                                             "6",           "7", "8", "9", "10"};
    struct cli_table t;
    cli_table_begin(&t, "lrrrrrrrrrr", heads);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cli_cell(&t, "%s", rows[i].label);
        for (size_t k = 0; k < K; k++)
            cli_cell(&t, "%.2f", 100.0 * cli_number(json_array_get(list, k), rows[i].key));
    }
    return cli_table_print(&t, err);
}

enum qins_status print_sampling(const json_t *report, const json_t *test, struct qins_error *err)
{
    const json_t *kl = json_object_get(test, "kl"), *tv = json_object_get(test, "total_variation"),
                 *rms = json_object_get(test, "rms_delta_p");
    (void)report;
    cli_print("%.0f positions; standard errors from %s\n", cli_number(test, "tokens"),
              cli_string(test, "errors_by"));
    print_divergence("model || candidate", json_object_get(kl, "model_candidate"));
    print_divergence("candidate || model", json_object_get(kl, "candidate_model"));
    enum qins_status st = print_overlaps(json_object_get(test, "top_k"), err);
    cli_print("at temperature %.2g and top-p %.2g: total variation %.4f +- %.4f; probability of "
              "the token that follows: RMS change %.3f +- %.3f percent points\n",
              cli_number(test, "temperature"), cli_number(test, "top_p"), cli_number(tv, "mean"),
              cli_number(tv, "standard_error"), 100.0 * cli_number(rms, "value"),
              100.0 * cli_number(rms, "standard_error"));
    return st;
}
