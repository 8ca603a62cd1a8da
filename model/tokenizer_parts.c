#include "model/tokenizer_parts.h"
#include "model/limits.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_LIMIT = 8, COUNT_LIMIT = 1 << 20, STEPS_LIMIT = 64 };

static enum qins_status parse_at(const struct qn_part_family *family, const json_t *part, void *ctx,
                                 unsigned depth, unsigned *n_steps, struct qins_error *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    enum qins_status st = QINS_OK;
    if (!part || json_is_null(part))
        return QINS_OK;
    if (!type)
        return qn_fail(err, QINS_ERR_FORMAT, "a %s without a type", family->name);
    if (depth > DEPTH_LIMIT || ++*n_steps > STEPS_LIMIT)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "a %s of too many parts", family->name);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *members = json_object_get(part, family->members);
        if (!json_is_array(members))
            return qn_fail(err, QINS_ERR_FORMAT, "a %s Sequence without \"%s\"", family->name,
                           family->members);
        for (size_t i = 0; i < json_array_size(members) && st == QINS_OK; i++)
            st = parse_at(family, json_array_get(members, i), ctx, depth + 1, n_steps, err);
        return st;
    }
    for (size_t i = 0; i < family->n_kinds; i++)
        if (strcmp(type, family->kinds[i].type) == 0)
            return family->kinds[i].parse ? family->kinds[i].parse(ctx, part, err) : QINS_OK;
    return qn_fail(err, QINS_ERR_UNSUPPORTED, "the %s %s is not implemented", family->name, type);
}

enum qins_status qn_parse_parts(const struct qn_part_family *family, const json_t *part, void *ctx,
                                struct qins_error *err)
{
    unsigned n_steps = 0;
    return parse_at(family, part, ctx, 0, &n_steps, err);
}

static enum qins_status bad_member(const json_t *part, const char *key, const char *wanted,
                                   struct qins_error *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return qn_fail(err, QINS_ERR_FORMAT, "\"%s\" of %s is not %s", key, type ? type : "a part",
                   wanted);
}

enum qins_status qn_part_bool(const json_t *part, const char *key, bool otherwise, bool *out,
                              struct qins_error *err)
{
    const json_t *v = json_object_get(part, key);
    *out = otherwise;
    if (!v || json_is_null(v))
        return QINS_OK;
    if (!json_is_boolean(v))
        return bad_member(part, key, "true or false", err);
    *out = json_is_true(v);
    return QINS_OK;
}

enum qins_status qn_part_string(const json_t *part, const char *key, const char *otherwise,
                                const char **out, struct qins_error *err)
{
    const json_t *v = json_object_get(part, key);
    *out = otherwise;
    if ((!v || json_is_null(v)) && otherwise)
        return QINS_OK;
    if (!json_is_string(v))
        return bad_member(part, key, "a string", err);
    *out = json_string_value(v);
    return QINS_OK;
}

enum qins_status qn_part_count(const json_t *part, const char *key, uint32_t *out,
                               struct qins_error *err)
{
    uint64_t n;
    if (!qn_json_u64(json_object_get(part, key), &n) || n > COUNT_LIMIT)
        return bad_member(part, key, "a small number", err);
    *out = (uint32_t)n;
    return QINS_OK;
}

enum qins_status qn_part_pattern(struct qn_pattern *p, const json_t *part, struct qins_error *err)
{
    const json_t *v = json_object_get(part, "pattern");
    const char *regex = json_string_value(json_object_get(v, "Regex"));
    const char *string = json_string_value(json_object_get(v, "String"));
    if (regex)
        return qn_pattern_init_regex(p, regex, strlen(regex), err);
    if (string)
        return qn_pattern_init_string(p, string, strlen(string), err);
    return bad_member(part, "pattern", "a String or a Regex", err);
}

void *qn_step_add(struct qn_step_list *list, size_t size, struct qins_error *err)
{
    uint8_t *grown = realloc(list->items, (list->count + 1) * size);
    if (!grown) {
        qn_fail_memory(err);
        return NULL;
    }
    list->items = grown;
    return memset(grown + list->count++ * size, 0, size);
}

const struct qn_limit qn_tokenizer_parts_limits[] = {
    {"tokenizer", "sequence_depth", DEPTH_LIMIT, "levels",
     "the stack, from sequences of sequences"},
    {"tokenizer", "sequence_steps", STEPS_LIMIT, "steps", "time for a text"},
    {0},
};
