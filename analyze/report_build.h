/* The making of entropy_analysis.json and .h5: what its parts share. */
#ifndef QINS_ANALYZE_REPORT_BUILD_H
#define QINS_ANALYZE_REPORT_BUILD_H

#include "analyze/entropy_report.h"
#include "analyze/report_curves.h"
#include "analyze/report_sums.h"
#include "formats/plan.h"
#include "model/native.h"

struct qn_report_builder {
    const struct qn_analyze_options *options;
    const struct qn_monitor *monitor;
    struct qn_source *source;
    struct qn_digest fingerprint; /* of it */
    bool has_calibration, has_plan;
    struct qn_calibration_file calibration;
    struct qn_plan plan;
    struct qn_archive *archive;    /* or NULL */
    struct qn_transport transport; /* without layers where there is none */
    struct qn_model *model;        /* that it is of; or NULL */
    json_t *stages;                /* of "transport" in the report */
    struct qn_report_kv *kv;       /* V pages; or NULL */
    struct qn_curves curves;
    struct qn_report_sums sums;
    struct qn_extra_sum *extra; /* of all matrices */
    uint64_t source_bytes;
    uint64_t done, total; /* bytes of tensors and planes */
    double plan_bytes;    /* predicted; NaN where a tensor has no prediction */
    json_t *tensors;      /* the array of the report */
};

/* Studies tensor INDEX of the source; appends it to b->tensors and its curves. */
enum qins_status qn_report_add_tensor(struct qn_report_builder *b, size_t index,
                                      struct qins_error *err);
/* The same of tensor INDEX of another SOURCE, which is no part of the model's sums: what is known
 * before, DESCRIBED, is the function's. */
enum qins_status qn_report_add_made(struct qn_report_builder *b, const struct qn_source *source,
                                    size_t index, json_t *described, struct qins_error *err);

/* Opens the transport of the options, where there is one, and PATH as a model; counts its stages.
 * QINS_ERR_* as qn_model_go_native() where it is another model's. */
enum qins_status qn_report_open_transport(struct qn_report_builder *b, const char *path,
                                          struct qins_error *err);
void qn_report_close_transport(struct qn_report_builder *b);
/* Appends planes of its layers, studied like weights. */
enum qins_status qn_report_add_planes(struct qn_report_builder *b, struct qins_error *err);
/* "transport" of the report, null without one; adds its curves. */
enum qins_status qn_report_transport(struct qn_report_builder *b, json_t **out,
                                     struct qins_error *err);
/* "stages" there: what a forward pass does when more and more of its layers are native. */
enum qins_status qn_report_stages(struct qn_report_builder *b, json_t **out,
                                  struct qins_error *err);

/* Opens the dump of V pages of the options, where there is one. QINS_ERR_FORMAT for another
 * model's.
 */
enum qins_status qn_report_open_kv(struct qn_report_builder *b, struct qins_error *err);
void qn_report_close_kv(struct qn_report_builder *b);
/* Studies its pages and appends a line a layer; weights are there already. */
enum qins_status qn_report_add_kv(struct qn_report_builder *b, struct qins_error *err);
/* "kv" of the report, null without one; NULL when out of memory. */
json_t *qn_report_kv_section(const struct qn_report_builder *b);

/* Appends the activations of the calibration. */
enum qins_status qn_report_add_activations(struct qn_report_builder *b, struct qins_error *err);

/* Touches a token of tensor NAME, or NaN. */
double qn_report_touches(const struct qn_report_builder *b, const char *name);
/* "access" of the report, null without a calibration that has counts; adds its curves. */
enum qins_status qn_report_access(struct qn_report_builder *b, json_t **out,
                                  struct qins_error *err);

/* Finds out of a tensor's name what it is in a model: *LAYER, -1 where it has none; the COMPONENT
 * ("q_proj", "experts.w1", "c_attn.bias"), at most SIZE bytes with its NUL. */
void qn_report_component(const char *name, long *layer, char *component, size_t size);
/* "kinds" of the report: its tensors by component, most elements first; *LAYERS how many layers. */
json_t *qn_report_kinds(const json_t *tensors, long *layers);

/* The extra-compression table summed over matrices. */
struct qn_extra_sum {
    struct qn_extra_row rows[QN_EXTRA_ROWS];
    double bytes[QN_EXTRA_ROWS], baseline[QN_EXTRA_ROWS], error[QN_EXTRA_ROWS],
        signal[QN_EXTRA_ROWS], elements[QN_EXTRA_ROWS];
    size_t count;
};
void qn_extra_sum_add(struct qn_extra_sum *s, const struct qn_extra_table *t, double elements,
                      double signal);
json_t *qn_extra_sum_to_json(const struct qn_extra_sum *s, double all_elements);

#endif
