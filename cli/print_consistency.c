#include "cli/print_validate.h"

#include <string.h>

static void print_tensors(const json_t *test)
{
    const json_t *tensors = json_object_get(test, "tensors"),
                 *worst = json_object_get(test, "worst"), *tensor;
    size_t i, failed = 0;
    json_array_foreach(tensors, i, tensor) failed +=
        json_is_false(json_object_get(tensor, "passed"));
    cli_print("%zu tensors, %.0f of them bit-equal, %zu not within the bars",
              json_array_size(tensors), cli_number(test, "exact_tensors"), failed);
    if (cli_number(test, "native_tensors") > 0.0)
        cli_print("; %.0f, whose layers compute on coded inputs, are not judged",
                  cli_number(test, "native_tensors"));
    cli_print("\nlowest cosine: %s; largest 99 %% relative error: %s\n",
              cli_string(json_object_get(worst, "cosine"), "name"),
              cli_string(json_object_get(worst, "p99_rel_error"), "name"));
}

/* The mode of so many bits with kappa for FOR. */
static const json_t *find_mode(const json_t *modes, const char *kappa_for, json_int_t bits)
{
    const json_t *mode;
    size_t i;
    json_array_foreach(modes, i,
                       mode) if (json_integer_value(json_object_get(mode, "bits")) == bits &&
                                 strcmp(cli_string(mode, "kappa_for"), kappa_for) == 0) return mode;
    return NULL;
}

static const char *const kappas[] = {"squared_error", "relative_error"};
enum { KAPPAS = sizeof kappas / sizeof *kappas };

static enum qins_status print_modes(const json_t *test, struct qins_error *err)
{
    static const char *const heads[] = {"bits",    "lowest cosine", "99 % rel. error", "within",
                                        "cosine*", "99 %*",         "within*"};
    const json_t *modes = json_object_get(test, "modes"),
                 *from = json_object_get(test, "bars_met_from_bits"), *mode;
    struct cli_table t;
    size_t i;
    cli_print("this model's matrices with one scale a row, and the bars (kappa for the least "
              "squared error; * for the least 99 %% relative error):\n");
    cli_table_begin(&t, "rrrrrrr", heads);
    json_array_foreach(modes, i, mode)
    {
        const json_int_t bits = json_integer_value(json_object_get(mode, "bits"));
        if (strcmp(cli_string(mode, "kappa_for"), kappas[0]) != 0)
            continue;
        cli_cell(&t, "%.0f", (double)bits);
        for (int k = 0; k < KAPPAS; k++) {
            const json_t *m = find_mode(modes, kappas[k], bits);
            cli_cell(&t, "%.6f", cli_number(m, "min_cosine"));
            cli_cell(&t, "%.3g %%", 100.0 * cli_number(m, "max_p99_rel_error"));
            cli_cell(&t, "%s", json_is_true(json_object_get(m, "passed")) ? "yes" : "no");
        }
    }
    enum qins_status st = cli_table_print(&t, err);
    for (int k = 0; k < KAPPAS; k++) {
        const json_t *bits = json_object_get(from, kappas[k]);
        const char *what = k == 0 ? "squared" : "relative";
        if (json_is_integer(bits))
            cli_print("the bars are met from %.0f bits on with kappa for the %s error\n",
                      json_number_value(bits), what);
        else
            cli_print("the bars are met by no number of bits up to 12 with kappa for the %s "
                      "error\n",
                      what);
    }
    mode = json_array_get(modes, 0);
    cli_print("lossless: cosine %.6g, 99 %% relative error %.3g\n", cli_number(mode, "min_cosine"),
              cli_number(mode, "max_p99_rel_error"));
    return st;
}

enum qins_status print_consistency(const json_t *report, const json_t *test, struct qins_error *err)
{
    const char *note = cli_string(test, "note");
    (void)report;
    if (*note)
        cli_print("%s\n", note);
    if (json_object_get(test, "tensors"))
        print_tensors(test);
    return print_modes(test, err);
}
