/* Cosines and sines of the rotary position embedding, position by position. */
#ifndef QINS_MODEL_ROPE_H
#define QINS_MODEL_ROPE_H

#include "model/config.h"

struct qn_rope_table {
    double frequency[QN_MAX_ROTARY / 2]; /* radians a position, of each pair */
    double magnitude;                    /* multiplies cos and sin */
    size_t half;                         /* pairs */
    size_t capacity, filled;             /* positions */
    float *values;                       /* [capacity][2][half]: cos, then sin */
};

/* Frequencies for sequences of up to POSITIONS: they decide which factors of a longrope model
 * hold. Memory is taken as rows are filled. QINS_ERR_MEMORY. */
enum qins_status qn_rope_init(struct qn_rope_table *t, const struct qn_rope_config *config,
                              size_t positions, struct qins_error *err);
void qn_rope_finish(struct qn_rope_table *t);

/* Makes rows 0 … POSITIONS-1 valid, POSITIONS <= capacity. */
void qn_rope_fill(struct qn_rope_table *t, size_t positions);

static inline const float *qn_rope_cos(const struct qn_rope_table *t, size_t position)
{
    return t->values + position * 2 * t->half;
}

static inline const float *qn_rope_sin(const struct qn_rope_table *t, size_t position)
{
    return t->values + position * 2 * t->half + t->half;
}

#endif
