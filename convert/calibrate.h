/* Text through a model, or rows captured elsewhere, to a calibration file. */
#ifndef QINS_CONVERT_CALIBRATE_H
#define QINS_CONVERT_CALIBRATE_H

#include "convert/sensitivity.h"
#include "core/json.h"

struct qn_calibrate_options {
    struct qn_corpus_options corpus;
    struct qn_calibration_options sample; /* context 0: as qn_window_size() has it */
    bool resume;                          /* continue from OUT.part if it is there */
    struct qn_shard shard;                /* which windows, and into which file beside OUT; one
                                             that is cut is resumed in any case */
    unsigned threads;                     /* >= 1; the file does not depend on it */
    double checkpoint_seconds; /* between two copies to OUT.part; 0: 30; < 0: all the time */
    bool sensitivity;          /* measure sensitivities too, */
    struct qn_sensitivity_options measure; /* so; its threads, measured and ctx are not looked at */
    uint64_t large_bytes; /* memory for Gram matrices and kept rows, of one point at least; 0:
                             QN_CALIBRATE_LARGE. More points mean more passes over the text */
};

#define QN_CALIBRATE_LARGE (UINT64_C(1) << 30)

/* Runs the texts through the model at MODEL and writes OUT, or a part of it under its own name
 * (qn_shard_path()): nothing is done where that part of the same job is there already, with a
 * notice; one of another job is QINS_ERR_USAGE, one that another process works on QINS_ERR_IO.
 * While it runs, OUT.part holds what is
 * done so far, unless one is there that is not to be continued: that one is left alone. *report
 * (schema qins/calibrate/1; may be NULL) belongs to the caller. Errors: QINS_ERR_USAGE where OUT
 * is an input or OUT.part belongs to another job, both named; QINS_ERR_FORMAT where activations
 * are not finite, naming the point; QINS_ERR_UNSUPPORTED where a Gram matrix would take more than
 * QN_GRAM_MOST (convert/gram.h); QINS_ERR_INTERRUPTED after OUT.part was brought up to date or,
 * while a file is written, with the last OUT.part, if any. */
enum qins_status qn_calibrate(const char *model, const char *out,
                              const struct qn_calibrate_options *options,
                              const struct qn_monitor *monitor, json_t **report,
                              struct qins_error *err);

/* The same with model and corpus at hand; O->corpus is not looked at. */
enum qins_status qn_calibrate_corpus(const struct qn_model *m, const struct qn_corpus *corpus,
                                     const char *out, const struct qn_calibrate_options *o,
                                     const struct qn_monitor *monitor, json_t **report,
                                     struct qins_error *err);

/* Joins calibrations of one model with one set of options; QINS_ERR_UNSUPPORTED for others,
 * naming what differs. Where files are parts, all of them must be, of one job, and each
 * part must be there once (else QINS_ERR_USAGE); what comes of them
 * is what a run that was not cut would have made. */
enum qins_status qn_calibrate_merge(const char *const *files, size_t n, const char *out,
                                    const struct qn_monitor *monitor, json_t **report,
                                    struct qins_error *err);

/* What the figures of arrays captured elsewhere may take, so that a small file of many arrays does
 * not become a large calibration: so many times the arrays' bytes, or 64 MiB where that is more. */
enum { QN_ACTIVATIONS_GROWTH = 16, QN_ACTIVATIONS_MOST = 1 << 16 /* arrays */ };
#define QN_ACTIVATIONS_FREE (UINT64_C(64) << 20)

/* From the arrays [rows][channels] in FILE, named after tensors or tap points. MODEL, or NULL,
 * says what the names mean. */
enum qins_status qn_calibrate_activations(const char *model, const char *file, const char *out,
                                          const struct qn_calibrate_options *o,
                                          const struct qn_monitor *monitor, json_t **report,
                                          struct qins_error *err);

#endif
