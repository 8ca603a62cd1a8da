#include "convert/shard_cut.h"

#include "core/bytes.h"

/* A place, and what comes before it. */
struct cut {
    struct qn_part_place place;
    uint64_t chunks, bytes;
};

/* The tensor's byte with which chunk INDEX begins. */
static uint64_t chunk_byte(const struct qn_layout *l, const struct qn_tensor *t, uint64_t index)
{
    uint64_t first, count;
    qn_layout_chunk(l, index, &first, &count);
    return first * qins_dtype_size(t->dtype);
}

/* The first of the tensor's chunks that begins at BYTE or later; n_chunks where there is none. */
static uint64_t first_chunk_from(const struct qn_layout *l, const struct qn_tensor *t,
                                 uint64_t byte)
{
    uint64_t low = 0, high = l->n_chunks;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (chunk_byte(l, t, middle) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first chunk, or tensor without chunks, that begins at BYTE of all or later. */
static struct cut find_cut(const struct qn_tensor_list *tensors, uint64_t byte)
{
    struct cut c = {{0, 0}, 0, 0};
    for (; c.place.tensor < tensors->count; c.place.tensor++) {
        const struct qn_tensor *t = &tensors->items[c.place.tensor];
        struct qn_layout l;
        if (c.bytes >= byte)
            break;
        qn_layout_init(&l, t->rank, t->shape);
        const uint64_t chunk = l.n_chunks ? first_chunk_from(&l, t, byte - c.bytes) : 0;
        c.chunks += l.n_chunks ? chunk : 0;
        if (chunk < l.n_chunks) {
            c.place.chunk = chunk;
            c.bytes += chunk_byte(&l, t, chunk);
            break;
        }
        c.bytes += t->n_bytes;
    }
    return c;
}

enum qins_status qn_shard_cut(const struct qn_tensor_list *tensors, const struct qn_shard *s,
                              struct qn_part_range *out, struct qins_error *err)
{
    const bool last = s->count == 0 || s->index == s->count;
    uint64_t total = 0, first_byte, end_byte;
    for (size_t i = 0; i < tensors->count; i++)
        if (!qn_add_u64(total, tensors->items[i].n_bytes, &total))
            return qn_fail(err, QINS_ERR_UNSUPPORTED, "the tensors have too many bytes");
    qn_shard_range(s, total, &first_byte, &end_byte);
    const struct cut begin = find_cut(tensors, first_byte);
    const struct cut end = find_cut(tensors, last ? UINT64_MAX : end_byte);
    *out = (struct qn_part_range){begin.place, end.place, begin.chunks, end.chunks,
                                  end.bytes - begin.bytes};
    return QINS_OK;
}

uint64_t qn_shard_place_byte(const struct qn_tensor_list *tensors,
                             const struct qn_part_place *place)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < place->tensor && i < tensors->count; i++)
        bytes += tensors->items[i].n_bytes;
    if (place->chunk && place->tensor < tensors->count) {
        const struct qn_tensor *t = &tensors->items[place->tensor];
        struct qn_layout l;
        qn_layout_init(&l, t->rank, t->shape);
        bytes += chunk_byte(&l, t, place->chunk);
    }
    return bytes;
}
