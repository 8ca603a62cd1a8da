/* How much a model's predictions suffer from the error of one tensor: DESIGN 2.7. */
#ifndef QINS_CONVERT_SENSITIVITY_H
#define QINS_CONVERT_SENSITIVITY_H

#include "formats/calibration.h"
#include "model/corpus.h"

struct qn_sensitivity_options {
    unsigned threads;
    uint64_t max_tokens; /* of the corpus's windows, spread over it; 0: QN_SENSITIVITY_TOKENS */
    double target_bits;  /* rate near which a tensor is quantised: 0: 4 */
};
enum { QN_SENSITIVITY_TOKENS = 4096 };

/* For each matrix of M (embedding and head too): quantises it alone (nearest), measures mean KL on
 * windows of CORPUS, and fills C's sensitivity table. */
enum qins_status qn_measure_sensitivity(struct qn_model *m, const struct qn_corpus *corpus,
                                        uint32_t context,
                                        const struct qn_sensitivity_options *options,
                                        const struct qn_monitor *monitor, struct qn_calibration *c,
                                        struct qins_error *err);

#endif
