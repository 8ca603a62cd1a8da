/* The whole line from a checkpoint to a reviewed archive. */
#ifndef QINS_CONVERT_PIPELINE_H
#define QINS_CONVERT_PIPELINE_H

#include "convert/convert.h"

struct qn_pipeline_options {
    const char *model, *text;
    const char *tokenizer; /* path, or NULL: the model's */
    const char *dir;       /* for all that is written; made if need be */
    uint32_t context;      /* tokens of a window as qn_window_size() takes it; a short text has a
                              shorter one */
    struct qn_convert_options convert; /* its threads are those of all steps */
};

/* Calibrates the model on the text, converts it to DIR/model.qins, verifies that against the
 * model, measures the perplexity of both on the text, and writes a report of each step and
 * DIR/index.html, a page that needs nothing else. A step that an earlier run finished for the same
 * sources and options is not done again. Where the checkpoint is no language model that can be run
 * on the text, calibration and validation are skipped, and the report says why. *report (schema
 * qins/pipeline/1) belongs to the caller; it is set on QINS_OK and on QINS_ERR_CHECK (the archive
 * is not what the model makes of it). */
enum qins_status qn_pipeline(const struct qn_pipeline_options *options,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err);

/* What the page is made of. */
struct qn_summary {
    const char *name;                   /* of the model */
    const json_t *pipeline;             /* the report of the run, */
    const json_t *convert, *verify;     /* and of its steps */
    const json_t *calibrate, *validate; /* NULL where they were skipped */
    const char *const *files;           /* in the page's folder, to link to */
    size_t n_files;
};
enum qins_status qn_write_summary(const char *path, const struct qn_summary *summary,
                                  struct qins_error *err);

#endif
