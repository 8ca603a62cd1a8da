/* The page's part on layers that compute on coded inputs. */
#include "analyze/page.h"
#include "analyze/plot_model.h"
#include "analyze/report_json.h"

#include <math.h>
#include <string.h>

/* A geometric mean of ratios. */
struct ratio {
    double sum;
    size_t n;
};

static void add_ratio(struct ratio *r, double a, double b)
{
    if (a > 0.0 && b > 0.0 && isfinite(a) && isfinite(b)) {
        r->sum += log(a / b);
        r->n++;
    }
}

static double mean_of(const struct ratio *r)
{
    return r->n ? exp(r->sum / (double)r->n) : (double)NAN;
}

/* What the layers of a study have in common. */
struct summary {
    size_t layers;
    struct ratio precision, chosen, chosen_int; /* squared errors: decoded over clipped INT, chosen
                                                   over decoded, chosen over clipped INT */
    double plane_work, work; /* multiply-adds a token, of planes and of plain products */
};

static void summarise(const json_t *layers, struct summary *s)
{
    static const char squared[] = "squared_error_test";
    const json_t *layer;
    size_t i;
    *s = (struct summary){0};
    json_array_foreach(layers, i, layer)
    {
        struct qn_native_errors e;
        qn_native_errors(layer, &e);
        const double chosen = qn_report_number(e.line, squared),
                     decode = qn_report_number(e.decode_line, squared),
                     clip = qn_report_number(e.clip_line, squared),
                     size = qn_report_number(layer, "out") * qn_report_number(layer, "in"),
                     planes = qn_report_number(e.line, "planes");
        s->layers++;
        add_ratio(&s->precision, decode, clip);
        add_ratio(&s->chosen, chosen, decode);
        add_ratio(&s->chosen_int, chosen, clip);
        if (isfinite(size * planes)) {
            s->plane_work += size * planes;
            s->work += size;
        }
    }
}

static void put_precision(FILE *to, const struct summary *s, double bits)
{
    const double precision = mean_of(&s->precision);
    if (isnan(precision))
        return;
    fprintf(to,
            "Precision: %.0f-bit QINS inputs, decoded before the product, leave <b>%.2f "
            "\xc3\x97</b> the squared error of INT%.0f at its best clip (geometric mean of %zu "
            "layers, kappa and scale chosen on select rows, errors on test rows)",
            bits, precision, bits, s->precision.n);
    fputs(precision < 1.0 ? ": the precision hypothesis holds here. "
                          : ": the precision hypothesis does not hold here. ",
          to);
    if (s->chosen.n > 0)
        fprintf(to,
                "The native layers as chosen have %.2f \xc3\x97 the squared error of decoding, "
                "%.2f \xc3\x97 that of INT%.0f. ",
                mean_of(&s->chosen), mean_of(&s->chosen_int), bits);
}

/* The last stage has all layers. */
static void put_work(FILE *to, const struct summary *s, const json_t *stages)
{
    const json_t *last = json_array_get(stages, json_array_size(stages) - 1),
                 *a = json_object_get(last, "pattern_a"), *b = json_object_get(last, "pattern_b");
    const double planes = qn_report_number(b, "plane_products"),
                 replaced = qn_report_number(a, "products") - qn_report_number(b, "products");
    if (!json_is_object(last))
        return;
    fprintf(to,
            "Work: counted in a forward pass, the native layers decode %.0f tensors where decoding "
            "before each product decodes %.0f, and make %.0f products of planes in place of %.0f "
            "products",
            qn_report_number(b, "decodes"), qn_report_number(a, "decodes"), planes, replaced);
    if (s->work > 0.0 && s->plane_work > 0.0)
        fprintf(to, ", <b>%.2f \xc3\x97</b> the multiply-adds", s->plane_work / s->work);
    fputs(
        ". Since split's W\xe2\x82\x96 = W diag(c\xe2\x82\x96), K products of planes equal K "
        "multiply-adds an activation and one product, and a decode by table is cheaper still: on "
        "ordinary hardware K \xe2\x89\xa5 2 saves no work over decoding each activation once, and "
        "K = 1 wants \xce\xba \xe2\x86\x92 0. The case of native layers rests on what the "
        "hardware makes cheap.",
        to);
}

