/* What a coded V cache took, as reports have it. */
#ifndef QINS_MODEL_KV_REPORT_H
#define QINS_MODEL_KV_REPORT_H

#include "core/json.h"
#include "model/config.h"
#include "model/kv.h"

/* "kv_cache" of docs/schemas/validation.schema.json and generate.schema.json; NULL without memory.
 * Ratios are to float16 values: of full pages with their headers as they were first coded, of old
 * ones as coded again, of all that is held when sequences end, open pages as float32 included, and
 * of that averaged over the lengths that they had while they grew. */
json_t *qn_kv_report(const struct qn_model_config *config, const struct qn_kv_options *kv,
                     const struct qn_kv_counts *counts);

#endif
