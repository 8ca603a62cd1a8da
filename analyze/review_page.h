/* The parts of a review's page. */
#ifndef QINS_ANALYZE_REVIEW_PAGE_H
#define QINS_ANALYZE_REVIEW_PAGE_H

#include "analyze/page.h"
#include "analyze/review_parts.h"

/* What the page has shown so far. */
struct qn_review_shown {
    struct qn_text_writer *page;
    const struct qn_review *review;
    const struct qn_plotter *plotter;
    bool *placed; /* of the plotter's plots */
    size_t gate;  /* whose part is being written, from 1; behind the last for what follows them */
    size_t missing[QN_REVIEW_KINDS]; /* where the page says what is missing for a kind, or 0 */
};

/* A status by shape and colour, and as a WORD. */
void qn_review_light(FILE *to, const char *status, bool word);

/* A criterion's status as it is shown: what does not decide is "met" or "missed". */
const char *qn_review_status(const json_t *criterion);
/* STATUS as a class of style or as people write it; one that is not known as not run. */
const char *qn_review_word(const char *status, bool as_class);

/* BEFORE, then "execution-plan.md, “After Phase 2”"; nothing for a SOURCE without a file. */
void qn_review_source(FILE *to, const char *before, const json_t *source);

/* Of the first screen (analyze/review_header.c): what failed or is missing, by name, and notes; a
 * card for each of GATES; what the evidence is about, and how much of it there is. */
void qn_review_open(FILE *to, const json_t *review);
void qn_review_lights(FILE *to, const json_t *gates);
void qn_review_subjects(FILE *to, const struct qn_review *r);
/* Words of the gates, explained. */
void qn_review_legend(FILE *to, const json_t *legend);

/* The figure of a CRITERION, or of one that is shown beside it. */
void qn_review_put_value(FILE *to, const json_t *criterion);

/* A figure with what it may be off by (NaN: not known), to no more digits than that; enough to see
 * on which side of THRESHOLD (or NaN) it is. */
void qn_review_put_figure(FILE *to, double value, double error, double threshold, const char *unit);
/* A command, which breaks between its words only. */
void qn_review_put_command(FILE *to, const char *command);
/* "≥ 95 %" */
void qn_review_put_threshold(FILE *to, const json_t *criterion);

/* The table of a gate's criteria (analyze/review_criteria.c). */
void qn_review_criteria(FILE *to, const struct qn_review_shown *s, const json_t *gate);

/* Pictures that a gate's criteria are about and that no gate before has shown, or what is missing
 * for them (analyze/review_pictures.c). */
void qn_review_gate_pictures(FILE *to, struct qn_review_shown *s, const json_t *gate);
/* The others. */
void qn_review_further_pictures(FILE *to, struct qn_review_shown *s);
/* All of KIND that were not shown yet, or what is missing for them. */
void qn_review_picture(FILE *to, struct qn_review_shown *s, enum qn_review_kind kind);
/* The place of a criterion's picture on the page, "#…", or "". */
void qn_review_picture_place(const struct qn_review_shown *s, const json_t *criterion, char *place,
                             size_t size);

/* Earlier reviews, and the list of evidence (analyze/review_lists.c). */
void qn_review_history(FILE *to, struct qn_review_shown *s);
void qn_review_evidence(FILE *to, const struct qn_review *r);

#endif
