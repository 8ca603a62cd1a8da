/* What each picture of a study shows, from entropy_analysis.json and .h5. */
#ifndef QINS_ANALYZE_PLOT_MODEL_H
#define QINS_ANALYZE_PLOT_MODEL_H

#include "analyze/plot.h"
#include "core/json.h"
#include "formats/checkpoint.h"

/* Pictures of tensors where there are more than this: those of the largest. */
enum { QN_PLOT_TENSORS = 100, QN_PLOT_LARGEST = 48 };

struct qn_plot_input {
    const json_t *report;
    struct qn_checkpoint *curves; /* or NULL */
};

/* Adds the plots of the model that REPORT has figures for. */
enum qins_status qn_plot_model(struct qn_plotter *p, const struct qn_plot_input *in,
                               struct qins_error *err);
enum qins_status qn_plot_access(struct qn_plotter *p, const struct qn_plot_input *in,
                                struct qins_error *err);
/* Adds those of tensors that have curves. */
enum qins_status qn_plot_tensors(struct qn_plotter *p, const struct qn_plot_input *in,
                                 const struct qn_monitor *monitor, struct qins_error *err);

#endif
