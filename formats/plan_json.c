/* Plans as JSON and back. */
#include "core/bytes.h"
#include "formats/archive/manifest_json.h"
#include "formats/plan.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char schema[] = "qins/plan/1";

/* The shortest decimal number that names the float: people read and edit it. */
static json_t *short_real(float value)
{
    char text[32];
    for (int digits = 1; digits <= FLT_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if ((float)strtod(text, NULL) == value)
            break;
    }
    return qn_json_real(strtod(text, NULL));
}

static json_t *group_to_json(const struct qn_plan_line *p)
{
    switch (p->group_kind) {
    case QN_GROUP_ROW:
        return json_string("row");
    case QN_GROUP_BLOCK:
        return json_integer((json_int_t)p->group);
    default:
        return json_string("tensor");
    }
}

static json_t *searched(float value)
{
    return value < 0.0F ? json_null() : short_real(value);
}

void qn_plan_line_put(json_t **j, const struct qn_plan_line *p)
{
    bool quantised = p->content != QN_CONTENT_LOSSLESS;
    qn_json_put(j, "class", json_string(qn_class_name(p->access_class)));
    qn_json_put(j, "levels", quantised ? json_integer(p->levels) : json_null());
    qn_json_put(j, "bits", quantised ? json_integer(qn_code_bits(p->levels)) : json_null());
    qn_json_put(j, "kappa", quantised ? searched(p->kappa) : json_null());
    qn_json_put(j, "clip", quantised ? searched(p->clip) : json_null());
    qn_json_put(j, "group", quantised ? group_to_json(p) : json_null());
    qn_json_put(j, "codec", json_string(qn_codec_name(p->codec)));
    qn_json_put(j, "rounding",
                quantised ? json_string(qn_rounding_names[p->rounding]) : json_null());
    qn_json_put(j, "access_frequency",
                p->access_frequency < 0.0 ? json_null() : qn_json_real(p->access_frequency));
    qn_json_put(j, "reason", json_string(p->reason));
}

json_t *qn_plan_blocks_to_json(const struct qn_plan_block *blocks, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n && array; i++) {
        json_t *j = json_object();
        qn_json_put(&j, "row_begin", json_integer((json_int_t)blocks[i].row_begin));
        qn_json_put(&j, "row_end", json_integer((json_int_t)blocks[i].row_end));
        qn_plan_line_put(&j, &blocks[i].line);
        if (json_array_append_new(array, j) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *tensor_to_json(const struct qn_plan_tensor *t)
{
    struct qn_tensor described = {.rank = t->rank};
    json_t *j = json_object();
    memcpy(described.shape, t->shape, sizeof described.shape);
    qn_json_put(&j, "name", json_string(t->name));
    qn_json_put(&j, "dtype", json_string(qins_dtype_name(t->dtype)));
    qn_json_put(&j, "shape", qn_json_shape(&described));
    qn_plan_line_put(&j, &t->line);
    qn_json_put(&j, "predicted_bytes", qn_json_real(t->predicted_bytes));
    qn_json_put(&j, "predicted_error", qn_json_real(t->predicted_error));
    qn_json_put(&j, "sensitivity", qn_json_real(t->sensitivity));
    qn_json_put(&j, "blocks", qn_plan_blocks_to_json(t->blocks, t->n_blocks));
    if (t->candidates)
        qn_json_put(&j, "candidates", json_incref(t->candidates));
    return j;
}

json_t *qn_plan_to_json(const struct qn_plan *p)
{
    json_t *j = qn_report_begin(schema), *tensors = json_array();
    for (size_t i = 0; i < p->count && tensors; i++)
        if (json_array_append_new(tensors, tensor_to_json(&p->tensors[i])) != 0) {
            json_decref(tensors);
            tensors = NULL;
        }
    qn_json_put(&j, "summary", p->summary ? json_incref(p->summary) : json_null());
    qn_json_put(&j, "tensors", tensors);
    return j;
}

static enum qins_status bad(struct qins_error *err, const char *key)
{
    return qn_fail(err, QINS_ERR_FORMAT, "the plan's \"%s\" is missing or invalid", key);
}

/* WANT: what is possible. */
static enum qins_status must_be(struct qins_error *err, const char *key, const char *want)
{
    return qn_fail(err, QINS_ERR_FORMAT, "the plan's \"%s\" must be %s", key, want);
}

/* Keys of the plan itself, of a tensor, of a block; NULL ends. */
static const char *const plan_keys[] = {"schema", "qins_version", "summary", "tensors", NULL};
#define LINE_KEYS                                                                                  \
    "class", "levels", "bits", "kappa", "clip", "group", "codec", "rounding", "access_frequency",  \
        "reason"
static const char *const tensor_keys[] = {
    "name",        "dtype",      "shape", LINE_KEYS, "blocks", "predicted_bytes", "predicted_error",
    "sensitivity", "candidates", NULL};
static const char *const block_keys[] = {"row_begin", "row_end", LINE_KEYS, NULL};

/* People edit plans: a key that is mistyped must not pass for one that is left out. */
static enum qins_status check_keys(const json_t *j, const char *const *keys, struct qins_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)j, key, value)
    {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            return qn_fail(err, QINS_ERR_FORMAT, "the plan's key \"%.60s\" is not known", key);
    }
    return QINS_OK;
}

