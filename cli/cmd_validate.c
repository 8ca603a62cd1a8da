#include "cli/cli.h"

#include "analyze/validate.h"
#include "convert/sources.h"

#include <string.h>

static const char *const whos[] = {"model", "candidate"};

static void perplexity_row(struct cli_table *t, const char *who, const json_t *report,
                           const json_t *figures)
{
    if (!figures)
        return;
    cli_cell(t, "%s", who);
    const char *path = cli_string(json_object_get(report, who), "path");
    const json_t *transport = json_object_get(report, "transport");
    if (transport && strcmp(who, "candidate") == 0) /* the one that it is of */
        cli_cell(t, "%s with %s", path, cli_string(transport, "path"));
    else
        cli_cell(t, "%s", path);
    cli_cell(t, "%.4f", cli_number(figures, "perplexity"));
    cli_cell(t, "%.6f", cli_number(figures, "mean_nll"));
    cli_cell(t, "%.6f", cli_number(figures, "mean_nll_standard_error"));
    cli_cell(t, "%.0f", cli_number(figures, "windows"));
    cli_cell(t, "%.0f", cli_number(figures, "tokens"));
    cli_cell(t, "%.0f", cli_number(figures, "tokens_per_s"));
}

/* What coding the inputs of native layers took. */
static void print_compute(const char *who, const json_t *figures)
{
    const json_t *compute = json_object_get(figures, "compute"),
                 *each = json_object_get(compute, "per_forward");
    const double coded = cli_number(compute, "coded_values"),
                 clipped = cli_number(compute, "clipped_values"),
                 clamped = cli_number(compute, "clamped_outputs");
    if (!(coded > 0.0))
        return;
    cli_print("%s, each forward pass: %.4g inputs coded, %.4g decodes, %.4g plane products, %.4g "
              "products of plain weights; %.3g %% of values clipped\n",
              who, cli_number(each, "encodes"), cli_number(each, "decodes"),
              cli_number(each, "plane_products"), cli_number(each, "products"),
              100.0 * clipped / coded);
    if (clamped > 0.0)
        cli_print("%s: %.0f outputs were clamped before they were decoded\n", who, clamped);
}

static enum qins_status print_perplexity(const json_t *report, const json_t *test,
                                         struct qins_error *err)
{
    static const char *const heads[] = {"",           "",        "perplexity", "mean NLL",
                                        "std. error", "windows", "tokens",     "tokens/s"};
    const json_t *difference = json_object_get(test, "difference");
    const json_t *kl = json_object_get(test, "kl"), *tails = json_object_get(kl, "quantiles");
    struct cli_table t;
    cli_table_begin(&t, "llrrrrrr", heads);
    for (size_t i = 0; i < sizeof whos / sizeof *whos; i++)
        perplexity_row(&t, whos[i], report, json_object_get(test, whos[i]));
    cli_print("perplexity, windows of %.0f tokens, style %s:\n", cli_number(test, "context"),
              cli_string(test, "style"));
    enum qins_status st = cli_table_print(&t, err);
    if (difference)
        cli_print("candidate less model, token by token: mean NLL %+.6f, std. error %.6f; "
                  "perplexity times %.6f\n",
                  cli_number(difference, "mean_nll"), cli_number(difference, "standard_error"),
                  cli_number(difference, "perplexity_ratio"));
    if (kl)
        cli_print("KL(model || candidate), nats a token: mean %.4g, std. error %.2g; median %.2g, "
                  "99 %% %.2g, max %.2g; same likeliest token %.2f %%\n",
                  cli_number(kl, "mean"), cli_number(kl, "standard_error"),
                  cli_number(tails, "p50"), cli_number(tails, "p99"), cli_number(kl, "max"),
                  100.0 * cli_number(kl, "same_top1"));
    for (size_t i = 0; i < sizeof whos / sizeof *whos; i++)
        print_compute(whos[i], json_object_get(test, whos[i]));
    return st;
}

/* How each test's part of the report is shown. */
static const struct {
    const char *name;
    enum qins_status (*print)(const json_t *report, const json_t *test, struct qins_error *err);
} printers[] = {{"perplexity", print_perplexity}};

