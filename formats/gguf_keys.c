#include "formats/gguf.h"
#include "formats/limits.h"

#include <stdlib.h>

enum { MAX_KEY = 65535, MAX_DEPTH = 8, MAX_ALIGNMENT = 65536, MIN_ALIGNMENT = 8 };

/* Ids, block sizes and bytes a block from ggml.h and ggml-common.h. */
static const struct qn_ggml_type types[] = {
    {"F32", 0, 1, 4, QINS_F32},
    {"F16", 1, 1, 2, QINS_F16},
    {"Q4_0", 2, 32, 18, QINS_DTYPE_INVALID},
    {"Q4_1", 3, 32, 20, QINS_DTYPE_INVALID},
    {"Q5_0", 6, 32, 22, QINS_DTYPE_INVALID},
    {"Q5_1", 7, 32, 24, QINS_DTYPE_INVALID},
    {"Q8_0", 8, 32, 34, QINS_DTYPE_INVALID},
    {"Q8_1", 9, 32, 36, QINS_DTYPE_INVALID},
    {"Q2_K", 10, 256, 84, QINS_DTYPE_INVALID},
    {"Q3_K", 11, 256, 110, QINS_DTYPE_INVALID},
    {"Q4_K", 12, 256, 144, QINS_DTYPE_INVALID},
    {"Q5_K", 13, 256, 176, QINS_DTYPE_INVALID},
    {"Q6_K", 14, 256, 210, QINS_DTYPE_INVALID},
    {"Q8_K", 15, 256, 292, QINS_DTYPE_INVALID},
    {"IQ2_XXS", 16, 256, 66, QINS_DTYPE_INVALID},
    {"IQ2_XS", 17, 256, 74, QINS_DTYPE_INVALID},
    {"IQ3_XXS", 18, 256, 98, QINS_DTYPE_INVALID},
    {"IQ1_S", 19, 256, 50, QINS_DTYPE_INVALID},
    {"IQ4_NL", 20, 32, 18, QINS_DTYPE_INVALID},
    {"IQ3_S", 21, 256, 110, QINS_DTYPE_INVALID},
    {"IQ2_S", 22, 256, 82, QINS_DTYPE_INVALID},
    {"IQ4_XS", 23, 256, 136, QINS_DTYPE_INVALID},
    {"I8", 24, 1, 1, QINS_I8},
    {"I16", 25, 1, 2, QINS_I16},
    {"I32", 26, 1, 4, QINS_I32},
    {"I64", 27, 1, 8, QINS_I64},
    {"F64", 28, 1, 8, QINS_F64},
    {"IQ1_M", 29, 256, 56, QINS_DTYPE_INVALID},
    {"BF16", 30, 1, 2, QINS_BF16},
    {"TQ1_0", 34, 256, 54, QINS_DTYPE_INVALID},
    {"TQ2_0", 35, 256, 66, QINS_DTYPE_INVALID},
    {"MXFP4", 39, 32, 17, QINS_DTYPE_INVALID},
    {"NVFP4", 40, 64, 36, QINS_DTYPE_INVALID},
    {"Q1_0", 41, 128, 18, QINS_DTYPE_INVALID},
};

const struct qn_ggml_type *qn_ggml_type_by_id(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].id == id)
            return &types[i];
    return NULL;
}

const struct qn_ggml_type *qn_ggml_type_by_dtype(enum qins_dtype dtype)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].dtype == dtype && dtype != QINS_DTYPE_INVALID)
            return &types[i];
    return NULL;
}

/* Bytes of a value of fixed size; 0 for strings, arrays and types that do not exist. */
static unsigned value_size(uint32_t type)
{
    static const unsigned char sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof sizes ? sizes[type] : 0;
}

static enum qins_status fail_here(const struct qn_cursor *c, struct qins_error *err,
                                  const char *what)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL,
                      QN_GGUF_HEADER_SIZE + (int64_t)qn_cursor_offset(c), "%s",
                      c->bad ? "the key section is truncated" : what);
}

static enum qins_status skip_value(struct qn_cursor *c, uint32_t type, unsigned depth,
                                   struct qins_error *err);

