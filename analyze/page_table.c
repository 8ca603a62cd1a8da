/* The table of tensors and their pictures. */
#include "analyze/page.h"
#include "analyze/report_json.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns after the tensor's name; the page's script sorts by them. */
static const char head[] =
    "<thead><tr><th>tensor</th><th>kind</th><th class=\"n\">layer</th><th>class</th>"
    "<th>chosen</th><th class=\"n\">bits a weight</th><th class=\"n\">dB</th>"
    "<th class=\"n\">touches a token</th><th>type</th><th>shape</th><th class=\"n\">elements</th>"
    "<th class=\"n\">kurtosis</th><th class=\"n\">8-bit entropy, bits</th>"
    "<th class=\"n\">8-bit Huffman, bits</th><th class=\"n\">8-bit tans, bits</th>"
    "<th class=\"n\">8-bit QINS dB</th><th class=\"n\">over INT dB</th></tr></thead>\n";

static const struct qn_plot *picture_of(const struct qn_plotter *p, size_t tensor)
{
    for (size_t i = 0; i < p->n_plots; i++)
        if (p->plots[i].tensor == (long)tensor && p->plots[i].drawn)
            return &p->plots[i];
    return NULL;
}

/* TEXT as the script compares it: ASCII in lower case. */
static void put_lower(FILE *to, const char *text)
{
    static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    while (*text) {
        const size_t n = strcspn(text, upper);
        qn_page_part(to, text, n);
        text += n;
        if (*text)
            fputc(tolower((unsigned char)*text++), to);
    }
}

static void put_shape(FILE *to, const json_t *tensor)
{
    const json_t *shape = json_object_get(tensor, "shape");
    fprintf(to, "<td data-value=\"%.9g\">", fmax(qn_report_number(tensor, "numel"), 0.0));
    for (size_t i = 0; i < json_array_size(shape); i++)
        fprintf(to, "%s%lld", i ? "\xc3\x97" : "",
                (long long)json_integer_value(json_array_get(shape, i)));
    fputs(json_array_size(shape) ? "</td>" : "scalar</td>", to);
}

static void put_text_cell(FILE *to, const char *text)
{
    fputs("<td>", to);
    qn_page_text(to, text);
    fputs("</td>", to);
}

static void put_chosen(FILE *to, const json_t *chosen)
{
    double bits = qn_report_number(chosen, "bits");
    const char *codec = qn_report_text(chosen, "codec"), *reason = qn_report_text(chosen, "reason");
    fputs("<td title=\"", to);
    qn_page_text(to, reason);
    fputs("\">", to);
    if (json_array_size(json_object_get(chosen, "blocks")) > 0)
        fprintf(to, "%zu blocks of rows", json_array_size(json_object_get(chosen, "blocks")));
    else if (isfinite(bits))
        fprintf(to, "%.0f-bit ", bits);
    else if (json_is_object(chosen) && *codec)
        fputs("lossless ", to);
    else
        fputs("as stored", to);
    if (json_array_size(json_object_get(chosen, "blocks")) == 0)
        qn_page_text(to, codec);
    if (isfinite(bits) && isfinite(qn_report_number(chosen, "kappa")))
        fprintf(to, ", \xce\xba %.2g", qn_report_number(chosen, "kappa"));
    fputs("</td>", to);
    qn_page_cell(to, 3, qn_report_number(chosen, "bits_per_weight"));
    qn_page_cell(to, 1, qn_report_number(chosen, "sqnr_db"));
}

static void put_figures(FILE *to, const json_t *t)
{
    const json_t *eight = qn_report_find(json_object_get(t, "fixed_rates"), "bits", 8.0);
    double qins = qn_report_number(json_object_get(eight, "qins"), "sqnr_db");
    qn_page_cell(to, 2, qn_report_number(json_object_get(t, "statistics"), "kurtosis"));
    qn_page_cell(to, 3, qn_report_number(json_object_get(t, "entropy_bits"), "8"));
    const json_t *coded = json_object_get(json_object_get(t, "coded_bits"), "8");
    qn_page_cell(to, 3, qn_report_number(coded, "huffman"));
    qn_page_cell(to, 3, qn_report_number(coded, "tans"));
    qn_page_cell(to, 1, qins);
    qn_page_cell(to, 2, qins - qn_report_number(json_object_get(eight, "int_clip"), "sqnr_db"));
}

