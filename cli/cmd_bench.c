#include "cli/cli.h"

#include "bench/bench.h"
#include "bench/measure.h"
#include "convert/sources.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEFAULT_THREADS = 2 };

/* What a benchmark takes behind its name. */
enum operands { MODEL, MODEL_AND_ARCHIVE, ARCHIVE };

static const struct benchmark {
    const char *name;
    enum qins_status (*run)(const struct qn_bench_options *options, json_t **report,
                            struct qins_error *err);
    enum operands operands;
    bool threads, tokens, context; /* options that it takes */
} benchmarks[] = {
    {"forward", qn_bench_forward, MODEL, true, true, true},
    {"calibrate", qn_bench_calibrate, MODEL, true, true, true},
    {"hot-path", qn_bench_hot_path, MODEL_AND_ARCHIVE, false, true, false},
    {"kv-cache", qn_bench_kv_cache, MODEL, false, true, false},
    {"coders", qn_bench_coders, ARCHIVE, false, false, false},
};

static void print_model(const json_t *report)
{
    const json_t *model = json_object_get(report, "model");
    const json_t *machine = json_object_get(report, "machine");
    const char *path = cli_string(model, "path");
    char bytes[32];
    cli_print("%s: %s, %.1f M parameters, %s; %s, %s\n", path[0] ? path : "random weights",
              cli_string(model, "model_type"), cli_number(model, "parameters") / 1e6,
              cli_bytes(cli_number(model, "weight_bytes"), bytes, sizeof bytes),
              cli_string(machine, "cpu_level"), cli_string(machine, "blas"));
}

static void busy_cell(struct cli_table *t, const json_t *side)
{
    cli_cell(t, "%s", json_is_true(json_object_get(side, "one_core_busy")) ? "yes" : "no");
}

/* Four digits, however small. */
static void speed_cell(struct cli_table *t, double value)
{
    cli_cell(t, "%.*f", value < 100 ? 2 : 0, value);
}

static enum qins_status print_measurements(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"",       "threads", "one core busy",     "tokens/s",
                                        "lowest", "highest", "tokens/processor s"};
    struct cli_table t;
    const json_t *m;
    size_t i;
    cli_table_begin(&t, "lrlrrrr", heads);
    json_array_foreach(json_object_get(report, "measurements"), i, m)
    {
        cli_cell(&t, "%s", cli_string(m, "name"));
        cli_cell(&t, "%.0f", cli_number(m, "threads"));
        busy_cell(&t, m);
        speed_cell(&t, cli_number(m, "tokens_per_s"));
        speed_cell(&t, cli_number(m, "tokens_per_s_low"));
        speed_cell(&t, cli_number(m, "tokens_per_s_high"));
        speed_cell(&t, cli_number(m, "tokens_per_cpu_s"));
    }
    return cli_table_print(&t, err);
}

static void side_cell(struct cli_table *t, const json_t *side)
{
    double threads = cli_number(side, "threads");
    cli_cell(t, "%s, %.0f thread%s", cli_string(side, "name"), threads, threads > 1 ? "s" : "");
}

static enum qins_status print_comparisons(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"", "against", "one core busy", "clock", "", "", "goal"};
    struct cli_table t;
    const json_t *c;
    size_t i;
    cli_table_begin(&t, "llllrll", heads);
    json_array_foreach(json_object_get(report, "comparisons"), i, c)
    {
        const json_t *of = json_object_get(c, "of");
        side_cell(&t, of);
        side_cell(&t, json_object_get(c, "to"));
        busy_cell(&t, of);
        cli_cell(&t, "%s", cli_string(c, "clock"));
        cli_cell(&t, "%.2f", cli_number(c, "value"));
        cli_cell(&t, "%s", cli_string(c, "unit"));
        if (json_is_null(json_object_get(c, "goal")))
            cli_cell(&t, "-");
        else
            cli_cell(&t, "%.2f: %s", cli_number(c, "goal"),
                     json_is_true(json_object_get(c, "met")) ? "met" : "missed");
    }
    return cli_table_print(&t, err);
}

static enum qins_status print_coders(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"", "bits/weight", "ns/weight", "lowest", "highest"};
    const json_t *low = json_object_get(report, "decode_ns_low");
    const json_t *high = json_object_get(report, "decode_ns_high");
    const json_t *bits = json_object_get(report, "bits_per_element");
    struct cli_table t;
    const char *name;
    json_t *ns;
    cli_print("decoding %.0f weights to float32, %s; medians of %.0f rounds\n\n",
              cli_number(report, "elements"),
              cli_string(json_object_get(report, "machine"), "cpu_level"),
              cli_number(report, "rounds"));
    cli_table_begin(&t, "lrrrr", heads);
    json_object_foreach(json_object_get(report, "decode_ns"), name, ns)
    {
        cli_cell(&t, "%s", name);
        cli_cell(&t, "%.3f", cli_number(bits, name));
        cli_cell(&t, "%.3f", json_number_value(ns));
        cli_cell(&t, "%.3f", cli_number(low, name));
        cli_cell(&t, "%.3f", cli_number(high, name));
    }
    return cli_table_print(&t, err);
}

static void spread_cells(struct cli_table *t, const json_t *spread, int digits)
{
    cli_cell(t, "%.*f", digits, cli_number(spread, "value"));
    cli_cell(t, "%.*f", digits, cli_number(spread, "low"));
    cli_cell(t, "%.*f", digits, cli_number(spread, "high"));
}