/* Which archives these are. */
static void print_archives(const json_t *report)
{
    char size[64], bits[64];
    for (size_t i = 0; i < sizeof whos / sizeof *whos; i++) {
        const json_t *model = json_object_get(report, whos[i]);
        if (json_object_get(model, "archive_hash"))
            cli_print("%s: archive %s, %s, %s\n", whos[i], cli_string(model, "archive_hash"),
                      cli_bytes(cli_number(model, "archive_bytes"), size, sizeof size),
                      cli_bits(model, bits, sizeof bits));
    }
}

static enum qins_status print_tables(const json_t *report, struct qins_error *err)
{
    const json_t *tests = json_object_get(report, "tests");
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < sizeof printers / sizeof *printers && st == QINS_OK; i++) {
        const json_t *test = json_object_get(tests, printers[i].name);
        if (test)
            st = printers[i].print(report, test, err);
    }
    if (st == QINS_OK)
        print_archives(report);
    return st;
}

/* Inputs stay what they are, and an output that cannot be written is told before the work. */
static enum qins_status check_output(const struct cli *c, struct qins_error *err)
{
    const char *files[] = {c->value[OPT_TEXT], c->value[OPT_IDS], c->value[OPT_TOKENIZER],
                           c->value[OPT_TRANSPORT]};
    const char *output = c->value[OPT_OUTPUT];
    enum qins_status st = QINS_OK;
    if (!output)
        return QINS_OK;
    for (int i = 0; i < CLI_MAX_OPERANDS && c->operand[i] && st == QINS_OK; i++)
        st = qn_refuse_model_input(c->operand[i], files, sizeof files / sizeof *files, output, err);
    return st == QINS_OK ? cli_check_writable(output, err) : st;
}

static enum qins_status read_options(const struct cli *c, struct qn_validate_options *o,
                                     struct qins_error *err)
{
    const char *style = c->value[OPT_PPL_STYLE];
    unsigned context = 0;
    *o = (struct qn_validate_options){
        .model = c->operand[0],
        .candidate = c->operand[1],
        .transport = c->value[OPT_TRANSPORT],
        .text = c->value[OPT_TEXT],
        .ids = c->value[OPT_IDS],
        .tokenizer = c->value[OPT_TOKENIZER],
        .tests = c->value[OPT_TESTS],
        .threads = c->threads,
    };
    if (style && strcmp(style, "llama.cpp") == 0)
        o->style = QN_PPL_LLAMA_CPP;
    else if (style && strcmp(style, "qins") != 0)
        return qn_fail(err, QINS_ERR_USAGE, "'--ppl-style %s': 'qins' or 'llama.cpp' is needed",
                       style);
    enum qins_status st = cli_unsigned(c, OPT_CONTEXT, 1, CLI_MAX_CONTEXT, &context, err);
    o->context = context;
    return st;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    struct qn_validate_options options;
    enum qins_status st = read_options(c, &options, err);
    if (st == QINS_OK)
        st = check_output(c, err);
    if (st == QINS_OK)
        st = qn_validate(&options, &c->monitor, &c->report, err);
    if (st == QINS_OK && c->value[OPT_OUTPUT])
        st = qn_json_save(c->value[OPT_OUTPUT], c->report, err);
    return st;
}

const struct cli_verb cli_validate = {
    .name = "validate",
    .summary = "Measures how well a model, and an archive of it, predict a text.",
    .usage = "validate MODEL [ARCHIVE] --text FILE [-o OUT.json] [options]",
    .example = "qins validate model/ model.qins --text sample.txt -o validation.json",
    .options = {OPT_TEXT, OPT_OUTPUT, OPT_TESTS, OPT_CONTEXT, OPT_PPL_STYLE, OPT_TOKENIZER, OPT_IDS,
                OPT_TRANSPORT},
    .help = {{OPT_TEXT, "text that is to be predicted"},
             {OPT_OUTPUT, "write the report there, too"},
             {OPT_TRANSPORT, "run natively as FILE says, whatever ARCHIVE carries"}},
    .n_operands = 2,
    .optional_operands = 1,
    .run = run,
    .print = print_tables,
};
