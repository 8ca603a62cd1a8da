/* A policy: what a person decides beforehand about the tensors of a model. Pure: it comes from a
 * caller's buffer. docs/policy-format.md describes the JSON, docs/schemas/policy.schema.json checks
 * it; policy/default.json and policy/archive.json ship with the program, built in. */
#ifndef QINS_POLICY_POLICY_H
#define QINS_POLICY_POLICY_H

#include "core/hash.h"
#include "core/json.h"
#include "formats/archive/manifest.h"

/* What a rule asks for. */
enum qn_treatment {
    QN_TREAT_AUTO,     /* quantised, class from measured access */
    QN_TREAT_LOSSLESS, /* bit-exact */
    QN_TREAT_HOT,      /* quantised, hot whatever was measured */
    QN_TREAT_COLD,
    QN_TREAT_BY_ROW, /* quantised, class from the access of row blocks (embeddings) */
};

struct qn_policy_rule {
    char *name;   /* of the component, for reasons: "MLP projections" */
    char **globs; /* tensor names; *, ?, [...], {a,b} */
    size_t n_globs;
    enum qn_treatment treatment;
    unsigned min_bits, max_bits; /* of codes; 0: the policy's */
};

struct qn_policy {
    char *name;
    struct qn_policy_rule *rules;
    size_t n_rules;
    /* Touches a token: at least so many make a tensor, row block or expert hot, at most so many
     * cold. Between them a block of rows is what its neighbour is; all else is hot. */
    double hot_touches, cold_touches;
    bool nothing_hot;           /* policy/archive.json */
    double hot_decode_overhead; /* decode time of hot weights over reading them packed: at most 1 +
                                   this; where it allows, hot tensors are entropy-coded too */
    unsigned min_bits, max_bits;
    uint64_t min_elements; /* smaller tensors stay lossless */
    uint32_t block_rows;   /* least rows of a row block */
    /* Budgets: at most one of the first three is > 0; the command line's take their place. */
    double target_bits, max_error;
    uint64_t target_bytes;
    struct qn_digest fingerprint;
};

/* QINS_ERR_FORMAT for an unknown key, a bad glob or an impossible budget, in one line. */
enum qins_status qn_policy_parse(const void *text, size_t size, struct qn_policy *out,
                                 struct qins_error *err);
/* "default" or "archive". */
enum qins_status qn_policy_builtin(const char *name, struct qn_policy *out, struct qins_error *err);
void qn_policy_finish(struct qn_policy *p); /* a zeroed one is accepted */

/* The first rule that matches NAME, or NULL. */
const struct qn_policy_rule *qn_policy_match(const struct qn_policy *p, const char *name);
/* Whether a glob is well-formed, and whether it matches the whole of NAME. */
bool qn_glob_valid(const char *glob);
bool qn_glob_match(const char *glob, const char *name);

#endif
