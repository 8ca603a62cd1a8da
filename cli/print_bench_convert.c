#include "cli/print_bench.h"
#include "cli/print_rows.h"

static void print_source(const json_t *s)
{
    char bytes[32];
    const json_t *copy = json_object_get(s, "file_copy_mb_per_s");
    cli_print("%s: %s; a copy of the file %.0f MB/s, memcpy %.0f MB/s\n", cli_string(s, "source"),
              cli_bytes(cli_number(s, "bytes"), bytes, sizeof bytes), cli_number(copy, "value"),
              cli_number(json_object_get(s, "memcpy_mb_per_s"), "value"));
}

static const struct cli_column conversions[] = {
    {.head = "", .align = 'l', .path = "source"},
    {.head = "", .align = 'l', .path = "kind"},
    {.head = "", .align = 'l', .path = "step"},
    {.head = "threads", .align = 'r', .path = "threads"},
    {.head = "MB/s", .align = 'r', .path = "mb_per_s.value"},
    {.head = "lowest", .align = 'r', .path = "mb_per_s.low"},
    {.head = "highest", .align = 'r', .path = "mb_per_s.high"},
    {.head = "file copy", .align = 'r', .path = "over_file_copy.value", .digits = 2},
    {.head = "goal", .align = 'l', .cell = cli_bench_goal_cell},
};

enum qins_status cli_print_bench_convert(const json_t *report, struct qins_error *err)
{
    const json_t *source;
    size_t i;
    json_array_foreach(json_object_get(report, "sources"), i, source)
    {
        print_source(source);
    }
    cli_print("MB of source a second without fsync, in one process; medians of %.0f rounds\n\n",
              cli_number(report, "rounds"));
    return cli_print_rows(json_object_get(report, "conversions"), conversions,
                          sizeof conversions / sizeof *conversions, err);
}
