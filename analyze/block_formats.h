/* What llama.cpp's block formats would make of weights: reference lines. Layouts as published in
 * its ggml/src/ggml-common.h; quantisers of our own. */
#ifndef QINS_ANALYZE_BLOCK_FORMATS_H
#define QINS_ANALYZE_BLOCK_FORMATS_H

#include "analyze/study.h"

enum qn_block_format { QN_Q8_0, QN_Q6_K, QN_Q5_K, QN_Q4_K, QN_Q4_0, QN_BLOCK_FORMATS };

struct qn_block_format_info {
    const char *name; /* "Q8_0" */
    unsigned block;   /* weights: 32 or 256 */
    unsigned bytes;   /* of a block */
};
const struct qn_block_format_info *qn_block_format(enum qn_block_format f);

/* Sum of squared errors of N values. A last block that is not full is filled up with zeros. With
 * OUT (may be NULL), what they are decoded to. */
double qn_block_format_error(enum qn_block_format f, const float *x, size_t n, float *out);

struct qn_reference_line {
    enum qn_block_format format;
    bool fits;   /* rows are whole blocks: else llama.cpp would take another format */
    double bits; /* a weight: 8.5, 6.5625, 5.5, 4.5, 4.5 */
    double rmse, sqnr_db;
};

/* All formats on the values of tensor INDEX: all of them, or evenly spread chunks of about
 * MAX_ELEMENTS (0: all) together. */
enum qins_status qn_reference_lines(const struct qn_source *source, size_t index,
                                    const struct qn_tensor_study *study, uint64_t max_elements,
                                    struct qn_reference_line lines[QN_BLOCK_FORMATS],
                                    struct qins_error *err);

#endif
