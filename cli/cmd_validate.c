#include "cli/print_validate.h"

#include "analyze/logits_file.h"
#include "analyze/prompts.h"
#include "analyze/validate.h"
#include "convert/sources.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const cli_validated[CLI_VALIDATED] = {"model", "candidate"};

static const struct cli_printed printed[] = {
    {"consistency", "consistency", print_consistency},
    {"autoregressive", "autoregressive", print_autoregressive},
    {"sampling", "sampling", print_sampling},
    {"perplexity", "perplexity", print_perplexity},
    {"long_context", "long context", print_long_context},
};
enum { PRINTED = sizeof printed / sizeof *printed };

/* What is compared, on what. */
static void print_subject(const json_t *report)
{
    const json_t *transport = json_object_get(report, "transport"),
                 *kv = json_object_get(report, "kv_cache"), *text = json_object_get(report, "text");
    char size[64], bits[64];
    for (size_t i = 0; i < CLI_VALIDATED; i++) {
        const json_t *model = json_object_get(report, cli_validated[i]);
        if (!model)
            continue;
        cli_print("%-9s  %s", cli_validated[i], cli_string(model, "path"));
        if (i == CLI_CANDIDATE && transport)
            cli_print(" with %s", cli_string(transport, "path"));
        if (i == CLI_CANDIDATE && kv)
            cli_print(", V of %.0f bits", cli_number(kv, "bits"));
        cli_print("\n");
        if (json_object_get(model, "archive_hash"))
            cli_print("%-9s  archive %s, %s, %s\n", "", cli_string(model, "archive_hash"),
                      cli_bytes(cli_number(model, "archive_bytes"), size, sizeof size),
                      cli_bits(model, bits, sizeof bits));
        if (json_object_get(model, "fused"))
            cli_print("%-9s  fused: %s of weights in memory, %.0f matrices as they are coded, %.0f "
                      "decoded\n",
                      "", cli_bytes(cli_number(model, "weight_bytes"), size, sizeof size),
                      cli_number(model, "fused_matrices"), cli_number(model, "decoded_matrices"));
    }
    cli_print("%-9s  %s, %.0f tokens\n", "text", cli_string(text, "path"),
              cli_number(text, "tokens"));
}

/* What the candidate's V cache took. */
static enum qins_status print_kv(const json_t *kv, struct qins_error *err)
{
    static const struct {
        const char *label, *key;
    } rows[] = {{"full pages as first coded", "ratio_f16"},
                {"old pages, coded again", "old_ratio_f16"},
                {"all that is held, open pages too, when sequences end", "held_ratio_f16"},
                {"the same, averaged over positions", "mean_held_ratio_f16"}};
    static const struct cli_style times = {"%.3f times", NULL, 1.0, "none"},
                                  milliseconds = {"%.3g ms", NULL, 1.0, "none"};
    static const char *const heads[] = {"", "float16 takes"};
    char code[CLI_FIGURE], decode[CLI_FIGURE], most[CLI_FIGURE];
    struct cli_table t;
    if (!kv)
        return QINS_OK;
    cli_print("\nV cache, %.0f bits, pages of %.0f tokens\n", cli_number(kv, "bits"),
              cli_number(kv, "page_tokens"));
    cli_table_begin(&t, "lr", heads);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cli_cell(&t, "%s", rows[i].label);
        cli_figure_cell(&t, &times, kv, rows[i].key, NULL);
    }
    const enum qins_status st = cli_table_print(&t, err);
    if (cli_number(kv, "pages") > 0.0)
        cli_print("%.0f pages were filled;\na page takes %s to code", cli_number(kv, "pages"),
                  cli_figure(code, &milliseconds, kv, "encode_ms_per_page", NULL));
    else
        cli_print("no page was filled");
    if (cli_number(kv, "decode_ms_per_page") > 0.0)
        cli_print(", %s to decode by the clock (%s at most)\n",
                  cli_figure(decode, &milliseconds, kv, "decode_ms_per_page", NULL),
                  cli_figure(most, &milliseconds, kv, "max_decode_ms", NULL));
    else
        cli_print(", none was decoded\n");
    if (*cli_string(kv, "note"))
        cli_print("%s\n", cli_string(kv, "note"));
    if (json_is_true(json_object_get(kv, "partial")))
        cli_print("all of this is counted in this part of the run alone\n");
    return st;
}

