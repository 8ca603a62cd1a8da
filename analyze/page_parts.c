/* The page's parts above the table of tensors. */
#include "analyze/page.h"
#include "analyze/report_json.h"

#include <math.h>
#include <string.h>

enum { HEADLINE_BITS = 8 };

static const json_t *fixed_at(const json_t *report, double bits)
{
    return qn_report_find(json_object_get(json_object_get(report, "comparison"), "fixed"), "bits",
                          bits);
}

static double mean_of(const json_t *object, const char *key)
{
    return qn_report_number(json_object_get(object, key), "mean");
}

static double stage_bytes(const json_t *report, const char *stage)
{
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(report, "sizes"), i, item)
    {
        if (strcmp(qn_report_text(item, "stage"), stage) == 0)
            return qn_report_number(item, "bytes");
    }
    return NAN;
}

static void begin_tile(FILE *to)
{
    fputs("<div class=\"tile\"><b>", to);
}

static void end_tile(FILE *to, const char *what)
{
    fprintf(to, "</b><span>%s</span></div>\n", what);
}

static void size_tile(FILE *to, const json_t *report, const char *stage, const char *what)
{
    double bytes = stage_bytes(report, stage), fp32 = stage_bytes(report, "32-bit floats");
    if (!isfinite(bytes))
        return;
    begin_tile(to);
    qn_page_bytes(to, bytes);
    fprintf(to, "</b><span>%s, %.2f\xc3\x97 under FP32</span></div>\n", what, fp32 / bytes);
}

static const json_t *honest_row(const json_t *report)
{
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(report, "extra_compression"), i, row)
    {
        if (json_is_true(json_object_get(row, "honest")))
            return row;
    }
    return NULL;
}

void qn_page_tiles(FILE *to, const json_t *report)
{
    const json_t *model = json_object_get(report, "model"),
                 *fixed = fixed_at(report, HEADLINE_BITS), *honest = honest_row(report);
    double elements = qn_report_number(model, "float_elements");
    fputs("<div class=\"tiles\">\n", to);
    begin_tile(to);
    if (elements >= 1e9)
        fprintf(to, "%.2f billion", elements / 1e9);
    else if (elements >= 1e6)
        fprintf(to, "%.2f million", elements / 1e6);
    else
        qn_page_number(to, 0, elements);
    fprintf(to, "</b><span>weights in %.0f tensors, %.0f of them matrices</span></div>\n",
            fmax(qn_report_number(model, "tensors"), 0.0),
            fmax(qn_report_number(model, "matrices"), 0.0));
    size_tile(to, report, "as stored", "as stored");
    size_tile(to, report, "8-bit QINS, packed", "8-bit QINS, packed");
    size_tile(to, report, "INT of that error, Huffman", "the same error as coded INT");
    size_tile(to, report, "plan, predicted", "plan, predicted");
    size_tile(to, report, "archive", "archive");
    if (fixed) {
        begin_tile(to);
        fprintf(to, "%.1f dB", qn_report_number(fixed, "qins_sqnr_db"));
        end_tile(to, "SQNR of 8-bit QINS, one scale a row");
    }
    if (honest) {
        begin_tile(to);
        fprintf(to, "%.2f\xc3\x97", qn_report_number(honest, "ratio"));
        end_tile(to, "honest total against FP32; claimed: 8 to 12\xc3\x97");
    }
    fputs("</div>\n", to);
}

static void put_gain(FILE *to, double db)
{
    fprintf(to, "<b>%.2f dB %s</b>", fabs(db), db >= 0.0 ? "better" : "worse");
}

/* The coded rate that the widths' own codes come to, to a quarter bit. */
static const json_t *coded_at(const json_t *report, double bits)
{
    return qn_report_find(json_object_get(json_object_get(report, "comparison"), "coded"), "bits",
                          round(bits * 4.0) / 4.0);
}

