#include "cli/cli.h"

#include "convert/calibrate.h"

#include <math.h>

enum { MOST_ROWS = 1 << 24 };

static void number_cell(struct cli_table *t, double value)
{
    if (isnan(value))
        cli_cell(t, "-");
    else
        cli_cell(t, "%.4g", value);
}

/* What quantising each matrix alone does. */
static enum qins_status print_sensitivity(const json_t *sensitivity, struct qins_error *err)
{
    static const char *const heads[] = {"quantised alone", "levels",     "squared error",
                                        "mean KL",         "std. error", "KL / error"};
    static const char *const figures[] = {"squared_error", "kl", "standard_error", "sensitivity"};
    const json_t *tensor;
    struct cli_table t;
    size_t i;
    cli_table_begin(&t, "lrrrrr", heads);
    json_array_foreach(json_object_get(sensitivity, "tensors"), i, tensor)
    {
        cli_cell(&t, "%s", cli_string(tensor, "name"));
        cli_cell(&t, "%.0f", cli_number(tensor, "levels"));
        for (size_t k = 0; k < sizeof figures / sizeof *figures; k++)
            number_cell(&t, cli_number(tensor, figures[k]));
    }
    return cli_table_print(&t, err);
}

static enum qins_status print_table(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"point", "channels", "rows", "mean |x|",
                                        "rms",   "min",      "max",  "kept"};
    static const char *const figures[] = {"mean_abs", "rms", "min", "max"};
    const json_t *point, *points = json_object_get(report, "points");
    struct cli_table t;
    char size[64];
    size_t i;
    cli_table_begin(&t, "lrrrrrrr", heads);
    json_array_foreach(points, i, point)
    {
        cli_cell(&t, "%s", cli_string(point, "name"));
        cli_cell(&t, "%.0f", cli_number(point, "channels"));
        cli_cell(&t, "%.0f", cli_number(point, "rows"));
        for (size_t k = 0; k < sizeof figures / sizeof *figures; k++)
            number_cell(&t, cli_number(point, figures[k]));
        cli_cell(&t, "%.0f", cli_number(point, "kept_rows"));
    }
    enum qins_status st = cli_table_print(&t, err);
    const double tokens = cli_number(report, "tokens"), windows = cli_number(report, "windows");
    const double rate = cli_number(report, "tokens_per_s");
    const char *unit = json_is_null(json_object_get(report, "tokenizer_fingerprint")) &&
                               json_is_null(json_object_get(report, "model"))
                           ? "row"
                           : "token";
    cli_print("%zu points, %.0f %s%s in %.0f window%s", json_array_size(points), tokens, unit,
              tokens == 1 ? "" : "s", windows, windows == 1 ? "" : "s");
    if (!isnan(rate))
        cli_print(", %.0f %ss a second", rate, unit);
    cli_print(": %s\n", cli_bytes(cli_number(report, "output_bytes"), size, sizeof size));
    const json_t *parts = json_object_get(report, "kept_rows_by_part");
    const json_t *sensitivity = json_object_get(report, "sensitivity");
    if (cli_number(report, "kept_rows") > 0)
        cli_print("kept rows: %.0f to fit, %.0f to select, %.0f to test\n",
                  cli_number(parts, "fit"), cli_number(parts, "select"), cli_number(parts, "test"));
    if (st == QINS_OK && json_is_object(sensitivity)) {
        cli_print("\nsensitivities, on %.0f tokens:\n", cli_number(sensitivity, "tokens"));
        st = print_sensitivity(sensitivity, err);
    }
    return st;
}

static enum qins_status read_options(const struct cli *c, struct qn_calibrate_options *o,
                                     struct qins_error *err)
{
    unsigned context = 0, keep = 0;
    *o = (struct qn_calibrate_options){
        .corpus = {.tokenizer = c->value[OPT_TOKENIZER], .ids = c->value[OPT_IDS]},
        .resume = c->value[OPT_RESUME] != NULL,
        .threads = c->threads,
    };
    if (c->value[OPT_TEXT]) {
        o->corpus.texts = c->list;
        o->corpus.n_texts = c->n_list;
    }
    o->sample.gram = c->value[OPT_GRAM] != NULL;
    o->sensitivity = c->value[OPT_SENSITIVITY] != NULL;
    enum qins_status st = cli_shard(c, &o->shard, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_CONTEXT, 1, CLI_MAX_CONTEXT, &context, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_KEEP_ROWS, 0, MOST_ROWS, &keep, err);
    if (st == QINS_OK)
        st = cli_u64(c, OPT_SEED, UINT64_MAX, &o->sample.seed, err);
    if (st == QINS_OK)
        st = cli_u64(c, OPT_TOKENS, INT64_MAX, &o->corpus.max_tokens, err);
    if (st == QINS_OK && c->value[OPT_TOKENS] && o->corpus.max_tokens == 0)
        st = qn_fail(err, QINS_ERR_USAGE, "'--tokens' takes 1 or more; without it, all are read");
    o->sample.context = context;
    o->sample.keep_rows = keep;
    return st;
}

