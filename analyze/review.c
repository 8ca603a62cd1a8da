#include "analyze/review.h"
#include "analyze/gate.h"

#include "core/file.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

enum { TREE_FILES = 16 }; /* open at once while a folder is removed */

/* What a review consists of, in the order in which it is put in place. */
static const char *const names[] = {"gate_review.json", "index.html", "review.pdf"};
enum { REVIEW_JSON, REVIEW_PAGE, REVIEW_PDF, REVIEW_FILES };

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

/* A folder beside the review, where it is made: what is in the review's place is one review,
 * whatever happens meanwhile. */
static enum qins_status make_stage(const char *dir, char **stage, struct qins_error *err)
{
    char *base = realpath(dir, NULL);
    enum qins_status st = base ? QINS_OK : qn_fail_errno(err, dir, "find the folder");
    *stage = base ? qn_path_join(base, "review.tmp-XXXXXX", err) : NULL;
    if (st == QINS_OK && !*stage)
        st = QINS_ERR_MEMORY;
    if (st == QINS_OK && !mkdtemp(*stage)) {
        st = qn_fail_errno(err, *stage, "make a folder");
        free(*stage);
        *stage = NULL;
    }
    free(base);
    return st;
}

/* Everything of the review but its pictures, in STAGE. */
static enum qins_status make_files(const char *stage, const struct qn_review *r,
                                   const struct qn_plotter *p, const struct qn_monitor *monitor,
                                   struct qins_error *err)
{
    char *paths[REVIEW_FILES] = {0};
    enum qins_status st = QINS_OK;
    for (int i = 0; i < REVIEW_FILES && st == QINS_OK; i++) {
        paths[i] = qn_path_join(stage, names[i], err);
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

static enum qins_status move_file(const char *stage, const char *dir, const char *name,
                                  struct qins_error *err)
{
    char *from = qn_path_join(stage, name, err), *to = from ? qn_path_join(dir, name, err) : NULL;
    enum qins_status st = to ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK && rename(from, to) != 0 && errno != ENOENT) /* there may be no PDF */
        st = qn_fail_errno(err, to, "move a file to");
    free(from);
    free(to);
    return st;
}

/* The PDF of an earlier review goes first: its verdict may be another. */
static enum qins_status put_in_place(const char *stage, const char *dir, struct qins_error *err)
{
    char *pdf = qn_path_join(dir, names[REVIEW_PDF], err);
    enum qins_status st = pdf ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK && unlink(pdf) != 0 && errno != ENOENT)
        st = qn_fail_errno(err, pdf, "remove a file");
    for (int i = 0; i < REVIEW_FILES && st == QINS_OK; i++)
        st = move_file(stage, dir, names[i], err);
    free(pdf);
    return st;
}

enum qins_status qn_review_write(const char *dir, const json_t *review,
                                 const struct qn_gate_options *options,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_evidence evidence = {0};
    struct qn_plotter p = {0};
    char *stage = NULL;
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
        st = make_stage(dir, &stage, err);
    if (st == QINS_OK)
        st = make_files(stage, &r, &p, monitor, err);
    if (st == QINS_OK)
        st = put_in_place(stage, dir, err);
    if (stage)
        nftw(stage, remove_entry, TREE_FILES, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    free(stage);
    qn_plotter_finish(&p);
    qn_evidence_finish(&evidence);
    return st;
}
