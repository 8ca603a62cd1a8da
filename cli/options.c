#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 26 };

struct option {
    const char *name;
    char letter;
    const char *argument; /* NULL for a flag */
    const char *help;
};

static const struct option options[OPT_COUNT] = {
    [OPT_HELP] = {"help", 'h', NULL, "show this help"},
    [OPT_JSON] = {"json", 0, NULL, "machine-readable report on standard output"},
    [OPT_QUIET] = {"quiet", 'q', NULL, "only errors"},
    [OPT_THREADS] = {"threads", 0, "N", "worker threads (default: online cores)"},
    [OPT_OUTPUT] = {"output", 'o', "PATH", "where the result goes"},
    [OPT_LOSSLESS] = {"lossless", 0, NULL, "keep every tensor bit for bit"},
    [OPT_BITS] = {"bits", 0, "B", "2 to 12 bits a weight for matrices (default 8)"},
    [OPT_CODEC] = {"codec", 0, "NAME", "store bitpack huffman rle rle-huffman zstd tans"},
    [OPT_GROUP] = {"group", 0, "G", "scales: one a tensor, a row, or every G weights"},
    [OPT_KAPPA] = {"kappa", 0, "auto|X", "shape of the grid, 0 is uniform"},
    [OPT_CLIP] = {"clip", 0, "auto|X", "share of the largest magnitude kept"},
    [OPT_GRID] = {"grid", 0, "NAME", "qins, or seed (for studies only)"},
    [OPT_RESUME] = {"resume", 0, NULL, "keep finished work in OUT.part and go on from it"},
    [OPT_SHARD] = {"shard", 0, "I/N", "do part I of N, into OUT-I-of-N; or 'slurm'"},
    [OPT_AGAINST] = {"against", 0, "PATH", "compare with the checkpoint at PATH"},
    [OPT_DTYPE] = {"dtype", 0, "TYPE", "float tensors as source, f32, f16 or bf16"},
    [OPT_TEXT] = {"text", 0, "FILE", "text to run the model on"},
    [OPT_HELDOUT] = {"heldout", 0, "FILE", "another text to validate with (default: the same)"},
    [OPT_TOKENIZER] = {"tokenizer", 0, "FILE", "tokenizer.json or .bin (default: the model's)"},
    [OPT_IDS] = {"ids", 0, "FILE", "token ids in a .npy file instead of text"},
    [OPT_CONTEXT] = {"context", 0, "N", "tokens a window (default: the model's, at most 512)"},
    [OPT_PROMPT] = {"prompt", 0, "TEXT", "text to go on from"},
    [OPT_TOKENS] = {"tokens", 0, "N", "how many tokens at most (default: all)"},
    [OPT_TEMPERATURE] = {"temperature", 0, "X", "0: always the likeliest token (default)"},
    [OPT_TOP_K] = {"top-k", 0, "K", "sample from the K likeliest tokens"},
    [OPT_TOP_P] = {"top-p", 0, "P", "from the likeliest that make up probability P"},
    [OPT_SEED] = {"seed", 0, "S", "start of the random numbers (default 0)"},
    [OPT_TESTS] = {"tests", 0, "LIST", "which, with commas between (default: all)"},
    [OPT_PPL_STYLE] = {"ppl-style", 0, "NAME", "windows: qins, or llama.cpp's"},
    [OPT_GRAM] = {"gram", 0, NULL, "Gram matrices of the activations too"},
    [OPT_KEEP_ROWS] = {"keep-rows", 0, "N", "keep a sample of N rows of activations"},
    [OPT_SENSITIVITY] = {"sensitivity", 0, NULL,
                         "what quantising each matrix alone does to the model"},
    [OPT_POLICY] = {"policy", 0, "P", "default, archive, or a policy file"},
    [OPT_COSTS] = {"costs", 0, "FILE", "decode costs, of bench coders --save"},
    [OPT_TARGET_BITS] = {"target-bits", 0, "X", "bits a weight of the whole archive"},
    [OPT_TARGET_SIZE] = {"target-size", 0, "S", "bytes of the archive; K, M, G: of 1024"},
    [OPT_MAX_ERROR] = {"max-error", 0, "E", "predicted mean KL, or relative error"},
    [OPT_EXPLAIN] = {"explain", 0, "TENSOR", "what was considered for it"},
    [OPT_MERGE] = {"merge", 0, "A.h5 ...", "join calibrations of one model"},
    [OPT_INDEX] = {"index", 0, NULL, "archives of parts, and OUT a JSON index of them"},
    [OPT_ACTIVATIONS] = {"activations", 0, "FILE", "rows captured elsewhere, by tensor name"},
    [OPT_SAVE] = {"save", 0, "FILE", "write the report there, too"},
    [OPT_STREAMS] = {"streams", 0, "LIST", "of a,b,c,d,e,f or BF16,F16,F32 (default: all)"},
    [OPT_CODERS] = {"coders", 0, "LIST", "with commas between (default: all)"},
    [OPT_PEER] = {"peer", 0, "LIB.so ...", "coders to time beside ours: qins/bench_peer.h"},
    [OPT_MEBI] = {"mebi", 0, "N", "Mi: symbols (default 32), gemv 64; MiB: convert 256"},
    [OPT_CHUNK] = {"chunk", 0, "N", "Ki symbols a chunk, 4 to 1024 (default 512)"},
    [OPT_ROUNDS] = {"rounds", 0, "N", "of medians: coders 15, gemv 9, others 5 by default"},
    [OPT_PLOT] = {"plot", 0, "DIR", "draw speed against size in DIR/plots"},
    [OPT_CALIBRATION] = {"calibration", 0, "FILE", "what 'qins calibrate' measured"},
    [OPT_PLAN] = {"plan", 0, "FILE", "how each tensor is coded; see 'qins plan'"},
    [OPT_ROUNDING] = {"rounding", 0, "NAME", "nearest, or feedback (needs a Gram matrix)"},
    [OPT_ARCHIVE] = {"archive", 0, "FILE", "made of it: for true sizes"},
    [OPT_REPLOT] = {"replot", 0, "DIR", "draw plots and page of DIR anew"},
    [OPT_TRANSPORT] = {"transport", 0, "FILE", "layers that run natively; see 'qins transport'"},
    [OPT_KV] = {"kv", 0, "FILE", "pages of 'qins validate --dump-kv': study them, too"},
    [OPT_LAYERS] = {"layers", 0, "LIST", "v_proj,o_proj,... all, or globs (default v_proj)"},
    [OPT_METHOD] = {"method", 0, "NAME", "split (default), ridge, decode, jacobian-..., all"},
    [OPT_ORDER] = {"order", 0, "auto|K", "planes of powers, 1 to 4 (default auto)"},
    [OPT_PLANES] = {"planes", 0, "N", "at most, where the order is auto (default 4)"},
    [OPT_SIGN_PLANE] = {"sign-plane", 0, NULL, "one more plane, of signs (for studies only)"},
    [OPT_EVIDENCE] = {"evidence", 0, "DIR ...", "folders with reports of other verbs"},
    [OPT_GATES] = {"gates", 0, "FILE", "gates to judge by (default: the shipped ones)"},
    [OPT_PREVIOUS] = {"previous", 0, "DIR", "an earlier review: for the trend"},
    [OPT_EMIT] = {"emit", 0, "ENGINE", "write files for slurm, parallel or snakemake"},
    [OPT_STRICT] = {"strict", 0, NULL, "exit 1 unless all phase gates pass"},
    [OPT_MATERIALIZE] = {"materialize", 0, NULL, "store planes of weights, not coefficients alone"},
    [OPT_KV_CACHE] = {"kv-cache", 0, "8|6|off", "code V of the cache at 8 or 6 bits (default off)"},
    [OPT_DUMP_KV] = {"dump-kv", 0, "FILE", "write coded pages of V, for 'qins analyze --kv'"},
    [OPT_SAVE_LOGITS] = {"save-logits", 0, "DIR", "write both models' logits as .npy, bit for bit"},
    [OPT_FUSED] = {"fused", 0, NULL, "multiply weights as an archive codes them"},
    [OPT_PROMPTS] = {"prompts", 0, "FILE", "prompts as JSON (default: ten shipped ones), or text"},
};

