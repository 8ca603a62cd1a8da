/* The JSON of a policy: docs/policy-format.md. */
#ifndef QINS_POLICY_POLICY_JSON_H
#define QINS_POLICY_POLICY_JSON_H

#include "policy/policy.h"

#define QN_POLICY_SCHEMA "qins/policy/1"

/* Trusts nothing; *p is zeroed, and to be finished even on failure. */
enum qins_status qn_policy_from_json(const json_t *j, struct qn_policy *p, struct qins_error *err);

#endif
