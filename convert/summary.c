/* The page of a pipeline run: self-contained, without scripts. */
#include "convert/pipeline.h"
#include "core/file.h"
#include "core/text_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_BARS = 12,
    N_WIDE = 5,
    BAR_HEIGHT = 22,
    CHART_WIDTH = 760,
    LABEL_WIDTH = 250,
    VALUE_WIDTH = 150
};

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<style>\n"
    ":root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--paper:#fff;--line:#d9dee5;"
    "--tile:#f4f6f9;--source:#b9c4d2;--coded:#1f6fb2;--good:#1b7f4b;--bad:#b3261e}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b4;--paper:#14181e;"
    "--line:#2c343f;--tile:#1c222b;--source:#4a5665;--coded:#5aa9e6;--good:#5cc48d;"
    "--bad:#f2857d}}\n"
    "body{margin:0 auto;max-width:84rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;"
    "color:var(--ink);background:var(--paper)}\n"
    "h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:1.75rem 0 .5rem}\n"
    "p{color:var(--soft);overflow-wrap:anywhere}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem}\n"
    ".tile{background:var(--tile);border-radius:.5rem;padding:.75rem 1rem}\n"
    ".tile b{display:block;font-size:1.35rem}.tile span{color:var(--soft);font-size:.85rem}\n"
    ".good{color:var(--good)}.bad{color:var(--bad)}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.85rem}\n"
    "th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:left;"
    "white-space:nowrap}\n"
    "th{color:var(--soft);font-weight:600}.n{text-align:right;"
    "font-variant-numeric:tabular-nums}\n"
    "td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:11rem}\n"
    "svg{max-width:100%;height:auto}svg text{fill:var(--ink);font-size:12px}\n"
    "svg .v{fill:var(--soft)}.s{fill:var(--source)}.c{fill:var(--coded)}\n"
    "a{color:var(--coded)}ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;padding:0;"
    "list-style:none}\n"
    "</style>\n";