/* A test's heading and its figures; of a test that was skipped the closing table says why. */
static enum qins_status print_test(const json_t *report, const struct cli_printed *p,
                                   const json_t *test, struct qins_error *err)
{
    const char *source = cli_bar_source(test);
    if (!test || json_object_get(test, "skipped"))
        return QINS_OK;
    cli_print(*source ? "\n%s (bars: %s)\n" : "\n%s\n", p->title, source);
    return p->print(report, test, err);
}

/* What a part of a validation holds. */
static void print_part(const json_t *report)
{
    const json_t *test, *whole = json_object_get(report, "whole_tests");
    size_t i;
    cli_print("part %.0f of %.0f: %.0f windows of the text", cli_number(report, "part"),
              cli_number(report, "parts"), cli_number(report, "windows"));
    json_array_foreach(whole, i, test)
        cli_print("%s%s", i ? ", " : "; whole tests: ", json_string_value(test));
    cli_print("\npart: %s\n", cli_string(report, "part_path"));
}

/* Figures, and verdicts last. */
static enum qins_status print_tables(const json_t *report, struct qins_error *err)
{
    if (json_object_get(report, "part_path")) {
        print_part(report);
        return QINS_OK;
    }
    const json_t *tests = json_object_get(report, "tests");
    enum qins_status st = QINS_OK;
    print_subject(report);
    for (size_t i = 0; i < PRINTED && st == QINS_OK; i++)
        st = print_test(report, &printed[i], json_object_get(tests, printed[i].name), err);
    if (st == QINS_OK)
        st = print_kv(json_object_get(report, "kv_cache"), err);
    cli_print("\n");
    if (st == QINS_OK)
        st = cli_print_verdicts(printed, PRINTED, report, err);
    if (st == QINS_OK)
        cli_print_gates(report);
    return st;
}

/* Where things went. */
static void print_outputs(const struct cli *c)
{
    static const struct {
        enum cli_option_id option;
        const char *what;
    } outputs[] = {
        {OPT_SAVE_LOGITS, "logits"}, {OPT_DUMP_KV, "pages of V"}, {OPT_OUTPUT, "report"}};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs && !c->value[OPT_SHARD]; i++)
        if (c->value[outputs[i].option])
            cli_print("%s: %s\n", outputs[i].what, c->value[outputs[i].option]);
}

/* What a run writes. */
enum { REPORT, JOURNAL, PAGES, LOGITS, OUTPUTS = LOGITS + QN_LOGITS_FILES };
struct outputs {
    char *path[OUTPUTS]; /* owned; NULL of what is not asked for */
};

static const char *output_name(int which)
{
    static const char *const names[] = {"'--output'", "what '--resume' keeps", "'--dump-kv'",
                                        "'--save-logits'"};
    return names[which < LOGITS ? which : LOGITS];
}

static void outputs_finish(struct outputs *o)
{
    for (int i = 0; i < OUTPUTS; i++)
        free(o->path[i]);
}

static enum qins_status outputs_init(struct outputs *o, const struct cli *c, struct qins_error *err)
{
    struct qn_shard shard;
    const char *report = c->value[OPT_OUTPUT], *pages = c->value[OPT_DUMP_KV],
               *logits = c->value[OPT_SAVE_LOGITS];
    bool good = true;
    *o = (struct outputs){0};
    if (cli_shard(c, &shard, err) != QINS_OK)
        return QINS_ERR_USAGE;
    if (report && shard.count > 0) {
        good = (o->path[REPORT] = qn_shard_path(report, &shard, err)) != NULL;
        good = good && (o->path[JOURNAL] = qn_format(err, "%s.part", o->path[REPORT])) != NULL;
    } else if (report)
        good = (o->path[REPORT] = qn_strdup(report, err)) != NULL;
    if (good && report && c->value[OPT_RESUME] && !o->path[JOURNAL])
        good = (o->path[JOURNAL] = qn_format(err, "%s.part", report)) != NULL;
    if (good && pages)
        good = (o->path[PAGES] = qn_strdup(pages, err)) != NULL;
    for (int i = 0; i < QN_LOGITS_FILES && good && logits; i++)
        good = (o->path[LOGITS + i] = qn_path_join(logits, qn_logits_files[i], err)) != NULL;
    return good ? QINS_OK : QINS_ERR_MEMORY;
}

