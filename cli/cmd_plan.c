#include "cli/cli.h"

#include "convert/plan_job.h"
#include "convert/sources.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *text_or(const json_t *object, const char *key, const char *other)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : other;
}

static double rows_of(const json_t *block)
{
    return cli_number(block, "row_end") - cli_number(block, "row_begin");
}

/* Of BLOCKS, one that has the coding of most rows; NULL without blocks. */
static const json_t *commonest(const json_t *blocks)
{
    const json_t *block, *other, *best = NULL;
    double most = 0.0;
    size_t i, k;
    json_array_foreach(blocks, i, block)
    {
        double rows = 0.0;
        json_array_foreach(blocks, k, other)
        {
            if (json_equal(json_object_get(block, "levels"), json_object_get(other, "levels")) &&
                strcmp(text_or(block, "codec", "-"), text_or(other, "codec", "-")) == 0)
                rows += rows_of(other);
        }
        if (rows > most) {
            most = rows;
            best = block;
        }
    }
    return best;
}

static const char *format_coding(const json_t *line, char *buf, size_t size)
{
    if (json_is_integer(json_object_get(line, "levels")))
        snprintf(buf, size, "%.0f-bit, N %.0f, %s", cli_number(line, "bits"),
                 cli_number(line, "levels"), text_or(line, "codec", "-"));
    else
        snprintf(buf, size, "lossless, %s", text_or(line, "codec", "-"));
    return buf;
}

/* What a line of a plan, or one of its blocks, says. */
static void put_line(struct cli_table *t, const json_t *line, const char *name, double bits)
{
    const json_t *blocks = json_object_get(line, "blocks"), *most = commonest(blocks);
    char coding[128];
    cli_cell(t, "%s", name);
    cli_cell(t, "%s", text_or(line, "class", "-"));
    if (most)
        cli_cell(t, "%zu blocks, most: %s", json_array_size(blocks),
                 format_coding(most, coding, sizeof coding));
    else
        cli_cell(t, "%s", format_coding(line, coding, sizeof coding));
    if (isnan(bits))
        cli_cell(t, "-");
    else
        cli_cell(t, "%.3f", bits);
}

/* A scalar stands in the manifest, which is not counted by tensors. */
static double bits_per_weight(const json_t *tensor)
{
    const json_t *extent, *shape = json_object_get(tensor, "shape");
    double n = json_array_size(shape) > 0 ? 1.0 : 0.0;
    size_t i;
    json_array_foreach(shape, i, extent) n *= json_number_value(extent);
    return n > 0.0 ? 8.0 * cli_number(tensor, "predicted_bytes") / n : NAN;
}

/* What COST of a plan with this summary is, and in what. */
static const char *format_cost(const json_t *summary, double cost, char *buf, size_t size)
{
    bool measured = json_is_true(json_object_get(summary, "measured"));
    snprintf(buf, size, measured ? "mean KL %.4g nats" : "relative squared error %.4g", cost);
    return buf;
}

static void print_summary(const json_t *plan)
{
    const json_t *s = json_object_get(plan, "summary");
    char size[64], cost[64];
    if (!json_is_object(s))
        return;
    cli_print("policy %s: %s, %.3f bits a weight; predicted %s\n", cli_string(s, "policy"),
              cli_bytes(cli_number(s, "predicted_bytes"), size, sizeof size),
              cli_number(s, "predicted_bits_per_weight"),
              format_cost(s, cli_number(s, "predicted_cost"), cost, sizeof cost));
}

static enum qins_status print_plan(const json_t *plan, struct qins_error *err)
{
    static const char *const heads[] = {"tensor", "class", "coding", "bits/weight"};
    const json_t *tensor, *block;
    struct cli_table t;
    char rows[64];
    size_t i, k;
    cli_table_begin(&t, "lllr", heads);
    json_array_foreach(json_object_get(plan, "tensors"), i, tensor)
    {
        const json_t *blocks = json_object_get(tensor, "blocks");
        put_line(&t, tensor, cli_string(tensor, "name"), bits_per_weight(tensor));
        cli_note(&t, cli_string(tensor, "reason"));
        json_array_foreach(blocks, k, block)
        {
            snprintf(rows, sizeof rows, "  rows %.0f to %.0f", cli_number(block, "row_begin"),
                     cli_number(block, "row_end") - 1.0);
            put_line(&t, block, rows, NAN);
        }
    }
    enum qins_status st = cli_table_print(&t, err);
    print_summary(plan);
    return st;
}

/* The coding of ITEM that was chosen, or NULL. */
static const json_t *chosen_of(const json_t *item)
{
    const json_t *coding;
    size_t i;
    json_array_foreach(json_object_get(item, "codings"), i,
                       coding) if (json_is_true(json_object_get(coding, "chosen"))) return coding;
    return NULL;
}

