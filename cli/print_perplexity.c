#include "cli/print_validate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void perplexity_row(struct cli_table *t, const char *who, const json_t *report,
                           const json_t *figures)
{
    if (!figures)
        return;
    cli_cell(t, "%s", who);
    const char *path = cli_string(json_object_get(report, who), "path");
    const json_t *transport = json_object_get(report, "transport"),
                 *kv = json_object_get(report, "kv_cache");
    char cache[32] = "";
    if (kv)
        snprintf(cache, sizeof cache, ", V of %.0f bits", cli_number(kv, "bits"));
    if (strcmp(who, "candidate") != 0) /* transport and cache are the candidate's */
        cli_cell(t, "%s", path);
    else if (transport)
        cli_cell(t, "%s with %s%s", path, cli_string(transport, "path"), cache);
    else
        cli_cell(t, "%s%s", path, cache);
    const double perplexity = cli_number(figures, "perplexity");
    cli_cell(t, isfinite(perplexity) ? "%.4f" : "infinite", perplexity);
    cli_cell(t, "%.6f", cli_number(figures, "mean_nll"));
    cli_cell(t, "%.6f", cli_number(figures, "mean_nll_standard_error"));
    cli_cell(t, "%.0f", cli_number(figures, "windows"));
    cli_cell(t, "%.0f", cli_number(figures, "tokens"));
    if (cli_number(figures, "tokens_per_s") > 0.0) /* not where all was there already */
        cli_cell(t, "%.0f", cli_number(figures, "tokens_per_s"));
    else
        cli_cell(t, "-");
}

/* What coding the inputs of native layers took. */
static void print_compute(const char *who, const json_t *figures)
{
    const json_t *compute = json_object_get(figures, "compute"),
                 *each = json_object_get(compute, "per_forward");
    const double coded = cli_number(compute, "coded_values"),
                 clipped = cli_number(compute, "clipped_values"),
                 clamped = cli_number(compute, "clamped_outputs");
    if (!(coded > 0.0))
        return;
    cli_print("%s, each forward pass: %.4g inputs coded, %.4g decodes, %.4g plane products, %.4g "
              "products of plain weights; %.3g %% of values clipped\n",
              who, cli_number(each, "encodes"), cli_number(each, "decodes"),
              cli_number(each, "plane_products"), cli_number(each, "products"),
              100.0 * clipped / coded);
    if (clamped > 0.0)
        cli_print("%s: %.0f outputs were clamped before they were decoded\n", who, clamped);
}

static void print_difference(const json_t *test)
{
    const json_t *d = json_object_get(test, "difference"), *kl = json_object_get(test, "kl");
    const json_t *p = json_object_get(test, "delta_p_percent");
    const json_t *tails = json_object_get(kl, "quantiles"), *ends = json_object_get(p, "quantiles");
    if (!d)
        return;
    cli_print("candidate less model, token by token: mean NLL %+.6f +- %.6f; ",
              cli_number(d, "mean_nll"), cli_number(d, "standard_error"));
    if (isfinite(cli_number(d, "perplexity")))
        cli_print("perplexity %+.4f +- %.4f, times %.6f +- %.6f; ", cli_number(d, "perplexity"),
                  cli_number(d, "perplexity_standard_error"), cli_number(d, "perplexity_ratio"),
                  cli_number(d, "perplexity_ratio_standard_error"));
    cli_print("correlation of NLL %.4f %%\n", 100.0 * cli_number(d, "correlation"));
    cli_print("KL(model || candidate), nats a token: mean %.4g +- %.2g; median %.2g, 99 %% %.2g, "
              "max %.2g; same likeliest token %.2f +- %.2f %%\n",
              cli_number(kl, "mean"), cli_number(kl, "standard_error"), cli_number(tails, "p50"),
              cli_number(tails, "p99"), cli_number(kl, "max"), 100.0 * cli_number(kl, "same_top1"),
              100.0 * cli_number(kl, "same_top1_standard_error"));
    cli_print("probability of the token that follows, percent points: mean %+.3f +- %.3f, RMS %.3f "
              "+- %.3f; 1 %% %+.2f, median %+.2g, 99 %% %+.2f\n",
              cli_number(p, "mean"), cli_number(p, "standard_error"), cli_number(p, "rms"),
              cli_number(p, "rms_standard_error"), cli_number(ends, "p1"), cli_number(ends, "p50"),
              cli_number(ends, "p99"));
}

/* As llama-perplexity would print it. */
static void print_llama(const json_t *test)
{
    const json_t *llama = json_object_get(test, "llama_cpp");
    if (!llama)
        return;
    cli_print("as llama-perplexity counts (second halves of windows, errors from tokens): "
              "perplexity");
    for (size_t i = 0; i < CLI_VALIDATED; i++) {
        const json_t *figures = json_object_get(llama, cli_validated[i]);
        if (figures && isfinite(cli_number(figures, "perplexity")))
            cli_print("%s %.4f +- %.4f of the %s", i ? "," : "", cli_number(figures, "perplexity"),
                      cli_number(figures, "perplexity_standard_error"), cli_validated[i]);
    }
    cli_print("\n");
}

enum qins_status print_perplexity(const json_t *report, const json_t *test, struct qins_error *err)
{
    static const char *const heads[] = {"",           "",        "perplexity", "mean NLL",
                                        "std. error", "windows", "tokens",     "tokens/s"};
    const char *style = cli_string(test, "style");
    struct cli_table t;
    cli_print("windows of %.0f tokens, %s (style %s); standard errors from %s\n",
              cli_number(test, "context"),
              strcmp(style, "qins") == 0 ? "all positions scored" : "second halves scored", style,
              cli_string(test, "errors_by"));
    cli_table_begin(&t, "llrrrrrr", heads);
    for (size_t i = 0; i < CLI_VALIDATED; i++)
        perplexity_row(&t, cli_validated[i], report, json_object_get(test, cli_validated[i]));
    enum qins_status st = cli_table_print(&t, err);
    print_difference(test);
    print_llama(test);
    for (size_t i = 0; i < CLI_VALIDATED; i++)
        print_compute(cli_validated[i], json_object_get(test, cli_validated[i]));
    return st;
}