static void put_text(FILE *to, const char *text)
{
    for (; *text; text++) {
        const char *entity = NULL;
        switch (*text) {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        case '"':
            entity = "&quot;";
            break;
        default:
            break;
        }
        if (entity)
            fputs(entity, to);
        else
            fputc((unsigned char)*text < 0x20 ? ' ' : *text, to);
    }
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void put_bytes(FILE *to, double bytes)
{
    if (bytes < 1024.0)
        fprintf(to, "%.0f B", bytes);
    else if (bytes < 1048576.0)
        fprintf(to, "%.1f KiB", bytes / 1024.0);
    else if (bytes < 1073741824.0)
        fprintf(to, "%.2f MiB", bytes / 1048576.0);
    else
        fprintf(to, "%.2f GiB", bytes / 1073741824.0);
}

static void put_figure_tile(FILE *to, int digits, double value, const char *what)
{
    if (!isnan(value))
        fprintf(to, "<div class=\"tile\"><b>%.*f</b><span>%s</span></div>\n", digits, value, what);
}

static void put_tiles(FILE *to, const json_t *report)
{
    double input = number_of(report, "input_bytes"), output = number_of(report, "archive_bytes");
    bool ok = json_is_true(json_object_get(report, "ok"));
    fputs("<div class=\"tiles\">\n<div class=\"tile\"><b>", to);
    put_bytes(to, input);
    fputs("</b><span>source tensors</span></div>\n<div class=\"tile\"><b>", to);
    put_bytes(to, output);
    fputs("</b><span>archive</span></div>\n", to);
    put_figure_tile(to, 3, number_of(report, "bits_per_weight"), "bits a weight");
    put_figure_tile(to, 2, input / output, "source / archive");
    fprintf(to, "<div class=\"tile\"><b class=\"%s\">%s</b><span>against its source</span></div>\n",
            ok ? "good" : "bad", ok ? "verified" : "different");
    fputs("</div>\n", to);
}

static void put_number(FILE *to, const char *prefix, int digits, bool scientific, double value)
{
    fputs("<td class=\"n\">", to);
    if (isnan(value))
        fputs(prefix, to);
    else if (scientific)
        fprintf(to, "%.*e", digits, value);
    else
        fprintf(to, "%.*f", digits, value);
    fputs("</td>", to);
}

static const char end_of_table[] = "</table></div>\n";

static void put_divergence(FILE *to, const json_t *kl, const char *whose)
{
    if (kl)
        fprintf(to,
                "<p>KL divergence of the %s predictions from the model's: mean %.3g nats a "
                "token (standard error %.1g), median %.2g, 99 %% of tokens below %.2g, largest "
                "%.2g. Both find the same token likeliest at %.2f %%.</p>\n",
                whose, number_of(kl, "mean"), number_of(kl, "standard_error"),
                number_of(json_object_get(kl, "quantiles"), "p50"),
                number_of(json_object_get(kl, "quantiles"), "p99"), number_of(kl, "max"),
                100.0 * number_of(kl, "same_top1"));
}

/* What is measured beside the model. */
struct candidate {
    const char *heading, *name, *less, *whose;
};

/* How well model and candidate predict the text. */
static void put_prediction(FILE *to, const json_t *validate, const struct candidate *c)
{
    static const char *const keys[] = {"model", "candidate"};
    const char *const names[] = {"model", c->name};
    const json_t *test = json_object_get(json_object_get(validate, "tests"), "perplexity");
    const json_t *difference = json_object_get(test, "difference");
    if (!test)
        return;
    fprintf(to,
            "<h2>%s</h2>\n<p>Windows of %.0f tokens, every next token "
            "scored.</p>\n<div class=\"scroll\"><table>\n<tr><th></th>"
            "<th class=\"n\">perplexity</th><th class=\"n\">mean NLL</th>"
            "<th class=\"n\">standard error</th><th class=\"n\">tokens</th></tr>\n",
            c->heading, number_of(test, "context"));
    for (int i = 0; i < 2; i++) {
        const json_t *f = json_object_get(test, keys[i]);
        fprintf(to, "<tr><td>%s</td>", names[i]);
        put_number(to, "", 4, false, number_of(f, "perplexity"));
        put_number(to, "", 6, false, number_of(f, "mean_nll"));
        put_number(to, "", 6, false, number_of(f, "mean_nll_standard_error"));
        put_number(to, "", 0, false, number_of(f, "tokens"));
        fputs("</tr>\n", to);
    }
    fprintf(to, "<tr><td>%s, token by token</td><td class=\"n\">\xc3\x97 %.6f</td>", c->less,
            number_of(difference, "perplexity_ratio"));
    put_number(to, "", 6, false, number_of(difference, "mean_nll"));
    put_number(to, "", 6, false, number_of(difference, "standard_error"));
    fputs("<td></td></tr>\n", to);
    fputs(end_of_table, to);
    put_divergence(to, json_object_get(test, "kl"), c->whose);
}

static const struct candidate archive = {"Prediction of the text", "archive", "archive less model",
                                         "archive's"},
                              native = {"Prediction with native layers", "model, layers native",
                                        "native less plain", "native model's"};

/* Layers on coded inputs: what was fitted, and what the model is worth with them. */
static void put_native(FILE *to, const json_t *transport, const json_t *validate)
{
    const json_t *compute = json_object_get(
        json_object_get(json_object_get(json_object_get(validate, "tests"), "perplexity"),
                        "candidate"),
        "compute");
    const json_t *each = json_object_get(compute, "per_forward");
    if (!transport)
        return;
    put_prediction(to, validate, &native);
    fprintf(to, "<p>%zu layers (", json_array_size(json_object_get(transport, "layers")));
    put_text(to, text_of(json_object_get(transport, "settings"), "layers"));
    fprintf(to, ") on %zu coded inputs of %.0f bits, fitted to the calibration.",
            json_array_size(json_object_get(transport, "inputs")),
            number_of(json_object_get(transport, "settings"), "bits"));
    if (each)
        fprintf(to,
                " A forward pass codes %.0f tensors, decodes %.0f and makes %.0f products of "
                "planes beside %.0f plain ones; %.3g of a million coded values were beyond the "
                "scale and clipped.",
                number_of(each, "encodes"), number_of(each, "decodes"),
                number_of(each, "plane_products"), number_of(each, "products"),
                1e6 * number_of(compute, "clipped_values") / number_of(compute, "coded_values"));
    fputs(" Errors by layer, curves and the case for and against: "
          "<a href=\"analysis/index.html#native\">native compute</a> in the analysis.</p>\n",
          to);
}

/* Items in the order of a figure of theirs, largest first; those without one are left out. */
struct ranked {
    const json_t *item;
    double figure;
    size_t index;
};

static int larger_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->figure != y->figure)
        return x->figure < y->figure ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

