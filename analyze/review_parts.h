/* What the plots and the page of a review share (analyze/review_figures.c). */
#ifndef QINS_ANALYZE_REVIEW_PARTS_H
#define QINS_ANALYZE_REVIEW_PARTS_H

#include "analyze/review.h"

#define QN_VALIDATION_SCHEMA "qins/validation/1"
#define QN_VERIFY_SCHEMA     "qins/verify/1"
#define QN_TRANSPORT_REPORT  "qins/transport/1"
#define QN_CALIBRATE_SCHEMA  "qins/calibrate/1"
#define QN_COSTS_SCHEMA      "qins/costs/1"
#define QN_BENCH_SCHEMA      "qins/bench/1"

enum {
    QN_REVIEW_SERIES = 8, /* curves of one picture: assets/style.gp has so many colours */
    QN_REVIEW_EACH = 16   /* reports that have a picture each; more if criteria rest on them */
};

/* The figures of a test that compared two models, or NULL; F may be NULL. */
const json_t *qn_review_test(const struct qn_evidence_file *f, const char *test);
/* Whether both, tests of perplexity, took windows of one length and style, and as many tokens. */
bool qn_review_same_windows(const json_t *a, const json_t *b);
/* The number under which the page lists the evidence of PATH, from 1; 0. */
size_t qn_review_number(const struct qn_review *r, const char *path);
/* Whether the evidence of index FILE gets a picture of a kind of which so many are DRAWN. */
bool qn_review_draws(const struct qn_review *r, size_t file, size_t drawn);
/* What a report is of, short, with that number: "archive, 6.49 bits a weight [3]", "native v_proj,
 * 6 layers [4]", "FP32, V cache 8 bit [5]". Heap; NULL where memory is short. */
char *qn_review_label(const struct qn_review *r, const struct qn_evidence_file *f,
                      struct qins_error *err);
/* The same as a column of data. */
void qn_review_plot_label(struct qn_plotter *p, const struct qn_review *r,
                          const struct qn_evidence_file *f);
/* Element I of ARRAY, or NaN. */
double qn_review_at(const json_t *array, size_t i);

#endif
