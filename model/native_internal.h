/* Native layers as the forward pass has them: made by native.c, run by native_forward.c. */
#ifndef QINS_MODEL_NATIVE_INTERNAL_H
#define QINS_MODEL_NATIVE_INTERNAL_H

#include "formats/codec/quant.h"
#include "model/native.h"

/* Row I of a part, widened. */
void qn_part_row(const struct qn_linear_part *part, size_t i, float *dst);

/* One input, coded once for all matrices that share it. */
struct qn_native_input {
    struct qn_grid grid;
    float scale;
    size_t channels;
    unsigned tables; /* planes of features, or 1: what is decoded */
    bool decode;     /* QN_DECODE */
    float *table;    /* [tables][2 N + 1], by code */
};

/* Rows of a matrix that are computed from features. */
struct qn_native_part {
    /* Rows first + i * step … + count - 1 for i < runs. */
    size_t first, count, step, runs;
    /* [count * runs][tables * channels], without bias: planes side by side; for QN_DECODE the
     * weights themselves, as they are stored where the rows lie together. */
    struct qn_matrix weights;
    float *owned;                        /* what `weights` has of its own, or NULL */
    float *output_scale, *output_offset; /* as formats/transport.h */
    float output_alpha, output_floor;
};

struct qn_native_matrix {
    const struct qn_native_input *input;
    struct qn_matrix *matrix; /* that this belongs to */
    struct qn_native_part *parts;
    size_t n_parts;
    bool whole; /* no row is left to the ordinary product */
};

struct qn_native {
    char *file; /* that the transport is from; the archive itself where it carries one */
    struct qn_native_input *inputs; /* as the transport's */
    size_t n_inputs;
    struct qn_native_matrix *matrices;
    size_t n_matrices;
    size_t max_channels, max_features; /* of an input: values, features */
    size_t max_apart;                  /* outputs of a part whose rows lie apart */
};

#endif
