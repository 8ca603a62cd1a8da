#include "analyze/review.h"
#include "analyze/gate.h"

#include "core/file.h"
#include "core/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* What a review consists of, in the order in which it is put in place. */
static const char *const names[] = {"review.pdf", "gate_review.json", "index.html"};
enum { REVIEW_PDF, REVIEW_JSON, REVIEW_PAGE, REVIEW_FILES };

/* Everything of the review but its pictures, in STAGE. */
static enum qins_status make_files(const struct qn_stage *stage, const struct qn_review *r,
                                   const struct qn_plotter *p, const struct qn_monitor *monitor,
                                   struct qins_error *err)
{
    char *paths[REVIEW_FILES] = {0};
    enum qins_status st = QINS_OK;
    for (int i = 0; i < REVIEW_FILES && st == QINS_OK; i++) {
        paths[i] = qn_path_join(stage->path, names[i], err);
        st = paths[i] ? QINS_OK : QINS_ERR_MEMORY;
    }
    if (st == QINS_OK)
        st = qn_json_save(paths[REVIEW_JSON], r->json, err);
    if (st == QINS_OK)
        st = qn_review_page(paths[REVIEW_PAGE], r, p, err);
    if (st == QINS_OK)
        st = qn_review_print(paths[REVIEW_PAGE], paths[REVIEW_PDF], stage, monitor, err);
    for (int i = 0; i < REVIEW_FILES; i++)
        free(paths[i]);
    return st;
}

/* The PDF of an earlier review, whose verdict may be another, where there is no new one. */
static enum qins_status remove_earlier_pdf(const struct qn_stage *stage, const char *dir,
                                           struct qins_error *err)
{
    char *made = qn_path_join(stage->path, names[REVIEW_PDF], err),
         *earlier = made ? qn_path_join(dir, names[REVIEW_PDF], err) : NULL;
    bool there = false;
    enum qins_status st = earlier ? qn_find_regular(made, &there, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK && !there && unlink(earlier) != 0 && errno != ENOENT)
        st = qn_fail_errno(err, earlier, "remove a file");
    free(made);
    free(earlier);
    return st;
}

/* What is in the review's place is one review, as far as several files can be. */
static enum qins_status put_in_place(const struct qn_stage *stage, struct qn_plotter *p,
                                     const char *dir, struct qins_error *err)
{
    enum qins_status st = qn_plotter_place(p, err);
    if (st == QINS_OK)
        st = remove_earlier_pdf(stage, dir, err);
    for (int i = 0; i < REVIEW_FILES && st == QINS_OK; i++)
        st = qn_stage_move(stage, dir, names[i], err);
    return st;
}

enum qins_status qn_review_write(const char *dir, const json_t *review,
                                 const struct qn_gate_options *options,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_evidence evidence = {0};
    struct qn_plotter p = {.stage.fd = -1};
    struct qn_stage stage = {.fd = -1};
    const struct qn_review r = {review, &evidence};
    enum qins_status st =
        qn_evidence_load(&evidence, options->evidence, options->n_evidence, monitor, err);
    if (st == QINS_OK)
        st = qn_stage_init(&stage, dir, "review", err);
    if (st == QINS_OK)
        st = qn_plotter_init(&p, dir, err);
    if (st == QINS_OK)
        st = qn_review_plots(&p, &r, err);
    if (st == QINS_OK)
        st = qn_plotter_draw(&p, monitor, err);
    if (st == QINS_OK)
        st = make_files(&stage, &r, &p, monitor, err);
    if (st == QINS_OK)
        st = put_in_place(&stage, &p, dir, err);
    qn_stage_finish(&stage);
    qn_plotter_finish(&p);
    qn_evidence_finish(&evidence);
    return st;
}
