#include "cli/cli.h"

#include "convert/verify.h"

#include <math.h>
#include <stdio.h>

/* A figure, or what its absence means. */
static void figure_cell(struct cli_table *t, bool scientific, int digits, double value,
                        const char *absent)
{
    if (isnan(value))
        cli_cell(t, "%s", absent);
    else if (scientific)
        cli_cell(t, "%.*e", digits, value);
    else
        cli_cell(t, "%.*f", digits, value);
}

static void tensor_row(struct cli_table *t, const json_t *tensor)
{
    const char *problem = cli_string(tensor, "problem");
    bool exact = json_is_true(json_object_get(tensor, "exact"));
    cli_cell(t, "%s", cli_string(tensor, "name"));
    cli_cell(t, "%s", cli_string(tensor, "dtype"));
    bool zero = cli_number(tensor, "max_abs_error") <= 0.0; /* but for signs of zero */
    figure_cell(t, false, 2, cli_number(tensor, "sqnr_db"),
                exact  ? "exact"
                : zero ? "no error"
                       : "-");
    figure_cell(t, false, 7, cli_number(tensor, "cosine"), "-");
    figure_cell(t, true, 3, cli_number(tensor, "max_abs_error"), "-");
    figure_cell(t, true, 3, cli_number(tensor, "p99_rel_error"), "-");
    figure_cell(t, true, 3, cli_number(tensor, "max_rel_error"), "-");
    cli_cell(t, "%s",
             problem[0]                                           ? problem
             : json_is_true(json_object_get(tensor, "transport")) ? "sound, a transport's"
                                                                  : "ok");
}

static enum qins_status print_table(const json_t *report, struct qins_error *err)
{
    const json_t *tensor, *tensors = json_object_get(report, "tensors");
    bool against = json_is_string(json_object_get(report, "against"));
    struct cli_table t;
    static const char *const heads[] = {"tensor",        "dtype",         "SQNR dB",       "cosine",
                                        "max abs error", "p99 rel error", "max rel error", ""};
    enum qins_status st = QINS_OK;
    const double near_one = 0.9995; /* of figures with four digits */
    bool zeroed = false;
    size_t i;
    char text[64];
    if (against) {
        cli_table_begin(&t, "llrrrrrl", heads);
        json_array_foreach(tensors, i, tensor)
        {
            tensor_row(&t, tensor);
            zeroed = zeroed || cli_number(tensor, "max_rel_error") >= near_one;
        }
        st = cli_table_print(&t, err);
    }
    if (zeroed)
        cli_print(
            "relative errors: weights near 0 become 0, an error of 1; what matters to a layer "
            "is SQNR and cosine\n");
    cli_print("%zu tensor%s, %s: %s\n", json_array_size(tensors),
              json_array_size(tensors) == 1 ? "" : "s",
              cli_bytes(cli_number(report, "archive_bytes"), text, sizeof text),
              !json_is_true(json_object_get(report, "ok")) ? "DIFFERENT"
              : against ? "sound, and what its source makes of it"
                        : "sound");
    return st;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    return qn_verify(c->operand[0], c->value[OPT_AGAINST], c->threads, &c->monitor, &c->report,
                     err);
}

const struct cli_verb cli_verify = {
    .name = "verify",
    .summary = "Checks an archive, alone or against its source.",
    .usage = "verify ARCHIVE [--against PATH] [options]",
    .example = "qins verify model.qins --against model/",
    .options = {OPT_AGAINST},
    .n_operands = 1,
    .run = run,
    .print = print_table,
};
