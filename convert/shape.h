/* The figures that fix how a tensor is quantised (its scale, kappa and clip), from looks at its
 * chunks; and chunk parameters from a settled tensor. */
#ifndef QINS_CONVERT_SHAPE_H
#define QINS_CONVERT_SHAPE_H

#include "formats/archive/manifest.h"
#include "formats/codec/search.h"

/* The tensor's one scale has to be known before its chunks can be coded. */
bool qn_needs_abs_max(const struct qn_plan_line *plan);
/* kappa or clip has to be searched. */
bool qn_needs_search(const struct qn_plan_line *plan);

/* Of a large tensor with a scale a row or block, only every so many rows are looked at for kappa
 * and clip: enough for QN_SAMPLE elements and QN_SAMPLE_ROWS rows. Each row brings its own
 * largest magnitude, so a sample of rows sees the outliers that a clip would cut; of a tensor
 * with a single scale all is looked at. The result is that number, 1 for every row. */
enum { QN_SAMPLE = 1 << 20, QN_SAMPLE_ROWS = 256 };
uint64_t qn_shape_stride(const struct qn_archive_tensor *t);

/* Adds N values of a chunk, group by group, to *hist. ABS_MAX is the tensor's where it has one
 * scale. On a NaN or infinity returns false and sets *bad to its index; the histogram is then
 * of no use. */
bool qn_shape_look(const struct qn_archive_tensor *t, float abs_max, const float *x, size_t n,
                   struct qn_hist *hist, size_t *bad);

/* Fixes kappa, clip and the tensor's scale; HIST may be NULL where nothing is to be searched. */
void qn_shape_settle(struct qn_archive_tensor *t, float abs_max, const struct qn_hist *hist);

/* Parameters for a chunk of N elements of a settled tensor. */
void qn_shape_params(const struct qn_archive_tensor *t, size_t n, struct qn_chunk_params *out);

/* Index of the first NaN or infinity, or N. */
size_t qn_first_nonfinite(const float *x, size_t n);

#endif
