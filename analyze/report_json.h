/* Reading an entropy_analysis.json that a person may have edited: what is not there is NaN or
 * "". */
#ifndef QINS_ANALYZE_REPORT_JSON_H
#define QINS_ANALYZE_REPORT_JSON_H

#include "core/json.h"

#define QN_ENTROPY_SCHEMA "qins/entropy_analysis/1"

double qn_report_number(const json_t *object, const char *key);
const char *qn_report_text(const json_t *object, const char *key);
/* The element of ARRAY, an array of objects, whose KEY is the number VALUE; NULL. */
const json_t *qn_report_find(const json_t *array, const char *key, double value);

/* Loads and checks what drawing relies on: the schema, and that tensors are objects with names.
 * QINS_ERR_FORMAT with one line. */
enum qins_status qn_report_load(const char *path, json_t **out, struct qins_error *err);

#endif