/* Heap, *N of them; NULL where there is none, or no memory, as PAGE tells then. */
static struct ranked *rank(struct qn_text_writer *page, const json_t *items,
                           double (*figure)(const json_t *item), size_t *n)
{
    struct ranked *ranked = calloc(json_array_size(items) + 1, sizeof *ranked);
    const json_t *item;
    size_t i;
    *n = 0;
    if (!ranked) {
        page->status = qn_fail_memory(&page->error);
        return NULL;
    }
    json_array_foreach(items, i, item)
    {
        double value = figure(item);
        if (!isnan(value))
            ranked[(*n)++] = (struct ranked){item, value, i};
    }
    qsort(ranked, *n, sizeof *ranked, larger_first);
    if (*n == 0) {
        free(ranked);
        ranked = NULL;
    }
    return ranked;
}

static double largest_abs(const json_t *point)
{
    return fmax(fabs(number_of(point, "min")), fabs(number_of(point, "max")));
}

/* How far the largest value stands out: what a quantiser's range has to span. */
static double width(const json_t *point)
{
    double rms = number_of(point, "rms");
    return rms > 0.0 ? largest_abs(point) / rms : NAN;
}

/* What the layers saw. */
static void put_calibration(struct qn_text_writer *page, const json_t *calibrate)
{
    FILE *to = page->to;
    const json_t *points = json_object_get(calibrate, "points");
    size_t n;
    struct ranked *widest = rank(page, points, width, &n);
    size_t rows = n < N_WIDE ? n : N_WIDE;
    if (calibrate)
        fprintf(to,
                "<h2>Calibration</h2>\n<p>%.0f tokens in %.0f windows of at most %.0f, seen at %zu "
                "points.</p>\n",
                number_of(calibrate, "tokens"), number_of(calibrate, "windows"),
                number_of(calibrate, "context"), json_array_size(points));
    if (rows > 0)
        fputs("<p>Where the largest value stands out most:</p>\n<div class=\"scroll\"><table>\n"
              "<tr><th>point</th>"
              "<th class=\"n\">channels</th><th class=\"n\">rows</th><th class=\"n\">rms</th>"
              "<th class=\"n\">max |x|</th><th class=\"n\">max |x| / rms</th></tr>\n",
              to);
    for (size_t i = 0; i < rows; i++) {
        const json_t *point = widest[i].item;
        fputs("<tr><td>", to);
        put_text(to, text_of(point, "name"));
        fputs("</td>", to);
        put_number(to, "", 0, false, number_of(point, "channels"));
        put_number(to, "", 0, false, number_of(point, "rows"));
        put_number(to, "", 4, false, number_of(point, "rms"));
        put_number(to, "", 3, false, largest_abs(point));
        put_number(to, "", 1, false, widest[i].figure);
        fputs("</tr>\n", to);
    }
    if (rows > 0)
        fputs(end_of_table, to);
    free(widest);
}

/* Steps that were not done, and why. */
static void put_skipped(FILE *to, const json_t *pipeline)
{
    const json_t *step;
    size_t i;
    json_array_foreach(json_object_get(pipeline, "steps"), i, step)
    {
        if (strcmp(text_of(step, "status"), "skipped") != 0)
            continue;
        fprintf(to, "<p>%s skipped: ", text_of(step, "name"));
        put_text(to, text_of(step, "reason"));
        fputs("</p>\n", to);
    }
}

