#include "cli/cli.h"

#include "convert/report.h"

static enum qins_status print_table(const json_t *report, struct qins_error *err)
{
    const json_t *tensor, *tensors = json_object_get(report, "tensors"),
                          *transport = json_object_get(report, "transport");
    bool archive = json_object_get(report, "archive_bytes") != NULL;
    static const char *const heads[] = {"tensor", "dtype", "shape", "bytes", "coded", "coding"};
    struct cli_table t;
    size_t i;
    char a[512], b[64], d[64];
    cli_table_begin(&t, archive ? "lllrrl" : "lllr", heads);
    json_array_foreach(tensors, i, tensor)
    {
        double bytes = cli_number(tensor, "bytes");
        cli_cell(&t, "%s", cli_string(tensor, "name"));
        cli_cell(&t, "%s", cli_string(tensor, "dtype"));
        cli_cell(&t, "%s", cli_shape(json_object_get(tensor, "shape"), a, sizeof a));
        if (bytes >= 0.0)
            cli_cell(&t, "%.0f", bytes);
        else
            cli_cell(&t, "?");
        if (archive) {
            cli_cell(&t, "%.0f", cli_number(tensor, "coded_bytes"));
            cli_cell(&t, "%s", cli_coding(tensor, a, sizeof a));
        }
    }
    enum qins_status st = cli_table_print(&t, err);
    cli_print("%zu tensor%s, %s", json_array_size(tensors),
              json_array_size(tensors) == 1 ? "" : "s",
              cli_bytes(cli_number(report, "input_bytes"), b, sizeof b));
    if (archive)
        cli_print(" in %s, %s", cli_bytes(cli_number(report, "archive_bytes"), a, sizeof a),
                  cli_bits(report, d, sizeof d));
    cli_print(" (%s%s)\n", archive ? "archive of " : "", cli_string(report, "source_format"));
    if (json_is_object(transport))
        cli_print("%.0f of them, %s, are a transport's\n", cli_number(transport, "tensors"),
                  cli_bytes(cli_number(transport, "coded_bytes"), a, sizeof a));
    return st;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    return qn_inspect(c->operand[0], &c->monitor, &c->report, err);
}

const struct cli_verb cli_inspect = {
    .name = "inspect",
    .summary = "Lists the tensors of a checkpoint or an archive.",
    .usage = "inspect PATH [options]",
    .example = "qins inspect model.safetensors",
    .n_operands = 1,
    .prints_if_quiet = true,
    .run = run,
    .print = print_table,
};