void qn_page_finding(FILE *to, const json_t *report)
{
    const json_t *fixed = fixed_at(report, HEADLINE_BITS);
    double clip = mean_of(fixed, "gain_over_clip_db"),
           absmax = mean_of(fixed, "gain_over_absmax_db");
    const json_t *coded = coded_at(report, qn_report_number(fixed, "qins_coded_bits"));
    double coded_gain = mean_of(coded, "gain_db");
    fputs("<div class=\"finding\" id=\"finding\"><p><b>The finding.</b> ", to);
    if (!isfinite(clip)) {
        fputs("There is no matrix to compare QINS and INT on.</p></div>\n", to);
        return;
    }
    fputs("At a fixed 8 bits a code, QINS is ", to);
    put_gain(to, clip);
    fputs(" than INT at its best clip", to);
    if (fabs(clip - absmax) >= 0.005) { /* as shown */
        fputs(" and ", to);
        put_gain(to, absmax);
        fputs(" than INT", to);
    } else {
        fputs(", which is that", to);
    }
    fputs(" with absmax scales (signal to noise, mean of the matrices, one scale a row).", to);
    if (isfinite(coded_gain)) {
        fprintf(to, " With an entropy coder behind both, at the same %.2f coded bits, QINS is ",
                qn_report_number(coded, "bits"));
        put_gain(to, coded_gain);
        fputs(" than INT.", to);
    }
    if (isfinite(coded_gain) && clip > 0.0 && coded_gain < 0.0)
        fputs(" So weights that must decode at a fixed rate want QINS; weights that are "
              "entropy-coded want a finer uniform grid.",
              to);
    else if (isfinite(coded_gain))
        fputs(" This is not what theory expects of bell-shaped weights (QINS ahead at a fixed "
              "rate, behind when coded): look at the tensors' histograms.",
              to);
    fprintf(to,
            "</p>\n<p class=\"soft\">Small weights gain most: where kappa and clip are chosen for "
            "it, the 99th percentile of the relative error at 8 bits is %.1f %% for QINS, "
            "%.1f %% for INT.</p></div>\n",
            100.0 * qn_report_number(json_object_get(fixed, "p99_rel_error"), "qins"),
            100.0 * qn_report_number(json_object_get(fixed, "p99_rel_error"), "int_clip"));
}

void qn_page_comparison(FILE *to, const json_t *report)
{
    const json_t *rows = json_object_get(json_object_get(report, "comparison"), "fixed"), *row;
    size_t i;
    if (json_array_size(rows) == 0)
        return;
    fputs("<div class=\"scroll\"><table class=\"narrow\"><thead><tr><th class=\"n\">bits</th>"
          "<th class=\"n\">QINS dB</th><th class=\"n\">INT absmax dB</th>"
          "<th class=\"n\">INT best clip dB</th><th class=\"n\">QINS over best clip, dB</th>"
          "<th class=\"n\">calibration-weighted, dB</th>"
          "<th class=\"n\">QINS coded, bits</th>"
          "<th class=\"n\">gain over INT at nearest quarter bit, coded, dB</th>"
          "<th class=\"n\">p99 of |error| / |x|, QINS</th><th class=\"n\">INT</th>"
          "</tr></thead><tbody>\n",
          to);
    json_array_foreach(rows, i, row)
    {
        const json_t *p99 = json_object_get(row, "p99_rel_error");
        double coded = qn_report_number(row, "qins_coded_bits");
        fputs("<tr>", to);
        qn_page_cell(to, 0, qn_report_number(row, "bits"));
        qn_page_cell(to, 2, qn_report_number(row, "qins_sqnr_db"));
        qn_page_cell(to, 2, qn_report_number(row, "int_absmax_sqnr_db"));
        qn_page_cell(to, 2, qn_report_number(row, "int_clip_sqnr_db"));
        qn_page_cell(to, 2, mean_of(row, "gain_over_clip_db"));
        qn_page_cell(to, 2, mean_of(row, "weighted_gain_over_clip_db"));
        qn_page_cell(to, 3, coded);
        qn_page_cell(to, 2, mean_of(coded_at(report, coded), "gain_db"));
        qn_page_cell(to, 4, qn_report_number(p99, "qins"));
        qn_page_cell(to, 4, qn_report_number(p99, "int_clip"));
        fputs("</tr>\n", to);
    }
    fputs("</tbody></table></div>\n<p class=\"soft\">Signal to noise is of all matrices together; "
          "gains are means of the matrices' own, weighted by elements, and so no differences of "
          "the columns before them.</p>\n",
          to);
}

