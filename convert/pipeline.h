/* The whole line from a checkpoint to a reviewed archive. */
#ifndef QINS_CONVERT_PIPELINE_H
#define QINS_CONVERT_PIPELINE_H

#include "convert/convert.h"

/* Calibrates MODEL on TEXT, converts it to DIR/model.qins, verifies that against the model,
 * measures the perplexity of both on TEXT, and writes a report of each step and DIR/index.html, a
 * page that needs nothing else. A step that an earlier run finished for the same sources and
 * options is not done again. CONTEXT is the tokens of a window, 0: the model's, at most 512; a
 * short text has a shorter one. Where the checkpoint is no language model that can be run on the
 * text, calibration and validation are skipped, and the report says why. *report (schema
 * qins/pipeline/1) belongs to the caller; it is set on QINS_OK and on QINS_ERR_CHECK (the archive
 * is not what the model makes of it). */
enum qins_status qn_pipeline(const char *model, const char *text, const char *dir, uint32_t context,
                             const struct qn_convert_options *options,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err);

/* The page, from the reports of the steps; VALIDATE may be NULL. */
enum qins_status qn_write_summary(const char *path, const json_t *convert, const json_t *verify,
                                  const json_t *validate, const json_t *pipeline,
                                  struct qins_error *err);

#endif
