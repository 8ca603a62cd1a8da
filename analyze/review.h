/* The parts of a review's folder (analyze/gate.h); see qn_review_write(). */
#ifndef QINS_ANALYZE_REVIEW_H
#define QINS_ANALYZE_REVIEW_H

#include "analyze/evidence.h"
#include "analyze/plot.h"

#include <stdio.h>

struct qn_review {
    const json_t *json; /* gate_review.json */
    const struct qn_evidence *evidence;
};

/* What a picture of a review shows. */
enum qn_review_kind {
    QN_REVIEW_AUTOREGRESSIVE, /* one for each report that has figures for it */
    QN_REVIEW_LONG_CONTEXT,   /* too */
    QN_REVIEW_LAYERS,         /* too */
    QN_REVIEW_KL,             /* from here on one of all reports */
    QN_REVIEW_TOP_K,
    QN_REVIEW_PERPLEXITY,
    QN_REVIEW_KV_CACHE,
    QN_REVIEW_TRADE_OFF,
    QN_REVIEW_HISTORY,
    QN_REVIEW_KINDS,
    QN_REVIEW_ALL_FILES = QN_REVIEW_KL
};

/* The kind of a criterion's "plot"; QN_REVIEW_KINDS for another name. */
enum qn_review_kind qn_review_kind(const char *name);
/* "review-" and the kind, and the number of the piece of evidence from 1 where there are several;
 * SIZE as in struct qn_plot. */
void qn_review_plot_name(enum qn_review_kind kind, size_t file, char *name, size_t size);

/* Adds all plots that there are figures for (analyze/review_plot*.c). */
enum qins_status qn_review_plots(struct qn_plotter *p, const struct qn_review *r,
                                 struct qins_error *err);
enum qins_status qn_review_plot_generation(struct qn_plotter *p, const struct qn_review *r,
                                           struct qins_error *err);
enum qins_status qn_review_plot_prediction(struct qn_plotter *p, const struct qn_review *r,
                                           struct qins_error *err);
enum qins_status qn_review_plot_sizes(struct qn_plotter *p, const struct qn_review *r,
                                      struct qins_error *err);
enum qins_status qn_review_plot_history(struct qn_plotter *p, const struct qn_review *r,
                                        struct qins_error *err);

/* The page, to PATH, atomically (analyze/review_page*.c). */
enum qins_status qn_review_page(const char *path, const struct qn_review *r,
                                const struct qn_plotter *p, struct qins_error *err);

/* Prints PAGE, an HTML file of our own, to PATH; the browser's profile is left in STAGE
 * (analyze/review_pdf.c). Without a browser, or where it fails, a notice, and no PATH; QINS_ERR_IO
 * where it failed and the disk is full. */
enum qins_status qn_review_print(const char *page, const char *path, const struct qn_stage *stage,
                                 const struct qn_monitor *monitor, struct qins_error *err);

#endif