/* A claim says nothing of what it costs: that is told beside it. */
static void put_claim(FILE *to, const json_t *row, const char *key, double baseline_db)
{
    double db = qn_report_number(row, "sqnr_db");
    double low = qn_report_number(row, "claimed_low"), high = qn_report_number(row, "claimed_high");
    double measured = qn_report_number(row, key);
    if (isnan(high)) {
        fputs("<td></td><td></td>", to);
        return;
    }
    if (low == high)
        fprintf(to, "<td class=\"n\">%.3g\xc3\x97</td>", high);
    else
        fprintf(to, "<td class=\"n\">%.3g to %.3g\xc3\x97</td>", low, high);
    if (measured < low)
        fputs("<td>not reached</td>", to);
    else if (db < baseline_db - 1.0)
        fprintf(to, "<td>reached, %.0f dB worse</td>", baseline_db - db);
    else
        fputs("<td class=\"good\">reached</td>", to);
}

void qn_page_extra(FILE *to, const json_t *report)
{
    const json_t *rows = json_object_get(report, "extra_compression"), *row;
    const json_t *honest = honest_row(report);
    double baseline = NAN;
    size_t i;
    if (json_array_size(rows) == 0)
        return;
    fputs("<h2 id=\"extra\">Extra compression</h2>\n<p>Each means alone and together, over all "
          "matrices, tables and scales included. Signal to noise says what a ratio costs; the "
          "claims are those of the project's seed documents.</p>\n",
          to);
    if (honest) {
        fprintf(to, "<p>The honest total: <b>%.2f\xc3\x97</b> under FP32 (",
                qn_report_number(honest, "ratio"));
        qn_page_text(to, qn_report_text(honest, "method"));
        fputs("), the smallest that loses at most 1 dB to plain 8-bit codes, where 8 to "
              "12\xc3\x97 were claimed.</p>\n",
              to);
    }
    fputs("<div class=\"scroll\"><table class=\"narrow\"><thead><tr><th>method</th>"
          "<th class=\"n\">bits a weight</th><th class=\"n\">under FP32</th>"
          "<th class=\"n\">under 8 bits</th><th class=\"n\">SQNR dB</th>"
          "<th class=\"n\">claimed</th><th></th></tr></thead><tbody>\n",
          to);
    json_array_foreach(rows, i, row)
    {
        if (strcmp(qn_report_text(row, "family"), "baseline") == 0)
            baseline = qn_report_number(row, "sqnr_db");
        bool combined = strcmp(qn_report_text(row, "family"), "combined") == 0;
        fputs(row == honest ? "<tr class=\"honest\"><td class=\"wide\">"
                            : "<tr><td class=\"wide\">",
              to);
        qn_page_text(to, qn_report_text(row, "method"));
        fputs("</td>", to);
        qn_page_cell(to, 3, qn_report_number(row, "bits_per_weight"));
        qn_page_cell(to, 2, qn_report_number(row, "ratio"));
        qn_page_cell(to, 2, qn_report_number(row, "extra_ratio"));
        qn_page_cell(to, 1, qn_report_number(row, "sqnr_db"));
        put_claim(to, row, combined ? "ratio" : "extra_ratio", baseline);
        fputs("</tr>\n", to);
    }
    fputs("</tbody></table></div>\n", to);
}

