#include "cli/print_validate.h"

#include "analyze/prompts.h"
#include "analyze/validate.h"
#include "convert/sources.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const cli_validated[CLI_VALIDATED] = {"model", "candidate"};

/* How each test's part of the report is shown. */
static const struct {
    const char *name; /* its key */
    cli_print_test *print;
} printers[] = {
    {"consistency", print_consistency},   {"autoregressive", print_autoregressive},
    {"sampling", print_sampling},         {"perplexity", print_perplexity},
    {"long_context", print_long_context},
};

void cli_print_thresholds(const json_t *test)
{
    const char *name;
    json_t *bar;
    json_object_foreach(json_object_get(test, "thresholds"), name, bar)
    {
        const bool met = json_is_true(json_object_get(bar, "passed"));
        cli_print("  %s: %.6g %s %.6g: %s (%s)\n", name, cli_number(bar, "value"),
                  cli_string(bar, "comparison"), cli_number(bar, "bar"), met ? "yes" : "no",
                  cli_string(bar, "source"));
    }
    const json_t *passed = json_object_get(test, "passed");
    if (json_is_boolean(passed))
        cli_print("  %s\n", json_is_true(passed) ? "passed" : "not passed");
}

/* Which archives these are. */
static void print_archives(const json_t *report)
{
    char size[64], bits[64];
    for (size_t i = 0; i < CLI_VALIDATED; i++) {
        const json_t *model = json_object_get(report, cli_validated[i]);
        if (json_object_get(model, "archive_hash"))
            cli_print("%s: archive %s, %s, %s\n", cli_validated[i],
                      cli_string(model, "archive_hash"),
                      cli_bytes(cli_number(model, "archive_bytes"), size, sizeof size),
                      cli_bits(model, bits, sizeof bits));
    }
}

/* What the candidate's V cache took. */
static void print_kv(const json_t *kv)
{
    if (!kv)
        return;
    cli_print("V cache, %.0f bits, pages of %.0f tokens: full pages %.3f times smaller than "
              "float16, old ones %.3f times, with open pages %.3f times\n",
              cli_number(kv, "bits"), cli_number(kv, "page_tokens"), cli_number(kv, "ratio_f16"),
              cli_number(kv, "old_ratio_f16"), cli_number(kv, "held_ratio_f16"));
    cli_print("a page: %.3g ms to code, %.3g ms to decode, %.3g ms at most\n",
              cli_number(kv, "encode_ms_per_page"), cli_number(kv, "decode_ms_per_page"),
              cli_number(kv, "max_decode_ms"));
}

static enum qins_status print_tables(const json_t *report, struct qins_error *err)
{
    const json_t *tests = json_object_get(report, "tests");
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < sizeof printers / sizeof *printers && st == QINS_OK; i++) {
        const json_t *test = json_object_get(tests, printers[i].name);
        const char *skipped = json_string_value(json_object_get(test, "skipped"));
        if (skipped)
            cli_print("%s: skipped, %s\n", printers[i].name, skipped);
        else if (test)
            st = printers[i].print(report, test, err);
    }
    if (st == QINS_OK) {
        print_kv(json_object_get(report, "kv_cache"));
        print_archives(report);
    }
    return st;
}

/* Inputs stay what they are, and an output that cannot be written is told before the work. */
static enum qins_status check_output(const struct cli *c, const char *output,
                                     struct qins_error *err)
{
    const char *prompts = c->value[OPT_PROMPTS];
    if (prompts && strcmp(prompts, QN_PROMPTS_TEXT) == 0)
        prompts = NULL;
    const char *files[] = {c->value[OPT_TEXT], c->value[OPT_IDS], c->value[OPT_TOKENIZER],
                           c->value[OPT_TRANSPORT], prompts};
    enum qins_status st = QINS_OK;
    if (!output)
        return QINS_OK;
    for (int i = 0; i < CLI_MAX_OPERANDS && c->operand[i] && st == QINS_OK; i++)
        st = qn_refuse_model_input(c->operand[i], files, sizeof files / sizeof *files, output, err);
    return st == QINS_OK ? cli_check_writable(output, err) : st;
}