/* Options that a way of calibrating does not take are not passed over. */
static enum qins_status refuse(const struct cli *c, const char *with,
                               const enum cli_option_id *options, struct qins_error *err)
{
    for (; *options != OPT_HELP; options++)
        if (c->value[*options])
            return qn_fail(err, QINS_ERR_USAGE, "'--%s' does not go with '--%s'",
                           cli_option_name(*options), with);
    return QINS_OK;
}

static enum qins_status merge(const struct cli *c, json_t **report, struct qins_error *err)
{
    static const enum cli_option_id others[] = {
        OPT_TEXT,        OPT_IDS,   OPT_TOKENIZER, OPT_CONTEXT,     OPT_TOKENS,
        OPT_SEED,        OPT_GRAM,  OPT_KEEP_ROWS, OPT_SENSITIVITY, OPT_RESUME,
        OPT_ACTIVATIONS, OPT_SHARD, OPT_HELP};
    enum qins_status st = refuse(c, "merge", others, err);
    if (st == QINS_OK && c->operand[0])
        st = qn_fail(err, QINS_ERR_USAGE, "'--merge' takes no model");
    if (st == QINS_OK && c->n_list < 2 && !qn_shard_of_path(c->list[0], NULL, NULL))
        st = qn_fail(err, QINS_ERR_USAGE, "'--merge' takes two or more files, or all parts of one");
    return st == QINS_OK ? qn_calibrate_merge(c->list, c->n_list, c->value[OPT_OUTPUT], &c->monitor,
                                              report, err)
                         : st;
}

static enum qins_status calibrate(const struct cli *c, json_t **report, struct qins_error *err)
{
    static const enum cli_option_id others[] = {OPT_TEXT,        OPT_IDS,    OPT_TOKENIZER,
                                                OPT_SENSITIVITY, OPT_TOKENS, OPT_RESUME,
                                                OPT_SHARD,       OPT_HELP};
    struct qn_calibrate_options o;
    const char *activations = c->value[OPT_ACTIVATIONS];
    enum qins_status st = read_options(c, &o, err);
    if (st == QINS_OK && activations)
        st = refuse(c, "activations", others, err);
    else if (st == QINS_OK && !c->operand[0] && c->value[OPT_TEXT])
        st = qn_fail(err, QINS_ERR_USAGE,
                     "a model is missing; it comes before --text, which takes every name up to "
                     "the next option");
    else if (st == QINS_OK && !c->operand[0])
        st = qn_fail(err, QINS_ERR_USAGE, "a model is missing: %s", cli_calibrate.usage);
    if (st != QINS_OK)
        return st;
    if (activations)
        return qn_calibrate_activations(c->operand[0], activations, c->value[OPT_OUTPUT], &o,
                                        &c->monitor, report, err);
    return qn_calibrate(c->operand[0], c->value[OPT_OUTPUT], &o, &c->monitor, report, err);
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    /* A part goes beside what is named, where nothing has to be writable but its folder. */
    enum qins_status st =
        c->value[OPT_SHARD] ? QINS_OK : cli_check_writable(c->value[OPT_OUTPUT], err);
    if (st == QINS_OK)
        st = c->value[OPT_MERGE] ? merge(c, &c->report, err) : calibrate(c, &c->report, err);
    return st;
}

const struct cli_verb cli_calibrate = {
    .name = "calibrate",
    .summary = "Runs text through a model and keeps what its layers see.",
    .usage = "calibrate MODEL --text FILE... -o OUT.h5 [options]",
    .more_usage = {"calibrate --merge A.h5 B.h5... -o OUT.h5",
                   "calibrate [MODEL] --activations FILE -o OUT.h5 [options]"},
    .example = "qins calibrate model/ --text sample.txt --keep-rows 1024 -o calibration.h5",
    .options = {OPT_TEXT, OPT_OUTPUT, OPT_TOKENS, OPT_CONTEXT, OPT_GRAM, OPT_KEEP_ROWS,
                OPT_SENSITIVITY, OPT_SEED, OPT_RESUME, OPT_SHARD, OPT_MERGE, OPT_ACTIVATIONS,
                OPT_TOKENIZER, OPT_IDS},
    .help = {{OPT_TEXT, "one text or more; FILE... ends at the next option"},
             {OPT_SEED, "which rows are kept (default 0)"},
             {OPT_RESUME, "go on from OUT.part, which an interrupted run leaves"}},
    .n_operands = 1,
    .optional_operands = 1,
    .many = OPT_TEXT,
    .many_too = OPT_MERGE,
    .needs_output = true,
    .run = run,
    .print = print_table,
};
