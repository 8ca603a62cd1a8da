#include "cli/print_validate.h"

#include <math.h>
#include <stdio.h>

const struct cli_style cli_percent = {"%.2f", "%.2f", 100.0, "none"},
                       cli_points = {"%+.2f", "%.2f", 100.0, "none"},
                       cli_nats = {"%.4g", "%.2g", 1.0, "infinite"},
                       cli_cosine = {"%.6f", NULL, 1.0, "none"},
                       cli_error = {"%.3g", NULL, 100.0, "none"};

char *cli_figure(char text[CLI_FIGURE], const struct cli_style *style, const json_t *j,
                 const char *key, const char *error_key)
{
    const double value = style->scale * cli_number(j, key),
                 error = error_key ? style->scale * cli_number(j, error_key) : NAN;
    if (!isfinite(value)) {
        snprintf(text, CLI_FIGURE, "%s", style->none);
        return text;
    }
    const int n = snprintf(text, CLI_FIGURE, style->value, value);
    if (isfinite(error) && n > 0 && n < CLI_FIGURE - 4) {
        snprintf(text + n, CLI_FIGURE - (size_t)n, " +- ");
        snprintf(text + n + 4, CLI_FIGURE - 4 - (size_t)n, style->error, error);
    }
    return text;
}

void cli_figure_cell(struct cli_table *t, const struct cli_style *style, const json_t *j,
                     const char *key, const char *error_key)
{
    char text[CLI_FIGURE];
    cli_cell(t, "%s", cli_figure(text, style, j, key, error_key));
}

void cli_distribution_begin(struct cli_table *t, const char *what)
{
    const char *const heads[] = {what, "mean", "1 %", "median", "99 %", "largest"};
    cli_table_begin(t, "lrrrrr", heads);
}

void cli_distribution_row(struct cli_table *t, const char *label, const struct cli_style *style,
                          const struct cli_style *tail, const json_t *j)
{
    const json_t *quantiles = json_object_get(j, "quantiles");
    cli_cell(t, "%s", label);
    cli_figure_cell(t, style, j, "mean", "standard_error");
    cli_figure_cell(t, tail, quantiles, "p1", NULL);
    cli_figure_cell(t, tail, quantiles, "p50", NULL);
    cli_figure_cell(t, tail, quantiles, "p99", NULL);
    cli_figure_cell(t, tail, j, "max", NULL);
}
