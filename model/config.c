#include "model/config.h"

#include "core/bytes.h"
#include "model/config_keys.h"

#include <math.h>
#include <string.h>

struct parser {
    struct qn_config_draft draft;
    unsigned arch_bit;
    bool seen[QN_CONFIG_KEYS_MAX]; /* by row of the table */
};

bool qn_config_real(const json_t *value, double min, double max, double *out)
{
    double x = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(x >= min && x <= max))
        return false;
    *out = x;
    return true;
}

bool qn_config_count(const json_t *value, double min, double max, uint32_t *out)
{
    double x;
    if (!qn_config_real(value, min, max, &x) || x != floor(x) || x < 0 || x > UINT32_MAX)
        return false;
    *out = (uint32_t)x;
    return true;
}

static enum qins_status bad_value(const struct qn_config_key *k, struct qins_error *err)
{
    switch (k->kind) {
    case QN_KEY_COUNT:
    case QN_KEY_COUNT_OR_NULL:
        return qn_fail(err, QINS_ERR_FORMAT, "%s must be a whole number in %.0f ... %.0f", k->name,
                       k->min, k->max);
    case QN_KEY_REAL:
        return qn_fail(err, QINS_ERR_FORMAT, "%s must be a number in %g ... %g", k->name, k->min,
                       k->max);
    case QN_KEY_FLAG:
        return qn_fail(err, QINS_ERR_FORMAT, "%s must be true or false", k->name);
    case QN_KEY_BOS:
        return qn_fail(err, QINS_ERR_FORMAT, "%s must be a token's number or null", k->name);
    default:
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the value of %s asks for what is not computed",
                       k->name);
    }
}

static bool is_neutral(enum qn_key_kind kind, const json_t *value)
{
    double x;
    if (json_is_null(value))
        return true;
    switch (kind) {
    case QN_KEY_FALSE:
        return json_is_false(value);
    case QN_KEY_TRUE:
        return json_is_true(value);
    case QN_KEY_ONE:
        return qn_config_real(value, 1, 1, &x);
    default:
        return (json_is_object(value) && json_object_size(value) == 0) ||
               (json_is_array(value) && json_array_size(value) == 0);
    }
}

/* The names that Hugging Face's ACT2FN (activations.py) has for what we compute. gelu_fast is
 * gelu_new with sqrt(2/pi) written to ten digits. */
static bool parse_activation(const char *name, enum qn_activation *out)
{
    static const struct {
        const char *name;
        enum qn_activation activation;
    } known[] = {
        {"silu", QN_ACT_SILU},
        {"swish", QN_ACT_SILU},
        {"gelu", QN_ACT_GELU_ERF},
        {"gelu_python", QN_ACT_GELU_ERF},
        {"gelu_new", QN_ACT_GELU_TANH},
        {"gelu_fast", QN_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", QN_ACT_GELU_TANH},
        {"relu", QN_ACT_RELU},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            *out = known[i].activation;
            return true;
        }
    return false;
}

static bool is_token(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 &&
           json_integer_value(value) <= INT32_MAX;
}

/* Adds one token that ends a text; those there already are not added again. */
static enum qins_status add_eos(struct qn_model_config *c, const json_t *value,
                                struct qins_error *err)
{
    if (!is_token(value))
        return qn_fail(err, QINS_ERR_FORMAT,
                       "eos_token_id must be a token's number, a list of them, or null");
    uint32_t token = (uint32_t)json_integer_value(value);
    for (unsigned i = 0; i < c->n_eos; i++)
        if (c->eos[i] == token)
            return QINS_OK;
    if (c->n_eos == QN_MAX_EOS)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "eos_token_id names more than %d tokens",
                       QN_MAX_EOS);
    c->eos[c->n_eos++] = token;
    return QINS_OK;
}

