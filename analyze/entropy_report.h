/* `qins analyze`: the study of a checkpoint as entropy_analysis.json and .h5, plots and a page. */
#ifndef QINS_ANALYZE_ENTROPY_REPORT_H
#define QINS_ANALYZE_ENTROPY_REPORT_H

#include "core/json.h"
#include "core/thread.h"

struct qn_analyze_options {
    const char *calibration; /* path, or NULL */
    const char *transport;   /* path, or NULL: its weights, activations and curves are shown too */
    const char
        *kv; /* path of V pages ('qins validate --dump-kv'), or NULL: a line a layer of them */
    const char *plan;    /* plan.json to show, read as data; or NULL */
    const char *archive; /* made of PATH, for the waterfall and true coded sizes; or NULL */
    unsigned threads;
};

/* Studies PATH (a checkpoint or an archive) and writes into the folder DIR, made if need be:
 * entropy_analysis.json, entropy_analysis.h5, plots/ (gnuplot scripts, data, SVG, PNG) and
 * index.html. Without gnuplot all but the pictures, and a notice. *report is the JSON; the
 * caller's. Nothing appears under a final name before it is whole. */
enum qins_status qn_analyze(const char *path, const char *dir,
                            const struct qn_analyze_options *options,
                            const struct qn_monitor *monitor, json_t **report,
                            struct qins_error *err);

/* Draws plots and page of DIR anew from its entropy_analysis.json and .h5, which may have been
 * edited. */
enum qins_status qn_replot(const char *dir, const struct qn_monitor *monitor, json_t **report,
                           struct qins_error *err);

#endif
