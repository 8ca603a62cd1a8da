/* Hot and cold, from what a calibration counted. DESIGN 2.7. */
#ifndef QINS_POLICY_CLASSIFY_H
#define QINS_POLICY_CLASSIFY_H

#include "policy/policy.h"

/* What is known of how often one tensor is used. */
struct qn_tensor_access {
    double touches;           /* a token; < 0: unknown */
    const uint64_t *counts;   /* [n_counts], how often each row's token was read, or NULL */
    const double *importance; /* [n_counts], how much the error of each row matters, or NULL */
    uint64_t n_counts;
    uint64_t tokens; /* that were counted */
    bool looked_up;  /* a token looks up one row of an embedding, it does not read the whole */
    bool head;       /* is the output head, which is read whole, even if looked up too (tied) */
};

/* A run of rows that is treated alike. */
struct qn_access_block {
    uint64_t row_begin, row_end;
    enum qn_class access_class;
    double touches;    /* a token, of all its rows together; < 0: unknown */
    double importance; /* of its mean row against that of the tensor */
};

/* The class of what TOUCHES tell, under a rule's treatment; TOUCHES < 0 is unknown. */
enum qn_class qn_classify(const struct qn_policy *p, enum qn_treatment treatment, double touches);

/* How the rows of a tensor may be cut. */
struct qn_split_options {
    enum qn_treatment treatment; /* only QN_TREAT_BY_ROW is cut */
    uint64_t n_rows, row_length; /* elements */
    double block_bytes;          /* what one block more costs */
    size_t most;                 /* blocks, >= 1 */
};

/* Cuts a tensor where the counts of its rows make it pay: cold rows save bytes, rows that matter
 * less can do with fewer bits. Least total, by dynamic programming over runs of the policy's
 * block_rows. *BLOCKS is the caller's; one block where nothing pays or nothing is known. */
enum qins_status qn_split_rows(const struct qn_policy *p, const struct qn_split_options *o,
                               const struct qn_tensor_access *a, struct qn_access_block **blocks,
                               size_t *n_blocks, struct qins_error *err);

#endif
