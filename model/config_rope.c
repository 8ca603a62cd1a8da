/* Rotary embeddings as config.json describes them: rope_scaling, or rope_parameters, its name
 * from transformers 5 on, which holds rope_theta too. What the keys mean, and the defaults, are
 * those of Hugging Face's src/transformers/modeling_rope_utils.py; linear is "position
 * interpolation" (Chen et al. 2023), llama3 is Meta's scaling of Llama 3.1, longrope is LongRoPE
 * (Ding et al. 2024). */
#include "model/config_keys.h"

#include <math.h>
#include <string.h>

enum { NONE = 1, LINEAR = 2, LLAMA3 = 4, LONGROPE = 8, ANY = 15 };

static const double max_factor = 1e6, max_positions = 1 << 24;

struct scaling {
    struct qn_config_draft *d;
    const char *key; /* rope_scaling or rope_parameters */
    const json_t *object;
    unsigned type;
};

static enum qins_status bad(const struct scaling *s, const char *name, const char *what,
                            struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_FORMAT, "%s.%s must be %s", s->key, name, what);
}

static enum qins_status find_type(struct scaling *s, struct qins_error *err)
{
    static const struct {
        const char *name;
        unsigned type;
        enum qn_rope_scaling scaling;
    } known[] = {
        {"default", NONE, QN_SCALING_NONE},    {"linear", LINEAR, QN_SCALING_LINEAR},
        {"llama3", LLAMA3, QN_SCALING_LLAMA3}, {"longrope", LONGROPE, QN_SCALING_LONGROPE},
        {"su", LONGROPE, QN_SCALING_LONGROPE}, /* longrope's name in the first Phi-3 files */
    };
    const json_t *a = json_object_get(s->object, "rope_type");
    const json_t *b = json_object_get(s->object, "type");
    const char *name = json_string_value(a ? a : b);
    if (!name)
        return bad(s, "rope_type", "a name", err);
    if (a && b && !json_equal(a, b))
        return qn_fail(err, QINS_ERR_FORMAT, "%s.type and %s.rope_type disagree", s->key, s->key);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            s->type = known[i].type;
            s->d->c.rope.scaling = known[i].scaling;
            return QINS_OK;
        }
    return qn_fail(err, QINS_ERR_UNSUPPORTED, "%s of type '%s' is not computed", s->key, name);
}

static enum qins_status check_keys(const struct scaling *s, struct qins_error *err)
{
    static const struct {
        const char *name;
        unsigned types;
    } known[] = {
        {"type", ANY},
        {"rope_type", ANY},
        {"rope_theta", ANY},
        {"partial_rotary_factor", ANY},
        {"factor", LINEAR | LLAMA3 | LONGROPE},
        {"low_freq_factor", LLAMA3},
        {"high_freq_factor", LLAMA3},
        {"original_max_position_embeddings", LLAMA3 | LONGROPE},
        {"short_factor", LONGROPE},
        {"long_factor", LONGROPE},
        {"attention_factor", LONGROPE},
    };
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)s->object, name, value)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found = found || (strcmp(name, known[i].name) == 0 && (known[i].types & s->type));
        if (!found)
            return qn_fail(err, QINS_ERR_UNSUPPORTED, "%s.%s has no known meaning there", s->key,
                           name);
    }
    return QINS_OK;
}

/* theta and the rotated part, which rope_parameters may hold instead of the top level. */
static enum qins_status parse_common(const struct scaling *s, struct qins_error *err)
{
    const json_t *theta = json_object_get(s->object, "rope_theta");
    const json_t *part = json_object_get(s->object, "partial_rotary_factor");
    if (theta && !qn_config_real(theta, 1, 1e12, &s->d->c.rope.theta))
        return bad(s, "rope_theta", "a number in 1 ... 1e12", err);
    if (part && !qn_config_real(part, 0, 1, &s->d->rotary_part))
        return bad(s, "partial_rotary_factor", "a number in 0 ... 1", err);
    return QINS_OK;
}

static enum qins_status parse_number(const struct scaling *s, const char *name, double *out,
                                     struct qins_error *err)
{
    /* factors of frequencies and of lengths alike; 0 would divide by zero */
    if (!qn_config_real(json_object_get(s->object, name), 1e-6, max_factor, out))
        return bad(s, name, "a number in 1e-6 ... 1e6", err);
    return QINS_OK;
}

/* The context before it was extended: inside, or at the top level; 0 where neither says. */
static enum qins_status parse_original(const struct scaling *s, uint32_t *out,
                                       struct qins_error *err)
{
    const json_t *inside = json_object_get(s->object, "original_max_position_embeddings");
    *out = s->d->original_positions;
    if (!inside)
        return QINS_OK;
    /* from 2 on: longrope divides by its logarithm */
    if (!qn_config_count(inside, 2, max_positions, out))
        return bad(s, "original_max_position_embeddings", "a whole number in 2 ... 2^24", err);
    if (s->d->original_positions && s->d->original_positions != *out)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "original_max_position_embeddings is given twice with different values");
    return QINS_OK;
}

