/* What the parts of a calibration share: calibrate.c, calibrate_taps.c, calibrate_pass.c,
 * calibrate_large.c, calibrate_part.c, calibrate_parts.c, calibrate_resume.c,
 * calibrate_report.c. */
#ifndef QINS_CONVERT_CALIBRATE_JOB_H
#define QINS_CONVERT_CALIBRATE_JOB_H

#include "convert/calibrate.h"
#include "convert/gram.h"
#include "convert/windows.h"
#include "core/work_file.h"
#include "model/kernels.h"
#include "model/session.h"

#include <pthread.h>

/* Gram matrices and kept rows of the points of one pass, [begin, end). Kept rows are stored at
 * their place in the table of all kept rows; an expert has only some. */
struct qn_large_store {
    size_t begin, end;
    struct qn_gram *gram;           /* [end - begin]; or NULL */
    struct qn_gram_scratch scratch; /* of the one thread that adds */
    float **rows;                   /* [end - begin] of [n_kept][channels]; or NULL */
    bool **have;                    /* [end - begin] of [n_kept] */
};

/* The kernel sorts |x| by its top bits; infinities and NaN land behind the finite cells. */
enum { QN_PARTIAL_CELLS = 1 << (31 - QN_ABS_SHIFT) };

/* What one window adds to one point. */
struct qn_partial {
    struct qn_moment_sums sums;
    uint64_t rows;
};

/* What one window adds: a slot of the ordered pipeline. */
struct qn_tap_slot {
    struct qn_partial *points; /* [n_points] */
    double *sums;              /* of all points */
    float *extremes;
    uint64_t *histograms;
    uint64_t *experts; /* [n_layers][n_experts] */
};

struct qn_calibrating;

/* A session and what its listener has to know. */
struct qn_tap_worker {
    struct qn_calibrating *job;
    struct qn_session *session;
    struct qn_listener listener;
    struct qn_tap_slot *slot;
    size_t window;
    uint64_t *seen;     /* [n_points]: rows of this window so far */
    uint64_t *routed;   /* [n_layers]: tokens of this window that the router has seen */
    uint32_t *chosen;   /* [batch][experts_per_token], of the batch and layer in progress */
    size_t chosen_rows; /* of them */
    bool out_of_memory;
};

struct qn_calibrating {
    const struct qn_model *m;
    const struct qn_corpus *corpus;
    const struct qn_calibrate_options *o;
    const struct qn_monitor *monitor;
    struct qn_monitor silent; /* only what may stop a session */
    const char *out;
    struct qn_tap_list taps;
    struct qn_windows windows;
    struct qn_calibration c; /* the figures so far */
    struct qn_pool *pool;    /* with Gram matrices: one window at a time on all threads */
    unsigned threads;        /* windows at a time */

    size_t *pass_end; /* [n_passes]: the points that a pass looks at closely end here */
    size_t n_passes, pass;
    uint64_t done; /* windows of this pass */
    bool torn;     /* the store holds part of a window */
    struct qn_large_store store;

    struct qn_tap_worker *workers;
    struct qn_tap_worker **idle;
    unsigned n_idle;
    pthread_mutex_t lock;
    struct qn_tap_slot *slots;
    unsigned n_slots;

    struct qn_file work;                  /* of a part: what is locked; no path: nothing is */
    bool keep;                            /* OUT.part is ours */
    bool resumed;                         /* from it */
    double saved, saving_took;            /* seconds */
    double measuring_took;                /* sensitivities */
    uint64_t tokens_done, tokens_resumed; /* in all passes */
};

/* The name of a model's folder or file, which fingerprints are shown with; heap. */
char *qn_calibrate_model_name(const char *path, struct qins_error *err);

/* What C was made with: name, fingerprint and, where M is an archive, the hash of its body. */
enum qins_status qn_calibrate_identify(struct qn_calibration *c, const struct qn_model *m,
                                       struct qins_error *err);

/* Appends the point TAP of M. QINS_ERR_UNSUPPORTED where a Gram matrix of it is asked for and
 * would be too large. */
enum qins_status qn_calibrate_add_tap(struct qn_calibration *c, const struct qn_model *m,
                                      const struct qn_tap_point *tap, struct qins_error *err);

/* calibrate_taps.c: listening. */
enum qins_status qn_tap_slot_init(struct qn_tap_slot *s, const struct qn_calibrating *job,
                                  struct qins_error *err);
void qn_tap_slot_finish(struct qn_tap_slot *s);
enum qins_status qn_tap_worker_init(struct qn_tap_worker *w, struct qn_calibrating *job,
                                    struct qins_error *err);
void qn_tap_worker_finish(struct qn_tap_worker *w);
void qn_tap_worker_begin(struct qn_tap_worker *w, struct qn_tap_slot *slot, size_t window);
/* Room for 3 * CHANNELS sums, 2 * CHANNELS extremes and QN_PARTIAL_CELLS cells, all 0. */
void qn_partial_place(struct qn_partial *p, size_t channels, double *sums, float *extremes,
                      uint64_t *histogram);