static enum qins_status levels_from_json(const json_t *j, struct qn_plan_line *p,
                                         struct qins_error *err)
{
    const json_t *levels = json_object_get(j, "levels"), *bits = json_object_get(j, "bits");
    uint64_t n = 0, b = 0;
    if (!levels && !bits)
        return QINS_OK;
    if ((!levels || json_is_null(levels)) && (!bits || json_is_null(bits))) {
        p->content = QN_CONTENT_LOSSLESS;
        p->levels = 0;
        return QINS_OK;
    }
    if (levels && (!qn_json_u64(levels, &n) || n < QN_MIN_LEVELS || n > QN_MAX_LEVELS))
        return qn_fail(err, QINS_ERR_FORMAT, "the plan's \"levels\" must be null or 1 to %d",
                       QN_MAX_LEVELS);
    if (bits && (!qn_json_u64(bits, &b) || b < qn_code_bits(QN_MIN_LEVELS) ||
                 b > qn_code_bits(QN_MAX_LEVELS)))
        return qn_fail(err, QINS_ERR_FORMAT, "the plan's \"bits\" must be null or 2 to 12");
    if (!levels)
        n = (1u << (b - 1)) - 1;
    else if (bits && b != qn_code_bits((unsigned)n))
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the plan's \"levels\" %u have %u bits, not the %u that \"bits\" says; "
                       "leave one of them out",
                       (unsigned)n, qn_code_bits((unsigned)n), (unsigned)b);
    if (p->content == QN_CONTENT_LOSSLESS) { /* what holds where nothing more is said */
        p->kappa = p->clip = -1.0F;
        p->group_kind = QN_GROUP_ROW;
    }
    p->content = QN_CONTENT_QINS;
    p->levels = (unsigned)n;
    return QINS_OK;
}

/* null: to be searched */
static bool shape_from_json(const json_t *j, float low, float high, float *out)
{
    if (!j)
        return true;
    if (json_is_null(j)) {
        *out = -1.0F;
        return true;
    }
    return qn_json_float_between(j, low, high, out);
}

static bool group_from_json(const json_t *j, struct qn_plan_line *p)
{
    const char *text = json_string_value(j);
    p->group = 0;
    if (text && strcmp(text, "tensor") == 0)
        p->group_kind = QN_GROUP_TENSOR;
    else if (text && strcmp(text, "row") == 0)
        p->group_kind = QN_GROUP_ROW;
    else if (qn_json_u64(j, &p->group) && p->group > 0)
        p->group_kind = QN_GROUP_BLOCK;
    else
        return false;
    return true;
}