enum qins_status qn_config_eos(struct qn_model_config *c, const json_t *value,
                               struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (!value || json_is_null(value))
        return QINS_OK;
    if (!json_is_array(value))
        return add_eos(c, value, err);
    for (size_t i = 0; i < json_array_size(value) && st == QINS_OK; i++)
        st = add_eos(c, json_array_get(value, i), err);
    return st;
}

void qn_config_drop_tokens(struct qn_model_config *c)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < c->n_eos; i++)
        if (c->eos[i] < c->vocab)
            c->eos[kept++] = c->eos[i];
    c->n_eos = kept;
    if (c->bos >= c->vocab)
        c->bos = -1;
}

static enum qins_status store(struct parser *p, const struct qn_config_key *k, const json_t *value,
                              struct qins_error *err)
{
    void *field = (uint8_t *)&p->draft + k->field;
    bool ok = true;
    switch (k->kind) {
    case QN_KEY_COUNT_OR_NULL:
        if (json_is_null(value)) {
            *(uint32_t *)field = 0;
            break;
        }
        ok = qn_config_count(value, k->min, k->max, field);
        break;
    case QN_KEY_COUNT:
        ok = qn_config_count(value, k->min, k->max, field);
        break;
    case QN_KEY_REAL:
        ok = qn_config_real(value, k->min, k->max, field);
        break;
    case QN_KEY_FLAG:
        ok = json_is_boolean(value);
        *(bool *)field = json_is_true(value);
        break;
    case QN_KEY_ACTIVATION:
        if (!json_is_string(value))
            return qn_fail(err, QINS_ERR_FORMAT, "%s is not a string", k->name);
        if (!parse_activation(json_string_value(value), field))
            return qn_fail(err, QINS_ERR_UNSUPPORTED, "%s '%s' is not known", k->name,
                           json_string_value(value));
        break;
    case QN_KEY_BOS:
        ok = json_is_null(value) || is_token(value);
        p->draft.c.bos = is_token(value) ? json_integer_value(value) : -1;
        break;
    case QN_KEY_EOS:
        return qn_config_eos(&p->draft.c, value, err);
    case QN_KEY_VALUE:
        *(const json_t **)field = json_is_null(value) ? NULL : value;
        break;
    default:
        ok = is_neutral(k->kind, value);
        break;
    }
    return ok ? QINS_OK : bad_value(k, err);
}

static bool applies(const struct parser *p, size_t row)
{
    return qn_config_keys[row].archs & p->arch_bit;
}

/* Two names of one value must not contradict each other. */
static enum qins_status check_aliases(const struct parser *p, size_t row, const json_t *object,
                                      struct qins_error *err)
{
    const struct qn_config_key *k = &qn_config_keys[row];
    for (size_t i = 0; qn_config_keys[i].name; i++) {
        const struct qn_config_key *o = &qn_config_keys[i];
        if (i != row && p->seen[i] && o->kind == QN_KEY_REAL && k->kind == QN_KEY_REAL &&
            o->field == k->field &&
            json_number_value(json_object_get(object, o->name)) !=
                json_number_value(json_object_get(object, k->name)))
            return qn_fail(err, QINS_ERR_FORMAT, "%s and %s disagree", o->name, k->name);
    }
    return QINS_OK;
}

static enum qins_status parse_key(struct parser *p, const char *name, const json_t *value,
                                  const json_t *object, struct qins_error *err)
{
    for (size_t i = 0; qn_config_keys[i].name; i++) {
        if (!applies(p, i) || strcmp(qn_config_keys[i].name, name) != 0)
            continue;
        p->seen[i] = true;
        enum qins_status st = store(p, &qn_config_keys[i], value, err);
        return st == QINS_OK ? check_aliases(p, i, object, err) : st;
    }
    if (qn_config_key_is_inert(name))
        return QINS_OK;
    return qn_fail(err, QINS_ERR_UNSUPPORTED, "the key %s is not known for a model of type %s",
                   name, p->draft.c.arch->model_type);
}

