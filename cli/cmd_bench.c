#include "cli/cli.h"

#include "bench/bench.h"
#include "bench/measure.h"
#include "bench/streams_bench.h"
#include "cli/print_bench.h"
#include "convert/sources.h"

#include <string.h>

enum { DEFAULT_THREADS = 2, MAX_MEBI = 1024, MIN_KIBI = 4, MAX_KIBI = 1024, MAX_OPTIONS = 8 };

/* What a benchmark takes behind its name. */
enum operands { NOTHING, MODEL, MODEL_AND_ARCHIVE, ARCHIVE, FOLDER };

static const struct benchmark {
    const char *name;
    enum qins_status (*run)(const struct qn_bench_options *options, json_t **report,
                            struct qins_error *err);
    enum qins_status (*print)(const json_t *report, struct qins_error *err);
    enum operands operands;
    enum cli_option_id options[MAX_OPTIONS]; /* beside --save; OPT_HELP (0) ends */
} benchmarks[] = {
    {"forward",
     qn_bench_forward,
     cli_print_bench_model,
     MODEL,
     {OPT_THREADS, OPT_TOKENS, OPT_CONTEXT, OPT_ROUNDS}},
    {"forward-fused",
     qn_bench_forward_fused,
     cli_print_bench_forms,
     MODEL,
     {OPT_THREADS, OPT_TOKENS, OPT_ROUNDS}},
    {"calibrate",
     qn_bench_calibrate,
     cli_print_bench_model,
     MODEL,
     {OPT_THREADS, OPT_TOKENS, OPT_CONTEXT, OPT_ROUNDS}},
    {"hot-path",
     qn_bench_hot_path,
     cli_print_bench_model,
     MODEL_AND_ARCHIVE,
     {OPT_TOKENS, OPT_ROUNDS}},
    {"memory", qn_bench_memory, cli_print_bench_memory, MODEL_AND_ARCHIVE, {OPT_TOKENS}},
    {"kv-cache", qn_bench_kv_cache, cli_print_bench_model, MODEL, {OPT_TOKENS, OPT_ROUNDS}},
    {"coders",
     qn_bench_coders,
     cli_print_bench_coders,
     ARCHIVE,
     {OPT_STREAMS, OPT_CODERS, OPT_PEER, OPT_MEBI, OPT_CHUNK, OPT_ROUNDS, OPT_PLOT}},
    {"lossless",
     qn_bench_lossless,
     cli_print_bench_coders,
     NOTHING,
     {OPT_STREAMS, OPT_CODERS, OPT_PEER, OPT_MEBI, OPT_CHUNK, OPT_ROUNDS}},
    {"gemv", qn_bench_gemv, cli_print_bench_gemv, NOTHING, {OPT_THREADS, OPT_MEBI, OPT_ROUNDS}},
    {"convert",
     qn_bench_convert,
     cli_print_bench_convert,
     FOLDER,
     {OPT_THREADS, OPT_MEBI, OPT_ROUNDS}},
};

static const struct benchmark *find(const char *name)
{
    for (size_t i = 0; i < sizeof benchmarks / sizeof *benchmarks; i++)
        if (strcmp(benchmarks[i].name, name) == 0)
            return &benchmarks[i];
    return NULL;
}

static enum qins_status print_report(const json_t *report, struct qins_error *err)
{
    const struct benchmark *b = find(cli_string(report, "benchmark"));
    return b ? b->print(report, err) : cli_print_bench_coders(report, err); /* a table of costs */
}

/* Inputs stay what they are, and an output that cannot be written is told before the work. */
static enum qins_status check_save(const struct qn_bench_options *o, const char *save,
                                   struct qins_error *err)
{
    const char *const archives[] = {o->archive};
    enum qins_status st = QINS_OK;
    if (save && (o->model || o->archive))
        st = qn_refuse_model_input(o->model ? o->model : o->archive, archives, o->archive ? 1 : 0,
                                   save, err);
    return st == QINS_OK ? cli_check_writable(save, err) : st;
}

static bool takes(const struct benchmark *b, enum cli_option_id id)
{
    for (size_t i = 0; i < MAX_OPTIONS && b->options[i] != OPT_HELP; i++)
        if (b->options[i] == id)
            return true;
    return id == OPT_SAVE;
}