/* Whether two paths are one file's, be it there or not. */
static enum qins_status same_place(const char *a, const char *b, bool *same, struct qins_error *err)
{
    *same = strcmp(a, b) == 0 || qn_same_file(a, b);
    if (*same || strcmp(qn_path_base(a), qn_path_base(b)) != 0)
        return QINS_OK;
    char *x = qn_path_dir(a, err), *y = x ? qn_path_dir(b, err) : NULL;
    const enum qins_status st = y ? QINS_OK : QINS_ERR_MEMORY;
    *same = y && qn_same_file(x, y);
    free(x);
    free(y);
    return st;
}

static enum qins_status check_distinct(const struct outputs *o, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (int i = 0; i < OUTPUTS; i++)
        for (int k = 0; k < i && st == QINS_OK; k++) {
            bool same = false;
            if (o->path[i] && o->path[k])
                st = same_place(o->path[k], o->path[i], &same, err);
            if (same)
                st = qn_fail(err, QINS_ERR_USAGE, "%s and %s are the same file, %s", output_name(k),
                             output_name(i), o->path[i]);
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
    for (int i = 0; i < CLI_MAX_OPERANDS && c->operand[i] && st == QINS_OK; i++)
        st = qn_refuse_model_input(c->operand[i], files, sizeof files / sizeof *files, output, err);
    return st == QINS_OK ? cli_check_writable(output, err) : st;
}

static enum qins_status check_outputs(const struct cli *c, const struct outputs *o,
                                      struct qins_error *err)
{
    const char *logits = c->value[OPT_SAVE_LOGITS];
    if (c->value[OPT_RESUME] && !o->path[REPORT])
        return qn_fail(err, QINS_ERR_USAGE, "'--resume' keeps its work beside the report: give -o");
    if (c->value[OPT_SHARD] && !o->path[REPORT])
        return qn_fail(err, QINS_ERR_USAGE, "'--shard' writes beside the report: give -o");
    enum qins_status st = check_distinct(o, err);
    for (int i = 0; i < OUTPUTS && st == QINS_OK; i++)
        if (o->path[i] && (i < LOGITS || qn_exists(logits))) /* a folder is made */
            st = check_output(c, o->path[i], err);
    return st;
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
        .fused = c->value[OPT_FUSED] != NULL,
        .threads = c->threads,
    };
    if (style && strcmp(style, "llama.cpp") == 0)
        o->style = QN_PPL_LLAMA_CPP;
    else if (style && strcmp(style, "qins") != 0)
        return qn_fail(err, QINS_ERR_USAGE, "'--ppl-style %s': 'qins' or 'llama.cpp' is needed",
                       style);
    enum qins_status st = cli_shard(c, &o->shard, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_CONTEXT, 1, CLI_MAX_CONTEXT, &context, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_TOKENS, 1, CLI_MAX_CONTEXT, &tokens, err);
    if (st == QINS_OK)
        st = cli_kv_bits(c, &o->kv_bits, err);
    o->context = context;
    o->tokens = tokens;
    return st;
}

