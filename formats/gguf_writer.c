/* Writer of GGUF files; what goes where is in gguf_plan.c. */
#include "core/file.h"
#include "formats/gguf_plan.h"
#include "formats/tensor_writer.h"
#include "formats/write_progress.h"

#include <stdlib.h>

enum { PIECE = 4096 }; /* elements widened at a time */

static const char rope_name[] = "rope_freqs.weight";

struct writer {
    struct qn_tensor_writer base;
    struct qn_output out;
    struct qn_write_progress progress;
    struct qn_gguf_plan plan;
    uint64_t data_begin;
    uint64_t rope_offset, end; /* in the data section */
};

static uint64_t align(const struct writer *w, uint64_t offset)
{
    return qn_div_up(offset, w->plan.alignment) * w->plan.alignment;
}

static uint64_t rope_size(const struct writer *w)
{
    return w->plan.n_rope_factors * sizeof *w->plan.rope_factors;
}

static enum qins_status lay_out(struct writer *w, struct qins_error *err)
{
    const struct qn_tensor_list *list = w->progress.tensors;
    uint64_t end = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct qn_gguf_item *item = &w->plan.items[i];
        if (item->skip)
            continue;
        if (!qn_mul_u64(list->items[i].n_elements, qins_dtype_size(item->dtype), &item->n_bytes) ||
            item->n_bytes > INT64_MAX / 2 - end)
            return qn_fail(err, QINS_ERR_UNSUPPORTED, "the tensors' total size overflows");
        item->offset = end;
        end = align(w, end + item->n_bytes);
    }
    w->rope_offset = end;
    w->end = align(w, end + rope_size(w));
    return QINS_OK;
}

/* Tensor infos have the same parts as keys do; the builder serves both. */
static void put_info(struct qn_gguf_keys_out *k, const char *name, enum qins_dtype dtype,
                     unsigned rank, const uint64_t *shape, uint64_t offset)
{
    qn_gguf_add_string(k, name, strlen(name));
    qn_gguf_add_u32(k, rank);
    for (unsigned d = rank; d-- > 0;) {
        qn_gguf_add_u32(k, (uint32_t)shape[d]);
        qn_gguf_add_u32(k, (uint32_t)(shape[d] >> 32));
    }
    qn_gguf_add_u32(k, qn_ggml_type_by_dtype(dtype)->id);
    qn_gguf_add_u32(k, (uint32_t)offset);
    qn_gguf_add_u32(k, (uint32_t)(offset >> 32));
}

static enum qins_status write_infos(struct writer *w, uint64_t *n_infos, struct qn_buf *out,
                                    struct qins_error *err)
{
    const struct qn_tensor_list *list = w->progress.tensors;
    struct qn_gguf_keys_out k = {.err = err};
    *n_infos = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct qn_gguf_item *item = &w->plan.items[i];
        const struct qn_tensor *t = &list->items[i];
        if (item->skip)
            continue;
        put_info(&k, item->name, item->dtype, t->rank, t->shape, item->offset);
        ++*n_infos;
    }
    if (w->plan.rope_factors) {
        uint64_t n = w->plan.n_rope_factors;
        put_info(&k, rope_name, QINS_F32, 1, &n, w->rope_offset);
        ++*n_infos;
    }
    *out = k.buf;
    return k.status;
}

static enum qins_status write_zeros(struct writer *w, uint64_t count, struct qins_error *err)
{
    static const uint8_t zeros[4096];
    enum qins_status st = QINS_OK;
    while (count > 0 && st == QINS_OK) {
        size_t n = (size_t)qn_min_u64(count, sizeof zeros);
        st = qn_output_write(&w->out, zeros, n, err);
        count -= n;
    }
    return st;
}

static enum qins_status write_head(struct writer *w, struct qins_error *err)
{
    const struct qn_buf *keys = &w->plan.keys.buf;
    struct qn_buf infos;
    uint8_t head[QN_GGUF_HEADER_SIZE] = "GGUF";
    uint64_t n_infos;
    enum qins_status st = write_infos(w, &n_infos, &infos, err);
    qn_store32(head + 4, w->plan.version);
    qn_store64(head + 8, n_infos);
    qn_store64(head + 16, w->plan.keys.count);
    if (st == QINS_OK)
        st = qn_output_write(&w->out, head, sizeof head, err);
    if (st == QINS_OK)
        st = qn_output_write(&w->out, keys->data, keys->size, err);
    if (st == QINS_OK)
        st = qn_output_write(&w->out, infos.data, infos.size, err);
    w->data_begin = w->out.written;
    if (st == QINS_OK && n_infos > 0) {
        w->data_begin = align(w, w->out.written);
        st = write_zeros(w, w->data_begin - w->out.written, err);
    }
    qn_buf_finish(&infos);
    return st;
}

static void destroy(struct qn_tensor_writer *base)
{
    struct writer *w = (struct writer *)base;
    if (!w)
        return;
    qn_output_abandon(&w->out);
    qn_gguf_plan_finish(&w->plan);
    free(w);
}

