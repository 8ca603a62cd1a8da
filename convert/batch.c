#include "convert/batch.h"

#include "convert/shape.h"
#include "core/bytes.h"

#include <math.h>
#include <stdlib.h>

/* The looks that a tensor needs before its chunks can be coded, and the coding. A tensor of one
 * chunk is looked at and coded in one go. */
enum sweep { SWEEP_ABS_MAX, SWEEP_SHAPE, SWEEP_ENCODE };

struct batch {
    struct qn_encoder *e;
    struct qn_unit *units;
    size_t n, next; /* next: first unit whose end the sink has not seen */
    enum sweep sweep;
    struct qn_chunk_map map;
};

/* Where an item's elements are. */
struct piece {
    struct qn_unit *unit;
    uint64_t chunk, first;
    size_t count;
};

enum qins_status qn_encoder_init(struct qn_encoder *e, struct qn_checkpoint *source,
                                 struct qn_sink *sink, const struct qn_monitor *monitor,
                                 unsigned threads, struct qins_error *err)
{
    *e = (struct qn_encoder){.source = source,
                             .sink = sink,
                             .monitor = monitor,
                             .threads = threads,
                             .slots = threads > 1 ? 2 * threads : 1};
    e->slot = calloc(e->slots, sizeof *e->slot);
    if (!e->slot)
        return qn_fail_memory(err);
    for (size_t i = 0; i < source->tensors.count; i++)
        e->total += source->tensors.items[i].n_bytes;
    return qn_workspace_pool_init(&e->pool, threads, err);
}

void qn_encoder_finish(struct qn_encoder *e)
{
    for (unsigned i = 0; e->slot && i < e->slots; i++)
        qn_buf_finish(&e->slot[i].payload);
    free(e->slot);
    qn_workspace_pool_finish(&e->pool);
    *e = (struct qn_encoder){0};
}

static uint64_t count_chunks(const void *ctx, size_t i)
{
    const struct batch *b = ctx;
    const struct qn_unit *u = &b->units[i];
    bool look = !u->settled && u->t.layout.n_chunks > 1;
    switch (b->sweep) {
    case SWEEP_ABS_MAX:
        return look && qn_needs_abs_max(&u->t.plan) ? u->t.layout.n_chunks : 0;
    case SWEEP_SHAPE:
        return look && qn_needs_search(&u->t.plan) ? u->t.layout.n_chunks : 0;
    default:
        return u->t.layout.n_chunks - u->chunks_done;
    }
}

static struct piece find_piece(const struct batch *b, uint64_t item)
{
    struct piece p;
    size_t i;
    uint64_t count;
    qn_chunk_map_find(&b->map, item, &i, &p.chunk);
    p.unit = &b->units[i];
    if (b->sweep == SWEEP_ENCODE)
        p.chunk += p.unit->chunks_done;
    qn_layout_chunk(&p.unit->t.layout, p.chunk, &p.first, &count);
    p.count = (size_t)count;
    return p;
}

static enum qins_status read_piece(const struct batch *b, const struct piece *p,
                                   struct qn_workspace *w, struct qins_error *err)
{
    size_t size = qins_dtype_size(p->unit->t.tensor.dtype);
    enum qins_status st = qn_buf_resize(&w->source, p->count * size, err);
    if (st == QINS_OK)
        st = qn_checkpoint_read(b->e->source, p->unit->index, p->first * size, w->source.data,
                                p->count * size, err);
    return st;
}

/* The piece as float32; in place where it is that already. NULL when out of memory. */
static const float *floats_of(const struct piece *p, struct qn_workspace *w, struct qins_error *err)
{
    if (p->unit->t.tensor.dtype == QINS_F32)
        return (const float *)(const void *)w->source.data;
    if (qn_buf_resize(&w->decoded, p->count * sizeof(float), err) != QINS_OK)
        return NULL;
    float *x = (float *)(void *)w->decoded.data;
    qn_to_f32(p->unit->t.tensor.dtype, w->source.data, x, p->count);
    return x;
}

static enum qins_status fail_nonfinite(const struct batch *b, const struct piece *p, const float *x,
                                       size_t index, struct qins_error *err)
{
    uint64_t element = p->first + index;
    uint64_t byte = element * qins_dtype_size(p->unit->t.tensor.dtype);
    const char *what = index < p->count && isnan(x[index]) ? "NaN" : "infinity";
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, b->e->source->path, p->unit->t.tensor.name,
                      QN_NO_OFFSET,
                      "%s at element %llu (byte %llu of the tensor) cannot be quantised; "
                      "--lossless keeps it",
                      what, (unsigned long long)element, (unsigned long long)byte);
}

