/* How much a model's predictions suffer from the error of one tensor. */
#ifndef QINS_CONVERT_SENSITIVITY_H
#define QINS_CONVERT_SENSITIVITY_H

#include "core/shard.h"
#include "formats/calibration.h"
#include "model/corpus.h"

struct qn_sensitivity_options {
    unsigned threads;
    uint64_t max_tokens; /* of the corpus's windows, spread over it; 0: QN_SENSITIVITY_TOKENS */
    double target_bits;  /* entropy of the codes that a tensor is quantised to, or as near as can be
                            (convert/perturb.h); 0: 4 */
    uint64_t logit_bytes; /* what the unchanged model's logits may take; where they would take more,
                             it runs beside each changed one; 0: 1 GiB */
    struct qn_shard shard; /* only its piece of what is quantised at a time; what is quantised
                              together is not dealt out then, but marked as joined */
    /* Called after each tensor, or NULL; what fails there ends the measurement. */
    enum qins_status (*measured)(void *ctx, struct qins_error *err);
    void *ctx;
};
enum {
    QN_SENSITIVITY_TOKENS = 4096,
    /* Where a layer has more experts than this, their matrices of one kind are quantised together;
     * what that does to the model is dealt out by error and by the tokens each expert has seen. */
    QN_SENSITIVITY_EXPERTS = 16,
};

/* For each matrix of M (embedding, head, learned positions and routers too): quantises it alone
 * (nearest), measures mean KL on windows of CORPUS, and appends to C's sensitivity table, which may
 * hold the first of them already, as an interrupted call leaves it. Sets C's head_variance. C's
 * access counts, if any, are used. QINS_ERR_FORMAT where weights or logits are not finite. */
enum qins_status qn_measure_sensitivity(const struct qn_model *m, const struct qn_corpus *corpus,
                                        uint32_t context,
                                        const struct qn_sensitivity_options *options,
                                        const struct qn_monitor *monitor, struct qn_calibration *c,
                                        struct qins_error *err);

/* Deals out the figures of sensitivities that were measured together, by C's access counts, as
 * qn_measure_sensitivity() does where the work is not cut. */
void qn_sensitivity_deal(struct qn_calibration *c);

#endif
