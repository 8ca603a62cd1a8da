#include "analyze/page.h"
#include "analyze/plot_assets.h"
#include "analyze/report_json.h"

#include "core/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PICTURE_LIMIT = 8 << 20 }; /* bytes */

void qn_page_text(FILE *to, const char *text)
{
    qn_page_part(to, text, strlen(text));
}

void qn_page_part(FILE *to, const char *text, size_t n)
{
    for (const char *end = text + n; text < end;) {
        size_t unsafe = qn_text_unsafe(text);
        if (unsafe > 0) {
            fputs("\xef\xbf\xbd", to); /* the replacement character */
            text += unsafe;
            continue;
        }
        switch (*text) {
        case '&':
            fputs("&amp;", to);
            break;
        case '<':
            fputs("&lt;", to);
            break;
        case '>':
            fputs("&gt;", to);
            break;
        case '"':
            fputs("&quot;", to);
            break;
        case '\'':
            fputs("&#39;", to);
            break;
        default:
            fputc(*text, to);
        }
        text++;
    }
}

void qn_page_name(FILE *to, const char *name)
{
    while (*name) {
        char part[64];
        size_t n = 0;
        while (name[n] && n + 1 < sizeof part && (n == 0 || !strchr("._/", name[n - 1])))
            n++;
        while (n > 1 && ((unsigned char)name[n] & 0xc0) == 0x80) /* not inside a character */
            n--;
        memcpy(part, name, n);
        part[n] = '\0';
        qn_page_text(to, part);
        name += n;
        if (*name && strchr("._/", name[-1]))
            fputs("<wbr>", to);
    }
}

/* A whole number, thousands apart by narrow spaces. */
static void put_whole(FILE *to, double value)
{
    char text[32];
    size_t n = (size_t)snprintf(text, sizeof text, "%.0f", value);
    for (size_t i = 0; i < n; i++) {
        fputc(text[i], to);
        if (n - i > 1 && (n - i) % 3 == 1 && text[i] != '-')
            fputs("\xe2\x80\xaf", to);
    }
}

void qn_page_number(FILE *to, int digits, double value)
{
    static const double most_whole = 0x1p53;
    if (isfinite(value) && digits == 0 && fabs(value) <= most_whole)
        put_whole(to, value);
    else if (isfinite(value))
        fprintf(to, "%.*f", digits, value);
    else
        fputs("\xe2\x80\x93", to);
}

void qn_page_bytes(FILE *to, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    while (bytes >= 1024.0 && unit < 4) {
        bytes /= 1024.0;
        unit++;
    }
    /* four digits */
    qn_page_number(to, !unit || bytes >= 100.0 ? 0 : bytes >= 10.0 ? 1 : 2, bytes);
    fprintf(to, " %s", units[unit]);
}

void qn_page_cell(FILE *to, int digits, double value)
{
    if (isfinite(value))
        fprintf(to, "<td class=\"n\" data-value=\"%.9g\">", value);
    else
        fputs("<td class=\"n\" data-value=\"\">", to);
    qn_page_number(to, digits, value);
    fputs("</td>", to);
}

static void put_base64(FILE *to, const uint8_t *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t v = (uint32_t)data[i] << 16;
        v |= i + 1 < size ? (uint32_t)data[i + 1] << 8 : 0;
        v |= i + 2 < size ? data[i + 2] : 0;
        fputc(digits[v >> 18], to);
        fputc(digits[v >> 12 & 63], to);
        fputc(i + 1 < size ? digits[v >> 6 & 63] : '=', to);
        fputc(i + 2 < size ? digits[v & 63] : '=', to);
    }
}

void qn_page_picture(struct qn_text_writer *page, const struct qn_plotter *p,
                     const struct qn_plot *plot)
{
    FILE *to = page->to;
    struct qn_buf svg = {0};
    char *path =
        qn_format(&page->error, "%s/%s.svg", p->placed ? p->folder : p->stage.path, plot->name);
    const enum qins_status st =
        path ? qn_read_whole(path, PICTURE_LIMIT, &svg, &page->error) : QINS_ERR_MEMORY;
    page->status = page->status == QINS_OK ? st : page->status;
    if (st == QINS_OK) {
        fprintf(to, "<figure id=\"%s\">", plot->name);
        if (*plot->caption)
            fprintf(to, "<figcaption>%s</figcaption>", plot->caption);
        fprintf(to, "<div class=\"scroll\"><img alt=\"%s\" src=\"data:image/svg+xml;base64,",
                plot->alt);
        put_base64(to, svg.data, svg.size);
        fputs("\"></div></figure>\n", to);
    }
    qn_buf_finish(&svg);
    free(path);
}

/* Those of NAMES, ended by NULL, that were drawn. */
static void put_pictures(struct qn_text_writer *page, const struct qn_plotter *p,
                         const char *const *names)
{
    fputs("<div class=\"figures\">\n", page->to);
    for (; *names; names++)
        for (size_t i = 0; i < p->n_plots; i++)
            if (strcmp(p->plots[i].name, *names) == 0 && p->plots[i].drawn)
                qn_page_picture(page, p, &p->plots[i]);
    fputs("</div>\n", page->to);
}