/* Parts that were made with --shard; everything else has been said to them. */
static enum qins_status merge(struct cli *c, struct qins_error *err)
{
    static const enum cli_option_id mine[] = {OPT_MERGE, OPT_OUTPUT, OPT_JSON, OPT_QUIET,
                                              OPT_THREADS};
    const char *output = c->value[OPT_OUTPUT];
    for (int i = 0; i < OPT_COUNT; i++) {
        bool taken = c->value[i] == NULL;
        for (size_t k = 0; k < sizeof mine / sizeof *mine; k++)
            taken = taken || mine[k] == (enum cli_option_id)i;
        if (!taken)
            return qn_fail(err, QINS_ERR_USAGE, "'--%s' does not go with '--merge'",
                           cli_option_name((enum cli_option_id)i));
    }
    if (c->operand[0])
        return qn_fail(err, QINS_ERR_USAGE, "'--merge' takes no model");
    for (size_t i = 0; i < c->n_list && output; i++)
        if (qn_same_file(c->list[i], output))
            return qn_fail_at(err, QINS_ERR_USAGE, output, NULL, QN_NO_OFFSET,
                              "the output is an input; choose another name");
    enum qins_status st = cli_check_writable(output, err);
    if (st == QINS_OK)
        st = qn_validate_merge(c->list, c->n_list, &c->monitor, &c->report, err);
    return st == QINS_OK && output ? qn_json_save(output, c->report, err) : st;
}

static enum qins_status validate(struct cli *c, struct qins_error *err)
{
    struct qn_validate_options options;
    struct outputs out = {0};
    enum qins_status st = read_options(c, &options, err);
    if (st == QINS_OK)
        st = outputs_init(&out, c, err);
    if (st == QINS_OK)
        st = check_outputs(c, &out, err);
    const char *output = out.path[REPORT], *journal = out.path[JOURNAL];
    options.journal = journal;
    options.part = output;
    if (st == QINS_OK)
        st = qn_validate(&options, &c->monitor, &c->report, err);
    if (st == QINS_OK && output && options.shard.count == 0)
        st = qn_json_save(output, c->report, err);
    if (st == QINS_OK && journal && options.shard.count == 0)
        unlink(journal);
    if (st == QINS_ERR_INTERRUPTED && journal && qn_exists(journal))
        qn_fail(err, st, "interrupted; go on with the same command");
    outputs_finish(&out);
    return st;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    if (c->value[OPT_MERGE])
        return merge(c, err);
    return c->operand[0]
               ? validate(c, err)
               : qn_fail(err, QINS_ERR_USAGE, "a model is missing: %s", cli_validate.usage);
}

const struct cli_verb cli_validate = {
    .name = "validate",
    .summary = "Tests how far an archive or candidate is from its model on a text.",
    .usage = "validate MODEL [ARCHIVE] --text FILE [-o OUT.json] [options]",
    .more_usage = {"validate --merge PART... [-o OUT.json]"},
    .example = "qins validate model/ model.qins --text sample.txt -o validation.json",
    .options = {OPT_TEXT, OPT_OUTPUT, OPT_TESTS, OPT_CONTEXT, OPT_PPL_STYLE, OPT_TOKENIZER, OPT_IDS,
                OPT_TRANSPORT, OPT_FUSED, OPT_KV_CACHE, OPT_PROMPTS, OPT_TOKENS, OPT_DUMP_KV,
                OPT_SAVE_LOGITS, OPT_RESUME, OPT_SHARD, OPT_MERGE},
    .help = {{OPT_TEXT, "text that is to be predicted"},
             {OPT_OUTPUT, "write the report there, too"},
             {OPT_TRANSPORT, "run natively as FILE says, whatever ARCHIVE carries"},
             {OPT_TESTS, "of five, with commas between: see qins-validate(1)"},
             {OPT_PROMPTS, "JSON or lines; 'text': cut from it (default: ten)"},
             {OPT_TOKENS, "that follow each prompt, at most (default 1000)"},
             {OPT_RESUME, "keep results in OUT.json.part and go on from them"},
             {OPT_MERGE, "make the report of all parts that --shard made", "PART ..."}},
    .n_operands = 2,
    .optional_operands = 2,
    .many = OPT_MERGE,
    .run = run,
    .print = print_tables,
    .print_outputs = print_outputs,
};