/* Why CODING was not chosen, from its bytes and cost against those of what was. */
static void put_verdict(struct cli_table *t, const json_t *coding, const json_t *chosen)
{
    double bytes = cli_number(coding, "bytes") / cli_number(chosen, "bytes") - 1.0;
    double cost = cli_number(coding, "cost") / cli_number(chosen, "cost");
    if (!chosen)
        cli_cell(t, "-");
    else if (coding == chosen)
        cli_cell(t, "chosen");
    else if (bytes >= 0.0 && cost >= 1.0)
        cli_cell(t, "%.1f %% larger, no better", 100.0 * bytes);
    else if (bytes > 0.0)
        cli_cell(t, "%.1f %% larger for %.2f of the cost", 100.0 * bytes, cost);
    else if (cost > 1.0)
        cli_cell(t, "%.1f %% smaller at %.2f times the cost", -100.0 * bytes, cost);
    else
        cli_cell(t, "better, but for its decode or another's need");
}

/* A table is read for what might have been: within a factor of 16 of the chosen one's cost, or two
 * of its bytes. */
static bool is_near(const json_t *coding, const json_t *chosen)
{
    enum { COSTS = 16, SIZES = 2 };
    double bytes = cli_number(coding, "bytes") / cli_number(chosen, "bytes");
    double cost = cli_number(coding, "cost") / cli_number(chosen, "cost");
    return !chosen || coding == chosen ||
           (cost <= COSTS && cost >= 1.0 / COSTS && bytes <= SIZES && bytes >= 1.0 / SIZES);
}

static enum qins_status print_item(const json_t *item, struct qins_error *err)
{
    static const char *const heads[] = {"coder", "N",        "scale",       "kappa",
                                        "clip",  "bytes",    "bits/weight", "SQNR dB",
                                        "cost",  "ns/token", "verdict"};
    const json_t *coding, *chosen = chosen_of(item);
    struct cli_table t;
    size_t i;
    cli_table_begin(&t, "lrlrrrrrrrl", heads);
    json_array_foreach(json_object_get(item, "codings"), i, coding)
    {
        if (!is_near(coding, chosen))
            continue;
        cli_cell(&t, "%s", cli_string(coding, "codec"));
        cli_cell(&t, "%.0f", cli_number(coding, "levels"));
        cli_cell(&t, "%s", cli_string(coding, "group"));
        cli_cell(&t, "%.4g", cli_number(coding, "kappa"));
        cli_cell(&t, "%.3g", cli_number(coding, "clip"));
        cli_cell(&t, "%.0f", cli_number(coding, "bytes"));
        cli_cell(&t, "%.3f", cli_number(coding, "bits_per_weight"));
        cli_cell(&t, "%.2f", cli_number(coding, "sqnr_db"));
        cli_cell(&t, "%.3g", cli_number(coding, "cost"));
        cli_cell(&t, "%.0f", cli_number(coding, "decode_ns_per_token"));
        put_verdict(&t, coding, chosen);
    }
    return cli_table_print(&t, err);
}

static enum qins_status print_explanation(const json_t *report, struct qins_error *err)
{
    const json_t *item, *candidates = json_object_get(report, "candidates");
    const json_t *line = json_object_get(report, "line");
    enum qins_status st = QINS_OK;
    size_t i;
    cli_print("%s: %s\n", cli_string(line, "name"), cli_string(line, "reason"));
    if (json_array_size(candidates) == 0)
        cli_print("nothing else was considered\n");
    else if (cli_string(report, "cost")[0])
        cli_print("cost: %s\n", cli_string(report, "cost"));
    json_array_foreach(candidates, i, item)
    {
        if (json_array_size(candidates) > 1)
            cli_print("\nrows %.0f to %.0f: %s\n", cli_number(item, "row_begin"),
                      cli_number(item, "row_end") - 1.0,
                      cli_string(json_array_get(json_object_get(line, "blocks"), i), "reason"));
        if (st == QINS_OK)
            st = print_item(item, err);
    }
    return st;
}

static enum qins_status print_report(const json_t *report, struct qins_error *err)
{
    return json_object_get(report, "line") ? print_explanation(report, err)
                                           : print_plan(report, err);
}

/* The one tensor of a plan file, with what was considered for it. */
static enum qins_status explain(const char *path, const char *name, json_t **report,
                                struct qins_error *err)
{
    struct qn_plan plan;
    enum qins_status st = qn_plan_load(path, &plan, err);
    if (st != QINS_OK)
        return st;
    const struct qn_plan_tensor *t = qn_plan_find(&plan, name);
    json_t *all = NULL, *j = NULL, *line;
    const char *cost;
    if (!t) {
        st = qn_fail_at(err, QINS_ERR_USAGE, path, name, QN_NO_OFFSET, "is not in the plan");
        goto done;
    }
    all = qn_plan_to_json(&plan);
    line = json_array_get(json_object_get(all, "tensors"), (size_t)(t - plan.tensors));
    j = qn_report_begin("qins/plan-explain/1");
    cost = json_string_value(json_object_get(plan.summary, "cost"));
    qn_json_put(&j, "cost", cost ? json_string(cost) : json_null());
    qn_json_put(&j, "line", qn_json_copy(line));
    qn_json_put(&j, "candidates", t->candidates ? json_incref(t->candidates) : json_array());
    json_object_del(json_object_get(j, "line"), "candidates");
    *report = j;
    st = j ? QINS_OK : qn_fail_memory(err);
done:
    json_decref(all);
    qn_plan_finish(&plan);
    return st;
}