/* Every field that no key has set takes its fallback. */
static enum qins_status fill_in(struct parser *p, struct qins_error *err)
{
    bool set[QN_CONFIG_KEYS_MAX] = {false};
    for (size_t i = 0; qn_config_keys[i].name; i++)
        for (size_t j = 0; qn_config_keys[j].name; j++)
            set[i] = set[i] || (p->seen[j] && qn_config_keys[j].field == qn_config_keys[i].field);
    for (size_t i = 0; qn_config_keys[i].name; i++) {
        const struct qn_config_key *k = &qn_config_keys[i];
        void *field = (uint8_t *)&p->draft + k->field;
        if (!applies(p, i) || set[i])
            continue;
        if (isnan(k->fallback))
            return qn_fail(err, QINS_ERR_FORMAT, "it lacks %s", k->name);
        if (k->kind == QN_KEY_COUNT || k->kind == QN_KEY_COUNT_OR_NULL)
            *(uint32_t *)field = (uint32_t)k->fallback;
        else if (k->kind == QN_KEY_REAL)
            *(double *)field = k->fallback;
        else if (k->kind == QN_KEY_FLAG)
            *(bool *)field = k->fallback != 0;
        else if (k->kind == QN_KEY_ACTIVATION)
            *(enum qn_activation *)field = (enum qn_activation)k->fallback;
    }
    return QINS_OK;
}

/* Layers with and without the window, one by one; only "none, then all" is what the forward
 * pass knows. */
static enum qins_status apply_layer_types(struct qn_config_draft *d, struct qins_error *err)
{
    static const char full[] = "full_attention", sliding[] = "sliding_attention";
    struct qn_model_config *c = &d->c;
    if (!json_is_array(d->layer_types) || json_array_size(d->layer_types) != c->n_layers)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "layer_types must be a list of num_hidden_layers names");
    uint32_t from = c->n_layers;
    for (uint32_t i = 0; i < c->n_layers; i++) {
        const char *type = json_string_value(json_array_get(d->layer_types, i));
        bool slides = type && strcmp(type, sliding) == 0;
        if (!slides && (!type || strcmp(type, full) != 0))
            return qn_fail(err, QINS_ERR_UNSUPPORTED, "layer_types names '%s'", type ? type : "");
        if (slides && from == c->n_layers)
            from = i;
        if (!slides && from < i)
            return qn_fail(err, QINS_ERR_UNSUPPORTED,
                           "layer_types has full attention behind a sliding window");
    }
    if (from < c->n_layers && c->sliding_window == 0)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "layer_types asks for a sliding_window, there is none");
    c->sliding_from = from;
    return QINS_OK;
}

static enum qins_status derive_window(struct qn_config_draft *d, unsigned arch_bit,
                                      struct qins_error *err)
{
    struct qn_model_config *c = &d->c;
    bool optional = arch_bit == qn_config_arch_bit(&qn_arch_qwen2) ||
                    arch_bit == qn_config_arch_bit(&qn_arch_qwen3);
    if (optional && !d->use_window)
        c->sliding_window = 0;
    enum qins_status st = d->layer_types ? apply_layer_types(d, err) : QINS_OK;
    if (c->sliding_from >= c->n_layers)
        c->sliding_window = 0;
    if (c->sliding_window == 0)
        c->sliding_from = 0;
    return st;
}

