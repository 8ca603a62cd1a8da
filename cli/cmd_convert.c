#include "cli/cli.h"

#include "convert/convert.h"
#include "core/file.h"

static void print_part(const json_t *report)
{
    char a[64], b[64];
    cli_print("part %.0f of %.0f: %s -> %s, ", cli_number(report, "part"),
              cli_number(report, "parts"),
              cli_bytes(cli_number(report, "input_bytes"), a, sizeof a),
              cli_bytes(cli_number(report, "part_bytes"), b, sizeof b));
    if (json_is_true(json_object_get(report, "was_there")))
        cli_print("there already\n");
    else
        cli_print("%.2f s (%.0f MB/s)\n", cli_number(report, "seconds"),
                  cli_number(report, "mb_per_s"));
}

static enum qins_status print_table(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"tensor", "dtype",       "shape",
                                        "bytes",  "bits/weight", "coding"};
    struct cli_table t;
    const json_t *tensor;
    size_t i;
    char a[512], b[64], d[64];
    if (json_object_get(report, "part")) {
        print_part(report);
        return QINS_OK;
    }
    cli_table_begin(&t, "lllrrl", heads);
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        cli_cell(&t, "%s", cli_string(tensor, "name"));
        cli_cell(&t, "%s", cli_string(tensor, "dtype"));
        cli_cell(&t, "%s", cli_shape(json_object_get(tensor, "shape"), a, sizeof a));
        cli_cell(&t, "%.0f", cli_number(tensor, "coded_bytes"));
        if (cli_number(tensor, "elements") > 0.0)
            cli_cell(&t, "%.3f", cli_number(tensor, "coded_bits_per_element"));
        else
            cli_cell(&t, "-");
        cli_cell(&t, "%s", cli_coding(tensor, a, sizeof a));
    }
    enum qins_status st = cli_table_print(&t, err);
    cli_print("%s -> %s, %s, %.2f s (%.0f MB/s)\n",
              cli_bytes(cli_number(report, "input_bytes"), b, sizeof b),
              cli_bytes(cli_number(report, "archive_bytes"), d, sizeof d),
              cli_bits(report, a, sizeof a), cli_number(report, "seconds"),
              cli_number(report, "mb_per_s"));
    return st;
}

/* A plan says all that these would. */
static enum qins_status check_plan_alone(const struct cli *c, struct qins_error *err)
{
    static const enum cli_option_id others[] = {OPT_LOSSLESS, OPT_BITS, OPT_CODEC, OPT_GROUP,
                                                OPT_KAPPA,    OPT_CLIP, OPT_GRID,  OPT_ROUNDING};
    for (size_t i = 0; c->value[OPT_PLAN] && i < sizeof others / sizeof *others; i++)
        if (c->value[others[i]])
            return qn_fail(err, QINS_ERR_USAGE,
                           "'--%s' is the plan's to say: leave it out, or '--plan'",
                           cli_option_name(others[i]));
    return QINS_OK;
}

/* Other programs would take such a file for what its name says. */
static void note_name(const struct cli *c)
{
    static const char *const others[] = {".safetensors", ".gguf"};
    const char *out = c->value[OPT_OUTPUT];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (qn_has_suffix(out, others[i]))
            qn_notice(&c->monitor,
                      "'%s' is an archive, which no reader of %s files takes: name it .qins; "
                      "'qins restore' makes checkpoints of archives",
                      out, others[i]);
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    struct qn_convert_options options = {.threads = c->threads,
                                         .plan_file = c->value[OPT_PLAN],
                                         .calibration = c->value[OPT_CALIBRATION],
                                         .transport = c->value[OPT_TRANSPORT],
                                         .resume = c->value[OPT_RESUME] != NULL};
    bool given = false;
    enum qins_status st = check_plan_alone(c, err);
    if (st == QINS_OK)
        st = cli_rounding(c, &options.rounding, &given, err);
    if (st == QINS_OK)
        st = cli_plan_options(c, &options.plan, err);
    if (st == QINS_OK)
        st = cli_shard(c, &options.shard, err);
    if (options.calibration && !options.plan_file && !given)
        options.rounding = QN_ROUND_FEEDBACK;
    if (st == QINS_OK)
        st =
            qn_convert(c->operand[0], c->value[OPT_OUTPUT], &options, &c->monitor, &c->report, err);
    if (st == QINS_OK)
        note_name(c);
    return st;
}

const struct cli_verb cli_convert = {
    .name = "convert",
    .summary = "Makes an archive of a checkpoint.",
    .usage = "convert PATH -o OUT.qins [options]",
    .example = "qins convert model/ -o model.qins --bits 6 --codec huffman",
    .options = {OPT_OUTPUT, OPT_LOSSLESS, OPT_BITS, OPT_CODEC, OPT_GROUP, OPT_KAPPA, OPT_CLIP,
                OPT_GRID, OPT_PLAN, OPT_CALIBRATION, OPT_ROUNDING, OPT_TRANSPORT, OPT_RESUME,
                OPT_SHARD},
    .help = {{OPT_TRANSPORT, "layers that the archive's model is to run natively"}},
    .n_operands = 1,
    .needs_output = true,
    .run = run,
    .print = print_table,
};
