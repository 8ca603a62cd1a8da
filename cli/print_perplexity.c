#include "cli/print_validate.h"

#include <string.h>

static const struct cli_style perplexity_style = {"%.4f", "%.4f", 1.0, "infinite"};

static void perplexity_row(struct cli_table *t, const char *who, const json_t *figures)
{
    static const struct cli_style nll = {"%.6f", "%.6f", 1.0, "infinite"};
    if (!figures)
        return;
    cli_cell(t, "%s", who);
    cli_figure_cell(t, &perplexity_style, figures, "perplexity", "perplexity_standard_error");
    cli_figure_cell(t, &nll, figures, "mean_nll", "mean_nll_standard_error");
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
    cli_print("%s, each forward pass: %.4g inputs coded, %.4g decodes, %.4g plane products,\n"
              "    %.4g products of plain weights; %.3g %% of values clipped\n",
              who, cli_number(each, "encodes"), cli_number(each, "decodes"),
              cli_number(each, "plane_products"), cli_number(each, "products"),
              100.0 * clipped / coded);
    if (clamped > 0.0)
        cli_print("%s: %.0f outputs were clamped before they were decoded\n", who, clamped);
}

/* What is not a distribution. */
static const struct {
    const char *label, *part, *key, *error;
    struct cli_style style;
} rows[] = {
    {"mean NLL, nats", "difference", "mean_nll", "standard_error", {"%+.6f", "%.6f", 1.0, "none"}},
    {"perplexity",
     "difference",
     "perplexity",
     "perplexity_standard_error",
     {"%+.4f", "%.4f", 1.0, "none"}},
    {"perplexity, ratio",
     "difference",
     "perplexity_ratio",
     "perplexity_ratio_standard_error",
     {"%.6f", "%.6f", 1.0, "none"}},
    {"correlation of NLL, %",
     "difference",
     "correlation",
     "correlation_standard_error",
     {"%.4f", "%.4f", 100.0, "none"}},
    {"same likeliest token, %",
     "kl",
     "same_top1",
     "same_top1_standard_error",
     {"%.2f", "%.2f", 100.0, "none"}},
    {"probability of what follows, RMS, points",
     "delta_p_percent",
     "rms",
     "rms_standard_error",
     {"%.3f", "%.3f", 1.0, "none"}},
};

static enum qins_status print_difference(const json_t *test, struct qins_error *err)
{
    static const char *const heads[] = {"candidate less model, token by token", "value"};
    static const struct cli_style points = {"%+.3g", "%.2g", 1.0, "none"},
                                  point_tail = {"%+.3g", NULL, 1.0, "none"},
                                  nat_tail = {"%.2g", NULL, 1.0, "infinite"};
    struct cli_table t;
    if (!json_object_get(test, "difference"))
        return QINS_OK;
    cli_table_begin(&t, "lr", heads);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cli_cell(&t, "%s", rows[i].label);
        cli_figure_cell(&t, &rows[i].style, json_object_get(test, rows[i].part), rows[i].key,
                        rows[i].error);
    }
    enum qins_status st = cli_table_print(&t, err);
    if (st != QINS_OK)
        return st;
    cli_distribution_begin(&t, "over tokens");
    cli_distribution_row(&t, "KL(model || candidate), nats", &cli_nats, &nat_tail,
                         json_object_get(test, "kl"));
    cli_distribution_row(&t, "probability of what follows, points", &points, &point_tail,
                         json_object_get(test, "delta_p_percent"));
    return cli_table_print(&t, err);
}

/* As llama-perplexity would print it. */
static void print_llama(const json_t *test)
{
    const json_t *llama = json_object_get(test, "llama_cpp");
    char text[CLI_FIGURE];
    if (!llama)
        return;
    cli_print("as llama-perplexity counts (second halves of windows, errors from tokens):\n"
              "    perplexity");
    for (size_t i = 0; i < CLI_VALIDATED; i++) {
        const json_t *figures = json_object_get(llama, cli_validated[i]);
        if (figures)
            cli_print("%s %s of the %s", i ? "," : "",
                      cli_figure(text, &perplexity_style, figures, "perplexity",
                                 "perplexity_standard_error"),
                      cli_validated[i]);
    }
    cli_print("\n");
}

enum qins_status print_perplexity(const json_t *report, const json_t *test, struct qins_error *err)
{
    static const char *const heads[] = {"",        "perplexity", "mean NLL, nats",
                                        "windows", "tokens",     "tokens/s"};
    const char *style = cli_string(test, "style");
    struct cli_table t;
    (void)report;
    cli_print("windows of %.0f tokens, %s (style %s); standard errors from %s\n",
              cli_number(test, "context"),
              strcmp(style, "qins") == 0 ? "all positions scored" : "second halves scored", style,
              cli_string(test, "errors_by"));
    cli_table_begin(&t, "lrrrrr", heads);
    for (size_t i = 0; i < CLI_VALIDATED; i++)
        perplexity_row(&t, cli_validated[i], json_object_get(test, cli_validated[i]));
    enum qins_status st = cli_table_print(&t, err);
    if (st == QINS_OK)
        st = print_difference(test, err);
    print_llama(test);
    for (size_t i = 0; i < CLI_VALIDATED; i++)
        print_compute(cli_validated[i], json_object_get(test, cli_validated[i]));
    return st;
}
