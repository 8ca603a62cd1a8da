/* index.html: the study on one self-contained page. */
#ifndef QINS_ANALYZE_PAGE_H
#define QINS_ANALYZE_PAGE_H

#include "analyze/plot.h"
#include "core/json.h"
#include "core/text_writer.h"

#include <stdio.h>

/* Writes the page to PATH, atomically. Pictures come from the folder of P that were drawn. */
enum qins_status qn_page_write(const char *path, const json_t *report, const struct qn_plotter *p,
                               struct qins_error *err);

/* For its parts: text with what HTML takes for markup escaped. */
void qn_page_text(FILE *to, const char *text);
/* The first N bytes of one that are not inside a character. */
void qn_page_part(FILE *to, const char *text, size_t n);
/* A name, which may break after each of its parts. */
void qn_page_name(FILE *to, const char *name);
/* A number with DIGITS decimals, or a dash where there is none. */
void qn_page_number(FILE *to, int digits, double value);
void qn_page_bytes(FILE *to, double bytes);
/* A cell of a table with a number that sorts by its value. */
void qn_page_cell(FILE *to, int digits, double value);

/* Begins a self-contained page, titled "qins VERB: NAME", with the shared style and STYLE behind
 * it; ends it, with the shared script. */
void qn_page_head(FILE *to, const char *verb, const char *name, const char *style);
void qn_page_foot(FILE *to);
/* What PUT writes, to PATH, atomically. */
enum qins_status qn_page_save(const char *path,
                              void (*put)(struct qn_text_writer *page, const void *ctx),
                              const void *ctx, struct qins_error *err);

/* The picture of a plot that was drawn, inline. */
void qn_page_picture(struct qn_text_writer *page, const struct qn_plotter *p,
                     const struct qn_plot *plot);

/* Parts (analyze/page_parts.c, page_table.c, page_transport.c, page_kv.c). */
void qn_page_tiles(FILE *to, const json_t *report);
void qn_page_finding(FILE *to, const json_t *report);
void qn_page_comparison(FILE *to, const json_t *report);
void qn_page_extra(FILE *to, const json_t *report);
void qn_page_access(FILE *to, const json_t *report);
/* Layers on coded inputs, with P's pictures; nothing where there are none. */
void qn_page_transport(struct qn_text_writer *page, const json_t *report,
                       const struct qn_plotter *p);
/* Pages of V, the same. */
void qn_page_kv(struct qn_text_writer *page, const json_t *report, const struct qn_plotter *p);
void qn_page_kinds(FILE *to, const json_t *report);
void qn_page_remarks(FILE *to, const json_t *report);
/* The table of tensors, with the pictures that P has of them. */
void qn_page_tensors(struct qn_text_writer *page, const json_t *report, const struct qn_plotter *p);

#endif
