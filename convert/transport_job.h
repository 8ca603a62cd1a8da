/* `qins transport` at work. */
#ifndef QINS_CONVERT_TRANSPORT_JOB_H
#define QINS_CONVERT_TRANSPORT_JOB_H

#include "convert/transport_work.h"
#include "model/taps.h"

/* Layers that share an input, and the calibration's point for it. */
struct qn_transport_group {
    size_t first, n; /* layers */
    size_t tap, point;
    size_t rows[3]; /* by enum qn_row_part */
};

struct qn_transport_job {
    const char *calibration;
    struct qn_transport_options o;
    unsigned levels;
    const struct qn_monitor *monitor;
    struct qn_calibration_file file;
    struct qn_model *m;
    struct qn_tap_list taps;
    struct qn_fitted_layers layers;
    struct qn_transport_group *groups;
    size_t n_groups;
    uint64_t trials, trials_done;
    struct qn_transport t;
    json_t *inputs, *reports, *skipped;
};

/* Matches the layers of J with the calibration: makes j->groups, and leaves out of j->layers the
 * experts that too few rows reached. QINS_ERR_UNSUPPORTED where there are no rows, or too few. */
enum qins_status qn_transport_group_layers(struct qn_transport_job *j, struct qins_error *err);
/* Rows, range and weights of G into P, whose layers are set. */
enum qins_status qn_transport_read_group(struct qn_transport_job *j,
                                         const struct qn_transport_group *g,
                                         struct qn_point_work *p, struct qins_error *err);
/* Appends VALUE, which may be NULL: out of memory. */
enum qins_status qn_transport_append(json_t *array, json_t *value, struct qins_error *err);

#endif