static enum qins_status skip_array(struct qn_cursor *c, unsigned depth, struct qins_error *err)
{
    uint32_t type = qn_cursor_u32(c);
    uint64_t count = qn_cursor_u64(c), bytes;
    unsigned size = value_size(type);
    if (c->bad || depth >= MAX_DEPTH)
        return fail_here(c, err, "arrays are nested too deeply");
    if (size) {
        if (!qn_mul_u64(count, size, &bytes))
            return fail_here(c, err, "an array's size overflows");
        qn_cursor_take(c, bytes);
        return c->bad ? fail_here(c, err, "") : QINS_OK;
    }
    /* Each string or array takes bytes of its own, so the cursor ends a false count. */
    enum qins_status st = QINS_OK;
    for (uint64_t i = 0; i < count && st == QINS_OK; i++)
        st = skip_value(c, type, depth + 1, err);
    return st;
}

static enum qins_status skip_value(struct qn_cursor *c, uint32_t type, unsigned depth,
                                   struct qins_error *err)
{
    if (type == QN_GGUF_ARRAY)
        return skip_array(c, depth, err);
    if (type > QN_GGUF_F64)
        return fail_here(c, err, "a key has a value type that GGUF does not know");
    qn_cursor_take(c, type == QN_GGUF_STRING ? qn_cursor_u64(c) : value_size(type));
    return c->bad ? fail_here(c, err, "") : QINS_OK;
}

struct key {
    const uint8_t *text;
    size_t size;
};

struct key_list {
    struct key *items;
    size_t count, capacity;
};

static int by_text(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
    return order ? order : x->size < y->size ? -1 : x->size > y->size;
}

static enum qins_status remember(struct key_list *list, struct key key, struct qins_error *err)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct key *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = key;
    return QINS_OK;
}

static enum qins_status check_unique(struct key_list *list, struct qins_error *err)
{
    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, by_text);
    for (size_t i = 1; i < list->count; i++)
        if (by_text(&list->items[i - 1], &list->items[i]) == 0)
            return qn_fail(err, QINS_ERR_FORMAT, "the key '%.*s' comes twice",
                           (int)list->items[i].size, (const char *)list->items[i].text);
    return QINS_OK;
}

static bool is_key(struct key key, const char *name)
{
    return key.size == strlen(name) && memcmp(key.text, name, key.size) == 0;
}

/* The values that the container itself depends on; C stands before the value. */
static enum qins_status note_key(const struct qn_cursor *c, struct key key, uint32_t type,
                                 struct qn_gguf_keys *keys, struct qins_error *err)
{
    struct qn_cursor value = *c;
    if (is_key(key, "general.alignment")) {
        uint32_t a = type == QN_GGUF_U32 ? qn_cursor_u32(&value) : 0;
        if (!value.bad && (a < MIN_ALIGNMENT || a > MAX_ALIGNMENT || (a & (a - 1))))
            return fail_here(c, err, "general.alignment is no power of two from 8 to 65536");
        keys->alignment = a;
    }
    if (is_key(key, "split.count") && type == QN_GGUF_U16)
        keys->split_count = qn_cursor_u16(&value);
    return QINS_OK;
}

static enum qins_status scan_key(struct qn_cursor *c, struct key_list *list,
                                 struct qn_gguf_keys *keys, struct qins_error *err)
{
    struct key key = {0};
    uint64_t size = qn_cursor_u64(c);
    key.text = qn_cursor_take(c, size);
    uint32_t type = qn_cursor_u32(c);
    key.size = (size_t)size;
    if (c->bad || key.size == 0 || key.size > MAX_KEY || !qn_utf8_valid(key.text, key.size))
        return fail_here(c, err, "a key is empty, longer than 65535 bytes or not UTF-8");
    enum qins_status st = note_key(c, key, type, keys, err);
    if (st == QINS_OK)
        st = skip_value(c, type, 0, err);
    return st == QINS_OK ? remember(list, key, err) : st;
}

enum qins_status qn_gguf_scan_keys(struct qn_cursor *c, uint64_t count, struct qn_gguf_keys *keys,
                                   struct qins_error *err)
{
    struct key_list list = {0};
    enum qins_status st = QINS_OK;
    *keys = (struct qn_gguf_keys){.alignment = QN_GGUF_ALIGNMENT};
    for (uint64_t i = 0; i < count && st == QINS_OK; i++)
        st = scan_key(c, &list, keys, err);
    if (st == QINS_OK)
        st = check_unique(&list, err);
    free(list.items);
    return st;
}

const struct qn_limit qn_gguf_keys_limits[] = {
    {"gguf", "array_depth", MAX_DEPTH, "levels", "the stack, from nested arrays"},
    {"gguf", "key", MAX_KEY, "bytes", "messages"},
    {"gguf", "alignment", MAX_ALIGNMENT, "bytes", "padding between tensors"},
    {0},
};