static enum qins_status check_outputs(const struct cli *c, struct qins_error *err)
{
    const char *output = c->value[OPT_OUTPUT], *dump = c->value[OPT_DUMP_KV];
    if (c->value[OPT_RESUME] && !output)
        return qn_fail(err, QINS_ERR_USAGE, "'--resume' keeps its work beside the report: give -o");
    if (output && dump && (strcmp(output, dump) == 0 || qn_same_file(output, dump)))
        return qn_fail(err, QINS_ERR_USAGE, "'--output' and '--dump-kv' are the same file");
    enum qins_status st = check_output(c, output, err);
    return st == QINS_OK ? check_output(c, dump, err) : st;
}

static enum qins_status read_options(const struct cli *c, struct qn_validate_options *o,
                                     struct qins_error *err)
{
    const char *style = c->value[OPT_PPL_STYLE];
    unsigned context = 0, tokens = 0;
    *o = (struct qn_validate_options){
        .model = c->operand[0],
        .candidate = c->operand[1],
        .transport = c->value[OPT_TRANSPORT],
        .text = c->value[OPT_TEXT],
        .ids = c->value[OPT_IDS],
        .tokenizer = c->value[OPT_TOKENIZER],
        .tests = c->value[OPT_TESTS],
        .prompts = c->value[OPT_PROMPTS],
        .dump_kv = c->value[OPT_DUMP_KV],
        .save_logits = c->value[OPT_SAVE_LOGITS],
        .resume = c->value[OPT_RESUME] != NULL,
        .threads = c->threads,
    };
    if (style && strcmp(style, "llama.cpp") == 0)
        o->style = QN_PPL_LLAMA_CPP;
    else if (style && strcmp(style, "qins") != 0)
        return qn_fail(err, QINS_ERR_USAGE, "'--ppl-style %s': 'qins' or 'llama.cpp' is needed",
                       style);
    enum qins_status st = cli_unsigned(c, OPT_CONTEXT, 1, CLI_MAX_CONTEXT, &context, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_TOKENS, 1, CLI_MAX_CONTEXT, &tokens, err);
    if (st == QINS_OK)
        st = cli_kv_bits(c, &o->kv_bits, err);
    o->context = context;
    o->tokens = tokens;
    return st;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    const char *output = c->value[OPT_OUTPUT];
    struct qn_validate_options options;
    char *journal = NULL;
    enum qins_status st = read_options(c, &options, err);
    if (st == QINS_OK)
        st = check_outputs(c, err);
    if (st == QINS_OK && options.resume) {
        journal = qn_format(err, "%s.part", output);
        st = journal ? check_output(c, journal, err) : QINS_ERR_MEMORY;
    }
    options.journal = journal;
    if (st == QINS_OK)
        st = qn_validate(&options, &c->monitor, &c->report, err);
    if (st == QINS_OK && output)
        st = qn_json_save(output, c->report, err);
    if (st == QINS_OK && journal)
        unlink(journal);
    if (st == QINS_ERR_INTERRUPTED && journal && qn_exists(journal))
        qn_fail(err, st, "interrupted; go on with the same command");
    free(journal);
    return st;
}

const struct cli_verb cli_validate = {
    .name = "validate",
    .summary = "Measures how well a model, and an archive of it, predict a text.",
    .usage = "validate MODEL [ARCHIVE] --text FILE [-o OUT.json] [options]",
    .example = "qins validate model/ model.qins --text sample.txt -o validation.json",
    .options = {OPT_TEXT, OPT_OUTPUT, OPT_TESTS, OPT_CONTEXT, OPT_PPL_STYLE, OPT_TOKENIZER, OPT_IDS,
                OPT_TRANSPORT, OPT_KV_CACHE, OPT_PROMPTS, OPT_TOKENS, OPT_DUMP_KV, OPT_SAVE_LOGITS,
                OPT_RESUME},
    .help = {{OPT_TEXT, "text that is to be predicted"},
             {OPT_OUTPUT, "write the report there, too"},
             {OPT_TRANSPORT, "run natively as FILE says, whatever ARCHIVE carries"},
             {OPT_TOKENS, "that follow each prompt, at most (default 1000)"},
             {OPT_RESUME, "keep results in OUT.json.part and go on from them"}},
    .n_operands = 2,
    .optional_operands = 1,
    .run = run,
    .print = print_tables,
};