enum qins_status cli_plan_job_options(const struct cli *c, struct qn_plan_job_options *o,
                                      struct qins_error *err)
{
    enum qn_rounding rounding = QN_ROUND_NEAREST;
    bool given = false;
    *o = (struct qn_plan_job_options){.calibration = c->value[OPT_CALIBRATION],
                                      .policy = c->value[OPT_POLICY],
                                      .costs = c->value[OPT_COSTS],
                                      .rounding = -1,
                                      .threads = c->threads};
    enum qins_status st = cli_rounding(c, &rounding, &given, err);
    if (given)
        o->rounding = (int)rounding;
    if (st == QINS_OK)
        st = cli_real(c, OPT_TARGET_BITS, 1e-6, 64.0, &o->target_bits, err);
    if (st == QINS_OK)
        st = cli_size(c, OPT_TARGET_SIZE, &o->target_bytes, err);
    if (st == QINS_OK)
        st = cli_real(c, OPT_MAX_ERROR, 1e-300, 1e300, &o->max_error, err);
    if (st == QINS_OK && (o->target_bits > 0.0) + (o->target_bytes > 0) + (o->max_error > 0.0) > 1)
        st = qn_fail(err, QINS_ERR_USAGE,
                     "'--target-bits', '--target-size' and '--max-error' exclude each other");
    return st;
}

static enum qins_status make(const struct cli *c, json_t **report, struct qins_error *err)
{
    struct qn_plan_job_options options;
    const char *files[] = {c->value[OPT_CALIBRATION], c->value[OPT_POLICY], c->value[OPT_COSTS]};
    const char *output = c->value[OPT_OUTPUT];
    struct qn_plan plan = {0};
    enum qins_status st = cli_plan_job_options(c, &options, err);
    if (st == QINS_OK && options.rounding == QN_ROUND_FEEDBACK && !options.calibration)
        st = qn_fail(err, QINS_ERR_USAGE,
                     "'--rounding feedback' needs a calibration with Gram matrices");
    if (st == QINS_OK && !output)
        st = qn_fail(err, QINS_ERR_USAGE, "'-o' is missing");
    if (st == QINS_OK)
        st = qn_refuse_model_input(c->operand[0], files, sizeof files / sizeof *files, output, err);
    if (st == QINS_OK)
        st = cli_check_writable(output, err);
    if (st == QINS_OK)
        st = qn_make_plan(c->operand[0], &options, &c->monitor, &plan, err);
    if (st == QINS_OK)
        st = qn_plan_save(output, &plan, err);
    if (st == QINS_OK) {
        *report = qn_plan_to_json(&plan);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    qn_plan_finish(&plan);
    return st;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    static const enum cli_option_id others[] = {OPT_OUTPUT,    OPT_CALIBRATION, OPT_POLICY,
                                                OPT_COSTS,     OPT_TARGET_BITS, OPT_TARGET_SIZE,
                                                OPT_MAX_ERROR, OPT_ROUNDING};
    if (!c->value[OPT_EXPLAIN])
        return make(c, &c->report, err);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (c->value[others[i]])
            return qn_fail(err, QINS_ERR_USAGE, "'--%s' does not go with '--explain'",
                           cli_option_name(others[i]));
    return explain(c->operand[0], c->value[OPT_EXPLAIN], &c->report, err);
}

const struct cli_verb cli_plan = {
    .name = "plan",
    .summary = "Decides how each tensor of a checkpoint is coded, and says why.",
    .usage = "plan PATH -o plan.json [options]",
    .more_usage = {"plan --explain TENSOR plan.json"},
    .example = "qins plan model/ --calibration cal.h5 --target-bits 4.5 -o plan.json",
    .options = {OPT_OUTPUT, OPT_CALIBRATION, OPT_POLICY, OPT_COSTS, OPT_TARGET_BITS,
                OPT_TARGET_SIZE, OPT_MAX_ERROR, OPT_ROUNDING, OPT_EXPLAIN},
    .help = {{OPT_OUTPUT, "the plan, as JSON"},
             {OPT_CALIBRATION, "access counts, sensitivities, Gram matrices"},
             {OPT_TARGET_BITS, "bits a weight in all (default: the policy's, 6.5)"},
             {OPT_ROUNDING, "nearest, or feedback (default: where it can be)"}},
    .n_operands = 1,
    .run = run,
    .print = print_report,
};
