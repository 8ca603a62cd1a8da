/* Limits of policies, for qins --limits. Each table ends with an entry without a name. */
#ifndef QINS_POLICY_LIMITS_H
#define QINS_POLICY_LIMITS_H

#include "core/limit.h"

extern const struct qn_limit qn_glob_limits[];
extern const struct qn_limit qn_policy_limits[];

#endif
