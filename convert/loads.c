#include "convert/conversion.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH_TENSORS = 512,    /* descriptions held at a time, about 1 KiB each */
    BATCH_BYTES = 64 << 20, /* of source: what should still be cached at the second look */
    BATCH_BLOCKS = 8192,    /* about as large as tensors */
};

/* The unit for tensor INDEX, planned, and its bytes if it has no more than one element. */
static enum qins_status init_unit(struct qn_conversion *c, size_t index, struct qn_unit *u,
                                  struct qins_error *err)
{
    const struct qn_tensor *t = &c->source->tensors.items[index];
    *u = (struct qn_unit){.index = index, .t = {.tensor = *t}};
    qn_layout_init(&u->t.layout, t->rank, t->shape);
    u->chunks_end = u->t.layout.n_chunks;
    if (index == c->range.begin.tensor)
        u->chunks_done = c->range.begin.chunk;
    if (index == c->range.end.tensor)
        u->chunks_end = c->range.end.chunk;
    enum qins_status st = qn_lines_get(&c->lines, index, &u->t, err);
    if (st == QINS_OK && t->rank == 0)
        return qn_checkpoint_read(c->source, index, 0, u->t.inline_data, (size_t)t->n_bytes, err);
    return st;
}

/* The first unit of a resumed run goes on as its record says. */
static enum qins_status adopt_open_tensor(struct qn_conversion *c, struct qn_unit *u,
                                          struct qins_error *err)
{
    const struct qn_archive_tensor *open = &c->state.open_tensor;
    if (strcmp(open->tensor.name, u->t.tensor.name) != 0 ||
        open->tensor.dtype != u->t.tensor.dtype || open->layout.n_chunks != u->t.layout.n_chunks ||
        c->state.chunks_done > u->chunks_end)
        return qn_fail_at(err, QINS_ERR_FORMAT, c->out, u->t.tensor.name, QN_NO_OFFSET,
                          "the .part file does not fit the source; remove it");
    struct qn_archive_tensor own;
    enum qins_status st = qn_archive_tensor_copy(&own, open, err);
    if (st != QINS_OK)
        return st;
    free(own.tensor.name);
    own.tensor.name = u->t.tensor.name;
    free(u->t.blocks);
    u->t = own;
    u->chunks_done = c->state.chunks_done;
    u->settled = u->begun = true;
    return QINS_OK;
}

/* A batch and its units. */
struct load {
    struct qn_batch batch;
    struct qn_unit *units; /* room for BATCH_TENSORS */
    size_t n;
};

/* Units from tensor *NEXT on, before END, as many as make a batch. */
static enum qins_status fill_load(struct qn_conversion *c, size_t *next, size_t end, bool *open,
                                  struct load *l, struct qins_error *err)
{
    size_t blocks = 0;
    uint64_t bytes = 0;
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && l->n < BATCH_TENSORS && *next < end && bytes < BATCH_BYTES &&
           blocks < BATCH_BLOCKS) {
        struct qn_unit *u = &l->units[l->n];
        bytes += c->source->tensors.items[*next].n_bytes;
        st = init_unit(c, *next, u, err);
        ++l->n;
        ++*next;
        if (st == QINS_OK && *open)
            st = adopt_open_tensor(c, u, err);
        *open = false;
        blocks += u->t.n_blocks;
    }
    return st == QINS_OK ? qn_batch_init(&l->batch, l->units, l->n, err) : st;
}

static void empty_load(struct load *l)
{
    qn_batch_finish(&l->batch);
    for (size_t i = 0; i < l->n; i++)
        free(l->units[i].t.blocks);
    l->n = 0;
}

static struct qn_batch *batch_of(struct load *l)
{
    return l->n ? &l->batch : NULL;
}

/* Encodes tensors [NEXT, END). Each load passes through three flights: load K is in the places K,
 * K + 1 and K + 2 of LOADS. */
static enum qins_status encode_loads(struct qn_conversion *c, struct load loads[3], size_t next,
                                     size_t end, struct qins_error *err)
{
    bool open = c->state.tensor_open;
    enum qins_status st = QINS_OK;
    for (size_t k = 0; st == QINS_OK; k++) {
        struct load *first = &loads[k % 3], *second = &loads[(k + 2) % 3],
                    *third = &loads[(k + 1) % 3];
        if (next < end)
            st = fill_load(c, &next, end, &open, first, err);
        if (first->n + second->n + third->n == 0)
            break;
        if (st == QINS_OK)
            st = qn_encode_flight(&c->encoder, batch_of(third), batch_of(second), batch_of(first),
                                  err);
        empty_load(third);
    }
    return st;
}

/* Behind the range's last tensor. */
static size_t end_tensor(const struct qn_part_range *r)
{
    const bool empty = r->begin.tensor == r->end.tensor && r->begin.chunk == r->end.chunk;
    return (size_t)r->end.tensor + (r->end.chunk > 0 && !empty);
}

/* Where the work begins. */
static struct qn_part_place next_place(const struct qn_conversion *c)
{
    struct qn_part_place next = c->range.begin;
    if (c->state.tensors_done)
        next = (struct qn_part_place){next.tensor + c->state.tensors_done, 0};
    if (c->state.tensor_open)
        next.chunk = c->state.chunks_done;
    return next;
}

static enum qins_status encode_range(struct qn_conversion *c, struct qins_error *err)
{
    const struct qn_tensor_list *tensors = &c->source->tensors;
    const struct qn_part_place next = next_place(c);
    const size_t end = end_tensor(&c->range);
    struct load loads[3] = {{.n = 0}};
    struct qn_unit *units = malloc((size_t)3 * BATCH_TENSORS * sizeof *units);
    if (!units)
        return qn_fail_memory(err);
    for (size_t i = 0; i < 3; i++)
        loads[i].units = units + i * BATCH_TENSORS;
    enum qins_status st = QINS_OK;
    if (next.tensor > end)
        st = qn_fail_at(err, QINS_ERR_FORMAT, c->out, NULL, QN_NO_OFFSET,
                        "the .part file holds more tensors than the source; remove it");
    c->encoder.total = c->range.input_bytes;
    c->encoder.done =
        qn_shard_place_byte(tensors, &next) - qn_shard_place_byte(tensors, &c->range.begin);
    if (st == QINS_OK)
        st = encode_loads(c, loads, (size_t)next.tensor, end, err);
    for (size_t i = 0; i < 3; i++)
        empty_load(&loads[i]);
    free(units);
    return st;
}

enum qins_status qn_conversion_encode(struct qn_conversion *c, struct qn_sink *sink,
                                      struct qins_error *err)
{
    enum qins_status st =
        qn_encoder_init(&c->encoder, c->source, sink, c->monitor, c->options->threads, err);
    c->encoder.feedback = c->lines.feedback;
    return st == QINS_OK ? encode_range(c, err) : st;
}
