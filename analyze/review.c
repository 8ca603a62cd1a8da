#include "analyze/review.h"
#include "analyze/gate.h"

#include "core/file.h"

#include <stdlib.h>

#define REVIEW_JSON "gate_review.json"
#define REVIEW_PAGE "index.html"
#define REVIEW_PDF  "review.pdf"

static enum qins_status write_json(const char *dir, const json_t *review, struct qins_error *err)
{
    char *path = qn_path_join(dir, REVIEW_JSON, err);
    enum qins_status st = path ? qn_json_save(path, review, err) : QINS_ERR_MEMORY;
    free(path);
    return st;
}

static enum qins_status write_pages(const char *dir, const struct qn_review *r,
                                    const struct qn_plotter *p, const struct qn_monitor *monitor,
                                    struct qins_error *err)
{
    char *page = qn_path_join(dir, REVIEW_PAGE, err);
    char *pdf = page ? qn_path_join(dir, REVIEW_PDF, err) : NULL;
    enum qins_status st = page && pdf ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_review_page(page, r, p, err);
    if (st == QINS_OK)
        st = qn_review_print(page, pdf, dir, monitor, err);
    free(page);
    free(pdf);
    return st;
}

enum qins_status qn_review_write(const char *dir, const json_t *review,
                                 const struct qn_gate_options *options,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_evidence evidence = {0};
    struct qn_plotter p = {0};
    const struct qn_review r = {review, &evidence};
    enum qins_status st =
        qn_evidence_load(&evidence, options->evidence, options->n_evidence, monitor, err);
    if (st == QINS_OK)
        st = qn_plotter_init(&p, dir, err); /* makes DIR */
    if (st == QINS_OK)
        st = qn_review_plots(&p, &r, err);
    if (st == QINS_OK)
        st = qn_plotter_draw(&p, monitor, err);
    if (st == QINS_OK)
        st = write_json(dir, review, err);
    if (st == QINS_OK)
        st = write_pages(dir, &r, &p, monitor, err);
    qn_plotter_finish(&p);
    qn_evidence_finish(&evidence);
    return st;
}
