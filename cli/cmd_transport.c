#include "cli/cli.h"

#include "convert/transport.h"

#include <math.h>
#include <string.h>

enum { LEAST_BITS = 6, MOST_BITS = 8 };

static bool is_number(const json_t *object, const char *key, double value)
{
    return cli_number(object, key) == value;
}

/* The first line of METHODS with that method and choice, of KAPPA where it is >= 0; or NULL. */
static const json_t *find_line(const json_t *methods, const char *method, const char *choice,
                               double kappa)
{
    const json_t *line;
    size_t i;
    json_array_foreach(methods, i,
                       line) if (strcmp(cli_string(line, "method"), method) == 0 &&
                                 strcmp(cli_string(line, "choice"), choice) == 0 &&
                                 (kappa < 0.0 || is_number(line, "kappa", kappa))) return line;
    return NULL;
}

static void error_cell(struct cli_table *t, const json_t *line, const char *key)
{
    const double error = cli_number(line, key);
    if (isnan(error))
        cli_cell(t, "-");
    else
        cli_cell(t, "%.3g %%", 100.0 * error);
}

static void put_line(struct cli_table *t, const json_t *layer, const json_t *line, bool first)
{
    const json_t *methods = json_object_get(layer, "methods");
    const bool has_order = cli_number(line, "order") > 0.0;
    cli_cell(t, "%s", first ? cli_string(layer, "name") : "");
    cli_cell(t, "%s", first ? cli_string(layer, "projection") : "");
    cli_cell(t, "%s%s%s", cli_string(line, "method"),
             json_is_true(json_object_get(line, "sign_plane")) ? ", sign plane" : "",
             json_is_true(json_object_get(line, "fallback")) ? ", as split" : "");
    if (has_order)
        cli_cell(t, "%.0f", cli_number(line, "order"));
    else
        cli_cell(t, "-");
    cli_cell(t, "%.4g", cli_number(line, "kappa"));
    cli_cell(t, "%.3g", cli_number(line, "clip"));
    error_cell(t, line, "relative_error_select");
    error_cell(t, line, "relative_error_test");
    error_cell(t, first ? find_line(methods, "decode", "best", -1.0) : NULL, "relative_error_test");
    error_cell(t, first ? find_line(methods, "decode", "order", 0.0) : NULL, "relative_error_test");
}

/* What was chosen for a layer, and, where everything was tried, the best of each other method. */
static void put_layer(struct cli_table *t, const json_t *layer, bool all)
{
    const json_t *line, *methods = json_object_get(layer, "methods");
    const size_t chosen = (size_t)cli_number(layer, "chosen");
    size_t i;
    put_line(t, layer, json_array_get(methods, chosen), true);
    json_array_foreach(methods, i, line)
    {
        const char *method = cli_string(line, "method");
        if (all && i != chosen && strcmp(cli_string(line, "choice"), "best") == 0 &&
            strcmp(method, "decode") != 0)
            put_line(t, layer, line, false);
    }
}

static enum qins_status print_table(const json_t *report, struct qins_error *err)
{
    const json_t *layer, *settings = json_object_get(report, "settings");
    const bool all = strcmp(cli_string(settings, "method"), "all") == 0;
    char int_head[32], size[64];
    snprintf(int_head, sizeof int_head, "INT%.0f, clipped", cli_number(settings, "bits"));
    const char *const heads[] = {"weight", "layer",  "method", "K",       "kappa",
                                 "clip",   "select", "test",   "decoded", int_head};
    struct cli_table t;
    size_t i;
    cli_table_begin(&t, "lllrrrrrrr", heads);
    json_array_foreach(json_object_get(report, "layers"), i, layer) put_layer(&t, layer, all);
    enum qins_status st = cli_table_print(&t, err);
    const size_t layers = json_array_size(json_object_get(report, "layers"));
    const size_t inputs = json_array_size(json_object_get(report, "inputs"));
    const size_t skipped = json_array_size(json_object_get(report, "skipped"));
    cli_print("%zu layer%s on %zu input%s, errors as mean |dy| / mean |y|: %s, %.2f s\n", layers,
              layers == 1 ? "" : "s", inputs, inputs == 1 ? "" : "s",
              cli_bytes(cli_number(report, "output_bytes"), size, sizeof size),
              cli_number(report, "seconds"));
    if (skipped > 0)
        cli_print("%zu layer%s of experts %s: too few rows\n", skipped, skipped == 1 ? "" : "s",
                  skipped == 1 ? "stays as it is" : "stay as they are");
    return st;
}