static void put_bar(FILE *to, unsigned row, const json_t *tensor, double largest)
{
    double room = CHART_WIDTH - LABEL_WIDTH - VALUE_WIDTH;
    double source = number_of(tensor, "bytes") / largest * room;
    double coded = number_of(tensor, "coded_bytes") / largest * room;
    const char *name = text_of(tensor, "name");
    size_t length = strlen(name), keep = 36;
    unsigned y = row * BAR_HEIGHT;
    fprintf(to, "<text x=\"%d\" y=\"%u\" text-anchor=\"end\">", LABEL_WIDTH - 8, y + 15);
    if (length > keep) {
        /* the end of a name tells it apart; never begin inside a UTF-8 sequence */
        name += length - keep;
        while (((unsigned char)*name & 0xc0) == 0x80)
            name++;
        fputs("\xe2\x80\xa6", to);
    }
    put_text(to, name);
    fprintf(to,
            "</text>\n<rect class=\"s\" x=\"%d\" y=\"%u\" width=\"%.1f\" height=\"16\"/>"
            "<rect class=\"c\" x=\"%d\" y=\"%u\" width=\"%.1f\" height=\"10\"/>\n",
            LABEL_WIDTH, y + 3, source, LABEL_WIDTH, y + 6, coded);
    fprintf(to, "<text class=\"v\" x=\"%.1f\" y=\"%u\">", LABEL_WIDTH + source + 8, y + 15);
    put_bytes(to, number_of(tensor, "bytes"));
    fputs(" \xe2\x86\x92 ", to);
    put_bytes(to, number_of(tensor, "coded_bytes"));
    fputs("</text>\n", to);
}

static double bytes_of(const json_t *tensor)
{
    return number_of(tensor, "bytes");
}

/* The largest tensors: what they were, and what the archive holds of them. */
static void put_chart(struct qn_text_writer *page, const json_t *convert)
{
    FILE *to = page->to;
    size_t n;
    struct ranked *order = rank(page, json_object_get(convert, "tensors"), bytes_of, &n);
    size_t bars = n < N_BARS ? n : N_BARS;
    if (!order)
        return;
    fprintf(to,
            "<h2>The %zu largest tensors</h2>\n<p>Wide bar: bytes in the source. Narrow bar: in "
            "the archive.</p>\n<svg viewBox=\"0 0 %d %zu\" width=\"%d\" role=\"img\" "
            "aria-label=\"bytes of the largest tensors\">\n",
            bars, CHART_WIDTH, bars * BAR_HEIGHT, CHART_WIDTH);
    for (size_t i = 0; i < bars; i++)
        put_bar(to, (unsigned)i, order[i].item, fmax(order[0].figure, 1.0));
    fputs("</svg>\n", to);
    free(order);
}

static void put_shape(FILE *to, const json_t *tensor)
{
    const json_t *shape = json_object_get(tensor, "shape");
    fputs("<td>", to);
    for (size_t i = 0; i < json_array_size(shape); i++)
        fprintf(to, "%s%lld", i ? "\xc3\x97" : "",
                (long long)json_integer_value(json_array_get(shape, i)));
    fputs(json_array_size(shape) ? "</td>" : "scalar</td>", to);
}

static void put_coding(FILE *to, const json_t *plan)
{
    const double bits = number_of(plan, "bits"), levels = number_of(plan, "levels");
    const size_t blocks = json_array_size(json_object_get(plan, "blocks"));
    fputs("<td>", to);
    if (blocks > 1)
        fprintf(to, "%zu blocks of rows", blocks);
    else if (strcmp(text_of(plan, "content"), "lossless") == 0)
        fprintf(to, "lossless %s", text_of(plan, "codec"));
    else if (!isnan(bits) && levels == ldexp(1.0, (int)bits - 1) - 1.0)
        fprintf(to, "%.0f-bit %s", bits, text_of(plan, "codec"));
    else
        fprintf(to, "%.0f levels %s", levels, text_of(plan, "codec"));
    if (strcmp(text_of(plan, "rounding"), "feedback") == 0)
        fputs(", feedback", to);
    fputs("</td>", to);
}

