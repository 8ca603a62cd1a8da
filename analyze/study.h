/* The study of a model's tensors: one streaming pass over each, statistics and densities. Memory
 * does not grow with tensors: per thread two chunks and a set of densities. */
#ifndef QINS_ANALYZE_STUDY_H
#define QINS_ANALYZE_STUDY_H

#include "analyze/density.h"
#include "analyze/statistics.h"
#include "core/thread.h"
#include "formats/archive/layout.h"
#include "formats/calibration.h"
#include "model/source.h"

/* What is studied of one tensor. Densities exist for float tensors of finite values with at least
 * one element, of rank 1 or more; else NULL. One whose rows are no longer than the
 * granularity's block has no density of that block (it would be that of the rows); vectors
 * have rows of their whole length. */
struct qn_tensor_study {
    const struct qn_tensor *tensor; /* the source's */
    const char *kind;               /* "weight"; "transported", "kv-page" by other sources */
    struct qn_layout layout;
    struct qn_statistics statistics;
    struct qn_density *density[QN_GRANULARITIES];
    bool weighted;    /* densities have calibration weights; else the weights are 1 */
    double first_bad; /* index of the first NaN or infinity, or -1 */
    unsigned threads; /* that predictions of many candidates may use */
    bool for_plan;    /* as in the options */
};
void qn_tensor_study_finish(struct qn_tensor_study *s); /* a zeroed one is accepted */

struct qn_study_options {
    const struct qn_calibration *calibration; /* or NULL: weights 1 */
    const char *kind;                         /* NULL: "weight" */
    unsigned threads;
    bool for_plan; /* what plans do not look at is left out: bytes, distinct values, types that fit,
                      exponents; quantiles of relative errors */
};

/* E[x_j^2] of the input channels of tensor NAME, [channels], heap; *channels 0 and NULL where the
 * calibration does not know them. Fused or tied tensors take the point that they see. */
enum qins_status qn_channel_weights(const struct qn_calibration *c, const char *name,
                                    double **weights, uint32_t *channels, struct qins_error *err);

/* Studies tensor INDEX of SOURCE into *out (its own; to be finished). A matrix [out][in] has its
 * channels along rows; where only shape[0] equals the calibration's channels it is [in][out]
 * (GPT-2's Conv1D) and weights go by row. QINS_ERR_* of reading only: values that are not finite
 * are counted. The progress counts bytes from DONE of TOTAL as "analysing". */
enum qins_status qn_study_tensor(const struct qn_source *source, size_t index,
                                 const struct qn_study_options *options, uint64_t done,
                                 uint64_t total, const struct qn_monitor *monitor,
                                 struct qn_tensor_study *out, struct qins_error *err);

/* The same for N float32 values in memory, rows of ROW_LENGTH, with WEIGHTS [row_length] or
 * NULL: activations, tests. TENSOR describes them. */
enum qins_status qn_study_values(const struct qn_tensor *tensor, const float *x,
                                 const double *weights, struct qn_tensor_study *out,
                                 struct qins_error *err);

#endif