static enum qins_status quantiser_from_json(const json_t *j, struct qn_plan_line *p,
                                            struct qins_error *err)
{
    static const float least_clip = 0.01F; /* as the option of convert */
    const json_t *group = json_object_get(j, "group"), *way = json_object_get(j, "rounding");
    if (!shape_from_json(json_object_get(j, "kappa"), 0.0F, QN_MAX_KAPPA, &p->kappa))
        return must_be(err, "kappa", "null or a number from 0 to 65536");
    if (!shape_from_json(json_object_get(j, "clip"), least_clip, 1.0F, &p->clip))
        return must_be(err, "clip", "null or a number from 0.01 to 1");
    if (group && !group_from_json(group, p))
        return must_be(err, "group", "\"tensor\", \"row\" or a number of weights from 1 on");
    if (!way)
        return QINS_OK;
    int index = qn_json_choice(way, qn_rounding_names, QN_ROUNDINGS);
    if (index < 0)
        return must_be(err, "rounding", "\"nearest\" or \"feedback\"");
    p->rounding = (enum qn_rounding)index;
    return QINS_OK;
}

/* A lossless line has nothing to say of a quantiser. */
static enum qins_status lossless_from_json(const json_t *j, struct qn_plan_line *p,
                                           struct qins_error *err)
{
    static const char *const keys[] = {"kappa", "clip", "group", "rounding"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(j, keys[i]);
        if (value && !json_is_null(value))
            return qn_fail(err, QINS_ERR_FORMAT,
                           "the plan's \"%s\" is set where \"levels\" is null (lossless)", keys[i]);
    }
    p->kappa = p->clip = 0.0F;
    p->group_kind = QN_GROUP_TENSOR;
    p->group = 0;
    p->rounding = QN_ROUND_NEAREST;
    return QINS_OK;
}

static enum qins_status class_from_json(const json_t *j, struct qn_plan_line *p,
                                        struct qins_error *err)
{
    const json_t *kind = json_object_get(j, "class");
    const json_t *frequency = json_object_get(j, "access_frequency");
    const json_t *reason = json_object_get(j, "reason");
    int index = kind ? qn_json_choice(kind, qn_class_names, QN_CLASSES) : (int)p->access_class;
    if (index < 0)
        return must_be(err, "class", "\"hot\", \"cold\" or \"unknown\"");
    p->access_class = (enum qn_class)index;
    if (frequency && json_is_null(frequency))
        p->access_frequency = -1.0;
    else if (frequency && json_is_number(frequency) && json_number_value(frequency) >= 0.0)
        p->access_frequency = json_number_value(frequency);
    else if (frequency)
        return must_be(err, "access_frequency", "null or a number that is not negative");
    if (reason && !qn_json_short_text(reason, p->reason, sizeof p->reason))
        return must_be(err, "reason", "a string of at most 255 bytes");
    return QINS_OK;
}

/* Changes of *P what J has; *p is what holds without it. */
static enum qins_status line_from_json(const json_t *j, struct qn_plan_line *p,
                                       struct qins_error *err)
{
    const json_t *codec = json_object_get(j, "codec");
    if (codec) {
        const char *text = json_string_value(codec);
        char choices[96];
        p->codec = text ? qn_codec_from_name(text) : QN_CODEC_COUNT;
        if (p->codec == QN_CODEC_COUNT)
            return must_be(err, "codec", qn_codec_choices(choices, sizeof choices));
    }
    enum qins_status st = class_from_json(j, p, err);
    if (st == QINS_OK)
        st = levels_from_json(j, p, err);
    if (st == QINS_OK)
        st = p->content == QN_CONTENT_LOSSLESS ? lossless_from_json(j, p, err)
                                               : quantiser_from_json(j, p, err);
    return st;
}

