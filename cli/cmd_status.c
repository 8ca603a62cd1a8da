#include "cli/cli.h"

#include "convert/status.h"

#include <stdio.h>
#include <string.h>

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    return qn_status(c->operand[0], &c->report, err);
}

/* "missing 3, 7-9; interrupted 2; stale 4": the shards that are to be seen to. */
static void describe(const json_t *output, char *text, size_t size)
{
    static const char *const states[] = {"interrupted", "stale", "damaged"};
    const json_t *run_of, *part;
    size_t i, n = 0;
    const char *before = "missing ";
    text[0] = '\0';
    json_array_foreach(json_object_get(output, "missing_parts"), i, run_of)
    {
        const int first = (int)json_integer_value(json_array_get(run_of, 0));
        const int last = (int)json_integer_value(json_array_get(run_of, 1));
        if (n < size)
            n += (size_t)snprintf(text + n, size - n, first < last ? "%s%d-%d" : "%s%d", before,
                                  first, last);
        before = ", ";
    }
    for (size_t k = 0; k < sizeof states / sizeof *states; k++) {
        const char *gap = n > 0 ? "; " : "";
        bool begun = false;
        json_array_foreach(json_object_get(output, "found"), i, part)
        {
            if (strcmp(cli_string(part, "state"), states[k]) != 0 ||
                cli_number(part, "part") < 1.0 || n >= size)
                continue;
            n += (size_t)snprintf(text + n, size - n, "%s%s%s%.0f", begun ? "" : gap,
                                  begun ? "" : states[k], begun ? ", " : " ",
                                  cli_number(part, "part"));
            begun = true;
        }
    }
}

/* A number of parts, of an output that is made in parts. */
static void count_cell(struct cli_table *t, bool cut, double count)
{
    if (cut)
        cli_cell(t, "%.0f", count);
    else
        cli_cell(t, "-");
}

static enum qins_status print_table(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"output",  "of",          "state",   "parts", "done",
                                        "running", "interrupted", "missing", "stale"};
    static const char *const figures[] = {"done", "running", "interrupted", "missing", "stale"};
    const json_t *output, *outputs = json_object_get(report, "outputs");
    const double leftovers = cli_number(report, "leftovers");
    struct cli_table t;
    char text[512];
    size_t i;
    cli_table_begin(&t, "lllrrrrrr", heads);
    json_array_foreach(outputs, i, output)
    {
        const bool cut = cli_number(output, "parts") > 0.0;
        cli_cell(&t, "%s", cli_string(output, "output"));
        cli_cell(&t, "%s", cli_string(output, "kind"));
        cli_cell(&t, "%s", cli_string(output, "state"));
        count_cell(&t, cut, cli_number(output, "parts"));
        for (size_t k = 0; k < sizeof figures / sizeof *figures; k++)
            count_cell(&t, cut, cli_number(output, figures[k]));
        describe(output, text, sizeof text);
        if (text[0])
            cli_note(&t, text);
    }
    enum qins_status st = cli_table_print(&t, err);
    if (st != QINS_OK)
        return st;
    if (leftovers > 0.0)
        cli_print("%.0f temporary file%s (%s): of runs that write now, or were killed\n", leftovers,
                  leftovers > 1.0 ? "s" : "",
                  cli_bytes(cli_number(report, "leftover_bytes"), text, sizeof text));
    cli_print("%.0f of %zu outputs complete\n", cli_number(report, "complete"),
              json_array_size(outputs));
    return st;
}

const struct cli_verb cli_status = {
    .name = "status",
    .summary = "Tells what is done, running or missing of work in parts.",
    .usage = "status DIR",
    .example = "qins status /data/archives",
    .n_operands = 1,
    .prints_if_quiet = true,
    .run = run,
    .print = print_table,
};