void qn_page_access(FILE *to, const json_t *report)
{
    const json_t *access = json_object_get(report, "access"),
                 *embedding = json_object_get(access, "embedding"),
                 *experts = json_object_get(access, "experts"), *tensor;
    size_t i, classes[3] = {0};
    fputs("<h2 id=\"access\">Hot and cold</h2>\n", to);
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        const char *name = qn_report_text(tensor, "class");
        if (strcmp(qn_report_text(tensor, "kind"), "weight") == 0)
            classes[strcmp(name, "hot") == 0 ? 0 : strcmp(name, "cold") == 0 ? 1 : 2]++;
    }
    fprintf(to,
            "<p>%zu tensors are <span class=\"hot\">hot</span>, %zu <span "
            "class=\"cold\">cold</span>, %zu unknown.",
            classes[0], classes[1], classes[2]);
    if (!json_is_object(access))
        fputs(" There are no measured access counts: a calibration has them.", to);
    fputs("</p>\n", to);
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        const json_t *blocks = json_object_get(json_object_get(tensor, "chosen"), "blocks");
        if (json_array_size(blocks) == 0)
            continue;
        fputs("<p>", to);
        qn_page_text(to, qn_report_text(tensor, "name"));
        fprintf(to, " is split into %zu blocks of rows; %.1f %% of its rows are hot.</p>\n",
                json_array_size(blocks), 100.0 * qn_report_number(tensor, "hot_row_share"));
    }
    if (json_is_object(embedding))
        fprintf(to,
                "<p>Of %.0f rows of the embedding the text uses %.0f; the most used tenth takes "
                "%.1f %% of all look-ups, and %.0f rows are cold. A token touches one row: the "
                "embedding's class goes by touches of its rows.</p>\n",
                qn_report_number(embedding, "rows"), qn_report_number(embedding, "touched_rows"),
                100.0 * qn_report_number(embedding, "share_of_top_10_percent"),
                qn_report_number(embedding, "cold_rows"));
    if (json_is_object(experts))
        fprintf(to,
                "<p>%.0f experts in each of %.0f layers take from %.3f to %.3f of the tokens; %.0f "
                "are cold.</p>\n",
                qn_report_number(experts, "experts"), qn_report_number(experts, "layers"),
                qn_report_number(experts, "least_touches"),
                qn_report_number(experts, "most_touches"),
                qn_report_number(experts, "cold_experts"));
}

void qn_page_kinds(FILE *to, const json_t *report)
{
    const json_t *kind;
    size_t i;
    fputs("<div class=\"scroll\"><table class=\"narrow\"><thead><tr><th>kind</th>"
          "<th class=\"n\">tensors</th><th class=\"n\">elements</th>"
          "<th class=\"n\">entropy of 8-bit QINS, bits</th><th class=\"n\">Huffman, bits</th>"
          "<th class=\"n\">tans, bits</th></tr></thead><tbody>\n",
          to);
    json_array_foreach(json_object_get(report, "kinds"), i, kind)
    {
        fputs("<tr><td>", to);
        qn_page_text(to, qn_report_text(kind, "kind"));
        fputs("</td>", to);
        qn_page_cell(to, 0, qn_report_number(kind, "tensors"));
        qn_page_cell(to, 0, qn_report_number(kind, "elements"));
        qn_page_cell(to, 3, mean_of(kind, "entropy_bits"));
        qn_page_cell(to, 3, qn_report_number(json_object_get(kind, "coded_bits"), "huffman"));
        qn_page_cell(to, 3, qn_report_number(json_object_get(kind, "coded_bits"), "tans"));
        fputs("</tr>\n", to);
    }
    fputs("</tbody></table></div>\n", to);
}

void qn_page_remarks(FILE *to, const json_t *report)
{
    const json_t *tensor, *remark;
    size_t i, k, n = 0;
    fputs("<h2 id=\"remarks\">Remarks</h2>\n<ul class=\"remarks\">\n", to);
    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
    {
        json_array_foreach(json_object_get(tensor, "remarks"), k, remark)
        {
            fputs("<li><b>", to);
            qn_page_text(to, qn_report_text(tensor, "name"));
            fputs("</b>: ", to);
            qn_page_text(to, json_is_string(remark) ? json_string_value(remark) : "");
            fputs("</li>\n", to);
            n++;
        }
    }
    fputs(n ? "</ul>\n" : "</ul>\n<p class=\"soft\">Nothing odd was found.</p>\n", to);
}
