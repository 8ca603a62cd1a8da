/* One tensor, or one attached file, of the manifest as JSON and back. */
#include "formats/archive/manifest_json.h"

#include "core/bytes.h"

#include <float.h>
#include <stdlib.h>

static const char *const content_names[] = {"lossless", "qins", "seed"};
static const char *const group_names[] = {"tensor", "row", "block"};

enum { N_CONTENTS = 3, N_GROUPS = 3 };

const char *const qn_rounding_names[QN_ROUNDINGS] = {"nearest", "feedback"};
const char *const qn_class_names[QN_CLASSES] = {"unknown", "hot", "cold"};

const char *qn_class_name(enum qn_class c)
{
    return qn_class_names[c];
}

static void hex(const uint8_t *data, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * size] = '\0';
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

json_t *qn_json_shape(const struct qn_tensor *t)
{
    json_t *shape = json_array();
    for (unsigned i = 0; i < t->rank && shape; i++) {
        if (json_array_append_new(shape, json_integer((json_int_t)t->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    }
    return shape;
}

static void put_quantiser(json_t **j, const struct qn_plan_line *p, float scale)
{
    put_integer(j, "levels", p->levels);
    qn_json_put(j, "kappa", json_real((double)p->kappa));
    qn_json_put(j, "clip", json_real((double)p->clip));
    qn_json_put(j, "group", json_string(group_names[p->group_kind]));
    if (p->group_kind == QN_GROUP_BLOCK)
        put_integer(j, "group_size", p->group);
    if (p->group_kind == QN_GROUP_TENSOR)
        qn_json_put(j, "scale", json_real((double)scale));
    if (p->rounding != QN_ROUND_NEAREST)
        qn_json_put(j, "rounding", json_string(qn_rounding_names[p->rounding]));
}

/* What a tensor and a block of rows have alike; keys at their usual value are left out. */
static void put_line(json_t **j, const struct qn_plan_line *p, float scale)
{
    qn_json_put(j, "content", json_string(content_names[p->content]));
    qn_json_put(j, "codec", json_string(qn_codec_name(p->codec)));
    if (p->content != QN_CONTENT_LOSSLESS)
        put_quantiser(j, p, scale);
    if (p->access_class != QN_CLASS_UNKNOWN)
        qn_json_put(j, "class", json_string(qn_class_names[p->access_class]));
    if (p->access_frequency >= 0.0)
        qn_json_put(j, "access_frequency", json_real(p->access_frequency));
    qn_json_put(j, "reason", json_string(p->reason));
}

static json_t *blocks_to_json(const struct qn_archive_tensor *t)
{
    json_t *blocks = json_array();
    for (size_t i = 0; i < t->n_blocks && blocks; i++) {
        const struct qn_plan_block *b = &t->blocks[i];
        json_t *j = json_object();
        put_integer(&j, "row_begin", b->row_begin);
        put_integer(&j, "row_end", b->row_end);
        put_line(&j, &b->line, b->tensor_scale);
        if (json_array_append_new(blocks, j) != 0) {
            json_decref(blocks);
            return NULL;
        }
    }
    return blocks;
}

json_t *qn_archive_tensor_to_json(const struct qn_archive_tensor *t)
{
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(t->tensor.name));
    qn_json_put(&j, "dtype", json_string(qins_dtype_name(t->tensor.dtype)));
    qn_json_put(&j, "shape", qn_json_shape(&t->tensor));
    put_line(&j, &t->plan, t->tensor_scale);
    if (t->n_blocks)
        qn_json_put(&j, "blocks", blocks_to_json(t));
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
        !qn_json_hex(json_object_get(j, "xxh3_64"), hash, sizeof hash))
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

int qn_json_choice(const json_t *j, const char *const *names, int n)
{
    const char *text = json_string_value(j);
    for (int i = 0; text && i < n; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    return -1;
}

bool qn_json_float_between(const json_t *j, float low, float high, float *out)
{
    float v = (float)json_number_value(j);
    if (!json_is_number(j) || !(v >= low && v <= high))
        return false;
    *out = v;
    return true;
}

bool qn_json_short_text(const json_t *j, char *out, size_t size)
{
    size_t length = json_string_length(j);
    if (!json_is_string(j) || length >= size)
        return false;
    memcpy(out, json_string_value(j), length + 1);
    return true;
}

enum qins_status qn_json_description(const json_t *j, const char *what, struct qn_tensor *out,
                                     struct qins_error *err)
{
    const json_t *name = json_object_get(j, "name"), *shape = json_object_get(j, "shape");
    const char *type = json_string_value(json_object_get(j, "dtype"));
    enum qins_dtype dtype = type ? qn_dtype_from_name(type) : QINS_DTYPE_INVALID;
    uint64_t extents[QINS_MAX_RANK];
    struct qn_tensor_list list = {0};
    const char *bad_key = NULL;
    unsigned rank = 0;
    if (!json_is_string(name))
        bad_key = "name";
    else if (dtype == QINS_DTYPE_INVALID)
        bad_key = "dtype";
    else if (!json_is_array(shape) || json_array_size(shape) > QINS_MAX_RANK)
        bad_key = "shape";
    else
        rank = (unsigned)json_array_size(shape);
    for (unsigned i = 0; i < rank; i++)
        if (!qn_json_u64(json_array_get(shape, i), &extents[i]))
            bad_key = "shape";
    if (bad_key)
        return qn_fail(err, QINS_ERR_FORMAT, "the %s's \"%s\" is missing or invalid", what,
                       bad_key);
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

/* A scale is written and read where one goes for all of what the line is for. */
static enum qins_status group_from_json(const json_t *j, struct qn_plan_line *p, float *scale,
                                        struct qins_error *err)
{
    int kind = qn_json_choice(json_object_get(j, "group"), group_names, N_GROUPS);
    if (kind < 0)
        return bad(err, "group");
    p->group_kind = (enum qn_group_kind)kind;
    if (p->group_kind == QN_GROUP_BLOCK &&
        (!qn_json_u64(json_object_get(j, "group_size"), &p->group) || p->group == 0))
        return bad(err, "group_size");
    if (p->group_kind == QN_GROUP_TENSOR &&
        !qn_json_float_between(json_object_get(j, "scale"), 0.0f, FLT_MAX, scale))
        return bad(err, "scale");
    return QINS_OK;
}

static enum qins_status quantiser_from_json(const json_t *j, struct qn_plan_line *p, float *scale,
                                            struct qins_error *err)
{
    const json_t *rounding = json_object_get(j, "rounding");
    uint64_t levels;
    if (!qn_json_u64(json_object_get(j, "levels"), &levels) || levels < QN_MIN_LEVELS ||
        levels > QN_MAX_LEVELS)
        return bad(err, "levels");
    p->levels = (unsigned)levels;
    bool seed = p->content == QN_CONTENT_SEED;
    if (!qn_json_float_between(json_object_get(j, "kappa"), seed ? QN_MIN_ALPHA : 0.0f,
                               seed ? QN_MAX_ALPHA : QN_MAX_KAPPA, &p->kappa))
        return bad(err, "kappa");
    if (!qn_json_float_between(json_object_get(j, "clip"), FLT_MIN, 1.0f, &p->clip))
        return bad(err, "clip");
    int way = rounding ? qn_json_choice(rounding, qn_rounding_names, QN_ROUNDINGS) : 0;
    if (way < 0 || (way != QN_ROUND_NEAREST && seed))
        return bad(err, "rounding");
    p->rounding = (enum qn_rounding)way;
    return group_from_json(j, p, scale, err);
}

static enum qins_status access_from_json(const json_t *j, struct qn_plan_line *p,
                                         struct qins_error *err)
{
    const json_t *kind = json_object_get(j, "class");
    const json_t *frequency = json_object_get(j, "access_frequency");
    int c = kind ? qn_json_choice(kind, qn_class_names, QN_CLASSES) : QN_CLASS_UNKNOWN;
    if (c < 0)
        return bad(err, "class");
    p->access_class = (enum qn_class)c;
    p->access_frequency = -1.0;
    if (json_is_number(frequency) && json_number_value(frequency) >= 0.0)
        p->access_frequency = json_number_value(frequency);
    else if (frequency && !json_is_null(frequency))
        return bad(err, "access_frequency");
    return QINS_OK;
}

static enum qins_status line_from_json(const json_t *j, const struct qn_tensor *t,
                                       struct qn_plan_line *p, float *scale, struct qins_error *err)
{
    int content = qn_json_choice(json_object_get(j, "content"), content_names, N_CONTENTS);
    bool plain = t->rank == 0 || !qn_dtype_is_quantisable(t->dtype);
    if (content < 0 || (plain && content != QN_CONTENT_LOSSLESS))
        return bad(err, "content");
    p->content = (enum qn_content)content;
    const char *codec = json_string_value(json_object_get(j, "codec"));
    p->codec = codec ? qn_codec_from_name(codec) : QN_CODEC_COUNT;
    if (p->codec == QN_CODEC_COUNT)
        return bad(err, "codec");
    enum qins_status st = access_from_json(j, p, err);
    if (st == QINS_OK && p->content != QN_CONTENT_LOSSLESS)
        st = quantiser_from_json(j, p, scale, err);
    if (st == QINS_OK &&
        !qn_json_short_text(json_object_get(j, "reason"), p->reason, sizeof p->reason))
        st = bad(err, "reason");
    return st;
}

static enum qins_status blocks_from_json(const json_t *blocks, struct qn_archive_tensor *t,
                                         struct qins_error *err)
{
    size_t n = json_array_size(blocks);
    enum qins_status st = QINS_OK;
    if (!json_is_array(blocks) || n < 1 || n > QN_MAX_BLOCKS || t->tensor.rank < 2 ||
        t->tensor.n_elements == 0)
        return bad(err, "blocks");
    t->blocks = calloc(n, sizeof *t->blocks);
    if (!t->blocks)
        return qn_fail_memory(err);
    t->n_blocks = n;
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        const json_t *j = json_array_get(blocks, i);
        struct qn_plan_block *b = &t->blocks[i];
        if (!qn_json_u64(json_object_get(j, "row_begin"), &b->row_begin) ||
            !qn_json_u64(json_object_get(j, "row_end"), &b->row_end))
            st = bad(err, "blocks");
        else
            st = line_from_json(j, &t->tensor, &b->line, &b->tensor_scale, err);
    }
    if (st == QINS_OK && !qn_blocks_cover(t->blocks, n, t->tensor.shape[0]))
        st = bad(err, "blocks");
    return st;
}

enum qins_status qn_archive_tensor_from_json(const json_t *j, struct qn_archive_tensor *out,
                                             struct qins_error *err)
{
    struct qn_archive_tensor t = {0};
    const json_t *blocks = json_object_get(j, "blocks");
    enum qins_status st = qn_json_description(j, "manifest", &t.tensor, err);
    if (st != QINS_OK)
        return st;
    st = line_from_json(j, &t.tensor, &t.plan, &t.tensor_scale, err);
    if (st == QINS_OK && blocks)
        st = blocks_from_json(blocks, &t, err);
    if (st == QINS_OK && !qn_json_hex(json_object_get(j, "fingerprint"), t.fingerprint.bytes,
                                      sizeof t.fingerprint.bytes))
        st = bad(err, "fingerprint");
    if (st == QINS_OK && t.tensor.rank == 0 &&
        !qn_json_hex(json_object_get(j, "data"), t.inline_data, (size_t)t.tensor.n_bytes))
        st = bad(err, "data");
    if (st != QINS_OK) {
        qn_error_in_tensor(err, st, t.tensor.name);
        qn_archive_tensor_finish(&t);
        return st;
    }
    qn_layout_init(&t.layout, t.tensor.rank, t.tensor.shape);
    *out = t;
    return QINS_OK;
}