static enum qins_status parse_llama3(const struct scaling *s, struct qins_error *err)
{
    struct qn_rope_config *r = &s->d->c.rope;
    enum qins_status st = parse_number(s, "factor", &r->factor, err);
    if (st == QINS_OK)
        st = parse_number(s, "low_freq_factor", &r->low_freq_factor, err);
    if (st == QINS_OK)
        st = parse_number(s, "high_freq_factor", &r->high_freq_factor, err);
    if (st == QINS_OK && r->high_freq_factor <= r->low_freq_factor)
        st = bad(s, "high_freq_factor", "above low_freq_factor", err);
    if (st == QINS_OK)
        st = parse_original(s, &r->original_positions, err);
    if (st == QINS_OK && r->original_positions == 0)
        st = bad(s, "original_max_position_embeddings", "given", err);
    return st;
}

static enum qins_status parse_list(const struct scaling *s, const char *name, float *out,
                                   struct qins_error *err)
{
    const json_t *list = json_object_get(s->object, name);
    unsigned n = s->d->c.rope.dims / 2;
    double x;
    if (!json_is_array(list) || json_array_size(list) != n)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "%s.%s must be a list of %u numbers, one for each rotated pair", s->key,
                       name, n);
    for (unsigned i = 0; i < n; i++) {
        if (!qn_config_real(json_array_get(list, i), 1e-6, max_factor, &x))
            return bad(s, name, "a list of numbers in 1e-6 ... 1e6", err);
        out[i] = (float)x;
    }
    return QINS_OK;
}

/* _compute_longrope_parameters: the factor is the ratio of the contexts where both are known, and
 * the attention factor sqrt(1 + ln(factor) / ln(original context)). */
static enum qins_status parse_longrope(const struct scaling *s, struct qins_error *err)
{
    struct qn_model_config *c = &s->d->c;
    struct qn_rope_config *r = &c->rope;
    double factor = 0;
    bool given = json_object_get(s->object, "factor");
    enum qins_status st = parse_list(s, "short_factor", r->short_factor, err);
    if (st == QINS_OK)
        st = parse_list(s, "long_factor", r->long_factor, err);
    if (st == QINS_OK)
        st = parse_original(s, &r->original_positions, err);
    if (st == QINS_OK && given)
        st = parse_number(s, "factor", &factor, err);
    if (st != QINS_OK)
        return st;
    if (r->original_positions == 0 && !given)
        return bad(s, "original_max_position_embeddings", "given", err);
    if (r->original_positions && (!given || s->d->original_positions))
        factor = (double)c->max_positions / r->original_positions;
    if (r->original_positions == 0)
        r->original_positions = c->max_positions;
    if (json_object_get(s->object, "attention_factor"))
        return parse_number(s, "attention_factor", &r->attention_factor, err);
    if (factor > 1 && r->original_positions < 2)
        return bad(s, "original_max_position_embeddings", "at least 2", err);
    r->attention_factor = factor > 1 ? sqrt(1 + log(factor) / log(r->original_positions)) : 1;
    return QINS_OK;
}

static enum qins_status parse_scaling(struct scaling *s, struct qins_error *err)
{
    /* transformers 5 writes rope_parameters of the default type without naming it now and then */
    bool plain = !json_object_get(s->object, "rope_type") && !json_object_get(s->object, "type") &&
                 strcmp(s->key, "rope_parameters") == 0;
    s->type = NONE;
    enum qins_status st = !json_is_object(s->object)
                              ? qn_fail(err, QINS_ERR_FORMAT, "%s must be an object", s->key)
                          : plain ? QINS_OK
                                  : find_type(s, err);
    if (st == QINS_OK)
        st = check_keys(s, err);
    if (st == QINS_OK)
        st = parse_common(s, err);
    return st;
}

enum qins_status qn_config_rope(struct qn_config_draft *d, struct qins_error *err)
{
    struct qn_model_config *c = &d->c;
    struct scaling s = {.d = d, .key = "rope_scaling", .object = d->rope_scaling};
    enum qins_status st = QINS_OK;
    if (c->arch->rope == QN_ROPE_NONE)
        return QINS_OK;
    if (d->rope_scaling && d->rope_parameters)
        return qn_fail(err, QINS_ERR_FORMAT, "rope_scaling and rope_parameters are both there");
    if (d->rope_parameters) {
        s.key = "rope_parameters";
        s.object = d->rope_parameters;
    }
    c->rope.attention_factor = 1;
    c->rope.factor = 1;
    if (s.object)
        st = parse_scaling(&s, err);
    c->rope.dims = (unsigned)((double)c->head_dim * d->rotary_part);
    if (st == QINS_OK && s.object)
        st = qn_config_check(c, err); /* the lists are as long as the rotation says */
    if (st != QINS_OK)
        return st;
    switch (c->rope.scaling) {
    case QN_SCALING_LINEAR:
        return parse_number(&s, "factor", &c->rope.factor, err);
    case QN_SCALING_LLAMA3:
        return parse_llama3(&s, err);
    case QN_SCALING_LONGROPE:
        return parse_longrope(&s, err);
    default:
        return QINS_OK;
    }
}
