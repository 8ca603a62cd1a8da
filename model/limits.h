/* Limits of what describes a model, for qins --limits. Each table ends with an entry without a
 * name. */
#ifndef QINS_MODEL_LIMITS_H
#define QINS_MODEL_LIMITS_H

#include "core/limit.h"

extern const struct qn_limit qn_config_limits[];
extern const struct qn_limit qn_corpus_limits[];
extern const struct qn_limit qn_normalize_limits[];
extern const struct qn_limit qn_pattern_limits[];
extern const struct qn_limit qn_tokenizer_bin_limits[];
extern const struct qn_limit qn_tokenizer_json_limits[];
extern const struct qn_limit qn_tokenizer_limits[];
extern const struct qn_limit qn_tokenizer_parts_limits[];

#endif
