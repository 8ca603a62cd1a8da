#include "cli/print_bench.h"
#include "cli/print_rows.h"

static const struct cli_column products[] = {
    {.head = "", .align = 'l', .path = "name"},
    {.head = "weights", .align = 'l', .path = "weights"},
    {.head = "threads", .align = 'r', .path = "threads"},
    {.head = "rows of inputs", .align = 'r', .path = "rows"},
    {.head = "GB/s", .align = 'r', .path = "gb_per_s.value", .digits = 2},
    {.head = "products/ns", .align = 'r', .path = "products_per_ns.value", .digits = 2},
    {.head = "lowest", .align = 'r', .path = "products_per_ns.low", .digits = 2},
    {.head = "highest", .align = 'r', .path = "products_per_ns.high", .digits = 2},
};

static const struct cli_column comparisons[] = {
    {.head = "weights", .align = 'l', .path = "of.weights"},
    {.head = "threads", .align = 'r', .path = "of.threads"},
    {.head = "rows of inputs", .align = 'r', .path = "of.rows"},
    {.head = "against", .align = 'l', .path = "to.name"},
    {.head = "times", .align = 'r', .path = "value", .digits = 2},
    {.head = "lowest", .align = 'r', .path = "low", .digits = 2},
    {.head = "highest", .align = 'r', .path = "high", .digits = 2},
    {.head = "goal", .align = 'l', .cell = cli_bench_goal_cell},
};

static void print_errors(const json_t *report)
{
    const json_t *e;
    size_t i;
    cli_print("\nerror of fused products, of all outputs and the largest, over their root mean "
              "square:\n");
    json_array_foreach(json_object_get(report, "errors"), i, e) cli_print(
        "  %s, inputs %s: %.2g, %.2g\n", cli_string(e, "weights"), cli_string(e, "inputs"),
        cli_number(e, "relative_error"), cli_number(e, "max_relative_error"));
}

enum qins_status cli_print_bench_gemv(const json_t *report, struct qins_error *err)
{
    cli_print("%.0f x %.0f weights, %s the last cache, %s; medians of %.0f rounds\n\n",
              cli_number(report, "matrix_rows"), cli_number(report, "matrix_columns"),
              json_is_true(json_object_get(report, "beyond_last_cache")) ? "far beyond"
                                                                         : "not far beyond",
              cli_string(json_object_get(report, "machine"), "cpu_level"),
              cli_number(report, "rounds"));
    enum qins_status st = cli_print_rows(json_object_get(report, "products"), products,
                                         sizeof products / sizeof *products, err);
    cli_print("\nfused products against others:\n\n");
    if (st == QINS_OK)
        st = cli_print_rows(json_object_get(report, "comparisons"), comparisons,
                            sizeof comparisons / sizeof *comparisons, err);
    if (st == QINS_OK)
        print_errors(report);
    return st;
}
