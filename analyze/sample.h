/* Whole chunks of a tensor as float32, all of them or some that are spread evenly. */
#ifndef QINS_ANALYZE_SAMPLE_H
#define QINS_ANALYZE_SAMPLE_H

#include "analyze/study.h"

struct qn_sample {
    const struct qn_source *source;
    size_t index;
    const struct qn_layout *layout;
    uint64_t chunks, taken; /* that are read in all, and so far */
    const float *x;         /* the current chunk's values */
    size_t n;
    struct qn_source_work work;
    struct qn_buf raw, floats;
};

/* About MAX_ELEMENTS of tensor INDEX, one chunk at least; 0: all. Its type is quantisable. */
void qn_sample_init(struct qn_sample *s, const struct qn_source *source, size_t index,
                    const struct qn_layout *layout, uint64_t max_elements);
bool qn_sample_more(const struct qn_sample *s);
/* The next chunk into x and n. */
enum qins_status qn_sample_next(struct qn_sample *s, struct qins_error *err);
void qn_sample_finish(struct qn_sample *s); /* a zeroed one is accepted */

#endif
