/* What the benchmarks of fused models show. */
#include "cli/print_bench.h"
#include "cli/print_rows.h"

static void bytes_cell(struct cli_table *t, const json_t *of, const char *key)
{
    char bytes[32];
    cli_cell(t, "%s", cli_bytes(cli_number(of, key), bytes, sizeof bytes));
}

static void weight_bytes(struct cli_table *t, const json_t *row)
{
    bytes_cell(t, row, "weight_bytes");
}

static void peak_bytes(struct cli_table *t, const json_t *row)
{
    bytes_cell(t, row, "peak_bytes");
}

static void error_cell(struct cli_table *t, const json_t *row)
{
    cli_cell(t, "%.2g", cli_number(row, "relative_error"));
}

static const struct cli_column forms[] = {
    {.head = "coded as", .align = 'l', .path = "name"},
    {.head = "bits/weight", .align = 'r', .path = "bits_per_weight", .digits = 3},
    {.head = "in memory", .align = 'r', .cell = weight_bytes},
    {.head = "times as small", .align = 'r', .path = "weight_bytes_ratio", .digits = 2},
    {.head = "decoded too", .align = 'r', .path = "decoded_matrices"},
    {.head = "error of logits", .align = 'r', .cell = error_cell},
};

static const struct cli_column served[] = {
    {.head = "", .align = 'l', .path = "name"},
    {.head = "at its most", .align = 'r', .cell = peak_bytes},
    {.head = "of weights", .align = 'r', .cell = weight_bytes},
};

enum qins_status cli_print_bench_forms(const json_t *report, struct qins_error *err)
{
    enum qins_status st = cli_print_bench_model(report, err);
    if (st != QINS_OK)
        return st;
    cli_print("\n");
    return cli_print_rows(json_object_get(report, "forms"), forms, sizeof forms / sizeof *forms,
                          err);
}

enum qins_status cli_print_bench_memory(const json_t *report, struct qins_error *err)
{
    cli_print("%s, a text of %.0f tokens\n\n", cli_string(json_object_get(report, "model"), "path"),
              cli_number(report, "tokens"));
    return cli_print_rows(json_object_get(report, "served"), served, sizeof served / sizeof *served,
                          err);
}
