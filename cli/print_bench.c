#include "cli/print_bench.h"

#include <string.h>

static void print_model(const json_t *report)
{
    const json_t *model = json_object_get(report, "model");
    const json_t *machine = json_object_get(report, "machine");
    const char *path = cli_string(model, "path");
    char bytes[32];
    cli_print("%s: %s, %.1f M parameters, %s; %s, %s\n", path[0] ? path : "random weights",
              cli_string(model, "model_type"), cli_number(model, "parameters") / 1e6,
              cli_bytes(cli_number(model, "weight_bytes"), bytes, sizeof bytes),
              cli_string(machine, "cpu_level"), cli_string(machine, "blas"));
}

static void busy_cell(struct cli_table *t, const json_t *side)
{
    cli_cell(t, "%s", json_is_true(json_object_get(side, "one_core_busy")) ? "yes" : "no");
}

/* Four digits, however small. */
static void speed_cell(struct cli_table *t, double value)
{
    cli_cell(t, "%.*f", value < 100 ? 2 : 0, value);
}

void cli_bench_goal_cell(struct cli_table *t, const json_t *comparison)
{
    const json_t *met = json_object_get(comparison, "met");
    if (json_is_null(json_object_get(comparison, "goal")))
        cli_cell(t, "-");
    else
        cli_cell(t, "%.2f: %s", cli_number(comparison, "goal"),
                 json_is_null(met)   ? "not judged"
                 : json_is_true(met) ? "met"
                                     : "missed");
}

static enum qins_status print_measurements(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"",       "threads", "one core busy",     "tokens/s",
                                        "lowest", "highest", "tokens/processor s"};
    struct cli_table t;
    const json_t *m;
    size_t i;
    cli_table_begin(&t, "lrlrrrr", heads);
    json_array_foreach(json_object_get(report, "measurements"), i, m)
    {
        cli_cell(&t, "%s", cli_string(m, "name"));
        cli_cell(&t, "%.0f", cli_number(m, "threads"));
        busy_cell(&t, m);
        speed_cell(&t, cli_number(m, "tokens_per_s"));
        speed_cell(&t, cli_number(m, "tokens_per_s_low"));
        speed_cell(&t, cli_number(m, "tokens_per_s_high"));
        speed_cell(&t, cli_number(m, "tokens_per_cpu_s"));
    }
    return cli_table_print(&t, err);
}

static void side_cell(struct cli_table *t, const json_t *side)
{
    double threads = cli_number(side, "threads");
    cli_cell(t, "%s, %.0f thread%s", cli_string(side, "name"), threads, threads > 1 ? "s" : "");
}

static enum qins_status print_comparisons(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"", "against", "one core busy", "clock", "", "", "goal"};
    struct cli_table t;
    const json_t *c;
    size_t i;
    cli_table_begin(&t, "llllrll", heads);
    json_array_foreach(json_object_get(report, "comparisons"), i, c)
    {
        const json_t *of = json_object_get(c, "of");
        side_cell(&t, of);
        side_cell(&t, json_object_get(c, "to"));
        busy_cell(&t, of);
        cli_cell(&t, "%s", cli_string(c, "clock"));
        cli_cell(&t, "%.2f", cli_number(c, "value"));
        cli_cell(&t, "%s", cli_string(c, "unit"));
        cli_bench_goal_cell(&t, c);
    }
    return cli_table_print(&t, err);
}

/* The one figure that gates judge. */
static void print_overhead(const json_t *report)
{
    const json_t *o = json_object_get(report, "overhead_percent");
    const bool kv = strcmp(cli_string(report, "benchmark"), "kv-cache") == 0;
    if (!o)
        return;
    cli_print("\n%s: ", kv ? "generation with V at 6 bits" : "entropy coding of hot weights");
    if (json_is_null(o))
        cli_print("not measured, the archive has no hot weights\n");
    else
        cli_print("%.2f %% more time (%.2f to %.2f)\n", cli_number(o, "value"),
                  cli_number(o, "low"), cli_number(o, "high"));
}

enum qins_status cli_print_bench_model(const json_t *report, struct qins_error *err)
{
    print_model(report);
    cli_print("%s of %.0f tokens, windows of %.0f; medians of %.0f rounds\n\n",
              strcmp(cli_string(report, "benchmark"), "calibrate") == 0 ? "text" : "prefill",
              cli_number(report, "tokens"), cli_number(report, "context"),
              cli_number(report, "rounds"));
    enum qins_status st = print_measurements(report, err);
    cli_print("\n");
    if (st == QINS_OK)
        st = print_comparisons(report, err);
    if (st == QINS_OK)
        print_overhead(report);
    return st;
}
