#include "policy/policy_json.h"

#include "core/buf.h"
#include "formats/plan.h"
#include "policy/defaults.h"
#include "policy/limits.h"

#include <float.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_RULES = 1000,
    MAX_GLOBS = 1000, /* of a rule */
    MAX_NAME = 48,    /* bytes: names stand in reasons */
    MAX_TARGET_BITS = 64,
};

/* Of a policy that does not say: docs/policy-format.md. */
enum { MIN_ELEMENTS = 1024, BLOCK_ROWS = 32 };
#define DECODE_OVERHEAD 0.02

static const char *const treatment_names[] = {
    [QN_TREAT_AUTO] = "auto", [QN_TREAT_LOSSLESS] = "lossless", [QN_TREAT_HOT] = "hot",
    [QN_TREAT_COLD] = "cold", [QN_TREAT_BY_ROW] = "by_row",
};
enum { N_TREATMENTS = sizeof treatment_names / sizeof *treatment_names };

/* A key of an object, and what stores its value. */
struct key {
    const char *name;
    /* WHERE is "" or "rule 3: ". */
    enum qins_status (*take)(const json_t *value, const struct key *key, const char *where,
                             void *out, struct qins_error *err);
    size_t offset; /* into the struct that is filled */
    double min, max;
    bool required;
};

static enum qins_status bad(struct qins_error *err, const char *where, const char *name,
                            const char *want)
{
    return qn_fail(err, QINS_ERR_FORMAT, "policy: %s\"%s\" must be %s", where, name, want);
}

/* Every key of J is in KEYS, and fills *OUT. */
static enum qins_status take_object(const json_t *j, const char *where, const struct key *keys,
                                    size_t n, void *out, struct qins_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)j, name, value)
    {
        size_t i = 0;
        while (i < n && strcmp(keys[i].name, name) != 0)
            i++;
        if (i == n)
            return qn_fail(err, QINS_ERR_FORMAT, "policy: %sunknown key \"%s\"", where, name);
        enum qins_status st =
            keys[i].take(value, &keys[i], where, (char *)out + keys[i].offset, err);
        if (st != QINS_OK)
            return st;
    }
    for (size_t i = 0; i < n; i++)
        if (keys[i].required && !json_object_get(j, keys[i].name))
            return qn_fail(err, QINS_ERR_FORMAT, "policy: %skey \"%s\" is missing", where,
                           keys[i].name);
    return QINS_OK;
}

static enum qins_status take_real(const json_t *v, const struct key *key, const char *where,
                                  void *out, struct qins_error *err)
{
    char want[96];
    double x = json_number_value(v);
    if (json_is_number(v) && x >= key->min && x <= key->max) {
        *(double *)out = x;
        return QINS_OK;
    }
    snprintf(want, sizeof want, "a number from %g to %g", key->min, key->max);
    return bad(err, where, key->name, want);
}

static enum qins_status take_integer(const json_t *v, const struct key *key, const char *where,
                                     uint64_t *out, struct qins_error *err)
{
    char want[96];
    if (qn_json_u64(v, out) && (double)*out >= key->min && (double)*out <= key->max)
        return QINS_OK;
    snprintf(want, sizeof want, "a whole number from %.0f to %.0f", key->min, key->max);
    return bad(err, where, key->name, want);
}

static enum qins_status take_u64(const json_t *v, const struct key *key, const char *where,
                                 void *out, struct qins_error *err)
{
    return take_integer(v, key, where, out, err);
}

static enum qins_status take_unsigned(const json_t *v, const struct key *key, const char *where,
                                      void *out, struct qins_error *err)
{
    uint64_t x;
    enum qins_status st = take_integer(v, key, where, &x, err);
    if (st == QINS_OK)
        *(unsigned *)out = (unsigned)x;
    return st;
}

static enum qins_status take_bool(const json_t *v, const struct key *key, const char *where,
                                  void *out, struct qins_error *err)
{
    if (!json_is_boolean(v))
        return bad(err, where, key->name, "true or false");
    *(bool *)out = json_is_true(v);
    return QINS_OK;
}

