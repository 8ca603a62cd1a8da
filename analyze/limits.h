/* Limits of gates and evidence, for qins --limits. Each table ends with an entry without a name. */
#ifndef QINS_ANALYZE_LIMITS_H
#define QINS_ANALYZE_LIMITS_H

#include "core/limit.h"

extern const struct qn_limit qn_evidence_limits[];
extern const struct qn_limit qn_gate_limits[];

#endif
