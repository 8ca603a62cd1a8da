/* The whole line from a checkpoint to a reviewed archive. */
#ifndef QINS_CONVERT_PIPELINE_H
#define QINS_CONVERT_PIPELINE_H

#include "convert/convert.h"
#include "convert/plan_job.h"

struct qn_pipeline_options {
    const char *model, *text;
    const char *heldout;   /* text to validate with, or NULL: the same */
    const char *tokenizer; /* path, or NULL: the model's */
    const char *dir;       /* for all that is written; made if need be */
    const char *tests;     /* of the archive's validation, with commas between; NULL: all */
    uint32_t tokens;       /* generated from each prompt, as qn_validate() takes it */
    uint32_t context;      /* tokens of a window as qn_window_size() takes it; a short text has a
                              shorter one */
    bool uniform;          /* convert.plan goes for all tensors: nothing is planned */
    struct qn_plan_job_options plan;   /* otherwise; its calibration is the run's own */
    struct qn_convert_options convert; /* its threads are those of all steps */
};

/* What the pipeline measures of itself: Gram matrices where those of all points together take at
 * most QN_CALIBRATE_LARGE, so that one pass does, and sensitivities where weights times matrices
 * are at most this [on two cores about 15 minutes: 10^14 multiplications with 4096 tokens]. */
#define QN_PIPELINE_SENSITIVITY UINT64_C(10000000000)
/* Rows of each point that it keeps for the transport, where they and the Gram matrices take at most
 * QN_CALIBRATE_LARGE. */
#define QN_PIPELINE_ROWS 2048

/* Calibrates the model on the text, fits native layers (every v_proj: DIR/transport.h5), plans how
 * each tensor is coded, converts it to DIR/model.qins by that plan, verifies that against the
 * model, measures how far a coded V cache (8 and 6 bits), the archive (all tests of qn_validate())
 * and the native layers are from the model on the text, studies all that (DIR/analysis/), judges
 * the phase gates by these reports (DIR/review/; the review of an earlier run there becomes its
 * history) and writes a report of each step and DIR/index.html, a page that needs nothing else. A
 * step that an earlier run finished for the same sources and options is not done again; a
 * DIR/plan.json that was edited by hand since is kept and carried out. Where the checkpoint is no
 * language model that can be run on the text, calibration and validation are skipped, and the
 * report says why; so is the plan of a uniform run, so are native layers where the calibration
 * has too few rows, and V caches where windows are too short to fill a page. What the gates say
 * changes nothing of the outcome: it is "passed" of the report. *report (schema qins/pipeline/1)
 * belongs to the caller; it is set on QINS_OK and on QINS_ERR_CHECK (the archive is not what the
 * model makes of it). */
enum qins_status qn_pipeline(const struct qn_pipeline_options *options,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err);

/* What the page is made of. */
struct qn_summary {
    const char *name;                   /* of the model */
    const json_t *pipeline;             /* the report of the run, */
    const json_t *convert, *verify;     /* and of its steps */
    const json_t *calibrate, *validate; /* NULL where they were skipped, */
    const json_t *transport, *native;   /* these, too: the fit, and the model validated with it */
    const json_t *review;               /* of the gates */
    const char *const *files;           /* in the page's folder, to link to */
    size_t n_files;
};
enum qins_status qn_write_summary(const char *path, const struct qn_summary *summary,
                                  struct qins_error *err);

#endif
