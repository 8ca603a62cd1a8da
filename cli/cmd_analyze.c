#include "cli/cli.h"

#include "analyze/entropy_report.h"
#include "convert/sources.h"
#include "core/file.h"
#include "core/folder.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a run leaves in its folder, and could put in the place of an input. */
static const char *const outputs[] = {"entropy_analysis.json", "entropy_analysis.h5", "index.html"};

/* The real path of PATH or, where it is not there yet, of the nearest folder above it that is. */
static char *existing(const char *path, struct qins_error *err)
{
    char *at = qn_strdup(path, err), *found = NULL;
    while (at && !found) {
        found = realpath(at, NULL);
        const bool absent = !found && (errno == ENOENT || errno == ENOTDIR),
                   last = strcmp(at, "/") == 0 || strcmp(at, ".") == 0;
        if (!found && (!absent || last))
            qn_fail_errno(err, at, "find the folder");
        char *up = absent && !last ? qn_path_dir(at, err) : NULL;
        free(at);
        at = up;
    }
    free(at);
    return found;
}

/* A folder that is a checkpoint is left alone. */
static enum qins_status refuse_inside(const char *model, const char *dir, struct qins_error *err)
{
    enum qn_entry what;
    enum qins_status st = qn_find(model, true, &what, err);
    if (st != QINS_OK || what != QN_ENTRY_FOLDER)
        return st;
    char *outer = realpath(model, NULL), *inner = outer ? existing(dir, err) : NULL;
    const size_t n = outer ? strlen(outer) : 0;
    if (!outer)
        st = qn_fail_errno(err, model, "find the folder");
    else if (!inner)
        st = err->status;
    else if (strncmp(inner, outer, n) == 0 && (inner[n] == '/' || !inner[n]))
        st = qn_fail_at(err, QINS_ERR_USAGE, dir, NULL, QN_NO_OFFSET,
                        "the output is inside an input (%s); choose another folder", model);
    free(outer);
    free(inner);
    return st;
}

static enum qins_status check_output(const struct cli *c, struct qins_error *err)
{
    const char *files[] = {c->value[OPT_CALIBRATION], c->value[OPT_TRANSPORT], c->value[OPT_KV],
                           c->value[OPT_PLAN], c->value[OPT_ARCHIVE]};
    const char *dir = c->value[OPT_OUTPUT];
    enum qn_entry what = QN_ENTRY_NONE;
    enum qins_status st = refuse_inside(c->operand[0], dir, err);
    if (st == QINS_OK)
        st = qn_find(dir, true, &what, err);
    if (st == QINS_OK && what != QN_ENTRY_NONE && what != QN_ENTRY_FOLDER)
        st = qn_fail_at(err, QINS_ERR_IO, dir, NULL, QN_NO_OFFSET, "it is no folder");
    if (st == QINS_OK)
        st = cli_refuse_other_page(dir, outputs[0], err);
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs && st == QINS_OK; i++) {
        char *path = qn_path_join(dir, outputs[i], err);
        st = path ? qn_refuse_model_input(c->operand[0], files, sizeof files / sizeof *files, path,
                                          err)
                  : QINS_ERR_MEMORY;
        free(path);
    }
    return st;
}