/* Nothing is given that the benchmark does not look at, and what it needs is. */
static enum qins_status check_given(const struct cli *c, const struct benchmark *b,
                                    struct qins_error *err)
{
    if (b->operands == MODEL_AND_ARCHIVE && !c->operand[2])
        return qn_fail(err, QINS_ERR_USAGE, "bench %s takes a model and its archive", b->name);
    if (b->operands != MODEL_AND_ARCHIVE && c->operand[2])
        return qn_fail(err, QINS_ERR_USAGE, "bench %s takes no second operand", b->name);
    if (b->operands == NOTHING && c->operand[1])
        return qn_fail(err, QINS_ERR_USAGE, "bench %s takes no operand", b->name);
    for (const enum cli_option_id *id = cli_bench.options; *id != OPT_HELP; id++)
        if (c->value[*id] && !takes(b, *id))
            return qn_fail(err, QINS_ERR_USAGE, "bench %s takes no --%s", b->name,
                           cli_option_name(*id));
    if (c->value[OPT_THREADS] && !takes(b, OPT_THREADS))
        return qn_fail(err, QINS_ERR_USAGE, "bench %s takes no --%s", b->name,
                       cli_option_name(OPT_THREADS));
    /* Costs and an archive's coders are measured in one way. */
    for (const enum cli_option_id *id = b->options;
         b->operands == ARCHIVE && *id != OPT_HELP && (c->operand[1] || c->value[OPT_SAVE]); id++)
        if (c->value[*id] && *id != OPT_ROUNDS)
            return qn_fail(err, QINS_ERR_USAGE, "--%s is for streams, not for %s",
                           cli_option_name(*id), c->operand[1] ? "an archive" : "costs (--save)");
    return QINS_OK;
}

static enum qins_status take_numbers(const struct cli *c, struct qn_bench_options *o,
                                     struct qins_error *err)
{
    const struct {
        enum cli_option_id id;
        unsigned least, most;
        unsigned *value;
    } numbers[] = {{OPT_THREADS, 2, QN_BENCH_MAX_THREADS, &o->threads},
                   {OPT_TOKENS, 2, QN_BENCH_MAX_TOKENS, &o->tokens},
                   {OPT_CONTEXT, 2, QN_BENCH_MAX_TOKENS, &o->context},
                   {OPT_ROUNDS, 1, QN_BENCH_MAX_ROUNDS, &o->rounds},
                   {OPT_MEBI, 1, MAX_MEBI, &o->mebi},
                   {OPT_CHUNK, MIN_KIBI, MAX_KIBI, &o->chunk_kibi}};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && st == QINS_OK; i++)
        st = cli_unsigned(c, numbers[i].id, numbers[i].least, numbers[i].most, numbers[i].value,
                          err);
    return st;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    const struct benchmark *b = find(c->operand[0]);
    const char *save = c->value[OPT_SAVE];
    if (!b)
        return qn_fail(
            err, QINS_ERR_USAGE,
            "unknown benchmark '%s': forward|forward-fused|calibrate|kv-cache [MODEL], "
            "hot-path|memory MODEL ARCHIVE, coders [ARCHIVE], convert [FOLDER], gemv, or "
            "lossless",
            c->operand[0]);
    const bool archive_alone = b->operands == ARCHIVE, folder = b->operands == FOLDER;
    struct qn_bench_options o = {.model = archive_alone || folder ? NULL : c->operand[1],
                                 .archive = archive_alone ? c->operand[1] : c->operand[2],
                                 .folder = folder ? c->operand[1] : NULL,
                                 .threads = takes(b, OPT_THREADS) ? DEFAULT_THREADS : 1,
                                 .costs = save != NULL,
                                 .streams = c->value[OPT_STREAMS],
                                 .coders = c->value[OPT_CODERS],
                                 .peers = c->value[OPT_PEER] ? c->list : NULL,
                                 .n_peers = c->value[OPT_PEER] ? c->n_list : 0,
                                 .monitor = &c->monitor};
    enum qins_status st = check_given(c, b, err);
    if (st == QINS_OK)
        st = take_numbers(c, &o, err);
    if (st == QINS_OK)
        st = check_save(&o, save, err);
    if (st == QINS_OK && c->value[OPT_PLOT])
        st = cli_refuse_other_page(c->value[OPT_PLOT], "bench-coders.json", err);
    if (st == QINS_OK)
        st = b->run(&o, &c->report, err);
    if (st == QINS_OK && save)
        st = qn_json_save(save, c->report, err);
    if (st == QINS_OK && c->value[OPT_PLOT])
        st = qn_bench_plot_streams(c->report, c->value[OPT_PLOT], &c->monitor, err);
    return st;
}

const struct cli_verb cli_bench = {
    .name = "bench",
    .summary = "Measures how fast models run here, and weights are coded.",
    .usage = "bench forward|forward-fused|calibrate|kv-cache [MODEL] [options]",
    .more_usage = {"bench hot-path|memory MODEL ARCHIVE [options]",
                   "bench coders [options] | bench coders ARCHIVE | --save COSTS",
                   "bench lossless|gemv [options] | bench convert [FOLDER] [options]"},
    .example = "qins bench forward model/ --threads 2 --save forward.json",
    .options = {OPT_TOKENS, OPT_CONTEXT, OPT_STREAMS, OPT_CODERS, OPT_PEER, OPT_MEBI, OPT_CHUNK,
                OPT_ROUNDS, OPT_PLOT, OPT_SAVE},
    .words =
        "forward forward-fused calibrate kv-cache hot-path memory coders lossless gemv convert",
    .many = OPT_PEER,
    .help = {{OPT_TOKENS, "of a prefill, or of the text (default 512)"},
             {OPT_CONTEXT, "tokens a window (default 256)"},
             {OPT_THREADS, "compared with one thread, from 2 on (default 2)"}},
    .n_operands = 3,
    .optional_operands = 2,
    .run = run,
    .print = print_report,
};