/* Anything textual that nothing is made of. */
static enum qins_status take_remark(const json_t *v, const struct key *key, const char *where,
                                    void *out, struct qins_error *err)
{
    (void)out;
    return json_is_string(v) ? QINS_OK : bad(err, where, key->name, "a string");
}

static enum qins_status take_schema(const json_t *v, const struct key *key, const char *where,
                                    void *out, struct qins_error *err)
{
    (void)out;
    const char *text = json_string_value(v);
    return text && strcmp(text, QN_POLICY_SCHEMA) == 0
               ? QINS_OK
               : bad(err, where, key->name, "\"" QN_POLICY_SCHEMA "\"");
}

/* One line of at most MAX_NAME bytes. */
static enum qins_status take_name(const json_t *v, const struct key *key, const char *where,
                                  void *out, struct qins_error *err)
{
    const char *text = json_string_value(v);
    bool good = text && text[0] && json_string_length(v) <= MAX_NAME;
    for (const char *p = text; good && *p; p++)
        good = qn_text_unsafe(p) == 0;
    if (!good)
        return bad(err, where, key->name, "a name of 1 to 48 bytes");
    *(char **)out = qn_strdup(text, err);
    return *(char **)out ? QINS_OK : QINS_ERR_MEMORY;
}

static enum qins_status take_treatment(const json_t *v, const struct key *key, const char *where,
                                       void *out, struct qins_error *err)
{
    const char *text = json_string_value(v);
    for (int i = 0; text && i < N_TREATMENTS; i++)
        if (strcmp(text, treatment_names[i]) == 0) {
            *(enum qn_treatment *)out = (enum qn_treatment)i;
            return QINS_OK;
        }
    return bad(err, where, key->name, "auto, lossless, hot, cold or by_row");
}

static enum qins_status take_globs(const json_t *v, const struct key *key, const char *where,
                                   void *out, struct qins_error *err)
{
    struct qn_policy_rule *rule = out;
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n == 0 || n > MAX_GLOBS)
        return bad(err, where, key->name, "a list of globs");
    rule->globs = calloc(n, sizeof *rule->globs);
    if (!rule->globs)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(v, i));
        if (!text)
            return bad(err, where, key->name, "a list of globs");
        if (!qn_glob_valid(text))
            return qn_fail(err, QINS_ERR_FORMAT, "policy: %sbad glob \"%.80s\"", where, text);
        rule->globs[i] = qn_strdup(text, err);
        if (!rule->globs[i])
            return QINS_ERR_MEMORY;
        rule->n_globs++;
    }
    return QINS_OK;
}

static enum qins_status check_bits(unsigned low, unsigned high, const char *where,
                                   struct qins_error *err)
{
    if (low && high && low > high)
        return qn_fail(err, QINS_ERR_FORMAT, "policy: %s\"min_bits\" %u is above \"max_bits\" %u",
                       where, low, high);
    return QINS_OK;
}

static enum qins_status take_rules(const json_t *v, const struct key *key, const char *where,
                                   void *out, struct qins_error *err)
{
    static const struct key keys[] = {
        {"component", take_name, offsetof(struct qn_policy_rule, name), 0, 0, true},
        {"tensors", take_globs, 0, 0, 0, true},
        {"treatment", take_treatment, offsetof(struct qn_policy_rule, treatment), 0, 0, true},
        {"min_bits", take_unsigned, offsetof(struct qn_policy_rule, min_bits), QN_MIN_BITS,
         QN_MAX_BITS, false},
        {"max_bits", take_unsigned, offsetof(struct qn_policy_rule, max_bits), QN_MIN_BITS,
         QN_MAX_BITS, false},
        {"comment", take_remark, 0, 0, 0, false},
    };
    struct qn_policy *p = out;
    size_t n = json_array_size(v);
    enum qins_status st = QINS_OK;
    if (!json_is_array(v) || n > MAX_RULES)
        return bad(err, where, key->name, "a list of at most 1000 rules");
    p->rules = calloc(n ? n : 1, sizeof *p->rules);
    if (!p->rules)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        struct qn_policy_rule *r = &p->rules[p->n_rules++];
        char place[32];
        snprintf(place, sizeof place, "rule %zu: ", i + 1);
        const json_t *j = json_array_get(v, i);
        st = json_is_object(j)
                 ? take_object(j, place, keys, sizeof keys / sizeof *keys, r, err)
                 : qn_fail(err, QINS_ERR_FORMAT, "policy: %smust be an object", place);
        if (st == QINS_OK)
            st = check_bits(r->min_bits, r->max_bits, place, err);
    }
    return st;
}

