#include "cli/cli.h"

#include <string.h>

/* What an option may be, with spaces between, where its argument does not say it ("auto|X"). */
static const char *const values[OPT_COUNT] = {
    [OPT_CODEC] = "store bitpack huffman rle rle-huffman zstd tans",
    [OPT_GROUP] = "tensor row",
    [OPT_GRID] = "qins seed",
    [OPT_DTYPE] = "source f32 f16 bf16",
    [OPT_TESTS] = "consistency autoregressive sampling perplexity long-context",
    [OPT_PPL_STYLE] = "qins llama.cpp",
    [OPT_ROUNDING] = "nearest feedback",
    [OPT_POLICY] = "default archive",
    [OPT_STREAMS] = "a b c d e f BF16 F16 F32",
    [OPT_CODERS] = ("memcpy store bitpack huffman rle rle-huffman zstd tans libzstd-1 libzstd-3 "
                    "libzstd-literals shuffle-libzstd-1 shuffle-libzstd-3"),
    [OPT_LAYERS] = "v_proj o_proj down_proj gate_proj up_proj q_proj k_proj all",
    [OPT_EMIT] = "slurm parallel snakemake",
    [OPT_SHARD] = "slurm",
    [OPT_METHOD] = "split ridge decode jacobian-literal jacobian-tangent all",
};

/* The words of TEXT between SEPARATORs; of alternatives, those that are no placeholders. */
static json_t *words(const char *text, char separator)
{
    const char between[] = {separator, '\0'};
    json_t *j = json_array();
    for (size_t n; text && *text; text += n + (text[n] != '\0')) {
        n = strcspn(text, between);
        const bool placeholder = separator == '|' && text[0] >= 'A' && text[0] <= 'Z';
        if (n > 0 && !placeholder)
            qn_json_append(&j, json_stringn(text, n));
    }
    return j;
}

static json_t *option_values(const struct cli_option_text *o)
{
    if (values[o->id])
        return words(values[o->id], ' ');
    return words(o->argument && strchr(o->argument, '|') ? o->argument : NULL, '|');
}

/* What kind of argument completions offer something for. */
static const char *kind_of(const struct cli_option_text *o)
{
    if (!o->argument)
        return "flag";
    if (strcmp(o->argument, "LIST") == 0)
        return "list";
    if (strncmp(o->argument, "DIR", 3) == 0)
        return "folder";
    /* A policy is the name of one that ships, or a file. */
    return o->is_path || o->id == OPT_POLICY ? "file" : "word";
}

static json_t *describe_option(const struct cli_option_text *o)
{
    const char letter[] = {o->letter, '\0'};
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(o->name));
    qn_json_put(&j, "letter", o->letter ? json_string(letter) : json_null());
    qn_json_put(&j, "argument", o->argument ? json_string(o->argument) : json_null());
    qn_json_put(&j, "kind", json_string(kind_of(o)));
    qn_json_put(&j, "many", json_boolean(o->many));
    qn_json_put(&j, "values", option_values(o));
    qn_json_put(&j, "help", json_string(o->help));
    return j;
}

static json_t *describe_verb(const struct cli_verb *verb)
{
    json_t *j = json_object(), *usage = json_array(), *options = json_array();
    struct cli_option_text option;
    qn_json_append(&usage, json_string(verb->usage));
    for (size_t i = 0; i < CLI_MAX_USAGES && verb->more_usage[i]; i++)
        qn_json_append(&usage, json_string(verb->more_usage[i]));
    for (size_t i = 0; cli_describe_option(verb, i, &option); i++)
        qn_json_append(&options, describe_option(&option));
    qn_json_put(&j, "name", json_string(verb->name));
    qn_json_put(&j, "summary", json_string(verb->summary));
    qn_json_put(&j, "usage", usage);
    qn_json_put(&j, "example", json_string(verb->example));
    qn_json_put(&j, "max_operands",
                verb->many_operands ? json_null() : json_integer(verb->n_operands));
    qn_json_put(&j, "words", words(verb->words, ' '));
    qn_json_put(&j, "options", options);
    return j;
}

json_t *cli_describe(const struct cli_verb *const *verbs, size_t n_verbs)
{
    json_t *j = qn_report_begin("qins/help/1"), *described = json_array();
    for (size_t i = 0; i < n_verbs; i++)
        qn_json_append(&described, describe_verb(verbs[i]));
    qn_json_put(&j, "verbs", described);
    return j;
}
