#include "cli/print_bench.h"
#include "cli/print_rows.h"

#include <string.h>

/* Of weights made up for them: a row a coder. */
static enum qins_status print_costs(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"", "bits/weight", "ns/weight", "lowest", "highest"};
    const json_t *low = json_object_get(report, "decode_ns_low");
    const json_t *high = json_object_get(report, "decode_ns_high");
    const json_t *bits = json_object_get(report, "bits_per_element");
    struct cli_table t;
    const char *name;
    json_t *ns;
    cli_print("decoding %.0f weights to float32, %s; medians of %.0f rounds\n\n",
              cli_number(report, "elements"),
              cli_string(json_object_get(report, "machine"), "cpu_level"),
              cli_number(report, "rounds"));
    cli_table_begin(&t, "lrrrr", heads);
    json_object_foreach(json_object_get(report, "decode_ns"), name, ns)
    {
        cli_cell(&t, "%s", name);
        cli_cell(&t, "%.3f", cli_number(bits, name));
        cli_cell(&t, "%.3f", json_number_value(ns));
        cli_cell(&t, "%.3f", cli_number(low, name));
        cli_cell(&t, "%.3f", cli_number(high, name));
    }
    return cli_table_print(&t, err);
}

static void page_cell(struct cli_table *t, const json_t *row)
{
    if (json_is_null(json_object_get(row, "page_values")))
        cli_cell(t, "its chunks");
    else
        cli_cell(t, "%.0f", cli_number(row, "page_values"));
}

/* Of an archive: a row a coder and page size. */
static const struct cli_column archive_columns[] = {
    {.head = "", .align = 'l', .path = "coder"},
    {.head = "values a page", .align = 'r', .cell = page_cell},
    {.head = "bits/weight", .align = 'r', .path = "bits_per_weight", .digits = 3},
    {.head = "ns/weight", .align = 'r', .path = "decode_ns.value", .digits = 3},
    {.head = "lowest", .align = 'r', .path = "decode_ns.low", .digits = 3},
    {.head = "highest", .align = 'r', .path = "decode_ns.high", .digits = 3},
};

static enum qins_status print_archive_coders(const json_t *report, struct qins_error *err)
{
    cli_print("%s: decoding a sample of %.0f of its weights to float32, %s; medians of %.0f "
              "rounds\n\n",
              cli_string(json_object_get(report, "archive"), "path"),
              cli_number(report, "sampled_weights"),
              cli_string(json_object_get(report, "machine"), "cpu_level"),
              cli_number(report, "rounds"));
    return cli_print_rows(json_object_get(report, "coders"), archive_columns,
                          sizeof archive_columns / sizeof *archive_columns, err);
}

static void coder_cell(struct cli_table *t, const json_t *row)
{
    cli_cell(t, "%.28s", cli_string(row, "coder"));
}

static const struct cli_column symbol_columns[] = {
    {.head = "", .align = 'l', .cell = coder_cell},
    {.head = "level", .align = 'l', .path = "cpu_level"},
    {.head = "bits", .align = 'r', .path = "bits_per_symbol", .digits = 3},
    {.head = "ratio", .align = 'r', .path = "ratio", .digits = 3},
    {.head = "encode", .align = 'r', .path = "encode_gb_per_s.value", .digits = 2},
    {.head = "decode", .align = 'r', .path = "decode_gb_per_s.value", .digits = 2},
    {.head = "/memcpy", .align = 'r', .path = "decode_over_memcpy.value", .digits = 2},
    {.head = "/zstd -1", .align = 'r', .path = "decode_over_libzstd.value", .digits = 2},
    {.head = "/c", .align = 'r', .path = "decode_over_c.value", .digits = 2},
};

/* With the lowest and the highest round. */
static void spread_cell(struct cli_table *t, const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    if (json_is_object(v))
        cli_cell(t, "%.2f (%.2f-%.2f)", cli_number(v, "value"), cli_number(v, "low"),
                 cli_number(v, "high"));
    else
        cli_cell(t, "-");
}

