/* The page's part on pages of V caches. */
#include "analyze/page.h"
#include "analyze/report_json.h"

#include <math.h>
#include <string.h>

/* What was claimed of entropy-coded KV pages, before anything was measured. */
static const double claimed_least = 6.0, claimed_most = 8.0;

static double member(const json_t *object, const char *key, const char *figure)
{
    return qn_report_number(json_object_get(object, key), figure);
}

/* Mean of the weights that make V, by layers; NaN where one has none. */
static double weights_entropy(const json_t *report)
{
    const json_t *tensor;
    double sum = 0.0;
    size_t i, n = 0;
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        if (strcmp(qn_report_text(tensor, "kind"), "kv page") != 0)
            continue;
        sum += member(json_object_get(tensor, "kv"), "weight", "entropy_bits");
        n++;
    }
    return n ? sum / (double)n : (double)NAN;
}

static void put_entropy(FILE *to, const json_t *report, const json_t *kv)
{
    const json_t *codes = json_object_get(kv, "encoded");
    const double bits = qn_report_number(kv, "bits"), weights = weights_entropy(report),
                 before = qn_report_number(kv, "order1_time_bits");
    fprintf(to,
            "It was claimed that neighbouring tokens make pages of low entropy. Here a "
            "code of %.0f bits has <b>%.2f bits</b> of entropy",
            bits, qn_report_number(codes, "entropy_bits"));
    if (isfinite(weights))
        fprintf(to, " (codes of the weights that make V: %.2f)", weights);
    if (isfinite(before))
        fprintf(to,
                "; to know the same channel of the token before leaves %.2f, the value before in "
                "the token %.2f",
                before, qn_report_number(codes, "order1_bits"));
    fprintf(to, "; %.2g %% of codes are zero, and to code runs of them takes %.2f bits a code.",
            100.0 * qn_report_number(codes, "zero_share"), qn_report_number(codes, "run_bits"));
}

static void put_sizes(FILE *to, const json_t *kv)
{
    const double packed = member(kv, "packed", "bits_per_value"),
                 coded = member(kv, "recoded", "bits_per_value"),
                 ratio16 = member(kv, "recoded", "ratio_f16"),
                 ratio32 = member(kv, "recoded", "ratio_f32");
    fprintf(to,
            " Packed, with headers and scales, a value takes %.3f bits: <b>%.2f\xc3\x97</b> under "
            "float16. As old pages are coded, by Huffman or with runs where they pay, %.3f bits: "
            "<b>%.2f\xc3\x97</b> under float16, %.2f\xc3\x97 under float32; coding itself saves "
            "%.1f %%. ",
            packed, member(kv, "packed", "ratio_f16"), coded, ratio16, ratio32,
            100.0 * (1.0 - coded / packed));
    fprintf(to, "The claim of %.0f to %.0f\xc3\x97 %s.", claimed_least, claimed_most,
            ratio16 >= claimed_least   ? "holds"
            : ratio32 >= claimed_least ? "holds against float32 only"
                                       : "does not hold");
}

static void put_row(FILE *to, const json_t *tensor)
{
    const json_t *kv = json_object_get(tensor, "kv"), *codes = json_object_get(tensor, "encoded"),
                 *coders = json_object_get(codes, "bits_by_coder");
    fputs("<tr>", to);
    qn_page_cell(to, 0, qn_report_number(tensor, "layer"));
    qn_page_cell(to, 0, qn_report_number(kv, "pages"));
    qn_page_cell(to, 0, qn_report_number(kv, "old_pages"));
    qn_page_cell(to, 3, qn_report_number(codes, "entropy_bits"));
    qn_page_cell(to, 3, qn_report_number(kv, "order1_time_bits"));
    qn_page_cell(to, 3, qn_report_number(codes, "order1_bits"));
    qn_page_cell(to, 3, qn_report_number(codes, "run_bits"));
    qn_page_cell(to, 3, member(kv, "weight", "entropy_bits"));
    qn_page_cell(to, 3, qn_report_number(coders, "bitpack"));
    qn_page_cell(to, 3, qn_report_number(coders, "huffman"));
    qn_page_cell(to, 3, qn_report_number(coders, "rle-huffman"));
    qn_page_cell(to, 3, qn_report_number(coders, "zstd"));
    qn_page_cell(to, 3, member(kv, "recoded", "ratio_f16"));
    qn_page_cell(to, 3, member(kv, "recoded", "ratio_f32"));
    fputs("</tr>\n", to);
}

static const char head[] =
    "<div class=\"scroll\"><table><thead><tr><th class=\"n\">layer</th><th class=\"n\">pages</th>"
    "<th class=\"n\">old</th><th class=\"n\">entropy, bits</th>"
    "<th class=\"n\">given the token before</th><th class=\"n\">given the value before</th>"
    "<th class=\"n\">with runs</th><th class=\"n\">weights' entropy</th>"
    "<th class=\"n\">packed, bits</th><th class=\"n\">Huffman</th>"
    "<th class=\"n\">RLE and Huffman</th><th class=\"n\">zstd</th>"
    "<th class=\"n\">coded, \xc3\x97 under float16</th>"
    "<th class=\"n\">\xc3\x97 under float32</th></tr></thead><tbody>\n";

void qn_page_kv(struct qn_text_writer *page, const json_t *report, const struct qn_plotter *p)
{
    FILE *to = page->to;
    const json_t *kv = json_object_get(report, "kv"), *tensor;
    size_t i;
    if (!json_is_object(kv))
        return;
    fprintf(to,
            "<h2 id=\"kv\">V cache</h2>\n<p>%.0f full pages of %.0f tokens and %.0f heads of %.0f "
            "values, %.0f bits a code, \xce\xba %.2g, from %.0f windows of the text ",
            qn_report_number(kv, "pages"), qn_report_number(kv, "page_tokens"),
            qn_report_number(kv, "heads"), qn_report_number(kv, "head_dim"),
            qn_report_number(kv, "bits"), qn_report_number(kv, "kappa"),
            qn_report_number(kv, "sequences"));
    qn_page_text(to, qn_report_text(kv, "text_fingerprint"));
    fputs("; dumped in ", to);
    qn_page_text(to, qn_report_text(kv, "path"));
    fputs(".</p>\n<div class=\"finding\"><p><b>The finding.</b> ", to);
    put_entropy(to, report, kv);
    put_sizes(to, kv);
    fputs("</p></div>\n<div class=\"figures\">\n", to);
    for (size_t k = 0; k < p->n_plots; k++)
        if (strncmp(p->plots[k].name, "kv-", strlen("kv-")) == 0 && p->plots[k].drawn)
            qn_page_picture(page, p, &p->plots[k]);
    fprintf(to, "</div>\n%s", head);
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        if (strcmp(qn_report_text(tensor, "kind"), "kv page") == 0)
            put_row(to, tensor);
    }
    fputs("</tbody></table></div>\n<p class=\"soft\">Entropies are of codes alone. Sizes are of "
          "whole pages, every one coded by itself with header, scales and the coder's tables: what "
          "a cache can decode page by page. Old: pages that the run itself had recoded.</p>\n",
          to);
}
