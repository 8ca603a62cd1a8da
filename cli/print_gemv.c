#include "cli/print_bench.h"

static void spread_cell(struct cli_table *t, const json_t *spread)
{
    if (json_is_null(spread))
        cli_cell(t, "-");
    else
        cli_cell(t, "%.2f", cli_number(spread, "value"));
}

static enum qins_status print_products(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"",     "weights",     "threads", "rows of inputs",
                                        "GB/s", "products/ns", "lowest",  "highest"};
    struct cli_table t;
    const json_t *p;
    size_t i;
    cli_table_begin(&t, "llrrrrrr", heads);
    json_array_foreach(json_object_get(report, "products"), i, p)
    {
        const json_t *speed = json_object_get(p, "products_per_ns");
        cli_cell(&t, "%s", cli_string(p, "name"));
        cli_cell(&t, "%s", cli_string(p, "weights"));
        cli_cell(&t, "%.0f", cli_number(p, "threads"));
        cli_cell(&t, "%.0f", cli_number(p, "rows"));
        spread_cell(&t, json_object_get(p, "gb_per_s"));
        spread_cell(&t, speed);
        cli_cell(&t, "%.2f", cli_number(speed, "low"));
        cli_cell(&t, "%.2f", cli_number(speed, "high"));
    }
    return cli_table_print(&t, err);
}

static enum qins_status print_comparisons(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"weights", "threads", "rows of inputs", "against",
                                        "times",   "lowest",  "highest",        "goal"};
    struct cli_table t;
    const json_t *c;
    size_t i;
    cli_table_begin(&t, "lrrlrrrl", heads);
    json_array_foreach(json_object_get(report, "comparisons"), i, c)
    {
        const json_t *of = json_object_get(c, "of");
        cli_cell(&t, "%s", cli_string(of, "weights"));
        cli_cell(&t, "%.0f", cli_number(of, "threads"));
        cli_cell(&t, "%.0f", cli_number(of, "rows"));
        cli_cell(&t, "%s", cli_string(json_object_get(c, "to"), "name"));
        cli_cell(&t, "%.2f", cli_number(c, "value"));
        cli_cell(&t, "%.2f", cli_number(c, "low"));
        cli_cell(&t, "%.2f", cli_number(c, "high"));
        cli_bench_goal_cell(&t, c);
    }
    return cli_table_print(&t, err);
}

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
    cli_print("%.0f x %.0f weights, %s; medians of %.0f rounds\n\n",
              cli_number(report, "matrix_rows"), cli_number(report, "matrix_columns"),
              cli_string(json_object_get(report, "machine"), "cpu_level"),
              cli_number(report, "rounds"));
    enum qins_status st = print_products(report, err);
    cli_print("\nfused products against others:\n\n");
    if (st == QINS_OK)
        st = print_comparisons(report, err);
    if (st == QINS_OK)
        print_errors(report);
    return st;
}