static enum qins_status blocks_from_json(const json_t *blocks, struct qn_plan_tensor *t,
                                         struct qins_error *err)
{
    size_t n = json_array_size(blocks);
    enum qins_status st = QINS_OK;
    if (!blocks || n == 0)
        return !blocks || json_is_array(blocks) ? QINS_OK : bad(err, "blocks");
    if (n > QN_MAX_BLOCKS)
        return qn_fail(err, QINS_ERR_FORMAT, "the plan has %zu blocks, at most %d are possible", n,
                       QN_MAX_BLOCKS);
    t->blocks = calloc(n, sizeof *t->blocks);
    if (!t->blocks)
        return qn_fail_memory(err);
    t->n_blocks = n;
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        const json_t *j = json_array_get(blocks, i);
        struct qn_plan_block *b = &t->blocks[i];
        b->line = t->line;
        if (!qn_json_u64(json_object_get(j, "row_begin"), &b->row_begin))
            return bad(err, "row_begin");
        if (!qn_json_u64(json_object_get(j, "row_end"), &b->row_end))
            return bad(err, "row_end");
        st = check_keys(j, block_keys, err);
        if (st == QINS_OK)
            st = line_from_json(j, &b->line, err);
    }
    return st;
}

static bool prediction(const json_t *j, const char *key, double *out)
{
    const json_t *value = json_object_get(j, key);
    if (value && json_is_number(value))
        *out = json_number_value(value);
    return !value || json_is_number(value) || json_is_null(value);
}

static enum qins_status tensor_fields(const json_t *j, struct qn_plan_tensor *t,
                                      struct qins_error *err)
{
    static const char *const needed[] = {"codec", "levels", "class"};
    enum qins_status st = check_keys(j, tensor_keys, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!json_object_get(j, needed[i]) &&
            !(strcmp(needed[i], "levels") == 0 && json_object_get(j, "bits")))
            return bad(err, needed[i]);
    if (!prediction(j, "predicted_bytes", &t->predicted_bytes))
        return bad(err, "predicted_bytes");
    if (!prediction(j, "predicted_error", &t->predicted_error))
        return bad(err, "predicted_error");
    if (!prediction(j, "sensitivity", &t->sensitivity))
        return bad(err, "sensitivity");
    st = line_from_json(j, &t->line, err);
    if (st == QINS_OK)
        st = blocks_from_json(json_object_get(j, "blocks"), t, err);
    t->candidates = json_incref(json_object_get(j, "candidates"));
    return st;
}

static enum qins_status tensor_from_json(const json_t *j, struct qn_plan *out,
                                         struct qins_error *err)
{
    struct qn_tensor described;
    struct qn_plan_tensor *t;
    const char *name = json_string_value(json_object_get(j, "name"));
    enum qins_status st = qn_json_description(j, "plan", &described, err);
    if (st != QINS_OK) {
        if (name)
            qn_error_in_tensor(err, st, name);
        return st;
    }
    st = qn_plan_add(out, &described, &t, err);
    if (st == QINS_OK)
        st = tensor_fields(j, t, err);
    qn_error_in_tensor(err, st, described.name);
    free(described.name);
    return st;
}

static enum qins_status plan_from_json(const json_t *j, struct qn_plan *out, struct qins_error *err)
{
    const char *kind = json_string_value(json_object_get(j, "schema"));
    const json_t *tensors = json_object_get(j, "tensors");
    json_t *summary = json_object_get(j, "summary");
    if (!kind || strcmp(kind, schema) != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "this is no plan: its \"schema\" is not \"%s\"",
                       schema);
    enum qins_status st = check_keys(j, plan_keys, err);
    if (st != QINS_OK)
        return st;
    if (!json_is_array(tensors))
        return bad(err, "tensors");
    if (summary && !json_is_object(summary) && !json_is_null(summary))
        return bad(err, "summary");
    for (size_t i = 0; i < json_array_size(tensors) && st == QINS_OK; i++)
        st = tensor_from_json(json_array_get(tensors, i), out, err);
    if (st == QINS_OK && json_is_object(summary))
        out->summary = json_incref(summary);
    return st;
}

enum qins_status qn_plan_from_json(const json_t *j, struct qn_plan *out, struct qins_error *err)
{
    *out = (struct qn_plan){0};
    enum qins_status st = plan_from_json(j, out, err);
    if (st != QINS_OK)
        qn_plan_finish(out);
    return st;
}
