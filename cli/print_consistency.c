#include "cli/print_validate.h"

#include <string.h>

static enum qins_status print_tensors(const json_t *test, struct qins_error *err)
{
    static const char *const heads[] = {"worst tensors", "value", "name"};
    const json_t *tensors = json_object_get(test, "tensors"),
                 *worst = json_object_get(test, "worst"),
                 *cosine = json_object_get(worst, "cosine"),
                 *error = json_object_get(worst, "p99_rel_error"), *tensor;
    size_t i, failed = 0;
    struct cli_table t;
    json_array_foreach(tensors, i, tensor) failed +=
        json_is_false(json_object_get(tensor, "passed"));
    cli_print("%zu tensors: %.0f bit-equal, %zu not within the bars", json_array_size(tensors),
              cli_number(test, "exact_tensors"), failed);
    if (cli_number(test, "native_tensors") > 0.0)
        cli_print("; %.0f, whose layers compute on coded inputs, are not judged",
                  cli_number(test, "native_tensors"));
    cli_print("\n");
    if (!worst)
        return QINS_OK;
    cli_table_begin(&t, "lrl", heads);
    cli_cell(&t, "lowest cosine");
    cli_figure_cell(&t, &cli_cosine, cosine, "value", NULL);
    cli_cell(&t, "%s", cli_string(cosine, "name"));
    cli_cell(&t, "relative error, 99th percentile, %%");
    cli_figure_cell(&t, &cli_error, error, "value", NULL);
    cli_cell(&t, "%s", cli_string(error, "name"));
    return cli_table_print(&t, err);
}

static const struct {
    const char *key, *words;
} kappas[] = {{"squared_error", "squared error, as convert takes it without a calibration"},
              {"relative_error", "relative error at the 99th percentile"}};
enum { KAPPAS = sizeof kappas / sizeof *kappas };

/* The modes with kappa for one purpose, below a heading. */
static enum qins_status print_modes_of(const json_t *test, int kappa, struct qins_error *err)
{
    static const char *const heads[] = {"bits", "lowest cosine",
                                        "relative error, 99th percentile, %", "within the bars"};
    const json_t *from = json_object_get(json_object_get(test, "bars_met_from_bits"),
                                         kappas[kappa].key),
                 *mode;
    struct cli_table t;
    size_t i;
    cli_print("quantised, kappa for the least %s:\n", kappas[kappa].words);
    cli_table_begin(&t, "rrrl", heads);
    json_array_foreach(json_object_get(test, "modes"), i, mode)
    {
        if (strcmp(cli_string(mode, "kappa_for"), kappas[kappa].key) != 0)
            continue;
        cli_cell(&t, "%.0f", cli_number(mode, "bits"));
        cli_figure_cell(&t, &cli_cosine, mode, "min_cosine", NULL);
        cli_figure_cell(&t, &cli_error, mode, "max_p99_rel_error", NULL);
        cli_cell(&t, "%s", json_is_true(json_object_get(mode, "passed")) ? "yes" : "no");
    }
    enum qins_status st = cli_table_print(&t, err);
    if (json_is_integer(from))
        cli_print("the bars are met from %.0f bits on\n", json_number_value(from));
    else
        cli_print("the bars are met by no number of bits up to 12\n");
    return st;
}

static enum qins_status print_modes(const json_t *test, struct qins_error *err)
{
    const json_t *lossless = json_array_get(json_object_get(test, "modes"), 0);
    char cosine[CLI_FIGURE], error[CLI_FIGURE];
    enum qins_status st = QINS_OK;
    cli_print(
        "what ways to store this model's matrices make of the worst of them, one scale a row:\n"
        "lossless: cosine %s, relative error %s %%\n",
        cli_figure(cosine, &cli_cosine, lossless, "min_cosine", NULL),
        cli_figure(error, &cli_error, lossless, "max_p99_rel_error", NULL));
    for (int k = 0; k < KAPPAS && st == QINS_OK; k++)
        st = print_modes_of(test, k, err);
    return st;
}

enum qins_status print_consistency(const json_t *report, const json_t *test, struct qins_error *err)
{
    const char *note = cli_string(test, "note");
    enum qins_status st = QINS_OK;
    (void)report;
    if (*note)
        cli_print("%s\n", note);
    if (json_object_get(test, "tensors"))
        st = print_tensors(test, err);
    return st == QINS_OK ? print_modes(test, err) : st;
}