static const enum cli_option_id common[] = {OPT_JSON, OPT_QUIET, OPT_THREADS, OPT_HELP};

static bool takes(const struct cli_verb *verb, enum cli_option_id id)
{
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        if (common[i] == id)
            return true;
    for (size_t i = 0; verb->options[i] != OPT_HELP; i++)
        if (verb->options[i] == id)
            return true;
    return false;
}

/* The option that ARG begins, or OPT_COUNT; *inline_value points behind '=' or is NULL. */
static enum cli_option_id find(const struct cli_verb *verb, const char *arg,
                               const char **inline_value)
{
    *inline_value = NULL;
    for (int id = 0; id < OPT_COUNT; id++) {
        const struct option *o = &options[id];
        size_t n = strlen(o->name);
        if (!takes(verb, (enum cli_option_id)id))
            continue;
        if (arg[1] != '-') {
            if (arg[1] != o->letter || o->letter == 0 || (arg[2] && !o->argument))
                continue;
            *inline_value = arg[2] ? arg + 2 : NULL;
            return (enum cli_option_id)id;
        }
        if (strncmp(arg + 2, o->name, n) == 0 && (arg[2 + n] == '\0' || arg[2 + n] == '=')) {
            *inline_value = arg[2 + n] ? arg + 3 + n : NULL;
            return (enum cli_option_id)id;
        }
    }
    return OPT_COUNT;
}

