/* The figures that fix how a tensor, or each block of one, is quantised (its scale, kappa and
 * clip), from looks at its chunks; and chunk parameters from a settled tensor. */
#ifndef QINS_CONVERT_SHAPE_H
#define QINS_CONVERT_SHAPE_H

#include "formats/archive/manifest.h"
#include "formats/codec/search.h"

/* The tensor's one scale has to be known before its chunks can be coded. */
bool qn_needs_abs_max(const struct qn_plan_line *plan);
/* kappa or clip has to be searched. */
bool qn_needs_search(const struct qn_plan_line *plan);

/* Rows that have one coding: a tensor, or a block of one. */
struct qn_coded_rows {
    struct qn_plan_line *line;
    float *tensor_scale;
    uint64_t first, n_elements; /* elements of the tensor */
    struct qn_layout layout;    /* as if they were a tensor of their own */
};
/* Block INDEX of T, or T itself where it has none; points into T. */
void qn_coded_rows_init(struct qn_coded_rows *r, struct qn_archive_tensor *t, size_t index);

/* Of many rows with a scale a row or block, only every so many are looked at for kappa
 * and clip: enough for QN_SAMPLE elements and QN_SAMPLE_ROWS rows. Each row brings its own
 * largest magnitude, so a sample of rows sees the outliers that a clip would cut; where
 * there is a single scale all is looked at. The result is that number, 1 for every row. */
enum { QN_SAMPLE = 1 << 20, QN_SAMPLE_ROWS = 256 };
uint64_t qn_shape_stride(const struct qn_coded_rows *r);

/* Adds N values of a chunk, group by group, to *hist. ABS_MAX is that of all rows where they have
 * one scale. On a NaN or infinity returns false and sets *bad to its index; the histogram is then
 * of no use. */
bool qn_shape_look(const struct qn_coded_rows *r, float abs_max, const float *x, size_t n,
                   struct qn_hist *hist, size_t *bad);

/* Fixes kappa, clip and the one scale; HIST may be NULL where nothing is to be searched. */
void qn_shape_settle(struct qn_coded_rows *r, float abs_max, const struct qn_hist *hist);

/* How a settled tensor with blocks is coded where one line has to stand for all: that of the block
 * with most rows. Class, access and reason stay. */
void qn_shape_settle_blocks(struct qn_archive_tensor *t);

/* The runs of chunk elements [FIRST, FIRST + COUNT) of a settled tensor, struct qn_chunk_run, into
 * *RUNS, whose contents they replace. FEEDBACK may be NULL where nothing is encoded. */
enum qins_status qn_shape_runs(const struct qn_archive_tensor *t, uint64_t first, uint64_t count,
                               const struct qn_feedback *feedback, struct qn_buf *runs,
                               struct qins_error *err);

/* Index of the first NaN or infinity, or N. */
size_t qn_first_nonfinite(const float *x, size_t n);

#endif
