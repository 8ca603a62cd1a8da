#include "cli/cli.h"

#include "convert/restore.h"

static enum qins_status print_summary(const json_t *report, struct qins_error *err)
{
    const size_t n = json_array_size(json_object_get(report, "tensors"));
    char text[64];
    (void)err;
    cli_print("%zu tensor%s, %s, %.2f s (%.0f MB/s)\n", n, n == 1 ? "" : "s",
              cli_bytes(cli_number(report, "output_bytes"), text, sizeof text),
              cli_number(report, "seconds"), cli_number(report, "mb_per_s"));
    return QINS_OK;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    struct qn_restore_options options = {.threads = c->threads};
    enum qins_status st = cli_dtype(c, &options.dtype, err);
    if (st == QINS_OK)
        st =
            qn_restore(c->operand[0], c->value[OPT_OUTPUT], &options, &c->monitor, &c->report, err);
    return st;
}

const struct cli_verb cli_restore = {
    .name = "restore",
    .summary = "Makes a checkpoint of an archive.",
    .usage = "restore ARCHIVE -o OUT.safetensors|OUT.gguf|OUT.h5|DIR/",
    .example = "qins restore model.qins -o model/ --dtype bf16",
    .options = {OPT_OUTPUT, OPT_DTYPE},
    .n_operands = 1,
    .needs_output = true,
    .run = run,
    .print = print_summary,
};
