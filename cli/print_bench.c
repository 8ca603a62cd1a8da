#include "cli/print_bench.h"
#include "cli/print_rows.h"

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

static const char *met_word(const json_t *met)
{
    return json_is_null(met) ? "not judged" : json_is_true(met) ? "met" : "missed";
}

void cli_bench_goal_cell(struct cli_table *t, const json_t *row)
{
    const json_t *goal = json_object_get(row, "goal"),
                 *rate = json_object_get(row, "goal_mb_per_s");
    if (json_is_number(rate))
        cli_cell(t, "%.0f: %s", json_number_value(rate), met_word(json_object_get(row, "met")));
    else if (json_is_number(goal))
        cli_cell(t, "%.2f: %s", json_number_value(goal), met_word(json_object_get(row, "met")));
    else
        cli_cell(t, "-");
}

void cli_bench_met_cell(struct cli_table *t, const json_t *row)
{
    cli_cell(t, "%s", met_word(json_object_get(row, "met")));
}

static void busy_cell(struct cli_table *t, const json_t *side)
{
    cli_cell(t, "%s", json_is_true(json_object_get(side, "one_core_busy")) ? "yes" : "no");
}

static void busy_of_cell(struct cli_table *t, const json_t *row)
{
    busy_cell(t, json_object_get(row, "of"));
}

/* Four digits, however small. */
static void speed_cell(struct cli_table *t, const json_t *row, const char *key)
{
    const double value = cli_number(row, key);
    cli_cell(t, "%.*f", value < 100 ? 2 : 0, value);
}

static void median_cell(struct cli_table *t, const json_t *row)
{
    speed_cell(t, row, "tokens_per_s");
}

static void low_cell(struct cli_table *t, const json_t *row)
{
    speed_cell(t, row, "tokens_per_s_low");
}

static void high_cell(struct cli_table *t, const json_t *row)
{
    speed_cell(t, row, "tokens_per_s_high");
}

static void processor_cell(struct cli_table *t, const json_t *row)
{
    speed_cell(t, row, "tokens_per_cpu_s");
}

static void side_cell(struct cli_table *t, const json_t *row, const char *which)
{
    const json_t *side = json_object_get(row, which);
    const double threads = cli_number(side, "threads");
    cli_cell(t, "%s, %.0f thread%s", cli_string(side, "name"), threads, threads > 1 ? "s" : "");
}

static void of_cell(struct cli_table *t, const json_t *row)
{
    side_cell(t, row, "of");
}

static void to_cell(struct cli_table *t, const json_t *row)
{
    side_cell(t, row, "to");
}

static const struct cli_column measurements[] = {
    {.head = "", .align = 'l', .path = "name"},
    {.head = "threads", .align = 'r', .path = "threads"},
    {.head = "one core busy", .align = 'l', .cell = busy_cell},
    {.head = "tokens/s", .align = 'r', .cell = median_cell},
    {.head = "lowest", .align = 'r', .cell = low_cell},
    {.head = "highest", .align = 'r', .cell = high_cell},
    {.head = "tokens/processor s", .align = 'r', .cell = processor_cell},
};

static const struct cli_column comparisons[] = {
    {.head = "", .align = 'l', .cell = of_cell},
    {.head = "against", .align = 'l', .cell = to_cell},
    {.head = "one core busy", .align = 'l', .cell = busy_of_cell},
    {.head = "clock", .align = 'l', .path = "clock"},
    {.head = "", .align = 'r', .path = "value", .digits = 2},
    {.head = "", .align = 'l', .path = "unit"},
    {.head = "lowest", .align = 'r', .path = "low", .digits = 2},
    {.head = "highest", .align = 'r', .path = "high", .digits = 2},
    {.head = "goal", .align = 'l', .cell = cli_bench_goal_cell},
};

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
    enum qins_status st = cli_print_rows(json_object_get(report, "measurements"), measurements,
                                         sizeof measurements / sizeof *measurements, err);
    cli_print("\n");
    if (st == QINS_OK)
        st = cli_print_rows(json_object_get(report, "comparisons"), comparisons,
                            sizeof comparisons / sizeof *comparisons, err);
    if (st == QINS_OK)
        print_overhead(report);
    return st;
}
