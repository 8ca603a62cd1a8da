/* What the parts of the pipeline share: pipeline.c, pipeline_steps.c. */
#ifndef QINS_CONVERT_PIPELINE_JOB_H
#define QINS_CONVERT_PIPELINE_JOB_H

#include "convert/pipeline.h"

/* What a run leaves in its folder. */
enum qn_pipeline_file {
    QN_FILE_CALIBRATION,
    QN_FILE_CALIBRATION_PART,
    QN_FILE_CALIBRATE_REPORT,
    QN_FILE_TRANSPORT,
    QN_FILE_TRANSPORT_REPORT,
    QN_FILE_PLAN,
    QN_FILE_ARCHIVE,
    QN_FILE_ARCHIVE_PART,
    QN_FILE_CONVERT_REPORT,
    QN_FILE_VERIFY_REPORT,
    QN_FILE_ANALYSIS,        /* a folder, */
    QN_FILE_ANALYSIS_REPORT, /* and what is in it */
    QN_FILE_ANALYSIS_PAGE,
    QN_FILE_VALIDATE_REPORT,
    QN_FILE_VALIDATE_PART,
    QN_FILE_NATIVE_REPORT,
    QN_FILE_KV_8_REPORT,
    QN_FILE_KV_6_REPORT,
    QN_FILE_KV_PAGES,
    QN_FILE_REVIEW,        /* a folder, */
    QN_FILE_REVIEW_REPORT, /* and what is in it */
    QN_FILE_REVIEW_PAGE,
    QN_FILE_PAGE,
    QN_PIPELINE_FILES,
};

/* In their order. */
enum qn_pipeline_step {
    QN_STEP_CALIBRATE,
    QN_STEP_TRANSPORT,
    QN_STEP_PLAN,
    QN_STEP_CONVERT,
    QN_STEP_VERIFY,
    QN_STEP_KV_8, /* validate the model with coded V caches */
    QN_STEP_KV_6,
    QN_STEP_ANALYZE, /* so late that it can show plan, archive and pages */
    QN_STEP_VALIDATE,
    QN_STEP_NATIVE, /* validates the model with the transport */
    QN_STEP_GATE,   /* judges the reports of all others */
    QN_PIPELINE_STEPS,
};

struct qn_pipeline {
    const struct qn_pipeline_options *o;
    struct qn_convert_options convert; /* resumes, by the plan */
    const struct qn_monitor *monitor;
    char *files[QN_PIPELINE_FILES];
    uint32_t context; /* tokens of a window of the steps that run the model; 0: it cannot be run, */
    char why[512];    /* and why */
    char no_transport[512], no_pages[512];             /* why there are none */
    struct qn_digest source, text, heldout, tokenizer; /* of the inputs */
    char jobs[QN_PIPELINE_STEPS][33];                  /* what decides a step's outcome, */
    json_t *reports[QN_PIPELINE_STEPS];                /* NULL: skipped */
    bool kept[QN_PIPELINE_STEPS];
    json_t *steps; /* of the report */
};

/* Sets the job of STEP; those before it are done. */
enum qins_status qn_pipeline_job(struct qn_pipeline *p, enum qn_pipeline_step step,
                                 struct qins_error *err);

/* The model cannot be run, as E says. */
void qn_pipeline_cannot_run(struct qn_pipeline *p, const struct qins_error *e);

/* Does STEP or keeps what an earlier run left, and appends to p->steps. QINS_ERR_CHECK of a
 * verification leaves its report in place: the page shows what differs. */
enum qins_status qn_pipeline_step(struct qn_pipeline *p, enum qn_pipeline_step step,
                                  struct qins_error *err);

/* STEP is one of those that validate (convert/pipeline_validate.c). */
enum qins_status qn_pipeline_validate(struct qn_pipeline *p, enum qn_pipeline_step step,
                                      json_t **report, struct qins_error *err);
/* What decides its outcome beside models and texts, into TEXT of SIZE bytes. */
void qn_pipeline_validation_job(const struct qn_pipeline *p, enum qn_pipeline_step step, char *text,
                                size_t size);
/* Of all reports that gates are judged by, as the files are now: a person may have changed one. */
enum qins_status qn_pipeline_gate_job(const struct qn_pipeline *p, struct qn_digest *job,
                                      struct qins_error *err);
/* Judges the reports there are and writes the review (convert/pipeline_gate.c). */
enum qins_status qn_pipeline_gate(struct qn_pipeline *p, json_t **report, struct qins_error *err);

#endif