static enum qins_status look_abs_max(const struct batch *b, const struct piece *p, const float *x,
                                     float *abs_max, struct qins_error *err)
{
    bool finite = true;
    *abs_max = qn_abs_max(x, p->count, &finite);
    if (!finite)
        return fail_nonfinite(b, p, x, qn_first_nonfinite(x, p->count), err);
    return QINS_OK;
}

static enum qins_status look_shape(const struct batch *b, const struct piece *p, const float *x,
                                   struct qn_hist *hist, struct qins_error *err)
{
    size_t bad;
    if (qn_shape_look(&p->unit->t, p->unit->abs_max, x, p->count, hist, &bad))
        return QINS_OK;
    return fail_nonfinite(b, p, x, bad, err);
}

/* Reads and looks at every row whose number is a multiple of STRIDE. */
static enum qins_status sample_shape(const struct batch *b, const struct piece *p, uint64_t stride,
                                     struct qn_workspace *w, struct qn_hist *hist,
                                     struct qins_error *err)
{
    uint64_t length = p->unit->t.layout.row_length;
    uint64_t row = p->first / length, end = (p->first + p->count) / length;
    enum qins_status st = QINS_OK;
    for (row = qn_div_up(row, stride) * stride; row < end && st == QINS_OK; row += stride) {
        struct piece one = {p->unit, p->chunk, row * length, (size_t)length};
        const float *x = NULL;
        st = read_piece(b, &one, w, err);
        if (st == QINS_OK)
            x = floats_of(&one, w, err);
        if (st == QINS_OK)
            st = x ? look_shape(b, &one, x, hist, err) : QINS_ERR_MEMORY;
    }
    return st;
}

/* All looks at a tensor of one chunk. */
static enum qins_status settle_now(const struct batch *b, const struct piece *p,
                                   struct qn_workspace *w, struct qins_error *err)
{
    struct qn_unit *u = p->unit;
    bool scale = qn_needs_abs_max(&u->t.plan), search = qn_needs_search(&u->t.plan);
    enum qins_status st = QINS_OK;
    if (scale || search) {
        const float *x = floats_of(p, w, err);
        if (!x)
            return QINS_ERR_MEMORY;
        if (scale)
            st = look_abs_max(b, p, x, &u->abs_max, err);
        w->hist = (struct qn_hist){0};
        if (st == QINS_OK && search)
            st = look_shape(b, p, x, &w->hist, err);
    }
    if (st == QINS_OK)
        qn_shape_settle(&u->t, u->abs_max, &w->hist);
    u->settled = st == QINS_OK;
    return st;
}

static enum qins_status encode_piece(const struct batch *b, const struct piece *p,
                                     struct qn_workspace *w, struct qn_encode_slot *slot,
                                     struct qins_error *err)
{
    struct qn_chunk_params params;
    enum qins_status st = read_piece(b, p, w, err);
    if (st == QINS_OK && !p->unit->settled)
        st = settle_now(b, p, w, err);
    if (st != QINS_OK)
        return st;
    slot->leaf = qn_hash128(w->source.data, w->source.size);
    slot->payload.size = 0;
    qn_shape_params(&p->unit->t, p->count, &params);
    st = qn_chunk_encode(&params, w->source.data, p->count, &w->chunk, &slot->payload, err);
    if (st == QINS_ERR_UNSUPPORTED && params.content != QN_CONTENT_LOSSLESS) {
        const float *x = floats_of(p, w, err);
        return x ? fail_nonfinite(b, p, x, qn_first_nonfinite(x, p->count), err) : QINS_ERR_MEMORY;
    }
    return st;
}

/* A look at a chunk of a tensor of several. */
static enum qins_status look_piece(const struct batch *b, const struct piece *p,
                                   struct qn_workspace *w, struct qn_encode_slot *slot,
                                   struct qins_error *err)
{
    uint64_t stride = b->sweep == SWEEP_SHAPE ? qn_shape_stride(&p->unit->t) : 1;
    slot->hist = (struct qn_hist){0};
    if (stride > 1)
        return sample_shape(b, p, stride, w, &slot->hist, err);
    enum qins_status st = read_piece(b, p, w, err);
    const float *x = st == QINS_OK ? floats_of(p, w, err) : NULL;
    if (!x)
        return st == QINS_OK ? QINS_ERR_MEMORY : st;
    if (b->sweep == SWEEP_ABS_MAX)
        return look_abs_max(b, p, x, &slot->abs_max, err);
    return look_shape(b, p, x, &slot->hist, err);
}

