/* What the benchmarks of fused models show. */
#include "cli/print_bench.h"

static void bytes_cell(struct cli_table *t, const json_t *of, const char *key)
{
    char bytes[32];
    cli_cell(t, "%s", cli_bytes(cli_number(of, key), bytes, sizeof bytes));
}

enum qins_status cli_print_bench_forms(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"coded as",       "bits/weight", "in memory",
                                        "times as small", "decoded too", "error of logits"};
    const json_t *f;
    struct cli_table t;
    size_t i;
    enum qins_status st = cli_print_bench_model(report, err);
    if (st != QINS_OK)
        return st;
    cli_print("\n");
    cli_table_begin(&t, "lrrrrr", heads);
    json_array_foreach(json_object_get(report, "forms"), i, f)
    {
        cli_cell(&t, "%s", cli_string(f, "name"));
        cli_cell(&t, "%.3f", cli_number(f, "bits_per_weight"));
        bytes_cell(&t, f, "weight_bytes");
        cli_cell(&t, "%.2f", cli_number(f, "weight_bytes_ratio"));
        cli_cell(&t, "%.0f", cli_number(f, "decoded_matrices"));
        cli_cell(&t, "%.2g", cli_number(f, "relative_error"));
    }
    return cli_table_print(&t, err);
}

enum qins_status cli_print_bench_memory(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"", "at its most", "of weights"};
    const json_t *s;
    struct cli_table t;
    size_t i;
    cli_print("%s, a text of %.0f tokens\n\n", cli_string(json_object_get(report, "model"), "path"),
              cli_number(report, "tokens"));
    cli_table_begin(&t, "lrr", heads);
    json_array_foreach(json_object_get(report, "served"), i, s)
    {
        cli_cell(&t, "%s", cli_string(s, "name"));
        bytes_cell(&t, s, "peak_bytes");
        bytes_cell(&t, s, "weight_bytes");
    }
    return cli_table_print(&t, err);
}