static enum qins_status take_option(const struct cli_verb *verb, char **argv, int *i, struct cli *c,
                                    struct qins_error *err)
{
    const char *value, *arg = argv[*i];
    enum cli_option_id id = find(verb, arg, &value);
    if (id == OPT_COUNT)
        return qn_fail(err, QINS_ERR_USAGE, "unknown option '%s'", arg);
    const struct option *o = &options[id];
    if (!o->argument && value)
        return qn_fail(err, QINS_ERR_USAGE, "'--%s' takes no value", o->name);
    if (o->argument && !value) {
        value = argv[*i + 1];
        if (!value)
            return qn_fail(err, QINS_ERR_USAGE, "'--%s' needs a value", o->name);
        ++*i;
    }
    if (o->argument && c->value[id])
        return qn_fail(err, QINS_ERR_USAGE, "'--%s' is given twice", o->name);
    c->value[id] = value ? value : "";
    if ((id == verb->many || id == verb->many_too) && id != OPT_HELP) {
        c->list = &c->value[id];
        c->n_list = 1;
        if (value == argv[*i]) {
            c->list = (const char *const *)&argv[*i];
            while (argv[*i + 1] && argv[*i + 1][0] != '-') {
                ++*i;
                c->n_list++;
            }
        }
    }
    return QINS_OK;
}

static bool is_path(const struct option *o)
{
    static const char *const names[] = {"FILE", "PATH", "DIR", "DIR ...", "A.h5 ...", "LIB.so ..."};
    for (size_t i = 0; o->argument && i < sizeof names / sizeof *names; i++)
        if (strcmp(o->argument, names[i]) == 0)
            return true;
    return false;
}

