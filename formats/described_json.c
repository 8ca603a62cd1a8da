#include "formats/described_json.h"

enum qins_status qn_described_bad(struct qins_error *err, const char *key)
{
    return qn_fail(err, QINS_ERR_FORMAT, "its description has no proper '%s'", key);
}

enum qins_status qn_described_u64(const json_t *j, const char *key, uint64_t max, uint64_t *out,
                                  struct qins_error *err)
{
    uint64_t v;
    if (!qn_json_u64(json_object_get(j, key), &v) || v > max)
        return qn_described_bad(err, key);
    *out = v;
    return QINS_OK;
}

enum qins_status qn_described_u32(const json_t *j, const char *key, uint32_t min, uint32_t max,
                                  uint32_t *out, struct qins_error *err)
{
    uint64_t v = 0;
    enum qins_status st = qn_described_u64(j, key, max, &v, err);
    if (st == QINS_OK && v < min)
        st = qn_described_bad(err, key);
    if (st == QINS_OK)
        *out = (uint32_t)v;
    return st;
}

enum qins_status qn_described_bool(const json_t *j, const char *key, bool *out,
                                   struct qins_error *err)
{
    const json_t *v = json_object_get(j, key);
    if (!json_is_boolean(v))
        return qn_described_bad(err, key);
    *out = json_is_true(v);
    return QINS_OK;
}

enum qins_status qn_described_digest(const json_t *value, const char *key, struct qn_digest *out,
                                     struct qins_error *err)
{
    struct qn_digest d;
    if (!qn_json_hex(value, d.bytes, sizeof d.bytes))
        return qn_described_bad(err, key);
    *out = d;
    return QINS_OK;
}
