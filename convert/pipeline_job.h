/* What the parts of the pipeline share: pipeline.c, pipeline_steps.c. */
#ifndef QINS_CONVERT_PIPELINE_JOB_H
#define QINS_CONVERT_PIPELINE_JOB_H

#include "convert/pipeline.h"

/* What a run leaves in its folder. */
enum qn_pipeline_file {
    QN_FILE_CALIBRATION,
    QN_FILE_CALIBRATION_PART,
    QN_FILE_CALIBRATE_REPORT,
    QN_FILE_ARCHIVE,
    QN_FILE_ARCHIVE_PART,
    QN_FILE_CONVERT_REPORT,
    QN_FILE_VERIFY_REPORT,
    QN_FILE_VALIDATE_REPORT,
    QN_FILE_PAGE,
    QN_PIPELINE_FILES,
};

/* In their order. */
enum qn_pipeline_step {
    QN_STEP_CALIBRATE,
    QN_STEP_CONVERT,
    QN_STEP_VERIFY,
    QN_STEP_VALIDATE,
    QN_PIPELINE_STEPS,
};

struct qn_pipeline {
    const struct qn_pipeline_options *o; /* `convert` resumes */
    const struct qn_monitor *monitor;
    char *files[QN_PIPELINE_FILES];
    uint32_t context; /* tokens of a window of the steps that run the model; 0: it cannot be run, */
    char why[512];    /* and why */
    char jobs[QN_PIPELINE_STEPS][33];   /* what decides a step's outcome */
    json_t *reports[QN_PIPELINE_STEPS]; /* NULL: skipped */
    bool kept[QN_PIPELINE_STEPS];
    json_t *steps; /* of the report */
};

/* The model cannot be run, as E says. */
void qn_pipeline_cannot_run(struct qn_pipeline *p, const struct qins_error *e);

/* Does STEP or keeps what an earlier run left, and appends to p->steps. QINS_ERR_CHECK of a
 * verification leaves its report in place: the page shows what differs. */
enum qins_status qn_pipeline_step(struct qn_pipeline *p, enum qn_pipeline_step step,
                                  struct qins_error *err);

#endif
