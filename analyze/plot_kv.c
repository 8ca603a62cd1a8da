/* The picture of V pages: what their codes have of entropy, layer by layer. */
#include "analyze/plot_assets.h"
#include "analyze/plot_model.h"
#include "analyze/report_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS = 4, MAX_LAYERS = 1000 };

static void figures_of(const json_t *tensor, double out[COLUMNS])
{
    const json_t *codes = json_object_get(tensor, "encoded"), *kv = json_object_get(tensor, "kv");
    out[0] = qn_report_number(json_object_get(kv, "recoded"), "bits_per_value");
    out[1] = qn_report_number(codes, "entropy_bits");
    out[2] = qn_report_number(kv, "order1_time_bits");
    out[3] = qn_report_number(json_object_get(kv, "weight"), "entropy_bits");
}

enum qins_status qn_plot_kv(struct qn_plotter *p, const struct qn_plot_input *in,
                            struct qins_error *err)
{
    struct qn_plot plot = {
        .name = "kv-entropy",
        .caption = "Pages of the V cache by layer, bits a value: as old pages are coded (runs and "
                   "Huffman, with headers and scales), the entropy of their codes, the same given "
                   "the token before, and the entropy of the weights that make V at as many bits.",
        .alt = "entropy of codes of V pages by layer",
        .tensor = -1};
    const json_t *kv = json_object_get(in->report, "kv"), *tensor;
    size_t i, rows = 0;
    double last = 0.0, least = (double)INFINITY;
    bool weights = false;
    char head[96];
    if (!json_is_object(kv))
        return QINS_OK;
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    json_array_foreach(json_object_get(in->report, "tensors"), i, tensor)
    {
        const double layer = qn_report_number(tensor, "layer");
        double figures[COLUMNS];
        if (strcmp(qn_report_text(tensor, "kind"), "kv page") != 0 || !(layer >= 0.0) ||
            rows == MAX_LAYERS)
            continue;
        figures_of(tensor, figures);
        qn_plot_number(p, layer);
        for (int k = 0; k < COLUMNS; k++) {
            qn_plot_number(p, figures[k]);
            least = fmin(least, figures[k]);
        }
        qn_plot_end_row(p);
        weights = weights || isfinite(figures[COLUMNS - 1]);
        last = fmax(last, layer);
        rows++;
    }
    if (rows == 0 || !isfinite(least))
        return qn_plot_drop(p, plot.name, err);
    snprintf(head, sizeof head, "bits = %.0f\nlast = %.0f\nleast = %.9g\nweights = %d\n",
             fmax(qn_report_number(kv, "bits"), 1.0), last, least, weights);
    return qn_plot_end(p, &plot, head, qn_asset_kv_entropy_gp, err);
}
