#include "cli/print_bench.h"

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

static void spread_cells(struct cli_table *t, const json_t *spread, int digits)
{
    cli_cell(t, "%.*f", digits, cli_number(spread, "value"));
    cli_cell(t, "%.*f", digits, cli_number(spread, "low"));
    cli_cell(t, "%.*f", digits, cli_number(spread, "high"));
}

/* Of an archive: a row a coder and page size. */
static enum qins_status print_archive_coders(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"",          "values a page", "bits/weight",
                                        "ns/weight", "lowest",        "highest"};
    const json_t *c;
    struct cli_table t;
    size_t i;
    cli_print("%s: decoding a sample of %.0f of its weights to float32, %s; medians of %.0f "
              "rounds\n\n",
              cli_string(json_object_get(report, "archive"), "path"),
              cli_number(report, "sampled_weights"),
              cli_string(json_object_get(report, "machine"), "cpu_level"),
              cli_number(report, "rounds"));
    cli_table_begin(&t, "lrrrrr", heads);
    json_array_foreach(json_object_get(report, "coders"), i, c)
    {
        cli_cell(&t, "%s", cli_string(c, "coder"));
        if (json_is_null(json_object_get(c, "page_values")))
            cli_cell(&t, "its chunks");
        else
            cli_cell(&t, "%.0f", cli_number(c, "page_values"));
        cli_cell(&t, "%.3f", cli_number(c, "bits_per_weight"));
        spread_cells(&t, json_object_get(c, "decode_ns"), 3);
    }
    return cli_table_print(&t, err);
}

static void figure_cell(struct cli_table *t, const json_t *coder, const char *key, int digits)
{
    const double v = cli_number(json_object_get(coder, key), "value");
    if (v == v)
        cli_cell(t, "%.*f", digits, v);
    else
        cli_cell(t, "-");
}

static enum qins_status print_stream(const json_t *stream, struct qins_error *err)
{
    static const char *const heads[] = {"",       "level",   "bits",     "ratio", "encode",
                                        "decode", "/memcpy", "/zstd -1", "/c"};
    const json_t *c;
    struct cli_table t;
    size_t i;
    cli_print("\nstream %s: %s; entropy %.2f bits\n", cli_string(stream, "name"),
              cli_string(stream, "description"), cli_number(stream, "entropy_bits"));
    cli_table_begin(&t, "llrrrrrrr", heads);
    json_array_foreach(json_object_get(stream, "coders"), i, c)
    {
        const double bits = cli_number(c, "bits_per_symbol");
        const char *level = cli_string(c, "cpu_level");
        cli_cell(&t, "%.28s", cli_string(c, "coder"));
        cli_cell(&t, "%s", level[0] ? level : "-");
        cli_cell(&t, "%.3f", bits);
        cli_cell(&t, "%.3f", 8.0 / bits);
        figure_cell(&t, c, "encode_gb_per_s", 2);
        figure_cell(&t, c, "decode_gb_per_s", 2);
        figure_cell(&t, c, "decode_over_memcpy", 2);
        figure_cell(&t, c, "decode_over_libzstd", 2);
        figure_cell(&t, c, "decode_over_c", 2);
    }
    return cli_table_print(&t, err);
}

static enum qins_status print_goals(const json_t *goals, struct qins_error *err)
{
    static const char *const heads[] = {"goal", "stream", "level", "", "wanted", "measured", ""};
    const json_t *g;
    struct cli_table t;
    size_t i;
    cli_table_begin(&t, "lllrrrl", heads);
    json_array_foreach(goals, i, g)
    {
        const char *level = cli_string(g, "cpu_level");
        cli_cell(&t, "%s", cli_string(g, "unit"));
        cli_cell(&t, "%s", cli_string(g, "stream"));
        cli_cell(&t, "%s", level[0] ? level : "-");
        cli_cell(&t, "%s", json_is_true(json_object_get(g, "at_least")) ? ">=" : "<=");
        cli_cell(&t, "%.3f", cli_number(g, "goal"));
        cli_cell(&t, "%.3f", cli_number(g, "value"));
        cli_cell(&t, "%s", json_is_true(json_object_get(g, "met")) ? "met" : "missed");
    }
    return cli_table_print(&t, err);
}

/* GB of symbols a second of processor time, on one thread. */
static enum qins_status print_streams(const json_t *report, struct qins_error *err)
{
    const json_t *goals = json_object_get(report, "goals"), *s;
    enum qins_status st = QINS_OK;
    size_t i;
    cli_print("%.0f Mi symbols a stream in chunks of %.0f Ki, one thread; medians of %.0f rounds;\n"
              "encoding and decoding in GB of symbols a second; ratios are of decoding\n",
              cli_number(report, "symbols") / (1 << 20),
              cli_number(report, "chunk_symbols") / (1 << 10), cli_number(report, "rounds"));
    json_array_foreach(json_object_get(report, "streams"), i, s)
    {
        if (st == QINS_OK)
            st = print_stream(s, err);
    }
    if (st != QINS_OK || json_array_size(goals) == 0)
        return st;
    cli_print("\n");
    return print_goals(goals, err);
}

enum qins_status cli_print_bench_coders(const json_t *report, struct qins_error *err)
{
    if (json_object_get(report, "streams"))
        return print_streams(report, err);
    return json_object_get(report, "decode_ns") ? print_costs(report, err)
                                                : print_archive_coders(report, err);
}