static enum qins_status take_budget(const json_t *v, const struct key *key, const char *where,
                                    void *out, struct qins_error *err)
{
    static const struct key keys[] = {
        {"target_bits", take_real, offsetof(struct qn_policy, target_bits), DBL_MIN,
         MAX_TARGET_BITS, false},
        {"target_size_bytes", take_u64, offsetof(struct qn_policy, target_bytes), 1, 0x1p62, false},
        {"max_error", take_real, offsetof(struct qn_policy, max_error), DBL_MIN, DBL_MAX, false},
    };
    if (!json_is_object(v))
        return bad(err, where, key->name, "an object");
    if (json_object_size(v) > 1)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "policy: impossible budget: only one of target_bits, target_size_bytes "
                       "and max_error can be given");
    return take_object(v, "budget: ", keys, sizeof keys / sizeof *keys, out, err);
}

enum qins_status qn_policy_from_json(const json_t *j, struct qn_policy *p, struct qins_error *err)
{
    static const struct key keys[] = {
        {"schema", take_schema, 0, 0, 0, true},
        {"qins_version", take_remark, 0, 0, 0, false},
        {"name", take_name, offsetof(struct qn_policy, name), 0, 0, true},
        {"description", take_remark, 0, 0, 0, false},
        {"nothing_hot", take_bool, offsetof(struct qn_policy, nothing_hot), 0, 0, false},
        {"hot_touches", take_real, offsetof(struct qn_policy, hot_touches), 0, 0x1p53, false},
        {"cold_touches", take_real, offsetof(struct qn_policy, cold_touches), 0, 0x1p53, false},
        {"hot_decode_overhead", take_real, offsetof(struct qn_policy, hot_decode_overhead), 0,
         0x1p53, false},
        {"min_bits", take_unsigned, offsetof(struct qn_policy, min_bits), QN_MIN_BITS, QN_MAX_BITS,
         false},
        {"max_bits", take_unsigned, offsetof(struct qn_policy, max_bits), QN_MIN_BITS, QN_MAX_BITS,
         false},
        {"min_elements", take_u64, offsetof(struct qn_policy, min_elements), 0, 0x1p62, false},
        {"block_rows", take_unsigned, offsetof(struct qn_policy, block_rows), 1, 0x1p31, false},
        {"budget", take_budget, 0, 0, 0, false},
        {"rules", take_rules, 0, 0, 0, true},
    };
    p->hot_touches = QN_HOT_TOUCHES;
    p->cold_touches = QN_COLD_TOUCHES;
    p->hot_decode_overhead = DECODE_OVERHEAD;
    p->min_bits = QN_MIN_BITS;
    p->max_bits = QN_MAX_BITS;
    p->min_elements = MIN_ELEMENTS;
    p->block_rows = BLOCK_ROWS;
    if (!json_is_object(j))
        return qn_fail(err, QINS_ERR_FORMAT, "policy: must be an object");
    enum qins_status st = take_object(j, "", keys, sizeof keys / sizeof *keys, p, err);
    if (st == QINS_OK)
        st = check_bits(p->min_bits, p->max_bits, "", err);
    if (st == QINS_OK && p->cold_touches > p->hot_touches)
        st =
            qn_fail(err, QINS_ERR_FORMAT, "policy: \"cold_touches\" %g is above \"hot_touches\" %g",
                    p->cold_touches, p->hot_touches);
    return st;
}

const struct qn_limit qn_policy_limits[] = {
    {"policy", "rules", MAX_RULES, "rules", "time: each tensor is held against each rule"},
    {"policy", "globs", MAX_GLOBS, "globs", "the same, of one rule"},
    {0},
};