/* Operands are moved to the front of ARGV, over arguments that have been read. */
static enum qins_status take_operand(const struct cli_verb *verb, char **argv, int i, int *n,
                                     struct cli *c, struct qins_error *err)
{
    if (!argv[i][0])
        return qn_fail(err, QINS_ERR_USAGE, "an argument is empty: %s", verb->usage);
    if (verb->many_operands) {
        argv[c->n_list++] = argv[i];
        c->list = (const char *const *)argv;
    } else if (*n == verb->n_operands) {
        return qn_fail(err, QINS_ERR_USAGE, "unexpected '%s'", argv[i]);
    } else {
        c->operand[(*n)++] = argv[i];
    }
    return QINS_OK;
}

enum qins_status cli_parse(const struct cli_verb *verb, int argc, char **argv, struct cli *c,
                           struct qins_error *err)
{
    int n = 0;
    bool only_operands = false;
    for (int i = 0; i < argc; i++) {
        enum qins_status st = QINS_OK;
        if (!only_operands && strcmp(argv[i], "--") == 0)
            only_operands = true;
        else if (!only_operands && argv[i][0] == '-' && argv[i][1])
            st = take_option(verb, argv, &i, c, err);
        else
            st = take_operand(verb, argv, i, &n, c, err);
        if (st != QINS_OK)
            return st;
    }
    if (c->value[OPT_HELP])
        return QINS_OK;
    if (n < verb->n_operands - verb->optional_operands || (verb->many_operands && !c->n_list))
        return qn_fail(err, QINS_ERR_USAGE, "an argument is missing: %s", verb->usage);
    if (verb->needs_output && !c->value[OPT_OUTPUT])
        return qn_fail(err, QINS_ERR_USAGE, "'-o' is missing");
    for (int id = 0; id < OPT_COUNT; id++)
        if (c->value[id] && !c->value[id][0] && is_path(&options[id]))
            return qn_fail(err, QINS_ERR_USAGE, "'--%s' needs a path", options[id].name);
    c->json = c->value[OPT_JSON] != NULL;
    c->quiet = c->value[OPT_QUIET] != NULL;
    c->threads = qn_cpu_count();
    return cli_unsigned(c, OPT_THREADS, 1, 1024, &c->threads, err);
}

const char *cli_option_name(enum cli_option_id id)
{
    return options[id].name;
}

/* Option I of VERB as its help lists them, or OPT_COUNT behind the last. */
static enum cli_option_id nth_option(const struct cli_verb *verb, size_t i)
{
    size_t own = 0;
    while (verb->options[own] != OPT_HELP)
        own++;
    if (i < own)
        return verb->options[i];
    return i - own < sizeof common / sizeof *common ? common[i - own] : OPT_COUNT;
}

bool cli_describe_option(const struct cli_verb *verb, size_t i, struct cli_option_text *out)
{
    const enum cli_option_id id = nth_option(verb, i);
    if (id == OPT_COUNT)
        return false;
    const struct option *o = &options[id];
    *out = (struct cli_option_text){.id = id,
                                    .name = o->name,
                                    .letter = o->letter,
                                    .argument = o->argument,
                                    .help = o->help,
                                    .is_path = is_path(o),
                                    .many = id != OPT_HELP &&
                                            (id == verb->many || id == verb->many_too)};
    for (size_t k = 0; k < CLI_MAX_HELP && verb->help[k].text; k++)
        if (verb->help[k].option == id) {
            out->help = verb->help[k].text;
            if (verb->help[k].argument)
                out->argument = verb->help[k].argument;
        }
    return true;
}

static void print_option(const struct cli_option_text *o)
{
    char left[64];
    char letter[5] = "    ";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, o->name, o->argument ? " " : "",
             o->argument ? o->argument : "");
    cli_print("%-*s %s\n", HELP_COLUMN, left, o->help);
}

void cli_print_help(const struct cli_verb *verb)
{
    struct cli_option_text option;
    cli_print("usage: qins %s\n", verb->usage);
    for (size_t i = 0; i < CLI_MAX_USAGES && verb->more_usage[i]; i++)
        cli_print("       qins %s\n", verb->more_usage[i]);
    cli_print("%s\n\n", verb->summary);
    for (size_t i = 0; cli_describe_option(verb, i, &option); i++)
        print_option(&option);
    cli_print("\nexample:\n  %s\n", verb->example);
}