static enum qins_status create(struct qn_tensor_writer **out, const char *path,
                               const struct qn_tensor_list *tensors,
                               const struct qn_attachment_list *attachments, struct qins_error *err)
{
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        return qn_fail_memory(err);
    w->base.ops = &qn_gguf_writer_ops;
    w->out.fd = -1;
    w->progress.tensors = tensors;
    enum qins_status st = qn_gguf_plan_init(&w->plan, tensors, attachments, err);
    if (st == QINS_OK)
        st = lay_out(w, err);
    if (st == QINS_OK)
        st = qn_output_create(&w->out, path, err);
    if (st == QINS_OK)
        st = write_head(w, err);
    if (st != QINS_OK) {
        destroy(&w->base);
        return qn_error_in_file(err, st, path);
    }
    *out = &w->base;
    return QINS_OK;
}

/* ggml rotates neighbouring pairs of a head's values where the Hugging Face layout pairs each
 * value of the first half with one of the second: row (head, half, i) goes to (head, i, half). */
static uint64_t rope_row(uint64_t row, uint64_t rows_per_head)
{
    uint64_t in_head = row % rows_per_head, half = rows_per_head / 2;
    return row - in_head + 2 * (in_head % half) + in_head / half;
}

/* SIZE bytes of a tensor as it is written, from byte OFFSET in source order. */
static enum qins_status place(struct writer *w, size_t tensor, uint64_t offset, const uint8_t *data,
                              size_t size, struct qins_error *err)
{
    const struct qn_gguf_item *item = &w->plan.items[tensor];
    uint64_t begin = w->data_begin + item->offset;
    if (item->heads == 0)
        return qn_output_write_at(&w->out, begin + offset, data, size, err);
    uint64_t rows = w->progress.tensors->items[tensor].shape[0];
    uint64_t row_bytes = item->n_bytes / rows;
    enum qins_status st = QINS_OK;
    while (size > 0 && st == QINS_OK) {
        uint64_t row = offset / row_bytes, column = offset % row_bytes;
        size_t n = (size_t)qn_min_u64(size, row_bytes - column);
        uint64_t target = rope_row(row, rows / item->heads);
        st = qn_output_write_at(&w->out, begin + target * row_bytes + column, data, n, err);
        data += n;
        offset += n;
        size -= n;
    }
    return st;
}

static enum qins_status place_widened(struct writer *w, size_t tensor, uint64_t offset,
                                      const uint8_t *data, size_t size, struct qins_error *err)
{
    float wide[PIECE];
    enum qins_dtype dtype = w->progress.tensors->items[tensor].dtype;
    size_t element = qins_dtype_size(dtype);
    uint64_t first = offset / element, count = size / element;
    enum qins_status st = QINS_OK;
    for (uint64_t done = 0; done < count && st == QINS_OK;) {
        size_t n = (size_t)qn_min_u64(count - done, PIECE);
        qn_to_f32(dtype, data + done * element, wide, n);
        st = place(w, tensor, (first + done) * sizeof *wide, (const uint8_t *)wide,
                   n * sizeof *wide, err);
        done += n;
    }
    return st;
}

static enum qins_status write_piece(struct qn_tensor_writer *base, size_t tensor, const void *data,
                                    size_t size, struct qins_error *err)
{
    struct writer *w = (struct writer *)base;
    uint64_t offset = 0;
    enum qins_status st = qn_write_progress_step(&w->progress, tensor, size, &offset, err);
    if (st != QINS_OK || w->plan.items[tensor].skip)
        return st;
    return w->plan.items[tensor].dtype == w->progress.tensors->items[tensor].dtype
               ? place(w, tensor, offset, data, size, err)
               : place_widened(w, tensor, offset, data, size, err);
}

/* The data section ends on an aligned byte, as ggml's own writer leaves it. */
static enum qins_status pad_end(struct writer *w, struct qins_error *err)
{
    uint64_t used = w->plan.rope_factors ? w->rope_offset + rope_size(w) : 0;
    for (size_t i = 0; i < w->plan.count; i++)
        if (!w->plan.items[i].skip && w->plan.items[i].offset + w->plan.items[i].n_bytes > used)
            used = w->plan.items[i].offset + w->plan.items[i].n_bytes;
    w->out.written = w->data_begin + used;
    return write_zeros(w, w->end - used, err);
}

static enum qins_status commit(struct qn_tensor_writer *base, struct qins_error *err)
{
    struct writer *w = (struct writer *)base;
    enum qins_status st = qn_write_progress_end(&w->progress, err);
    if (st == QINS_OK && w->plan.rope_factors)
        st = qn_output_write_at(&w->out, w->data_begin + w->rope_offset, w->plan.rope_factors,
                                (size_t)rope_size(w), err);
    if (st == QINS_OK)
        st = pad_end(w, err);
    return st == QINS_OK ? qn_output_commit(&w->out, err) : st;
}

const struct qn_tensor_writer_ops qn_gguf_writer_ops = {
    .format = "gguf",
    .suffix = ".gguf",
    .create = create,
    .write = write_piece,
    .commit = commit,
    .destroy = destroy,
};
