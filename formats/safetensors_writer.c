#include "core/bytes.h"
#include "formats/placed_writer.h"
#include "formats/safetensors.h"

#include <stdlib.h>

/* Order of the data: wider elements first, so that with an aligned data section every tensor is
 * aligned to its element, as frameworks that map the file need; list order otherwise. */
struct place {
    size_t element, index;
};

static int by_alignment(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->element != y->element)
        return x->element > y->element ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static enum qins_status check_tensors(const struct qn_tensor_list *list, struct qins_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct qn_tensor *t = &list->items[i];
        if (t->dtype == QINS_DTYPE_INVALID)
            return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, t->name, QN_NO_OFFSET,
                              "type %s cannot be written to safetensors", t->foreign_type);
        if (strcmp(t->name, "__metadata__") == 0)
            return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, t->name, QN_NO_OFFSET,
                              "safetensors reserves this name");
        for (unsigned k = 0; k < t->rank; k++)
            if (t->shape[k] > INT64_MAX)
                return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, t->name, QN_NO_OFFSET,
                                  "its shape cannot be written to safetensors");
    }
    return QINS_OK;
}

static json_t *describe(const struct qn_tensor *t, uint64_t begin)
{
    uint64_t end = begin + t->n_bytes;
    json_t *shape = json_array();
    for (unsigned k = 0; k < t->rank && shape; k++)
        if (json_array_append_new(shape, json_integer((json_int_t)t->shape[k])) != 0) {
            json_decref(shape);
            shape = NULL;
        }
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", qins_dtype_name(t->dtype), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)end);
}

static enum qins_status add_metadata(json_t *header, const struct qn_attachment_list *attachments,
                                     struct qins_error *err)
{
    const struct qn_attachment *a =
        attachments ? qn_attachment_find(attachments, QN_SAFETENSORS_METADATA) : NULL;
    if (!a)
        return QINS_OK;
    struct qins_error detail;
    json_t *metadata = qn_json_parse(a->data, a->size, 0, &detail);
    if (!metadata) {
        if (err)
            *err = detail;
        return detail.status;
    }
    if (json_object_set_new(header, "__metadata__", metadata) != 0)
        return qn_fail_memory(err);
    return QINS_OK;
}

/* Places the tensors one after another and builds the header object. */
static enum qins_status lay_out(struct qn_placed_writer *w, json_t *header, struct qins_error *err)
{
    const struct qn_tensor_list *list = w->progress.tensors;
    struct place *order = calloc(list->count + 1, sizeof *order);
    enum qins_status st = order ? QINS_OK : qn_fail_memory(err);
    uint64_t end = 0;
    if (!order)
        return st;
    for (size_t i = 0; i < list->count; i++)
        order[i] = (struct place){qins_dtype_size(list->items[i].dtype), i};
    qsort(order, list->count, sizeof *order, by_alignment);
    for (size_t i = 0; i < list->count && st == QINS_OK; i++) {
        const struct qn_tensor *t = &list->items[order[i].index];
        w->offsets[order[i].index] = end;
        if (t->n_bytes > INT64_MAX - end)
            st = qn_fail(err, QINS_ERR_UNSUPPORTED, "the tensors' total size overflows");
        else if (json_object_set_new(header, t->name, describe(t, end)) != 0)
            st = qn_fail_memory(err);
        end += t->n_bytes;
    }
    free(order);
    return st;
}

/* The header's text is padded with spaces to a multiple of 8 bytes, as the reference
 * implementation does, so that the data section is aligned. */
static enum qins_status write_header(struct qn_placed_writer *w, const json_t *header,
                                     struct qins_error *err)
{
    uint8_t prefix[8];
    static const char spaces[] = "        ";
    char *text = qn_json_dump(header, JSON_COMPACT);
    if (!text)
        return qn_fail_memory(err);
    size_t size = strlen(text), padding = (8 - size % 8) % 8;
    enum qins_status st = QINS_OK;
    if (size + padding > QN_SAFETENSORS_MAX_HEADER)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED, "the header would exceed safetensors' 100 MB");
    qn_store64(prefix, size + padding);
    if (st == QINS_OK)
        st = qn_output_write(&w->out, prefix, sizeof prefix, err);
    if (st == QINS_OK)
        st = qn_output_write(&w->out, text, size, err);
    if (st == QINS_OK)
        st = qn_output_write(&w->out, spaces, padding, err);
    w->data_begin = w->out.written;
    free(text);
    return st;
}

static enum qins_status create(struct qn_tensor_writer **out, const char *path,
                               const struct qn_tensor_list *tensors,
                               const struct qn_attachment_list *attachments, struct qins_error *err)
{
    struct qn_placed_writer *w = qn_placed_writer_new(&qn_safetensors_writer_ops, tensors, err);
    if (!w)
        return QINS_ERR_MEMORY;
    json_t *header = json_object();
    enum qins_status st = header ? check_tensors(tensors, err) : qn_fail_memory(err);
    if (st == QINS_OK)
        st = add_metadata(header, attachments, err);
    if (st == QINS_OK)
        st = lay_out(w, header, err);
    if (st == QINS_OK)
        st = qn_output_create(&w->out, path, err);
    if (st == QINS_OK)
        st = write_header(w, header, err);
    json_decref(header);
    if (st != QINS_OK) {
        qn_placed_writer_destroy(&w->base);
        return qn_error_in_file(err, st, path);
    }
    *out = &w->base;
    return QINS_OK;
}

static enum qins_status write_at(struct qn_placed_writer *w, size_t tensor, uint64_t offset,
                                 const void *data, size_t size, struct qins_error *err)
{
    return qn_output_write_at(&w->out, w->data_begin + w->offsets[tensor] + offset, data, size,
                              err);
}

static enum qins_status write_piece(struct qn_tensor_writer *base, size_t tensor, const void *data,
                                    size_t size, struct qins_error *err)
{
    struct qn_placed_writer *w = (struct qn_placed_writer *)base;
    uint64_t offset = 0;
    enum qins_status st = qn_write_progress_step(&w->progress, tensor, size, &offset, err);
    return st == QINS_OK ? write_at(w, tensor, offset, data, size, err) : st;
}

static enum qins_status put_piece(struct qn_tensor_writer *base, size_t tensor, uint64_t offset,
                                  const void *data, size_t size, struct qins_error *err)
{
    struct qn_placed_writer *w = (struct qn_placed_writer *)base;
    enum qins_status st = qn_placed_writer_note(w, tensor, offset, size, err);
    return st == QINS_OK ? write_at(w, tensor, offset, data, size, err) : st;
}

const struct qn_tensor_writer_ops qn_safetensors_writer_ops = {
    .format = "safetensors",
    .suffix = ".safetensors",
    .create = create,
    .write = write_piece,
    .put = put_piece,
    .commit = qn_placed_writer_commit,
    .destroy = qn_placed_writer_destroy,
};