void qn_page_head(FILE *to, const char *verb, const char *name, const char *style)
{
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          /* nothing is loaded from anywhere, and only the page's own script runs */
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
          "img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
          "<link rel=\"icon\" href=\"data:,\">\n<title>qins ",
          to);
    fprintf(to, "%s: ", verb);
    qn_page_text(to, name);
    fprintf(to, "</title>\n<style>\n%s%s</style>\n</head>\n<body>\n", qn_asset_page_css, style);
}

void qn_page_foot(FILE *to)
{
    fprintf(to, "<script>\n%s</script>\n</body>\n</html>\n", qn_asset_page_js);
}

struct study {
    const json_t *report;
    const struct qn_plotter *plotter;
};

static void put_file(FILE *to, const json_t *report, const char *key, const char *what)
{
    const char *path = qn_report_text(json_object_get(report, key), "path");
    if (!*path)
        return;
    fprintf(to, "; %s ", what);
    qn_page_text(to, path);
}

static void put_title(FILE *to, const json_t *report)
{
    const json_t *model = json_object_get(report, "model");
    const char *path = qn_report_text(model, "path");
    fputs("<h1>", to);
    qn_page_text(to, qn_path_base(path));
    fputs("</h1>\n<p class=\"soft\">", to);
    qn_page_text(to, path);
    fputs("; ", to);
    qn_page_text(to, qn_report_text(model, "format"));
    put_file(to, report, "calibration", "calibration");
    put_file(to, report, "transport", "transport");
    put_file(to, report, "kv", "V pages");
    put_file(to, report, "plan", "plan");
    put_file(to, report, "archive", "archive");
    fputs("; studied by qins ", to);
    qn_page_text(to, qn_report_text(report, "qins_version"));
    fputs("</p>\n<nav><a href=\"#finding\">Finding</a><a href=\"#rates\">Rate and distortion</a>"
          "<a href=\"#sizes\">Sizes</a><a href=\"#extra\">Extra compression</a>"
          "<a href=\"#access\">Hot and cold</a>",
          to);
    if (json_is_object(json_object_get(report, "transport")))
        fputs("<a href=\"#native\">Native compute</a>", to);
    if (json_is_object(json_object_get(report, "kv")))
        fputs("<a href=\"#kv\">V cache</a>", to);
    fputs("<a href=\"#kinds\">Kinds</a>"
          "<a href=\"#remarks\">Remarks</a><a href=\"#list\">Every tensor</a></nav>\n",
          to);
}

static void put_page(struct qn_text_writer *page, const void *ctx)
{
    FILE *to = page->to;
    const struct study *study = ctx;
    const json_t *report = study->report;
    const struct qn_plotter *p = study->plotter;
    static const char *const rates[] = {"int-vs-qins", "rate-distortion", NULL},
                             *const sizes[] = {"waterfall", "coded-size", NULL},
                             *const access[] = {"access-map", "access-frequency", NULL},
                             *const kinds[] = {"entropy-by-kind", "entropy-by-layer", NULL};
    qn_page_head(to, "analyze",
                 qn_path_base(qn_report_text(json_object_get(report, "model"), "path")), "");
    put_title(to, report);
    qn_page_tiles(to, report);
    qn_page_finding(to, report);
    fputs("<h2 id=\"rates\">Rate and distortion</h2>\n", to);
    put_pictures(page, p, rates);
    qn_page_comparison(to, report);
    fputs("<h2 id=\"sizes\">Sizes</h2>\n", to);
    put_pictures(page, p, sizes);
    qn_page_extra(to, report);
    qn_page_access(to, report);
    put_pictures(page, p, access);
    qn_page_transport(page, report, p);
    qn_page_kv(page, report, p);
    fputs("<h2 id=\"kinds\">Kinds of tensors</h2>\n", to);
    put_pictures(page, p, kinds);
    qn_page_kinds(to, report);
    qn_page_remarks(to, report);
    qn_page_tensors(page, report, p);
    qn_page_foot(to);
}

enum qins_status qn_page_save(const char *path,
                              void (*put)(struct qn_text_writer *page, const void *ctx),
                              const void *ctx, struct qins_error *err)
{
    struct qn_text_writer w;
    size_t size = 0;
    if (qn_text_writer_init(&w, err) == QINS_OK)
        put(&w, ctx);
    char *text = qn_text_writer_finish(&w, &size, err);
    const enum qins_status st = text ? qn_write_whole(path, text, size, err) : w.status;
    free(text);
    return st;
}

enum qins_status qn_page_write(const char *path, const json_t *report, const struct qn_plotter *p,
                               struct qins_error *err)
{
    const struct study study = {report, p};
    return qn_page_save(path, put_page, &study, err);
}