static void encode_cell(struct cli_table *t, const json_t *row)
{
    spread_cell(t, row, "encode_gb_per_s");
}

static void decode_cell(struct cli_table *t, const json_t *row)
{
    spread_cell(t, row, "decode_gb_per_s");
}

static void place_cell(struct cli_table *t, const json_t *row)
{
    spread_cell(t, row, "decode_to_one_place_gb_per_s");
}

static const struct cli_column weight_columns[] = {
    {.head = "", .align = 'l', .cell = coder_cell},
    {.head = "level", .align = 'l', .path = "cpu_level"},
    {.head = "ratio", .align = 'r', .path = "ratio", .digits = 4},
    {.head = "encode", .align = 'r', .cell = encode_cell},
    {.head = "decode", .align = 'r', .cell = decode_cell},
    {.head = "to one place", .align = 'r', .cell = place_cell},
    {.head = "/memcpy", .align = 'r', .path = "decode_over_memcpy.value", .digits = 2},
};

static enum qins_status print_stream(const json_t *stream, bool weights, struct qins_error *err)
{
    const json_t *coders = json_object_get(stream, "coders");
    cli_print("\nstream %s: %s; entropy %.2f bits\n", cli_string(stream, "name"),
              cli_string(stream, "description"), cli_number(stream, "entropy_bits"));
    return weights ? cli_print_rows(coders, weight_columns,
                                    sizeof weight_columns / sizeof *weight_columns, err)
                   : cli_print_rows(coders, symbol_columns,
                                    sizeof symbol_columns / sizeof *symbol_columns, err);
}

static void bound_cell(struct cli_table *t, const json_t *row)
{
    cli_cell(t, "%s", json_is_true(json_object_get(row, "at_least")) ? ">=" : "<=");
}

static const struct cli_column goal_columns[] = {
    {.head = "goal", .align = 'l', .path = "unit"},
    {.head = "stream", .align = 'l', .path = "stream"},
    {.head = "level", .align = 'l', .path = "cpu_level"},
    {.head = "", .align = 'r', .cell = bound_cell},
    {.head = "wanted", .align = 'r', .path = "goal", .digits = 3},
    {.head = "measured", .align = 'r', .path = "value", .digits = 3},
    {.head = "", .align = 'l', .cell = cli_bench_met_cell},
};

/* GB of symbols or weights a second of processor time, on one thread. */
static enum qins_status print_streams(const json_t *report, struct qins_error *err)
{
    const json_t *goals = json_object_get(report, "goals"), *s;
    const bool weights = strcmp(cli_string(report, "benchmark"), "lossless") == 0;
    enum qins_status st = QINS_OK;
    size_t i;
    cli_print("%.0f Mi %s a stream in chunks of %.0f Ki, one thread; medians of %.0f rounds;\n"
              "encoding and decoding in GB of %s a second%s\n",
              cli_number(report, "symbols") / (1 << 20), weights ? "weights" : "symbols",
              cli_number(report, "chunk_symbols") / (1 << 10), cli_number(report, "rounds"),
              weights ? "weights" : "symbols",
              weights ? " (lowest to highest)" : "; ratios are of decoding");
    json_array_foreach(json_object_get(report, "streams"), i, s)
    {
        if (st == QINS_OK)
            st = print_stream(s, weights, err);
    }
    if (st != QINS_OK || json_array_size(goals) == 0)
        return st;
    cli_print("\n");
    return cli_print_rows(goals, goal_columns, sizeof goal_columns / sizeof *goal_columns, err);
}

enum qins_status cli_print_bench_coders(const json_t *report, struct qins_error *err)
{
    if (json_object_get(report, "streams"))
        return print_streams(report, err);
    return json_object_get(report, "decode_ns") ? print_costs(report, err)
                                                : print_archive_coders(report, err);
}