static enum qins_status run_replot(struct cli *c, struct qins_error *err)
{
    static const enum cli_option_id others[] = {OPT_OUTPUT, OPT_CALIBRATION, OPT_TRANSPORT,
                                                OPT_KV,     OPT_PLAN,        OPT_ARCHIVE};
    if (c->operand[0])
        return qn_fail(err, QINS_ERR_USAGE, "unexpected '%s': '--replot' takes one folder",
                       c->operand[0]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (c->value[others[i]])
            return qn_fail(err, QINS_ERR_USAGE, "'--replot' and '--%s' exclude each other",
                           cli_option_name(others[i]));
    return qn_replot(c->value[OPT_REPLOT], &c->monitor, &c->report, err);
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    const struct qn_analyze_options options = {.calibration = c->value[OPT_CALIBRATION],
                                               .transport = c->value[OPT_TRANSPORT],
                                               .kv = c->value[OPT_KV],
                                               .plan = c->value[OPT_PLAN],
                                               .archive = c->value[OPT_ARCHIVE],
                                               .threads = c->threads};
    if (c->value[OPT_REPLOT])
        return run_replot(c, err);
    if (!c->operand[0])
        return qn_fail(err, QINS_ERR_USAGE, "an argument is missing: PATH");
    if (!c->value[OPT_OUTPUT])
        return qn_fail(err, QINS_ERR_USAGE, "'-o' is missing");
    enum qins_status st = check_output(c, err);
    return st == QINS_OK ? qn_analyze(c->operand[0], c->value[OPT_OUTPUT], &options, &c->monitor,
                                      &c->report, err)
                         : st;
}

static enum qins_status print_comparison(const json_t *report, struct qins_error *err)
{
    static const char *const heads[] = {"bits", "QINS dB", "INT dB", "INT, best clip",
                                        "QINS coded, bits"};
    const json_t *rows = json_object_get(json_object_get(report, "comparison"), "fixed"), *row;
    struct cli_table t;
    size_t i;
    if (json_array_size(rows) == 0)
        return QINS_OK;
    cli_table_begin(&t, "rrrrr", heads);
    json_array_foreach(rows, i, row)
    {
        cli_cell(&t, "%.0f", cli_number(row, "bits"));
        cli_cell(&t, "%.2f", cli_number(row, "qins_sqnr_db"));
        cli_cell(&t, "%.2f", cli_number(row, "int_absmax_sqnr_db"));
        cli_cell(&t, "%.2f", cli_number(row, "int_clip_sqnr_db"));
        cli_cell(&t, "%.3f", cli_number(row, "qins_coded_bits"));
    }
    cli_print("all matrices, one scale a row, signal to quantisation noise:\n");
    return cli_table_print(&t, err);
}

static void print_transport(const json_t *transport)
{
    const json_t *stages = json_object_get(transport, "stages"),
                 *all = json_array_get(stages, json_array_size(stages) - 1),
                 *a = json_object_get(all, "pattern_a"), *b = json_object_get(all, "pattern_b");
    if (!all)
        return;
    cli_print(
        "%zu native layers on %zu coded inputs: a forward pass decodes %.0f tensors, not %.0f, "
        "and makes %.0f products of planes\n",
        json_array_size(json_object_get(transport, "layers")),
        json_array_size(json_object_get(transport, "inputs")), cli_number(b, "decodes"),
        cli_number(a, "decodes"), cli_number(b, "plane_products"));
}

static void print_kv(const json_t *kv)
{
    const json_t *codes = json_object_get(kv, "encoded");
    if (!json_is_object(kv))
        return;
    cli_print("V pages of %.0f bits: code entropy %.3f bits, %.3f given the token before; packed "
              "%.3f bits a value (%.2f x under float16), old pages coded %.3f (%.2f x)\n",
              cli_number(kv, "bits"), cli_number(codes, "entropy_bits"),
              cli_number(kv, "order1_time_bits"),
              cli_number(json_object_get(kv, "packed"), "bits_per_value"),
              cli_number(json_object_get(kv, "packed"), "ratio_f16"),
              cli_number(json_object_get(kv, "recoded"), "bits_per_value"),
              cli_number(json_object_get(kv, "recoded"), "ratio_f16"));
}

static enum qins_status print(const json_t *report, struct qins_error *err)
{
    const json_t *model = json_object_get(report, "model"), *stage;
    char size[64];
    size_t i;
    cli_print("%s: %.0f tensors, %.0f matrices\n", cli_string(model, "path"),
              cli_number(model, "tensors"), cli_number(model, "matrices"));
    json_array_foreach(json_object_get(report, "sizes"), i, stage)
    {
        cli_print("  %-28s %s\n", cli_string(stage, "stage"),
                  cli_bytes(cli_number(stage, "bytes"), size, sizeof size));
    }
    print_transport(json_object_get(report, "transport"));
    print_kv(json_object_get(report, "kv"));
    return print_comparison(report, err);
}

const struct cli_verb cli_analyze = {
    .name = "analyze",
    .summary = "Studies where the bits of a checkpoint are: report and plots.",
    .usage = "analyze PATH -o DIR [options]",
    .more_usage = {"analyze --replot DIR"},
    .example = "qins analyze model/ --calibration A.h5 -o study/",
    .options = {OPT_OUTPUT, OPT_CALIBRATION, OPT_TRANSPORT, OPT_KV, OPT_PLAN, OPT_ARCHIVE,
                OPT_REPLOT},
    .help = {{OPT_OUTPUT, "folder for report, curves, plots and page"},
             {OPT_TRANSPORT, "study these native layers, too"},
             {OPT_PLAN, "show the choices of this plan"}},
    .n_operands = 1,
    .optional_operands = 1,
    .run = run,
    .print = print,
};