/* What the config leaves to be worked out. */
static enum qins_status derive(struct qn_config_draft *d, unsigned arch_bit, struct qins_error *err)
{
    struct qn_model_config *c = &d->c;
    if (c->n_kv_heads == 0)
        c->n_kv_heads = c->n_heads;
    if (c->head_dim == 0) {
        if (c->n_heads == 0 || c->hidden % c->n_heads)
            return qn_fail(err, QINS_ERR_FORMAT,
                           "the hidden size %u is no multiple of the %u attention heads", c->hidden,
                           c->n_heads);
        c->head_dim = c->hidden / c->n_heads;
    }
    if (c->intermediate == 0)
        c->intermediate = 4 * c->hidden; /* GPT-2, where n_inner is null */
    bool always = c->arch == &qn_arch_gpt2;
    c->qkv_bias = always || d->attention_bias || c->arch == &qn_arch_qwen2;
    c->o_bias = always || d->attention_bias;
    c->mlp_bias = c->mlp_bias || c->arch->norm == QN_NORM_LAYER;
    c->attention_scale = d->scale_attention ? 1 / sqrt((double)c->head_dim) : 1;
    return derive_window(d, arch_bit, err);
}

enum qins_status qn_config_check(const struct qn_model_config *c, struct qins_error *err)
{
    uint64_t heads = (uint64_t)c->n_heads + 2 * (uint64_t)c->n_kv_heads;
    if (c->n_heads % c->n_kv_heads)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "%u attention heads cannot share %u key-value heads evenly", c->n_heads,
                       c->n_kv_heads);
    if (c->intermediate > 1 << 24) /* GPT-2's may be derived */
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the MLP's width is above 2^24");
    if (heads * c->head_dim > INT32_MAX)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "%u heads of %u are more than 2^31 rows",
                       c->n_heads, c->head_dim);
    if (c->arch->rope != QN_ROPE_NONE &&
        (c->rope.dims == 0 || c->rope.dims % 2 || c->rope.dims > QN_MAX_ROTARY ||
         c->rope.dims > c->head_dim))
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "%u of a head's %u elements are to be rotated; an even number up to %d can "
                       "be",
                       c->rope.dims, c->head_dim, QN_MAX_ROTARY);
    if (c->experts_per_token > c->n_experts)
        return qn_fail(err, QINS_ERR_FORMAT, "num_experts_per_tok is above num_local_experts");
    return QINS_OK;
}

static enum qins_status find_arch(const json_t *object, struct parser *p, struct qins_error *err)
{
    const json_t *type = json_object_get(object, "model_type");
    if (!json_is_string(type))
        return qn_fail(err, QINS_ERR_FORMAT, "it lacks model_type");
    p->draft.c.arch = qn_arch_find(json_string_value(type));
    if (!p->draft.c.arch)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "model_type '%s' is not known",
                       json_string_value(type));
    p->arch_bit = qn_config_arch_bit(p->draft.c.arch);
    return QINS_OK;
}

static enum qins_status parse_object(json_t *object, struct qn_model_config *out,
                                     struct qins_error *err)
{
    struct parser p = {.draft = {.scale_attention = true, .rotary_part = 1, .c.bos = -1}};
    const char *name;
    json_t *value;
    enum qins_status st = json_is_object(object)
                              ? find_arch(object, &p, err)
                              : qn_fail(err, QINS_ERR_FORMAT, "it is no JSON object");
    if (p.draft.c.arch)
        json_object_foreach(object, name, value)
        {
            st = parse_key(&p, name, value, object, err);
            if (st != QINS_OK)
                break;
        }
    if (st == QINS_OK)
        st = fill_in(&p, err);
    if (st == QINS_OK)
        st = derive(&p.draft, p.arch_bit, err);
    if (st == QINS_OK)
        st = qn_config_rope(&p.draft, err);
    if (st == QINS_OK)
        st = qn_config_check(&p.draft.c, err);
    if (st == QINS_OK) {
        qn_config_drop_tokens(&p.draft.c);
        *out = p.draft.c;
    }
    return st;
}

enum qins_status qn_config_parse(const void *text, size_t size, struct qn_model_config *out,
                                 struct qins_error *err)
{
    struct qins_error local;
    struct qins_error *e = err ? err : &local;
    json_t *object = qn_json_parse(text, size, 0, e);
    if (!object)
        return e->status;
    enum qins_status st = parse_object(object, out, e);
    json_decref(object);
    return st;
}
