#include "cli/print_validate.h"

static void print_divergence(const char *what, const json_t *kl)
{
    const json_t *tails = json_object_get(kl, "quantiles");
    cli_print("  KL(%s), nats a token: mean %.4g +- %.2g; median %.2g, 99 %% %.2g, max %.2g\n",
              what, cli_number(kl, "mean"), cli_number(kl, "standard_error"),
              cli_number(tails, "p50"), cli_number(tails, "p99"), cli_number(kl, "max"));
}

enum qins_status print_sampling(const json_t *report, const json_t *test, struct qins_error *err)
{
    const json_t *kl = json_object_get(test, "kl"), *tv = json_object_get(test, "total_variation"),
                 *rms = json_object_get(test, "rms_delta_p"), *overlap;
    size_t i;
    (void)report;
    (void)err;
    cli_print("sampling, at %.0f positions, standard errors of %s:\n", cli_number(test, "tokens"),
              cli_string(test, "errors_by"));
    print_divergence("model || candidate", json_object_get(kl, "model_candidate"));
    print_divergence("candidate || model", json_object_get(kl, "candidate_model"));
    cli_print("  the k likeliest in common, %%:");
    json_array_foreach(json_object_get(test, "top_k"), i, overlap) cli_print(
        "%s %.0f: %.2f +- %.2f", i > 0 ? "," : "", cli_number(overlap, "k"),
        100.0 * cli_number(overlap, "overlap"), 100.0 * cli_number(overlap, "standard_error"));
    cli_print(
        "\n  at temperature %.2g and top-p %.2g: total variation %.4f +- %.4f, probability of "
        "the token that follows: RMS change %.4f +- %.4f\n",
        cli_number(test, "temperature"), cli_number(test, "top_p"), cli_number(tv, "mean"),
        cli_number(tv, "standard_error"), cli_number(rms, "value"),
        cli_number(rms, "standard_error"));
    cli_print_thresholds(test);
    return QINS_OK;
}