static enum qins_status bad_value(const struct cli *c, enum cli_option_id id, const char *want,
                                  struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_USAGE, "'--%s %s': %s", options[id].name, c->value[id], want);
}

/* Decimal digits alone, up to 2^32 - 1. */
static bool parse_unsigned(const char *text, unsigned long *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out = strtoul(text, &end, 10);
    return errno == 0 && *end == '\0' && *out <= UINT32_MAX;
}

enum qins_status cli_unsigned(const struct cli *c, enum cli_option_id id, unsigned min,
                              unsigned max, unsigned *out, struct qins_error *err)
{
    unsigned long v;
    if (!c->value[id])
        return QINS_OK;
    if (!parse_unsigned(c->value[id], &v) || v < min || v > max) {
        char want[64];
        snprintf(want, sizeof want, "a whole number from %u to %u is needed", min, max);
        return bad_value(c, id, want, err);
    }
    *out = (unsigned)v;
    return QINS_OK;
}

enum qins_status cli_u64(const struct cli *c, enum cli_option_id id, uint64_t max, uint64_t *out,
                         struct qins_error *err)
{
    const char *text = c->value[id];
    char *end;
    if (!text)
        return QINS_OK;
    errno = 0;
    uint64_t v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno || *end || v > max)
        return bad_value(c, id, "a whole number is needed", err);
    *out = v;
    return QINS_OK;
}

enum qins_status cli_real(const struct cli *c, enum cli_option_id id, double min, double max,
                          double *out, struct qins_error *err)
{
    const char *text = c->value[id];
    char *end, want[80];
    if (!text)
        return QINS_OK;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= min && v <= max)) {
        snprintf(want, sizeof want, "a number from %g to %g is needed", min, max);
        return bad_value(c, id, want, err);
    }
    *out = v;
    return QINS_OK;
}

enum qins_status cli_size(const struct cli *c, enum cli_option_id id, uint64_t *out,
                          struct qins_error *err)
{
    static const char units[] = "KMGT";
    const char *text = c->value[id], *unit;
    char *end;
    if (!text)
        return QINS_OK;
    double v = strtod(text, &end), factor = 1.0;
    unit = *end ? strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
    for (const char *p = units; unit && p <= unit; p++)
        factor *= 1024.0;
    end += unit != NULL;
    if (text[0] < '0' || text[0] > '9' || *end || !(v * factor >= 1.0 && v * factor <= 0x1p62))
        return bad_value(c, id, "a number of bytes is needed, K, M, G or T behind it or not", err);
    *out = (uint64_t)(v * factor);
    return QINS_OK;
}

enum qins_status cli_auto_or_real(const struct cli *c, enum cli_option_id id, const char *want,
                                  float *out, struct qins_error *err)
{
    char *end;
    if (!c->value[id])
        return QINS_OK;
    if (strcmp(c->value[id], "auto") == 0) {
        *out = -1.0F;
        return QINS_OK;
    }
    float v = strtof(c->value[id], &end);
    if (end == c->value[id] || *end || !isfinite(v) || v < 0.0F)
        return bad_value(c, id, want, err);
    *out = v;
    return QINS_OK;
}

static enum qins_status parse_group(const struct cli *c, struct qn_plan_options *out,
                                    struct qins_error *err)
{
    const char *text = c->value[OPT_GROUP];
    unsigned long n;
    if (!text)
        return QINS_OK;
    out->group_given = true;
    if (strcmp(text, "tensor") == 0) {
        out->group_kind = QN_GROUP_TENSOR;
    } else if (strcmp(text, "row") == 0) {
        out->group_kind = QN_GROUP_ROW;
    } else if (parse_unsigned(text, &n) && n > 0) {
        out->group_kind = QN_GROUP_BLOCK;
        out->group = n;
    } else {
        return bad_value(c, OPT_GROUP, "'tensor', 'row' or a number of weights is needed", err);
    }
    return QINS_OK;
}