/* Adds P's figures to INTO's and clears them. QINS_ERR_FORMAT, naming the point, where they are
 * not finite. */
enum qins_status qn_partial_emit(struct qn_calibration_point *into, struct qn_partial *p,
                                 struct qins_error *err);
/* Adds a slot's figures to the job's and clears the slot. */
enum qins_status qn_tap_slot_emit(struct qn_calibrating *job, struct qn_tap_slot *s, size_t window,
                                  struct qins_error *err);

/* calibrate_large.c: Gram matrices and rows. */
enum qins_status qn_large_store_init(struct qn_calibrating *job, struct qins_error *err);
void qn_large_store_finish(struct qn_large_store *s);
/* Sets `gram` and `kept` of the job's points: of those in the store and, with ALL, of those of
 * earlier passes; the others have none. */
enum qins_status qn_large_declare(struct qn_calibrating *job,
                                  const struct qn_calibration_file *passes, struct qins_error *err);
/* Puts what F has of the store's points into the store. */
enum qins_status qn_large_load(struct qn_calibrating *job, struct qn_calibration_file *f,
                               struct qins_error *err);
/* Adds the Gram matrix that F has of POINT. */
enum qins_status qn_large_add_gram(struct qn_gram *g, struct qn_calibration_file *f, size_t point,
                                   const struct qn_monitor *monitor, struct qins_error *err);
/* As struct qn_large_source reads, from the store. */
void qn_large_read(const struct qn_calibrating *job, size_t point, enum qn_large what,
                   uint64_t first, uint64_t count, void *dst);

/* calibrate_part.c: of a calibration that is cut by windows. */
/* Says what the part is of and leaves its windows; those of all texts have been listed. */
enum qins_status qn_calibrate_part_cut(struct qn_calibrating *job, struct qins_error *err);
/* Locks OUT.part, unless OUT is there already: *there, and job->c holds its figures. */
enum qins_status qn_calibrate_part_begin(struct qn_calibrating *job, bool *there,
                                         struct qins_error *err);
/* Shows that the work goes on. */
void qn_calibrate_part_beat(const struct qn_calibrating *job);
/* Gives up the lock; nothing is left of work that was finished or had not begun. */
void qn_calibrate_part_end(struct qn_calibrating *job);

/* calibrate_resume.c: files of work in progress. */
enum qins_status qn_calibrate_resume(struct qn_calibrating *job, struct qins_error *err);
/* Brings OUT.part up to date; MONITOR may stop it, which leaves it as it was. */
enum qins_status qn_calibrate_save(struct qn_calibrating *job, const struct qn_monitor *monitor,
                                   struct qins_error *err);
/* Ends a pass that is not the last. */
enum qins_status qn_calibrate_next_pass(struct qn_calibrating *job, struct qins_error *err);
/* Writes OUT after the last. */
enum qins_status qn_calibrate_write(struct qn_calibrating *job, struct qins_error *err);
void qn_calibrate_remove_work(const struct qn_calibrating *job);
/* QINS_ERR_INTERRUPTED, saying how to go on where OUT.part is left. */
enum qins_status qn_calibrate_interrupted(const struct qn_calibrating *job, struct qins_error *err);

/* calibrate_access.c */
enum qins_status qn_calibrate_access_init(struct qn_calibrating *job, struct qins_error *err);
/* From the counts of tokens and experts. */
enum qins_status qn_calibrate_touches(struct qn_calibrating *job, struct qins_error *err);

/* calibrate_pass.c: runs the windows that are left of the present pass. */
enum qins_status qn_calibrate_pass(struct qn_calibrating *job, struct qins_error *err);
/* Measures the sensitivities that are not in job->c yet. */
enum qins_status qn_calibrate_sensitivity(struct qn_calibrating *job, struct qins_error *err);

/* calibrate_parts.c: the N FILES that are to be joined, called NAMES. Where they are parts, checks
 * that they are all those of one job and brings both lists into the parts' order; *PARTS. */
enum qins_status qn_calibrate_parts_check(struct qn_calibration_file *files, const char **names,
                                          size_t n, bool *parts, struct qins_error *err);
/* All parts' sensitivities, as one run measures them. C has its access counts. */
enum qins_status qn_calibrate_parts_sensitivity(struct qn_calibration *c,
                                                const struct qn_calibration_file *files, size_t n,
                                                struct qins_error *err);

/* calibrate_report.c: what a calibration holds; schema qins/calibrate/1. Notes parts of the kept
 * rows that are empty. */
json_t *qn_calibrate_report(const struct qn_calibration *c, const char *out, unsigned threads,
                            double seconds, uint64_t tokens, const struct qn_monitor *monitor);

#endif
