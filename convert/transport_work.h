/* What the parts of `qins transport` share: its layers, and what is tried for the input of some of
 * them. */
#ifndef QINS_CONVERT_TRANSPORT_WORK_H
#define QINS_CONVERT_TRANSPORT_WORK_H

#include "convert/transport.h"
#include "model/native.h"

/* A layer that is fitted. */
struct qn_fitted_layer {
    struct qn_linear_part part;
    enum qn_projection projection;
    uint32_t layer, expert;
};

/* Layers in the order of execution; those that share an input stand together. */
struct qn_fitted_layers {
    struct qn_fitted_layer *items;
    size_t n;
};

/* The layers of M that TEXT asks for, as struct qn_transport_options has it; NULL: every v_proj.
 * QINS_ERR_USAGE where a part of it names none. */
enum qins_status qn_fitted_layers_select(struct qn_model *m, const char *text,
                                         struct qn_fitted_layers *out, struct qins_error *err);

enum {
    QN_TRIAL_KAPPAS = QN_TRANSPORT_KAPPAS + 1, /* and the user's own */
    QN_TRIAL_CLIPS = QN_TRANSPORT_CLIPS + 1,
    /* decode; split of each order, with a sign plane, too, and ridge; literal with its output
     * decoded and not; tangent */
    QN_TRIAL_KINDS = 1 + 3 * QN_TRANSPORT_ORDER + 3,
    QN_LEAST_ROWS = 16, /* of a part */
};

/* Errors on select and test rows. */
struct qn_trial_errors {
    struct qn_fit_error select, test;
};

/* One choice for an input, and what came of it. A ridge that is worse than split of that order,
 * shape and scale has its errors, and an infinite choice.ridge: which is split. */
struct qn_trial {
    struct qn_fit_choice choice;
    bool plain_output; /* of QN_JACOBIAN_LITERAL: its D is left out */
    double search;     /* squared error of all layers on rows of the search; INFINITY */
    struct qn_trial_errors *errors;  /* [n_layers], NULL: it was not measured */
    struct qn_trial_errors together; /* of all layers as one */
    uint64_t clamped;                /* fitted values and outputs */
};

struct qn_trial_kind {
    enum qn_transport_method method;
    unsigned order;
    bool sign_plane, plain_output;
};

/* Sums of |y| and y^2. */
struct qn_output_sums {
    double abs, squares;
};

/* An input and its layers. */
struct qn_point_work {
    const struct qn_transport_options *o;
    unsigned levels;
    struct qn_fit_rows rows;
    const struct qn_fitted_layer *layers;
    size_t n_layers;
    float *w; /* [n_out][channels], of one layer after the other */
    size_t n_out;
    struct qn_output_sums (*outputs)[2]; /* [n_layers] on select and test rows */
    size_t search_rows;                  /* of the select rows, the first */
    float *gram; /* [channels][channels], W^T W where that is smaller than W; or NULL */

    float kappas[QN_TRIAL_KAPPAS], clips[QN_TRIAL_CLIPS]; /* the user's own last */
    size_t n_kappas, n_clips;
    struct qn_trial_kind kinds[QN_TRIAL_KINDS];
    size_t n_kinds;
    struct qn_trial *trials; /* [n_kinds][n_kappas][n_clips] */
    /* By method the best of what the options allow, and what was chosen; NULL where the method was
     * not tried. */
    const struct qn_trial *best[QN_TRANSPORT_METHODS], *chosen;
    bool fallback;       /* ridge was tried and is worse than split: its best is split's */
    uint64_t clipped[2]; /* values of select and test rows beyond the chosen scale */
};

/* Buffers of a worker. */
struct qn_trial_scratch {
    double *values;
    float *differences, *outputs;
};
enum qins_status qn_trial_scratch_init(struct qn_trial_scratch *s, const struct qn_point_work *p,
                                       struct qins_error *err);
void qn_trial_scratch_finish(struct qn_trial_scratch *s); /* a zeroed one is accepted */

/* Sums of the outputs that trials are measured against, and what makes a search short. */
enum qins_status qn_trials_prepare(struct qn_point_work *p, struct qins_error *err);
/* Sets the search of N trials, STEP apart, that differ in their order alone, 1 … N. */
enum qins_status qn_trial_search(const struct qn_point_work *p, struct qn_trial *t, size_t n,
                                 size_t step, struct qn_trial_scratch *s, struct qins_error *err);
/* Sets t->errors and what goes with them; FIT is what t's choice makes of the fit rows. */
enum qins_status qn_trial_measure(const struct qn_point_work *p, struct qn_trial *t,
                                  const struct qn_fit *fit, struct qn_trial_scratch *s,
                                  struct qins_error *err);

/* Number of a trial, of the grid's. */
size_t qn_trial_at(const struct qn_point_work *p, size_t kind, size_t kappa, size_t clip);
/* The trial of the least error on select rows among those of KIND that were measured; with
 * KAPPA or CLIP >= 0 of those alone. NULL where there is none. */
const struct qn_trial *qn_trial_best(const struct qn_point_work *p, size_t kind, float kappa,
                                     float clip);

/* What is done of a point's trials is told to TICK, from the calling thread. */
struct qn_search_progress {
    void (*tick)(void *ctx, size_t trials);
    void *ctx;
    const struct qn_monitor *monitor;
};
/* Trials of an input that the options ask for; the same for all inputs. */
size_t qn_search_trials(const struct qn_transport_options *o);
/* Searches, measures and chooses. */
enum qins_status qn_search_point(struct qn_point_work *p, const struct qn_search_progress *progress,
                                 struct qins_error *err);
void qn_point_work_finish(struct qn_point_work *p); /* a zeroed one is accepted */

/* The report's parts, NULL when out of memory. IN is what was made of P, whose layers are numbered
 * from FIRST_LAYER on; INPUT is its own number. */
json_t *qn_transport_report_settings(const struct qn_transport_options *o, unsigned levels);
json_t *qn_transport_report_input(const struct qn_point_work *p,
                                  const struct qn_transport_input *in,
                                  const struct qn_calibration_point *point, size_t first_layer);
json_t *qn_transport_report_layer(const struct qn_point_work *p, size_t layer, size_t input,
                                  bool experts);

#endif
