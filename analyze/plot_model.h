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
/* Those of "transport" in the report are all named "transport-…". */
enum qins_status qn_plot_transport(struct qn_plotter *p, const struct qn_plot_input *in,
                                   struct qins_error *err);
/* Those of "kv" there are all named "kv-…". */
enum qins_status qn_plot_kv(struct qn_plotter *p, const struct qn_plot_input *in,
                            struct qins_error *err);
/* The one of its layers' errors, of a transport's report, as NAME, with the BAR that they are
 * judged by, or 0. */
enum qins_status qn_plot_native_layers(struct qn_plotter *p, const char *name, const json_t *study,
                                       double bar, struct qins_error *err);
/* Adds those of tensors that have curves. */
enum qins_status qn_plot_tensors(struct qn_plotter *p, const struct qn_plot_input *in,
                                 const struct qn_monitor *monitor, struct qins_error *err);

/* Of a layer in a transport's study, as shown: lines of its methods, NULL where there are none, and
 * their relative errors on test rows, NaN then. */
struct qn_native_errors {
    const json_t *line, *decode_line, *clip_line;
    double chosen, decode, clip, absmax; /* clip, absmax: the uniform grid */
};
void qn_native_errors(const json_t *layer, struct qn_native_errors *out);

#endif