enum qins_status cli_plan_options(const struct cli *c, struct qn_plan_options *out,
                                  struct qins_error *err)
{
    const char *codec = c->value[OPT_CODEC], *grid = c->value[OPT_GRID];
    char choices[96];
    qn_plan_options_init(out);
    out->lossless = c->value[OPT_LOSSLESS] != NULL;
    if (out->lossless && c->value[OPT_BITS])
        return qn_fail(err, QINS_ERR_USAGE, "'--lossless' and '--bits' exclude each other");
    enum qins_status st = cli_unsigned(c, OPT_BITS, QN_MIN_BITS, QN_MAX_BITS, &out->bits, err);
    if (st == QINS_OK && codec) {
        out->codec = qn_codec_from_name(codec);
        if (out->codec == QN_CODEC_COUNT)
            return bad_value(c, OPT_CODEC, qn_codec_choices(choices, sizeof choices), err);
    }
    if (st == QINS_OK)
        st = parse_group(c, out, err);
    if (st == QINS_OK)
        st = cli_auto_or_real(c, OPT_KAPPA, "'auto' or a number from 0 to 65536 is needed",
                              &out->kappa, err);
    if (st == QINS_OK)
        st = cli_auto_or_real(c, OPT_CLIP, "'auto' or a number from 0.01 to 1 is needed",
                              &out->clip, err);
    if (st != QINS_OK)
        return st;
    if (grid && strcmp(grid, "seed") == 0)
        out->grid = QN_GRID_SEED;
    else if (grid && strcmp(grid, "qins") != 0)
        return bad_value(c, OPT_GRID, "'qins' or 'seed' is needed", err);
    return qn_plan_options_check(out, err);
}

enum qins_status cli_rounding(const struct cli *c, enum qn_rounding *out, bool *given,
                              struct qins_error *err)
{
    const char *text = c->value[OPT_ROUNDING];
    *given = text != NULL;
    *out = text && strcmp(text, "feedback") == 0 ? QN_ROUND_FEEDBACK : QN_ROUND_NEAREST;
    if (!text || *out == QN_ROUND_FEEDBACK || strcmp(text, "nearest") == 0)
        return QINS_OK;
    return bad_value(c, OPT_ROUNDING, "'nearest' or 'feedback' is needed", err);
}

enum qins_status cli_kv_bits(const struct cli *c, unsigned *out, struct qins_error *err)
{
    const char *text = c->value[OPT_KV_CACHE];
    if (!text)
        return QINS_OK;
    if (strcmp(text, "8") != 0 && strcmp(text, "6") != 0 && strcmp(text, "off") != 0)
        return bad_value(c, OPT_KV_CACHE, "'8', '6' or 'off' is needed", err);
    *out = text[0] == 'o' ? 0 : (unsigned)(text[0] - '0');
    return QINS_OK;
}

enum qins_status cli_dtype(const struct cli *c, enum qins_dtype *out, struct qins_error *err)
{
    static const struct {
        const char *name;
        enum qins_dtype dtype;
    } types[] = {
        {"source", QINS_DTYPE_INVALID}, {"f32", QINS_F32}, {"f16", QINS_F16}, {"bf16", QINS_BF16}};
    const char *text = c->value[OPT_DTYPE];
    if (!text)
        return QINS_OK;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(text, types[i].name) == 0) {
            *out = types[i].dtype;
            return QINS_OK;
        }
    return bad_value(c, OPT_DTYPE, "'source', 'f32', 'f16' or 'bf16' is needed", err);
}

enum qins_status cli_shard(const struct cli *c, struct qn_shard *out, struct qins_error *err)
{
    *out = (struct qn_shard){0};
    return c->value[OPT_SHARD] ? qn_shard_parse(c->value[OPT_SHARD], out, err) : QINS_OK;
}
