#include "cli/cli.h"

#include "convert/pipeline.h"
#include "core/file.h"

#include <string.h>

static enum qins_status print_summary(const json_t *report, struct qins_error *err)
{
    const char *dir = cli_string(report, "output");
    const json_t *step;
    size_t i;
    char a[64], b[64], d[64];
    (void)err;
    json_array_foreach(json_object_get(report, "steps"), i, step)
    {
        if (strcmp(cli_string(step, "status"), "skipped") == 0)
            cli_print("%-18s skipped: %s\n", cli_string(step, "name"), cli_string(step, "reason"));
        else
            cli_print("%-18s %s, %.2f s\n", cli_string(step, "name"), cli_string(step, "status"),
                      cli_number(step, "seconds"));
    }
    cli_print("%s -> %s, %s, %s; see %s%sindex.html\n",
              cli_bytes(cli_number(report, "input_bytes"), a, sizeof a),
              cli_bytes(cli_number(report, "archive_bytes"), b, sizeof b),
              cli_bits(report, d, sizeof d),
              json_is_true(json_object_get(report, "ok")) ? "verified" : "DIFFERENT", dir,
              qn_has_suffix(dir, "/") ? "" : "/");
    if (cli_string(report, "decision")[0])
        cli_print("gates: %s\nthe review: %s%sreview/index.html\n", cli_string(report, "decision"),
                  dir, qn_has_suffix(dir, "/") ? "" : "/");
    return QINS_OK;
}

/* One coding for all is chosen by hand, or a plan is made, not both. */
static enum qins_status check_uniform(const struct cli *c, bool *uniform, struct qins_error *err)
{
    static const enum cli_option_id by_hand[] = {OPT_LOSSLESS, OPT_BITS, OPT_CODEC, OPT_GROUP,
                                                 OPT_KAPPA,    OPT_CLIP, OPT_GRID};
    static const enum cli_option_id planned[] = {OPT_POLICY,      OPT_COSTS,     OPT_TARGET_BITS,
                                                 OPT_TARGET_SIZE, OPT_MAX_ERROR, OPT_ROUNDING};
    enum cli_option_id first = OPT_HELP;
    for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand && first == OPT_HELP; i++)
        if (c->value[by_hand[i]])
            first = by_hand[i];
    *uniform = first != OPT_HELP;
    for (size_t i = 0; i < sizeof planned / sizeof *planned && *uniform; i++)
        if (c->value[planned[i]])
            return qn_fail(err, QINS_ERR_USAGE,
                           "'--%s' makes one coding for all; '--%s' is of a plan",
                           cli_option_name(first), cli_option_name(planned[i]));
    return QINS_OK;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    struct qn_pipeline_options o = {.model = c->operand[0],
                                    .text = c->value[OPT_TEXT],
                                    .heldout = c->value[OPT_HELDOUT],
                                    .tokenizer = c->value[OPT_TOKENIZER],
                                    .tests = c->value[OPT_TESTS],
                                    .dir = c->value[OPT_OUTPUT],
                                    .convert = {.threads = c->threads}};
    unsigned context = 0, tokens = 0;
    if (!c->value[OPT_TEXT])
        return qn_fail(err, QINS_ERR_USAGE, "'--text' is missing");
    enum qins_status st = cli_plan_options(c, &o.convert.plan, err);
    if (st == QINS_OK)
        st = cli_plan_job_options(c, &o.plan, err);
    if (st == QINS_OK)
        st = check_uniform(c, &o.uniform, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_CONTEXT, 1, CLI_MAX_CONTEXT, &context, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_TOKENS, 1, CLI_MAX_CONTEXT, &tokens, err);
    o.context = context;
    o.tokens = tokens;
    if (st == QINS_OK)
        st = qn_pipeline(&o, &c->monitor, &c->report, err);
    if (st == QINS_OK && c->value[OPT_STRICT] &&
        !json_is_true(json_object_get(c->report, "passed")))
        st = qn_fail(err, QINS_ERR_CHECK, "not all gates passed; %s/review/index.html says which",
                     o.dir);
    return st;
}

const struct cli_verb cli_pipeline = {
    .name = "pipeline",
    .summary = "The whole line from a model and a text to a reviewed archive.",
    .usage = "pipeline MODEL --text FILE -o DIR [options]",
    .example = "qins pipeline model/ --text sample.txt -o review/",
    .options = {OPT_TEXT,        OPT_HELDOUT,     OPT_OUTPUT,    OPT_CONTEXT, OPT_TOKENIZER,
                OPT_TARGET_BITS, OPT_TARGET_SIZE, OPT_MAX_ERROR, OPT_POLICY,  OPT_COSTS,
                OPT_ROUNDING,    OPT_LOSSLESS,    OPT_BITS,      OPT_CODEC,   OPT_GROUP,
                OPT_KAPPA,       OPT_CLIP,        OPT_GRID,      OPT_TESTS,   OPT_TOKENS,
                OPT_STRICT},
    .help = {{OPT_TEXT, "text to calibrate and validate with"},
             {OPT_OUTPUT, "folder for all that is made"},
             {OPT_TARGET_BITS, "bits a weight in all (default: the policy's, 6.5)"},
             {OPT_LOSSLESS, "no plan: keep every tensor bit for bit"},
             {OPT_BITS, "no plan: 2 to 12 bits for every matrix"},
             {OPT_TESTS, "of the archive, with commas between (default: all)"},
             {OPT_TOKENS, "generated from each prompt at most (default 1000)"}},
    .n_operands = 1,
    .needs_output = true,
    .run = run,
    .print = print_summary,
};