static enum qins_status read_method(const struct cli *c, enum qn_transport_method *out,
                                    struct qins_error *err)
{
    const char *text = c->value[OPT_METHOD];
    *out = QN_SPLIT;
    if (!text)
        return QINS_OK;
    *out = qn_transport_method_of(text);
    if (*out == QN_TRANSPORT_METHODS && strcmp(text, "all") != 0)
        return qn_fail(err, QINS_ERR_USAGE,
                       "'--method %s': jacobian-literal, jacobian-tangent, split, ridge, decode or "
                       "all is needed",
                       text);
    return QINS_OK;
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    const char *order = c->value[OPT_ORDER];
    struct qn_transport_options o = {.layers = c->value[OPT_LAYERS],
                                     .sign_plane = c->value[OPT_SIGN_PLANE] != NULL,
                                     .kappa = -1.0F,
                                     .clip = -1.0F,
                                     .materialize = c->value[OPT_MATERIALIZE] != NULL,
                                     .threads = c->threads};
    enum qins_status st = QINS_OK;
    if (!c->value[OPT_CALIBRATION])
        st = qn_fail(err, QINS_ERR_USAGE,
                     "'--calibration' is missing: 'qins calibrate MODEL --text FILE --keep-rows "
                     "2048 -o OUT.h5' makes one");
    if (st == QINS_OK)
        st = cli_check_writable(c->value[OPT_OUTPUT], err);
    if (st == QINS_OK)
        st = read_method(c, &o.method, err);
    if (st == QINS_OK && order && strcmp(order, "auto") != 0)
        st = cli_unsigned(c, OPT_ORDER, 1, QN_TRANSPORT_ORDER, &o.order, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_PLANES, 1, QN_TRANSPORT_ORDER, &o.max_order, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_BITS, LEAST_BITS, MOST_BITS, &o.bits, err);
    if (st == QINS_OK)
        st = cli_auto_or_real(c, OPT_KAPPA, "'auto' or a number from 0 to 65536 is needed",
                              &o.kappa, err);
    if (st == QINS_OK)
        st = cli_auto_or_real(c, OPT_CLIP, "'auto' or a number from 0.01 to 1 is needed", &o.clip,
                              err);
    if (st == QINS_OK && o.order && o.max_order)
        st = qn_fail(err, QINS_ERR_USAGE, "'--order K' and '--planes' exclude each other");
    return st == QINS_OK ? qn_transport_make(c->operand[0], c->value[OPT_CALIBRATION],
                                             c->value[OPT_OUTPUT], &o, &c->monitor, &c->report, err)
                         : st;
}

const struct cli_verb cli_transport = {
    .name = "transport",
    .summary = "Fits layers that compute on coded inputs, without decoding them.",
    .usage = "transport MODEL --calibration FILE -o OUT.h5 [options]",
    .example = "qins transport model/ --calibration calibration.h5 -o transport.h5",
    .options = {OPT_CALIBRATION, OPT_OUTPUT, OPT_LAYERS, OPT_METHOD, OPT_ORDER, OPT_PLANES,
                OPT_BITS, OPT_KAPPA, OPT_CLIP, OPT_SIGN_PLANE, OPT_MATERIALIZE},
    .help = {{OPT_CALIBRATION, "of 'qins calibrate --keep-rows'"},
             {OPT_BITS, "6 to 8 bits a coded input (default 8)"},
             {OPT_KAPPA, "shape of the inputs' grid (default auto)"},
             {OPT_CLIP, "share of the largest input kept (default auto)"},
             {OPT_OUTPUT, "the transport; its report goes beside it, .json"}},
    .n_operands = 1,
    .needs_output = true,
    .run = run,
    .print = print_table,
};
