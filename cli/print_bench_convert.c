#include "cli/print_bench.h"

#include <string.h>

static void print_source(const json_t *s)
{
    char bytes[32];
    const json_t *copy = json_object_get(s, "file_copy_mb_per_s");
    cli_print("%s: %s; a copy of the file %.0f MB/s, memcpy %.0f MB/s\n", cli_string(s, "source"),
              cli_bytes(cli_number(s, "bytes"), bytes, sizeof bytes), cli_number(copy, "value"),
              cli_number(json_object_get(s, "memcpy_mb_per_s"), "value"));
}

static void goal_cell(struct cli_table *t, const json_t *row)
{
    if (json_is_null(json_object_get(row, "met")))
        cli_cell(t, "-");
    else
        cli_cell(t, "%.0f: %s", cli_number(row, "goal_mb_per_s"),
                 json_is_true(json_object_get(row, "met")) ? "met" : "missed");
}

enum qins_status cli_print_bench_convert(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"",       "",        "",          "threads", "MB/s",
                                        "lowest", "highest", "file copy", "goal"};
    const json_t *row, *source;
    struct cli_table t;
    size_t i;
    json_array_foreach(json_object_get(report, "sources"), i, source)
    {
        print_source(source);
    }
    cli_print("MB of source a second without fsync, in one process; medians of %.0f rounds\n\n",
              cli_number(report, "rounds"));
    cli_table_begin(&t, "lllrrrrrl", heads);
    json_array_foreach(json_object_get(report, "conversions"), i, row)
    {
        const json_t *speed = json_object_get(row, "mb_per_s");
        cli_cell(&t, "%s", cli_string(row, "source"));
        cli_cell(&t, "%s", cli_string(row, "kind"));
        cli_cell(&t, "%s", cli_string(row, "step"));
        cli_cell(&t, "%.0f", cli_number(row, "threads"));
        cli_cell(&t, "%.0f", cli_number(speed, "value"));
        cli_cell(&t, "%.0f", cli_number(speed, "low"));
        cli_cell(&t, "%.0f", cli_number(speed, "high"));
        cli_cell(&t, "%.2f", cli_number(json_object_get(row, "over_file_copy"), "value"));
        goal_cell(&t, row);
    }
    return cli_table_print(&t, err);
}