static void put_row(FILE *to, const json_t *t, size_t index, const struct qn_plot *picture)
{
    const char *name = qn_report_text(t, "name"), *kind = qn_report_text(t, "kind"),
               *class = qn_report_text(t, "class");
    fprintf(to, "<tr data-tensor=\"%zu\" data-kind=\"", index);
    qn_page_text(to, kind);
    fputs("\" data-access=\"", to);
    qn_page_text(to, class);
    fputs("\" data-text=\"", to);
    put_lower(to, name);
    fputc(' ', to);
    put_lower(to, qn_report_text(t, "component"));
    fputs("\"><td class=\"name\">", to);
    if (picture)
        fprintf(to, "<a href=\"#%s\">", picture->name);
    qn_page_name(to, name);
    fputs(picture ? "</a></td><td class=\"kind\">" : "</td><td class=\"kind\">", to);
    qn_page_name(to, qn_report_text(t, "component"));
    fputs("</td>", to);
    qn_page_cell(to, 0, qn_report_number(t, "layer"));
    fprintf(to, "<td class=\"%s\">",
            strcmp(class, "hot") == 0    ? "hot"
            : strcmp(class, "cold") == 0 ? "cold"
                                         : "unknown");
    qn_page_text(to, class);
    fputs("</td>", to);
    put_chosen(to, json_object_get(t, "chosen"));
    qn_page_cell(to, 3, qn_report_number(t, "access_frequency"));
    put_text_cell(to, qn_report_text(t, "dtype"));
    put_shape(to, t);
    qn_page_cell(to, 0, qn_report_number(t, "numel"));
    put_figures(to, t);
    fputs("</tr>\n", to);
}

static const char form[] =
    "<form id=\"filter\" class=\"needs-script\"><input type=\"search\" name=\"text\" "
    "placeholder=\"filter by name, e.g. mlp\" aria-label=\"filter by name\">"
    "<label>kind <select name=\"kind\"><option value=\"\">all</option><option>weight</option>"
    "<option>activation</option><option>transport</option><option>kv page</option></select></label>"
    "<label>class <select name=\"access\"><option value=\"\">all</option><option>hot</option>"
    "<option>cold</option><option>unknown</option></select></label>"
    "<output id=\"count\"></output></form>\n";

static size_t count_curves(const json_t *tensors)
{
    const json_t *tensor;
    size_t i, n = 0;
    json_array_foreach(tensors, i, tensor)
    {
        n += *qn_report_text(tensor, "curves") != '\0';
    }
    return n;
}

void qn_page_tensors(struct qn_text_writer *page, const json_t *report, const struct qn_plotter *p)
{
    FILE *to = page->to;
    const json_t *tensors = json_object_get(report, "tensors"), *tensor;
    size_t i, pictures = 0;
    fprintf(to,
            "<h2 id=\"list\">Every tensor</h2>\n%s<div class=\"scroll\"><table id=\"tensors\">\n%s"
            "<tbody>\n",
            form, head);
    json_array_foreach(tensors, i, tensor)
    {
        const struct qn_plot *picture = picture_of(p, i);
        pictures += picture != NULL;
        put_row(to, tensor, i, picture);
    }
    fputs("</tbody></table></div>\n", to);
    if (pictures == 0)
        return;
    fprintf(to,
            "<h2 id=\"pictures\">Histograms and rate-distortion curves</h2>\n<p "
            "class=\"soft\">%zu tensors that have curves%s. Weights over the largest magnitude "
            "that shares their "
            "scale, with the levels of the chosen grid (of many every second, fourth and so on); "
            "below, all candidates.</p>\n",
            pictures, pictures < count_curves(tensors) ? ", the largest" : "");
    json_array_foreach(tensors, i, tensor)
    {
        const struct qn_plot *picture = picture_of(p, i);
        if (!picture)
            continue;
        fprintf(to, "<details data-tensor=\"%zu\"><summary>", i);
        qn_page_text(to, qn_report_text(tensor, "name"));
        fputs("</summary>", to);
        qn_page_picture(page, p, picture);
        fputs("</details>\n", to);
    }
}
