#include "tests/fuzz/mutate.h"

#include <jansson.h>
#include <math.h>

enum { MAX_SLOTS = 4096, MAX_STRING = 256 };

/* Where a value stands. */
struct slot {
    json_t *parent, *value;
    const char *key; /* of an object */
    size_t index;    /* in an array */
};

struct tree {
    struct slot slots[MAX_SLOTS];
    size_t n;
};

static void add_slot(struct tree *t, struct slot s)
{
    if (t->n < MAX_SLOTS)
        t->slots[t->n++] = s;
}

/* Level by level, so that the top of a large text is all there. */
static void list_slots(struct tree *t, json_t *root)
{
    t->n = 0;
    add_slot(t, (struct slot){.value = root});
    for (size_t at = 0; at < t->n; at++) {
        json_t *parent = t->slots[at].value, *value;
        const char *key;
        size_t index;
        if (json_is_object(parent))
            json_object_foreach(parent, key, value)
                add_slot(t, (struct slot){parent, value, key, 0});
        else if (json_is_array(parent))
            json_array_foreach(parent, index, value)
                add_slot(t, (struct slot){parent, value, NULL, index});
    }
}

/* Takes VALUE over. */
static void put(const struct slot *s, json_t *value)
{
    if (!value)
        return;
    if (!s->parent)
        json_decref(value);
    else if (s->key)
        json_object_set_new(s->parent, s->key, value);
    else
        json_array_set_new(s->parent, s->index, value);
}

static json_t *any_scalar(struct mutate_random *r)
{
    static const char *const strings[] = {"",  "F32", "BF16", "I8",           "F64", "a",
                                          "/", "..",  "qins", "\xe2\x96\x81", "0x41"};
    static const double reals[] = {0.5, -0.0, 1e-45, 1e30, 3.4e38, 1e308, -1, 65536, 1e-300};
    switch (mutate_below(r, 8)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(mutate_below(r, 2));
    case 2:
        return json_string(strings[mutate_below(r, sizeof strings / sizeof *strings)]);
    case 3:
        return json_real(reals[mutate_below(r, sizeof reals / sizeof *reals)]);
    case 4:
        return mutate_once_in(r, 2) ? json_array() : json_object();
    case 5:
        return json_integer(-(json_int_t)mutate_below(r, 1000));
    default:
        return json_integer((json_int_t)mutate_number(r, 1));
    }
}

static json_t *other_real(double x, struct mutate_random *r)
{
    static const double factors[] = {-1, 2, 0.5, 1.0000001, 1e10, 1e-10, 0};
    const double y = x * factors[mutate_below(r, sizeof factors / sizeof *factors)];
    return json_real(isfinite(y) ? y : 1);
}

/* libFuzzer's own mutations of a string, which is NULL where they leave no UTF-8. */
static json_t *other_string(const json_t *value)
{
    uint8_t text[MAX_STRING];
    const size_t size = json_string_length(value);
    if (size > MAX_STRING)
        return NULL;
    memcpy(text, json_string_value(value), size);
    return json_stringn((const char *)text, LLVMFuzzerMutate(text, size, MAX_STRING));
}

/* Near the old one, and of the same type. */
static json_t *similar(const json_t *value, struct mutate_random *r)
{
    if (json_is_integer(value))
        return json_integer((json_int_t)mutate_number(r, (uint64_t)json_integer_value(value)));
    if (json_is_real(value))
        return other_real(json_real_value(value), r);
    if (json_is_string(value))
        return other_string(value);
    if (json_is_boolean(value))
        return json_boolean(!json_is_true(value));
    return any_scalar(r);
}

static void leave_out(const struct slot *s)
{
    if (s->key)
        json_object_del(s->parent, s->key);
    else if (s->parent)
        json_array_remove(s->parent, s->index);
}

/* A copy of OTHER beside S, under OTHER's name or a new one. */
static void add_beside(const struct slot *s, const struct slot *other, struct mutate_random *r)
{
    json_t *copy = json_deep_copy(other->value);
    char key[MAX_STRING];
    if (!copy || !s->parent) {
        json_decref(copy);
    } else if (!s->key) {
        json_array_insert_new(s->parent, s->index, copy);
    } else {
        const char *name = other->key ? other->key : s->key;
        snprintf(key, sizeof key, mutate_once_in(r, 2) ? "%.200s" : "%.200s%u", name,
                 (unsigned)mutate_below(r, 10));
        json_object_set_new(s->parent, key, copy);
    }
}

static void rename_to(const struct slot *s, const struct slot *other)
{
    char key[MAX_STRING];
    if (!s->key || !other->key)
        return;
    snprintf(key, sizeof key, "%.255s", other->key);
    json_t *value = json_incref(s->value);
    json_object_del(s->parent, s->key);
    json_object_set_new(s->parent, key, value);
}

static void edit(struct tree *t, json_t *root, struct mutate_random *r)
{
    list_slots(t, root);
    const struct slot *s = &t->slots[mutate_below(r, t->n)];
    const struct slot *other = &t->slots[mutate_below(r, t->n)];
    switch (mutate_below(r, 9)) {
    case 0:
        put(s, any_scalar(r));
        break;
    case 1:
        leave_out(s);
        break;
    case 2:
        put(s, json_deep_copy(other->value));
        break;
    case 3:
        add_beside(s, other, r);
        break;
    case 4:
        add_beside(s, s, r);
        break;
    case 5:
        rename_to(s, other);
        break;
    default:
        put(s, similar(s->value, r));
    }
}

size_t mutate_json(uint8_t *text, size_t size, size_t max_size, struct mutate_random *r)
{
    static struct tree tree;
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    json_t *root = json_loadb((const char *)text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!root)
        return 0;
    for (size_t edits = 1 + mutate_below(r, 3); edits-- > 0;)
        edit(&tree, root, r);
    const size_t length = json_dumpb(root, (char *)text, max_size, flags);
    json_decref(root);
    return length <= max_size ? length : 0;
}