static const json_t *activation_of(const json_t *report, double input)
{
    const json_t *tensor;
    size_t i;
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        const json_t *t = json_object_get(tensor, "transport");
        if (json_is_object(t) && qn_report_number(t, "input") == input)
            return t;
    }
    return NULL;
}

static void put_layer(FILE *to, const json_t *report, const json_t *layer)
{
    struct qn_native_errors e;
    qn_native_errors(layer, &e);
    const json_t *coded = activation_of(report, qn_report_number(layer, "input"));
    fputs("<tr><td class=\"name\">", to);
    qn_page_name(to, qn_report_text(layer, "name"));
    fputs("</td><td>", to);
    qn_page_text(to, qn_report_text(layer, "projection"));
    fputs("</td><td>", to);
    qn_page_text(to, qn_report_text(e.line, "method"));
    fputs("</td>", to);
    qn_page_cell(to, 0, qn_report_number(e.line, "planes"));
    qn_page_cell(to, 2, qn_report_number(e.line, "kappa"));
    qn_page_cell(to, 2, qn_report_number(e.line, "clip"));
    qn_page_cell(to, 3, 100.0 * e.chosen);
    qn_page_cell(to, 3, 100.0 * e.decode);
    qn_page_cell(to, 3, 100.0 * e.clip);
    qn_page_cell(to, 3, 100.0 * e.absmax);
    qn_page_cell(to, 3, qn_report_number(coded, "entropy_bits"));
    fputs("</tr>\n", to);
}

static void put_layers(FILE *to, const json_t *report, const json_t *layers, double bits)
{
    const json_t *layer;
    size_t i;
    fprintf(to,
            "<div class=\"scroll\"><table><thead><tr><th>layer</th><th>kind</th><th>method</th>"
            "<th class=\"n\">planes</th><th class=\"n\">\xce\xba</th><th class=\"n\">clip</th>"
            "<th class=\"n\">error, %%</th><th class=\"n\">decoded before, %%</th>"
            "<th class=\"n\">INT%.0f best clip, %%</th><th class=\"n\">INT%.0f absmax, %%</th>"
            "<th class=\"n\">code entropy, bits</th></tr></thead><tbody>\n",
            bits, bits);
    json_array_foreach(layers, i, layer)
    {
        put_layer(to, report, layer);
    }
    fputs(
        "</tbody></table></div>\n<p class=\"soft\">Errors are mean |difference| over mean "
        "|output| on the calibration's test rows, each method at the \xce\xba and scale that were "
        "best on select rows. Planes of these layers are in the table of every tensor, as kind "
        "\xe2\x80\x9ctransport\xe2\x80\x9d.</p>\n",
        to);
}

void qn_page_transport(struct qn_text_writer *page, const json_t *report,
                       const struct qn_plotter *p)
{
    FILE *to = page->to;
    const json_t *transport = json_object_get(report, "transport"),
                 *study = json_object_get(transport, "study"),
                 *layers = json_object_get(study, "layers");
    struct summary s;
    if (!json_is_object(transport))
        return;
    double bits = qn_report_number(json_object_get(study, "settings"), "bits");
    if (isnan(bits))
        bits = 8.0;
    summarise(layers, &s);
    fprintf(to, "<h2 id=\"native\">Native compute</h2>\n<p>%zu layers on %zu coded inputs, of ",
            json_array_size(json_object_get(transport, "layers")),
            json_array_size(json_object_get(transport, "inputs")));
    qn_page_text(to, qn_report_text(transport, "path"));
    fputs(json_is_false(json_object_get(transport, "calibration_matches"))
              ? ", fitted to another calibration than the one studied here.</p>\n"
              : ".</p>\n",
          to);
    fputs("<div class=\"finding\"><p><b>Two findings.</b> ", to);
    put_precision(to, &s, bits);
    put_work(to, &s, json_object_get(transport, "stages"));
    fputs("</p></div>\n<div class=\"figures\">\n", to);
    for (size_t i = 0; i < p->n_plots; i++)
        if (strncmp(p->plots[i].name, "transport-", strlen("transport-")) == 0 && p->plots[i].drawn)
            qn_page_picture(page, p, &p->plots[i]);
    fputs("</div>\n", to);
    if (s.layers > 0)
        put_layers(to, report, layers, bits);
}
