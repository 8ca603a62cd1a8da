/* One tensor, or one attached file, of the manifest as JSON and back. */
#include "formats/archive/manifest_json.h"

#include "core/bytes.h"

#include <float.h>
#include <stdlib.h>

static const char *const content_names[] = {"lossless", "qins", "seed"};
static const char *const group_names[] = {"tensor", "row", "block"};

enum { N_CONTENTS = 3, N_GROUPS = 3 };

static void hex(const uint8_t *data, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * size] = '\0';
}

static bool unhex_digit(char c, unsigned *v)
{
    if (c >= '0' && c <= '9')
        *v = (unsigned)(c - '0');
    else if (c >= 'a' && c <= 'f')
        *v = (unsigned)(c - 'a') + 10;
    else
        return false;
    return true;
}

/* Exactly SIZE bytes in lower-case hexadecimal. */
static bool unhex(const json_t *j, uint8_t *out, size_t size)
{
    const char *text = json_string_value(j);
    if (!text || json_string_length(j) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        unsigned high, low;
        if (!unhex_digit(text[2 * i], &high) || !unhex_digit(text[2 * i + 1], &low))
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void put_integer(json_t **j, const char *key, uint64_t value)
{
    qn_json_put(j, key, json_integer((json_int_t)value));
}

/* At most 16 bytes. */
static void put_hex(json_t **j, const char *key, const uint8_t *data, size_t size)
{
    char text[33];
    hex(data, size, text);
    qn_json_put(j, key, json_string(text));
}

static json_t *shape_to_json(const struct qn_tensor *t)
{
    json_t *shape = json_array();
    for (unsigned i = 0; i < t->rank; i++) {
        if (json_array_append_new(shape, json_integer((json_int_t)t->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    }
    return shape;
}

static void put_quantiser(json_t **j, const struct qn_archive_tensor *t)
{
    const struct qn_plan_line *p = &t->plan;
    put_integer(j, "levels", p->levels);
    qn_json_put(j, "kappa", json_real((double)p->kappa));
    qn_json_put(j, "clip", json_real((double)p->clip));
    qn_json_put(j, "group", json_string(group_names[p->group_kind]));
    if (p->group_kind == QN_GROUP_BLOCK)
        put_integer(j, "group_size", p->group);
    if (p->group_kind == QN_GROUP_TENSOR)
        qn_json_put(j, "scale", json_real((double)t->tensor_scale));
}

json_t *qn_archive_tensor_to_json(const struct qn_archive_tensor *t)
{
    const struct qn_plan_line *p = &t->plan;
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(t->tensor.name));
    qn_json_put(&j, "dtype", json_string(qins_dtype_name(t->tensor.dtype)));
    qn_json_put(&j, "shape", shape_to_json(&t->tensor));
    qn_json_put(&j, "content", json_string(content_names[p->content]));
    qn_json_put(&j, "codec", json_string(qn_codec_name(p->codec)));
    if (p->content != QN_CONTENT_LOSSLESS)
        put_quantiser(&j, t);
    qn_json_put(&j, "reason", json_string(p->reason));
    put_hex(&j, "fingerprint", t->fingerprint.bytes, sizeof t->fingerprint.bytes);
    if (t->tensor.rank == 0)
        put_hex(&j, "data", t->inline_data, (size_t)t->tensor.n_bytes);
    return j;
}

/* A 64-bit hash is written as its 16 hexadecimal digits, most significant first. */
json_t *qn_archive_file_to_json(const struct qn_archive_file *f)
{
    uint8_t hash[8];
    json_t *j = json_object();
    for (int i = 0; i < 8; i++)
        hash[i] = (uint8_t)(f->hash >> (56 - 8 * i));
    qn_json_put(&j, "name", json_string(f->name));
    put_integer(&j, "offset", f->offset);
    put_integer(&j, "size", f->size);
    put_hex(&j, "xxh3_64", hash, sizeof hash);
    return j;
}

bool qn_archive_file_from_json(const json_t *j, struct qn_archive_file *out)
{
    uint8_t hash[8];
    const char *name = json_string_value(json_object_get(j, "name"));
    if (!name || !qn_json_u64(json_object_get(j, "offset"), &out->offset) ||
        !qn_json_u64(json_object_get(j, "size"), &out->size) ||
        !unhex(json_object_get(j, "xxh3_64"), hash, sizeof hash))
        return false;
    out->name = (char *)(uintptr_t)name;
    out->hash = 0;
    for (int i = 0; i < 8; i++)
        out->hash = out->hash << 8 | hash[i];
    return true;
}

static enum qins_status bad(struct qins_error *err, const char *key)
{
    return qn_fail(err, QINS_ERR_FORMAT, "the manifest's \"%s\" is missing or invalid", key);
}

/* Index of the string in NAMES, or -1. */
static int choice(const json_t *j, const char *const *names, int n)
{
    const char *text = json_string_value(j);
    for (int i = 0; text && i < n; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    return -1;
}

/* A finite float between LOW and HIGH, which nine digits may write a little outside. */
static bool float_between(const json_t *j, float low, float high, float *out)
{
    float v = (float)json_number_value(j);
    if (!json_is_number(j) || !(v >= low && v <= high))
        return false;
    *out = v;
    return true;
}

static enum qins_status description_from_json(const json_t *j, struct qn_tensor *out,
                                              struct qins_error *err)
{
    const json_t *name = json_object_get(j, "name"), *shape = json_object_get(j, "shape");
    const char *type = json_string_value(json_object_get(j, "dtype"));
    uint64_t extents[QINS_MAX_RANK];
    struct qn_tensor_list list = {0};
    if (!json_is_string(name))
        return bad(err, "name");
    enum qins_dtype dtype = type ? qn_dtype_from_name(type) : QINS_DTYPE_INVALID;
    if (dtype == QINS_DTYPE_INVALID)
        return bad(err, "dtype");
    if (!json_is_array(shape) || json_array_size(shape) > QINS_MAX_RANK)
        return bad(err, "shape");
    unsigned rank = (unsigned)json_array_size(shape);
    for (unsigned i = 0; i < rank; i++)
        if (!qn_json_u64(json_array_get(shape, i), &extents[i]))
            return bad(err, "shape");
    enum qins_status st =
        qn_tensor_list_add(&list, json_string_value(name), json_string_length(name), dtype, NULL,
                           rank, extents, NULL, err);
    if (st == QINS_OK) {
        *out = list.items[0];
        list.items[0].name = NULL;
    }
    qn_tensor_list_finish(&list);
    return st;
}

static enum qins_status group_from_json(const json_t *j, struct qn_archive_tensor *t,
                                        struct qins_error *err)
{
    struct qn_plan_line *p = &t->plan;
    int kind = choice(json_object_get(j, "group"), group_names, N_GROUPS);
    if (kind < 0)
        return bad(err, "group");
    p->group_kind = (enum qn_group_kind)kind;
    if (p->group_kind == QN_GROUP_BLOCK &&
        (!qn_json_u64(json_object_get(j, "group_size"), &p->group) || p->group == 0))
        return bad(err, "group_size");
    if (p->group_kind == QN_GROUP_TENSOR &&
        !float_between(json_object_get(j, "scale"), 0.0f, FLT_MAX, &t->tensor_scale))
        return bad(err, "scale");
    return QINS_OK;
}

static enum qins_status quantiser_from_json(const json_t *j, struct qn_archive_tensor *t,
                                            struct qins_error *err)
{
    struct qn_plan_line *p = &t->plan;
    uint64_t levels;
    if (!qn_json_u64(json_object_get(j, "levels"), &levels) || levels < QN_MIN_LEVELS ||
        levels > QN_MAX_LEVELS)
        return bad(err, "levels");
    p->levels = (unsigned)levels;
    bool seed = p->content == QN_CONTENT_SEED;
    if (!float_between(json_object_get(j, "kappa"), seed ? QN_MIN_ALPHA : 0.0f,
                       seed ? QN_MAX_ALPHA : QN_MAX_KAPPA, &p->kappa))
        return bad(err, "kappa");
    if (!float_between(json_object_get(j, "clip"), FLT_MIN, 1.0f, &p->clip))
        return bad(err, "clip");
    return group_from_json(j, t, err);
}

static enum qins_status plan_from_json(const json_t *j, struct qn_archive_tensor *t,
                                       struct qins_error *err)
{
    struct qn_plan_line *p = &t->plan;
    int content = choice(json_object_get(j, "content"), content_names, N_CONTENTS);
    bool plain = t->tensor.rank == 0 || !qn_dtype_is_quantisable(t->tensor.dtype);
    if (content < 0 || (plain && content != QN_CONTENT_LOSSLESS))
        return bad(err, "content");
    p->content = (enum qn_content)content;
    const char *codec = json_string_value(json_object_get(j, "codec"));
    p->codec = codec ? qn_codec_from_name(codec) : QN_CODEC_COUNT;
    if (p->codec == QN_CODEC_COUNT)
        return bad(err, "codec");
    if (p->content != QN_CONTENT_LOSSLESS) {
        enum qins_status st = quantiser_from_json(j, t, err);
        if (st != QINS_OK)
            return st;
    }
    const json_t *reason = json_object_get(j, "reason");
    size_t size = json_string_length(reason);
    if (!json_is_string(reason) || size >= sizeof p->reason)
        return bad(err, "reason");
    memcpy(p->reason, json_string_value(reason), size);
    return QINS_OK;
}

enum qins_status qn_archive_tensor_from_json(const json_t *j, struct qn_archive_tensor *out,
                                             struct qins_error *err)
{
    struct qn_archive_tensor t = {0};
    enum qins_status st = description_from_json(j, &t.tensor, err);
    if (st != QINS_OK)
        return st;
    st = plan_from_json(j, &t, err);
    if (st == QINS_OK &&
        !unhex(json_object_get(j, "fingerprint"), t.fingerprint.bytes, sizeof t.fingerprint.bytes))
        st = bad(err, "fingerprint");
    if (st == QINS_OK && t.tensor.rank == 0 &&
        !unhex(json_object_get(j, "data"), t.inline_data, (size_t)t.tensor.n_bytes))
        st = bad(err, "data");
    if (st != QINS_OK) {
        qn_error_in_tensor(err, st, t.tensor.name);
        free(t.tensor.name);
        return st;
    }
    qn_layout_init(&t.layout, t.tensor.rank, t.tensor.shape);
    *out = t;
    return QINS_OK;
}