static enum qins_status work(void *ctx, unsigned slot_index, uint64_t item, struct qins_error *err)
{
    const struct batch *b = ctx;
    struct piece p = find_piece(b, item);
    struct qn_encode_slot *slot = &b->e->slot[slot_index];
    struct qn_workspace *w = qn_workspace_take(&b->e->pool);
    enum qins_status st = b->sweep == SWEEP_ENCODE ? encode_piece(b, &p, w, slot, err)
                                                   : look_piece(b, &p, w, slot, err);
    qn_workspace_give(&b->e->pool, w);
    qn_error_in_file(err, st, b->e->source->path);
    return qn_error_in_tensor(err, st, p.unit->t.tensor.name);
}

/* Tells the sink about units up to and including LAST; those before it are complete. */
static enum qins_status advance(struct batch *b, const struct qn_unit *last, struct qins_error *err)
{
    struct qn_sink *sink = b->e->sink;
    enum qins_status st = QINS_OK;
    for (; st == QINS_OK && b->next < b->n; b->next++) {
        struct qn_unit *u = &b->units[b->next];
        if (!u->begun)
            st = sink->begin(sink, &u->t, err);
        u->begun = true;
        if (u == last)
            break;
        if (st == QINS_OK)
            st = sink->end(sink, err);
    }
    return st;
}

static enum qins_status emit_chunk(struct batch *b, const struct piece *p,
                                   struct qn_encode_slot *slot, struct qins_error *err)
{
    struct qn_sink *sink = b->e->sink;
    enum qins_status st = advance(b, p->unit, err);
    if (st == QINS_OK)
        st = sink->chunk(sink, slot->payload.data, slot->payload.size, &slot->leaf, err);
    b->e->done += p->count * qins_dtype_size(p->unit->t.tensor.dtype);
    qn_progress(b->e->monitor, "converting", b->e->done, b->e->total);
    return st;
}

static enum qins_status emit(void *ctx, unsigned slot_index, uint64_t item, struct qins_error *err)
{
    struct batch *b = ctx;
    struct piece p = find_piece(b, item);
    struct qn_encode_slot *slot = &b->e->slot[slot_index];
    if (b->sweep == SWEEP_ENCODE)
        return emit_chunk(b, &p, slot, err);
    if (b->sweep == SWEEP_ABS_MAX) {
        if (slot->abs_max > p.unit->abs_max)
            p.unit->abs_max = slot->abs_max;
        return QINS_OK;
    }
    if (p.chunk == 0)
        b->e->hist = slot->hist;
    else
        qn_hist_merge(&b->e->hist, &slot->hist);
    if (p.chunk + 1 == p.unit->t.layout.n_chunks) {
        qn_shape_settle(&p.unit->t, p.unit->abs_max, &b->e->hist);
        p.unit->settled = true;
    }
    return QINS_OK;
}

static enum qins_status run_sweep(struct batch *b, enum sweep sweep, struct qins_error *err)
{
    b->sweep = sweep;
    enum qins_status st = qn_chunk_map_init(&b->map, b->n, count_chunks, b, err);
    struct qn_ordered job = {.work = work,
                             .emit = emit,
                             .ctx = b,
                             .threads = b->e->threads,
                             .slots = b->e->slots,
                             .monitor = b->e->monitor};
    if (st == QINS_OK) {
        job.end = qn_chunk_map_total(&b->map);
        st = qn_run_ordered(&job, err);
    }
    qn_chunk_map_finish(&b->map);
    return st;
}

enum qins_status qn_encode_batch(struct qn_encoder *e, struct qn_unit *units, size_t n,
                                 struct qins_error *err)
{
    struct batch b = {.e = e, .units = units, .n = n};
    enum qins_status st = run_sweep(&b, SWEEP_ABS_MAX, err);
    if (st == QINS_OK)
        st = run_sweep(&b, SWEEP_SHAPE, err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) /* what had nothing to search */
        if (!units[i].settled && units[i].t.layout.n_chunks != 1) {
            qn_shape_settle(&units[i].t, units[i].abs_max, NULL);
            units[i].settled = true;
        }
    if (st == QINS_OK)
        st = run_sweep(&b, SWEEP_ENCODE, err);
    if (st == QINS_OK)
        st = advance(&b, NULL, err);
    return st;
}