/* Of an archive: a row a coder and page size. */
static enum qins_status print_archive_coders(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"",          "values a page", "bits/weight",
                                        "ns/weight", "lowest",        "highest"};
    const json_t *c;
    struct cli_table t;
    size_t i;
    cli_print("%s: decoding a sample of %.0f of its weights to float32, %s; medians of %.0f "
              "rounds\n\n",
              cli_string(json_object_get(report, "archive"), "path"),
              cli_number(report, "sampled_weights"),
              cli_string(json_object_get(report, "machine"), "cpu_level"),
              cli_number(report, "rounds"));
    cli_table_begin(&t, "lrrrrr", heads);
    json_array_foreach(json_object_get(report, "coders"), i, c)
    {
        cli_cell(&t, "%s", cli_string(c, "coder"));
        if (json_is_null(json_object_get(c, "page_values")))
            cli_cell(&t, "its chunks");
        else
            cli_cell(&t, "%.0f", cli_number(c, "page_values"));
        cli_cell(&t, "%.3f", cli_number(c, "bits_per_weight"));
        spread_cells(&t, json_object_get(c, "decode_ns"), 3);
    }
    return cli_table_print(&t, err);
}

/* The one figure that gates judge. */
static void print_overhead(const json_t *report)
{
    const json_t *o = json_object_get(report, "overhead_percent");
    const bool kv = strcmp(cli_string(report, "benchmark"), "kv-cache") == 0;
    if (!o)
        return;
    cli_print("\n%s: ", kv ? "generation with V at 6 bits" : "entropy coding of hot weights");
    if (json_is_null(o))
        cli_print("not measured, the archive has no hot weights\n");
    else
        cli_print("%.2f %% more time (%.2f to %.2f)\n", cli_number(o, "value"),
                  cli_number(o, "low"), cli_number(o, "high"));
}

static enum qins_status print_report(const json_t *report, struct qins_error *err)
{
    if (json_object_get(report, "decode_ns"))
        return print_coders(report, err);
    if (json_object_get(report, "coders"))
        return print_archive_coders(report, err);
    print_model(report);
    cli_print("%s of %.0f tokens, windows of %.0f; medians of %.0f rounds\n\n",
              strcmp(cli_string(report, "benchmark"), "calibrate") == 0 ? "text" : "prefill",
              cli_number(report, "tokens"), cli_number(report, "context"),
              cli_number(report, "rounds"));
    enum qins_status st = print_measurements(report, err);
    cli_print("\n");
    if (st == QINS_OK)
        st = print_comparisons(report, err);
    if (st == QINS_OK)
        print_overhead(report);
    return st;
}

static const struct benchmark *find(const char *name, struct qins_error *err)
{
    for (size_t i = 0; i < sizeof benchmarks / sizeof *benchmarks; i++)
        if (strcmp(benchmarks[i].name, name) == 0)
            return &benchmarks[i];
    qn_fail(err, QINS_ERR_USAGE,
            "unknown benchmark '%s': forward|calibrate|kv-cache [MODEL], hot-path MODEL ARCHIVE, "
            "or coders [ARCHIVE]",
            name);
    return NULL;
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

/* Nothing is given that the benchmark does not look at, and what it needs is. */
static enum qins_status check_given(const struct cli *c, const struct benchmark *b,
                                    struct qins_error *err)
{
    const struct {
        enum cli_option_id id;
        bool taken;
    } options[] = {{OPT_TOKENS, b->tokens}, {OPT_CONTEXT, b->context}, {OPT_THREADS, b->threads}};
    if (b->operands == MODEL_AND_ARCHIVE && !c->operand[2])
        return qn_fail(err, QINS_ERR_USAGE, "bench %s takes a model and its archive", b->name);
    if (b->operands != MODEL_AND_ARCHIVE && c->operand[2])
        return qn_fail(err, QINS_ERR_USAGE, "bench %s takes no second operand", b->name);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (c->value[options[i].id] && !options[i].taken)
            return qn_fail(err, QINS_ERR_USAGE, "bench %s takes no --%s", b->name,
                           cli_option_name(options[i].id));
    return QINS_OK;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    const struct benchmark *b = find(c->operand[0], err);
    const char *save = c->value[OPT_SAVE];
    if (!b)
        return QINS_ERR_USAGE;
    const bool archive_alone = b->operands == ARCHIVE;
    struct qn_bench_options o = {.model = archive_alone ? NULL : c->operand[1],
                                 .archive = archive_alone ? c->operand[1] : c->operand[2],
                                 .threads = b->threads ? DEFAULT_THREADS : 1,
                                 .monitor = &c->monitor};
    enum qins_status st = check_given(c, b, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_THREADS, 2, QN_BENCH_MAX_THREADS, &o.threads, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_TOKENS, 2, QN_BENCH_MAX_TOKENS, &o.tokens, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_CONTEXT, 2, QN_BENCH_MAX_TOKENS, &o.context, err);
    if (st == QINS_OK)
        st = check_save(&o, save, err);
    if (st == QINS_OK)
        st = b->run(&o, &c->report, err);
    if (st == QINS_OK && save)
        st = qn_json_save(save, c->report, err);
    return st;
}

const struct cli_verb cli_bench = {
    .name = "bench",
    .summary = "Measures how fast this machine runs a model or decodes weights.",
    .usage = "bench forward|calibrate|kv-cache [MODEL] [options]",
    .more_usage = {"bench hot-path MODEL ARCHIVE [options]", "bench coders [ARCHIVE] [options]"},
    .example = "qins bench forward model/ --threads 2 --save forward.json",
    .options = {OPT_TOKENS, OPT_CONTEXT, OPT_SAVE},
    .help = {{OPT_TOKENS, "of a prefill, or of the text (default 512)"},
             {OPT_CONTEXT, "tokens a window (default 256)"},
             {OPT_THREADS, "compared with one thread, from 2 on (default 2)"}},
    .n_operands = 3,
    .optional_operands = 2,
    .run = run,
    .print = print_report,
};
