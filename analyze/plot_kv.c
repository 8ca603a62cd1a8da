/* Pictures of V pages: entropies of their codes and what coders make of them, layer by layer. */
#include "analyze/plot_assets.h"
#include "analyze/plot_model.h"
#include "analyze/report_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LINES = 4, MAX_LAYERS = 1000 };

struct picture {
    struct qn_plot plot;
    const char *label; /* of the axis */
    const char *names[LINES];
    void (*figures)(const json_t *tensor, double out[LINES]);
};

static void entropies(const json_t *tensor, double out[LINES])
{
    const json_t *codes = json_object_get(tensor, "encoded"), *kv = json_object_get(tensor, "kv");
    out[0] = qn_report_number(codes, "entropy_bits");
    out[1] = qn_report_number(kv, "order1_time_bits");
    out[2] = qn_report_number(codes, "order1_bits");
    out[3] = qn_report_number(json_object_get(kv, "weight"), "entropy_bits");
}

static void sizes(const json_t *tensor, double out[LINES])
{
    static const char *const coders[LINES] = {"bitpack", "huffman", "rle-huffman", "zstd"};
    const json_t *bits = json_object_get(json_object_get(tensor, "encoded"), "bits_by_coder");
    for (int i = 0; i < LINES; i++)
        out[i] = qn_report_number(bits, coders[i]);
}

static const struct picture pictures[] = {
    {.plot = {.name = "kv-entropy",
              .caption =
                  "Entropy of codes of V pages by layer: alone, given the same channel of "
                  "the token before, given the value before in the token; beside it that of "
                  "the weights that make V, at as many bits. In the first layer of a model "
                  "with rotary positions V depends on the token alone: a token that comes again "
                  "brings the same codes.",
              .alt = "entropy of codes of V pages by layer",
              .tensor = -1},
     .label = "entropy of a code, bits",
     .names = {"V codes", "given the token before", "given the value before", "weights of V"},
     .figures = entropies},
    {.plot = {.name = "kv-coded",
              .caption = "Bits a value of whole pages, each coded by itself, with header, scales "
                         "and tables. zstd also finds tokens that come again.",
              .alt = "coded size of V pages by layer",
              .tensor = -1},
     .label = "bits a value",
     .names = {"packed", "Huffman", "RLE and Huffman", "zstd"},
     .figures = sizes},
};

static enum qins_status draw(struct qn_plotter *p, const json_t *report,
                             const struct picture *picture, struct qins_error *err)
{
    const json_t *tensor;
    size_t i, rows = 0;
    double last = 0.0;
    enum qins_status st = qn_plot_begin(p, picture->plot.name, err);
    if (st != QINS_OK)
        return st;
    qn_plot_text(p, "layer");
    for (int k = 0; k < LINES; k++)
        qn_plot_text(p, picture->names[k]);
    qn_plot_end_row(p);
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        const double layer = qn_report_number(tensor, "layer");
        double figures[LINES];
        if (strcmp(qn_report_text(tensor, "kind"), "kv page") != 0 || !(layer >= 0.0) ||
            rows == MAX_LAYERS)
            continue;
        picture->figures(tensor, figures);
        qn_plot_number(p, layer);
        for (int k = 0; k < LINES; k++)
            qn_plot_number(p, figures[k]);
        qn_plot_end_row(p);
        last = fmax(last, layer);
        rows++;
    }
    return qn_plot_end(p, &picture->plot, rows, qn_asset_kv_layers_gp, err,
                       "columns = %d\nbits = %.0f\nlast = %.0f\nlabel = \"%s\"\n", LINES,
                       fmax(qn_report_number(json_object_get(report, "kv"), "bits"), 1.0), last,
                       picture->label);
}

enum qins_status qn_plot_kv(struct qn_plotter *p, const struct qn_plot_input *in,
                            struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (!json_is_object(json_object_get(in->report, "kv")))
        return QINS_OK;
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures && st == QINS_OK; i++)
        st = draw(p, in->report, &pictures[i], err);
    return st;
}
