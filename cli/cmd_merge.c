#include "cli/cli.h"

#include "convert/merge.h"

static enum qins_status print_summary(const json_t *report, struct qins_error *err)
{
    const size_t n = json_array_size(json_object_get(report, "archives"));
    char a[64], b[64];
    (void)err;
    cli_print("%.0f part%s -> ", cli_number(report, "parts"),
              cli_number(report, "parts") == 1.0 ? "" : "s");
    if (json_is_true(json_object_get(report, "index")))
        cli_print("%zu archive%s, ", n, n == 1 ? "" : "s");
    cli_print("%s, %s, %.2f s (%.0f MB/s)\n",
              cli_bytes(cli_number(report, "archive_bytes"), a, sizeof a),
              cli_bits(report, b, sizeof b), cli_number(report, "seconds"),
              cli_number(report, "mb_per_s"));
    return QINS_OK;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    const struct qn_merge_options options = {.index = c->value[OPT_INDEX] != NULL,
                                             .threads = c->threads};
    return qn_merge(c->list, c->n_list, c->value[OPT_OUTPUT], &options, &c->monitor, &c->report,
                    err);
}

const struct cli_verb cli_merge = {
    .name = "merge",
    .summary = "Makes an archive of the parts of a sharded convert.",
    .usage = "merge PART... -o OUT.qins",
    .more_usage = {"merge --index PART... -o OUT.json"},
    .example = "qins merge model.qins-*-of-00008 -o model.qins",
    .options = {OPT_OUTPUT, OPT_INDEX},
    .many_operands = true,
    .needs_output = true,
    .run = run,
    .print = print_summary,
};
