#include "analyze/report_json.h"

#include <math.h>
#include <string.h>

/* A study of 10 000 tensors takes about 80 MB. */
static const uint64_t max_report_bytes = UINT64_C(1) << 30;

double qn_report_number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

const char *qn_report_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

const json_t *qn_report_find(const json_t *array, const char *key, double value)
{
    const json_t *item;
    size_t i;
    json_array_foreach(array, i, item)
    {
        if (qn_report_number(item, key) == value)
            return item;
    }
    return NULL;
}

static enum qins_status check(const json_t *report, struct qins_error *err)
{
    const json_t *tensors = json_object_get(report, "tensors"), *tensor;
    size_t i;
    if (strcmp(qn_report_text(report, "schema"), QN_ENTROPY_SCHEMA) != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "it is no report of the schema %s", QN_ENTROPY_SCHEMA);
    if (!json_is_array(tensors))
        return qn_fail(err, QINS_ERR_FORMAT, "'tensors' is no array");
    json_array_foreach(tensors, i, tensor)
    {
        if (!json_is_string(json_object_get(tensor, "name")))
            return qn_fail(err, QINS_ERR_FORMAT, "element %zu of 'tensors' has no name", i);
    }
    return QINS_OK;
}

enum qins_status qn_report_load(const char *path, json_t **out, struct qins_error *err)
{
    *out = qn_json_load(path, max_report_bytes, err);
    if (!*out)
        return err ? err->status : QINS_ERR_FORMAT;
    enum qins_status st = check(*out, err);
    if (st == QINS_OK)
        return QINS_OK;
    json_decref(*out);
    *out = NULL;
    return qn_error_in_file(err, st, path);
}