static void put_row(FILE *to, const json_t *plan, const json_t *quality)
{
    bool exact = json_is_true(json_object_get(quality, "exact"));
    fputs("<tr><td title=\"", to);
    put_text(to, text_of(plan, "reason"));
    fputs("\">", to);
    put_text(to, text_of(plan, "name"));
    fprintf(to, "</td><td>%s</td>", text_of(plan, "dtype"));
    put_shape(to, plan);
    put_coding(to, plan);
    put_number(to, "", 3, false, number_of(plan, "coded_bits_per_element"));
    put_number(to, exact ? "exact" : "", 2, false, number_of(quality, "sqnr_db"));
    put_number(to, "", 6, false, number_of(quality, "cosine"));
    put_number(to, "", 2, true, number_of(quality, "max_abs_error"));
    put_number(to, "", 2, true, number_of(quality, "p99_rel_error"));
    fputs("</tr>\n", to);
}

/* Both reports list the archive's tensors in its order. */
static void put_table(FILE *to, const json_t *convert, const json_t *verify)
{
    const json_t *plan, *quality = json_object_get(verify, "tensors");
    size_t i;
    fputs("<h2>Every tensor</h2>\n<div class=\"scroll\"><table>\n<tr><th>tensor</th><th>dtype</th>"
          "<th>shape</th><th>coding</th><th class=\"n\">bits a weight</th>"
          "<th class=\"n\">SQNR dB</th><th class=\"n\">cosine</th>"
          "<th class=\"n\">max abs error</th><th class=\"n\">p99 rel error</th></tr>\n",
          to);
    json_array_foreach(json_object_get(convert, "tensors"), i, plan)
    {
        put_row(to, plan, json_array_get(quality, i));
    }
    fputs(end_of_table, to);
}

static void put_links(FILE *to, const struct qn_summary *s)
{
    fputs("<ul>\n", to);
    for (size_t i = 0; i < s->n_files; i++)
        fprintf(to, "<li><a href=\"%s\">%s</a></li>\n", s->files[i], s->files[i]);
    fputs("</ul>\n", to);
}

static void put_verdict(FILE *to, const json_t *review)
{
    const bool passed = json_is_true(json_object_get(review, "passed"));
    if (!review)
        return;
    fprintf(to, "<p>Phase gates: <b class=\"%s\">%s</b>. ", passed ? "good" : "bad",
            passed ? "all passed" : "not all passed");
    put_text(to, text_of(review, "decision"));
    fputs(" <a href=\"review/index.html\">The review</a></p>\n", to);
}

static void put_page(struct qn_text_writer *page, const struct qn_summary *s)
{
    FILE *to = page->to;
    fputs(head, to);
    fputs("<title>qins: ", to);
    put_text(to, s->name);
    fputs("</title>\n</head>\n<body>\n<h1>", to);
    put_text(to, s->name);
    fputs("</h1>\n<p>", to);
    put_text(to, text_of(s->pipeline, "model"));
    fputs(" (", to);
    put_text(to, text_of(s->pipeline, "source_format"));
    fputs("), text: ", to);
    put_text(to, text_of(s->pipeline, "text"));
    if (text_of(s->pipeline, "heldout")[0])
        fputs(", validated on ", to);
    put_text(to, text_of(s->pipeline, "heldout"));
    fputs("</p>\n", to);
    put_tiles(to, s->pipeline);
    put_verdict(to, s->review);
    put_links(to, s);
    put_prediction(to, s->validate, &archive);
    put_native(to, s->transport, s->native);
    put_calibration(page, s->calibrate);
    put_skipped(to, s->pipeline);
    put_chart(page, s->convert);
    put_table(to, s->convert, s->verify);
    fputs("<p>SQNR: squared weights over squared errors. Relative error: |x \xe2\x88\x92 y| / "
          "(|x| + 1e-8). Made by qins ",
          to);
    put_text(to, text_of(s->pipeline, "qins_version"));
    fputs(".</p>\n</body>\n</html>\n", to);
}

enum qins_status qn_write_summary(const char *path, const struct qn_summary *summary,
                                  struct qins_error *err)
{
    struct qn_text_writer w;
    size_t size = 0;
    if (qn_text_writer_init(&w, err) == QINS_OK)
        put_page(&w, summary);
    char *page = qn_text_writer_finish(&w, &size, err);
    const enum qins_status st = page ? qn_write_whole(path, page, size, err) : w.status;
    free(page);
    return st;
}
