#include "policy/costs.h"

#include "policy/builtin.h"

#include <string.h>

/* Beside "decode_ns": how it was measured. Nothing is made of them. */
static const char *const remarks[] = {
    "qins_version",  "machine",        "elements",         "rounds",
    "decode_ns_low", "decode_ns_high", "bits_per_element",
};

static bool is_remark(const char *key)
{
    for (size_t i = 0; i < sizeof remarks / sizeof *remarks; i++)
        if (strcmp(remarks[i], key) == 0)
            return true;
    return false;
}

/* Where the figure of that name goes, or NULL. */
static double *place(struct qn_costs *c, const char *name)
{
    enum qn_codec_id id = qn_codec_from_name(name);
    if (id != QN_CODEC_COUNT)
        return &c->decode_ns[id];
    if (strcmp(name, QN_COSTS_LOSSLESS) == 0)
        return &c->lossless_ns;
    return strcmp(name, QN_COSTS_MEMORY) == 0 ? &c->memory_ns : NULL;
}

static enum qins_status missing(const char *name, struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_FORMAT, "costs: \"decode_ns\" has no \"%s\"", name);
}

static enum qins_status take_figures(const json_t *figures, struct qn_costs *c,
                                     struct qins_error *err)
{
    const char *name;
    json_t *value;
    if (!json_is_object(figures))
        return qn_fail(err, QINS_ERR_FORMAT, "costs: there is no object \"decode_ns\"");
    json_object_foreach((json_t *)(uintptr_t)figures, name, value)
    {
        double *figure = place(c, name), ns = json_number_value(value);
        if (!figure)
            return qn_fail(err, QINS_ERR_FORMAT, "costs: no coder is called \"%s\"", name);
        if (!json_is_number(value) || !(ns > 0 && ns < QN_MAX_DECODE_NS))
            return qn_fail(err, QINS_ERR_FORMAT,
                           "costs: nanoseconds of \"%s\" must be a number above 0 and below %g",
                           name, QN_MAX_DECODE_NS);
        *figure = ns;
    }
    if (!qn_costs_know(c, QN_CODEC_BITPACK))
        return missing(qn_codec_name(QN_CODEC_BITPACK), err);
    if (c->lossless_ns == 0)
        return missing(QN_COSTS_LOSSLESS, err);
    return c->memory_ns == 0 ? missing(QN_COSTS_MEMORY, err) : QINS_OK;
}

static enum qins_status take_object(const json_t *j, struct qn_costs *c, struct qins_error *err)
{
    const char *key, *schema = json_string_value(json_object_get(j, "schema"));
    json_t *value;
    if (!schema || strcmp(schema, QN_COSTS_SCHEMA) != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "costs: \"schema\" must be \"%s\"", QN_COSTS_SCHEMA);
    json_object_foreach((json_t *)(uintptr_t)j, key, value)
    {
        if (strcmp(key, "schema") != 0 && strcmp(key, "decode_ns") != 0 && !is_remark(key))
            return qn_fail(err, QINS_ERR_FORMAT, "costs: unknown key \"%s\"", key);
    }
    return take_figures(json_object_get(j, "decode_ns"), c, err);
}

enum qins_status qn_costs_parse(const void *text, size_t size, struct qn_costs *out,
                                struct qins_error *err)
{
    struct qins_error local;
    struct qins_error *e = err ? err : &local;
    *out = (struct qn_costs){.fingerprint = qn_hash128(text, size)};
    json_t *j = qn_json_parse(text, size, 0, e);
    if (!j)
        return e->status;
    enum qins_status st = take_object(j, out, e);
    json_decref(j);
    return st;
}

enum qins_status qn_costs_default(struct qn_costs *out, struct qins_error *err)
{
    return qn_costs_parse(qn_policy_costs_json, qn_policy_costs_json_size, out, err);
}
