#include "formats/gguf_plan.h"

#include <stdio.h>
#include <stdlib.h>

static void append(struct qn_gguf_keys_out *k, const void *data, size_t size)
{
    if (k->status == QINS_OK)
        k->status = qn_buf_append(&k->buf, data, size, k->err);
}

static void append_u64(struct qn_gguf_keys_out *k, uint64_t value)
{
    uint8_t b[8];
    qn_store64(b, value);
    append(k, b, sizeof b);
}

void qn_gguf_add_u32(struct qn_gguf_keys_out *k, uint32_t value)
{
    uint8_t b[4];
    qn_store32(b, value);
    append(k, b, sizeof b);
}

void qn_gguf_add_f32(struct qn_gguf_keys_out *k, float value)
{
    qn_gguf_add_u32(k, qn_float_bits(value));
}

void qn_gguf_add_string(struct qn_gguf_keys_out *k, const char *text, size_t size)
{
    append_u64(k, size);
    append(k, text, size);
}

static void put_key(struct qn_gguf_keys_out *k, const char *key, enum qn_gguf_value type)
{
    qn_gguf_add_string(k, key, strlen(key));
    qn_gguf_add_u32(k, type);
    k->count++;
}

void qn_gguf_put_u32(struct qn_gguf_keys_out *k, const char *key, uint32_t value)
{
    put_key(k, key, QN_GGUF_U32);
    qn_gguf_add_u32(k, value);
}

void qn_gguf_put_f32(struct qn_gguf_keys_out *k, const char *key, float value)
{
    put_key(k, key, QN_GGUF_F32);
    qn_gguf_add_f32(k, value);
}

void qn_gguf_put_bool(struct qn_gguf_keys_out *k, const char *key, bool value)
{
    uint8_t b = value;
    put_key(k, key, QN_GGUF_BOOL);
    append(k, &b, 1);
}

void qn_gguf_put_string(struct qn_gguf_keys_out *k, const char *key, const char *text, size_t size)
{
    put_key(k, key, QN_GGUF_STRING);
    qn_gguf_add_string(k, text, size);
}

void qn_gguf_put_array(struct qn_gguf_keys_out *k, const char *key, enum qn_gguf_value type,
                       uint64_t count)
{
    put_key(k, key, QN_GGUF_ARRAY);
    qn_gguf_add_u32(k, type);
    append_u64(k, count);
}

enum qins_status qn_gguf_attached_json(const struct qn_attachment_list *attachments,
                                       const char *name, json_t **out, struct qins_error *err)
{
    struct qins_error why = {.offset = QN_NO_OFFSET};
    const struct qn_attachment *a = attachments ? qn_attachment_find(attachments, name) : NULL;
    *out = a ? qn_json_parse(a->data, a->size, 0, &why) : NULL;
    return a && !*out && why.status == QINS_ERR_MEMORY ? qn_fail_memory(err) : QINS_OK;
}

void qn_gguf_plan_finish(struct qn_gguf_plan *plan)
{
    for (size_t i = 0; i < plan->count && plan->items; i++)
        free(plan->items[i].name);
    free(plan->items);
    free(plan->rope_factors);
    qn_buf_finish(&plan->keys.buf);
    *plan = (struct qn_gguf_plan){0};
}

static enum qins_status check_tensor(const struct qn_tensor *t, struct qins_error *err)
{
    if (!qn_ggml_type_by_dtype(t->dtype))
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, t->name, QN_NO_OFFSET,
                          "GGUF has no type %s", qins_dtype_name(t->dtype));
    if (t->rank > QN_GGUF_MAX_RANK)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, t->name, QN_NO_OFFSET,
                          "GGUF holds tensors of rank %d at most, not %u", QN_GGUF_MAX_RANK,
                          t->rank);
    return QINS_OK;
}

/* Every tensor under its own name and type. */
static enum qins_status take_as_they_are(struct qn_gguf_plan *plan,
                                         const struct qn_tensor_list *list, struct qins_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        struct qn_gguf_item *item = &plan->items[i];
        enum qins_status st = check_tensor(&list->items[i], err);
        free(item->name);
        *item = (struct qn_gguf_item){.dtype = list->items[i].dtype};
        if (st != QINS_OK)
            return st;
        item->name = qn_strdup(list->items[i].name, err);
        if (!item->name)
            return QINS_ERR_MEMORY;
    }
    return QINS_OK;
}

static enum qins_status take_keys(struct qn_gguf_plan *plan, const struct qn_attachment *a,
                                  struct qins_error *err)
{
    struct qn_cursor c = qn_cursor_init(a->data, a->size);
    uint32_t layout = qn_cursor_u32(&c);
    struct qn_gguf_keys keys;
    plan->version = qn_cursor_u32(&c);
    plan->keys.count = qn_cursor_u64(&c);
    if (c.bad || layout != QN_GGUF_METADATA_LAYOUT || plan->version < 2 || plan->version > 3)
        return qn_fail(err, QINS_ERR_FORMAT, "the attachment %s has a layout that is not known",
                       QN_GGUF_METADATA);
    struct qn_cursor section = qn_cursor_init(c.pos, qn_cursor_left(&c));
    enum qins_status st = qn_gguf_scan_keys(&section, plan->keys.count, &keys, err);
    if (st == QINS_OK && qn_cursor_left(&section) > 0)
        st = qn_fail(err, QINS_ERR_FORMAT, "the attachment %s holds more than its keys",
                     QN_GGUF_METADATA);
    if (st != QINS_OK)
        return st;
    plan->alignment = keys.alignment;
    append(&plan->keys, section.begin, (size_t)(section.end - section.begin));
    return plan->keys.status;
}

static enum qins_status describe_container(struct qn_gguf_plan *plan, const char *reason)
{
    struct qn_gguf_keys_out *k = &plan->keys;
    char text[320];
    int n = snprintf(text, sizeof text,
                     "Plain container of tensors, not a model that llama.cpp can run: %s", reason);
    static const char architecture[] = "qins", name[] = "tensors";
    qn_gguf_put_string(k, "general.architecture", architecture, strlen(architecture));
    qn_gguf_put_string(k, "general.name", name, strlen(name));
    qn_gguf_put_string(k, "general.description", text, (size_t)n);
    return k->status;
}

enum qins_status qn_gguf_plan_init(struct qn_gguf_plan *plan, const struct qn_tensor_list *list,
                                   const struct qn_attachment_list *attachments,
                                   struct qins_error *err)
{
    const struct qn_attachment *a =
        attachments ? qn_attachment_find(attachments, QN_GGUF_METADATA) : NULL;
    char reason[200] = "";
    bool mapped = false;
    *plan = (struct qn_gguf_plan){.version = QN_GGUF_VERSION, .alignment = QN_GGUF_ALIGNMENT};
    plan->keys.err = err;
    plan->items = calloc(list->count + 1, sizeof *plan->items);
    if (!plan->items)
        return qn_fail_memory(err);
    plan->count = list->count;
    enum qins_status st = take_as_they_are(plan, list, err);
    if (st == QINS_OK && a)
        return take_keys(plan, a, err);
    if (st == QINS_OK)
        st = qn_gguf_plan_llama(plan, list, attachments, &mapped, reason, sizeof reason, err);
    if (st == QINS_OK && !mapped) {
        st = take_as_they_are(plan, list, err);
        if (st == QINS_OK)
            st = describe_container(plan, reason);
    }
    return st;
}
