/* Models that no file holds, for benchmarks and tests. */
#ifndef QINS_MODEL_SYNTHETIC_H
#define QINS_MODEL_SYNTHETIC_H

#include "model/weights.h"

/* A model of the shape of CONFIG with reproducible random weights: matrices of DTYPE (F32, F16 or
 * BF16) nearly normal with variance 1/in, biases 0, norms 1. Its names are those of its
 * architecture, its files are none. */
enum qins_status qn_model_create_random(struct qn_model **out, const struct qn_model_config *config,
                                        enum qins_dtype dtype, uint64_t seed,
                                        struct qins_error *err);

#endif
