#include "convert/batch.h"

#include "convert/feedback.h"
#include "core/bytes.h"

#include <math.h>
#include <stdlib.h>

/* The looks that a tensor needs before its chunks can be coded, and the coding. A tensor of one
 * chunk and one coding is looked at and coded in one go. */
enum sweep { SWEEP_ENCODE, SWEEP_SHAPE, SWEEP_ABS_MAX, SWEEPS };

/* What is looked at by itself: a tensor, or a block of one. */
struct qn_look {
    struct qn_unit *unit;
    struct qn_coded_rows rows;
    float abs_max; /* where qn_needs_abs_max() */
    bool settled;
};

/* One sweep over each of up to three batches. */
struct flight {
    struct qn_encoder *e;
    struct qn_batch *batch[SWEEPS]; /* by what is done to it; NULL: none */
    /* Of the units of the first and the looks of the others, one after the other. */
    struct qn_chunk_map map;
};

/* Where an item's elements are. */
struct piece {
    enum sweep sweep;
    struct qn_unit *unit;
    struct qn_look *look;
    uint64_t chunk, first; /* chunk: of the look, or of the unit; first: element of the tensor */
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

static bool in_one_go(const struct qn_unit *u)
{
    return u->t.n_blocks == 0 && u->t.layout.n_chunks == 1;
}

static size_t count_entries(const struct flight *f, enum sweep sweep)
{
    const struct qn_batch *b = f->batch[sweep];
    if (!b)
        return 0;
    return sweep == SWEEP_ENCODE ? b->n : b->n_looks;
}

/* The sweep that entry *I of the map is of; *I becomes its number there. */
static enum sweep sweep_of(const struct flight *f, size_t *i)
{
    enum sweep sweep = SWEEP_ENCODE;
    for (; *i >= count_entries(f, sweep); sweep++)
        *i -= count_entries(f, sweep);
    return sweep;
}

static uint64_t count_chunks(const void *ctx, size_t i)
{
    const struct flight *f = ctx;
    const enum sweep sweep = sweep_of(f, &i);
    const struct qn_batch *b = f->batch[sweep];
    if (sweep == SWEEP_ENCODE)
        return b->units[i].chunks_end - b->units[i].chunks_done;
    const struct qn_look *l = &b->looks[i];
    bool needed =
        sweep == SWEEP_ABS_MAX ? qn_needs_abs_max(l->rows.line) : qn_needs_search(l->rows.line);
    return needed && !l->unit->settled && !in_one_go(l->unit) ? l->rows.layout.n_chunks : 0;
}

static struct piece find_piece(const struct flight *f, uint64_t item)
{
    struct piece p;
    size_t i;
    uint64_t count, base = 0;
    qn_chunk_map_find(&f->map, item, &i, &p.chunk);
    p.sweep = sweep_of(f, &i);
    if (p.sweep == SWEEP_ENCODE) {
        p.unit = &f->batch[p.sweep]->units[i];
        p.look = p.unit->looks;
        p.chunk += p.unit->chunks_done;
        qn_layout_chunk(&p.unit->t.layout, p.chunk, &p.first, &count);
    } else {
        p.look = &f->batch[p.sweep]->looks[i];
        p.unit = p.look->unit;
        base = p.look->rows.first;
        qn_layout_chunk(&p.look->rows.layout, p.chunk, &p.first, &count);
    }
    p.first += base;
    p.count = (size_t)count;
    return p;
}

static enum qins_status read_piece(const struct flight *f, const struct piece *p,
                                   struct qn_workspace *w, struct qins_error *err)
{
    size_t size = qins_dtype_size(p->unit->t.tensor.dtype);
    enum qins_status st = qn_buf_resize(&w->source, p->count * size, err);
    if (st == QINS_OK)
        st = qn_checkpoint_read(f->e->source, p->unit->index, p->first * size, w->source.data,
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

static enum qins_status fail_nonfinite(const struct flight *f, const struct piece *p,
                                       const float *x, size_t index, struct qins_error *err)
{
    uint64_t element = p->first + index;
    uint64_t byte = element * qins_dtype_size(p->unit->t.tensor.dtype);
    const char *what = index < p->count && isnan(x[index]) ? "NaN" : "infinity";
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, f->e->source->path, p->unit->t.tensor.name,
                      QN_NO_OFFSET,
                      "%s at element %llu (byte %llu of the tensor) cannot be quantised; "
                      "--lossless keeps it",
                      what, (unsigned long long)element, (unsigned long long)byte);
}

static enum qins_status look_abs_max(const struct flight *f, const struct piece *p, const float *x,
                                     float *abs_max, struct qins_error *err)
{
    bool finite = true;
    *abs_max = qn_abs_max(x, p->count, &finite);
    if (!finite)
        return fail_nonfinite(f, p, x, qn_first_nonfinite(x, p->count), err);
    return QINS_OK;
}

static enum qins_status look_shape(const struct flight *f, const struct piece *p, const float *x,
                                   struct qn_hist *hist, struct qins_error *err)
{
    size_t bad;
    if (qn_shape_look(&p->look->rows, p->look->abs_max, x, p->count, hist, &bad))
        return QINS_OK;
    return fail_nonfinite(f, p, x, bad, err);
}

/* Reads and looks at every row whose number is a multiple of STRIDE. */
static enum qins_status sample_shape(const struct flight *f, const struct piece *p, uint64_t stride,
                                     struct qn_workspace *w, struct qn_hist *hist,
                                     struct qins_error *err)
{
    const struct qn_coded_rows *r = &p->look->rows;
    uint64_t length = r->layout.row_length;
    uint64_t row = (p->first - r->first) / length, end = row + p->count / length;
    enum qins_status st = QINS_OK;
    for (row = qn_div_up(row, stride) * stride; row < end && st == QINS_OK; row += stride) {
        struct piece one = {p->sweep,      p->unit, p->look, p->chunk, r->first + row * length,
                            (size_t)length};
        const float *x = NULL;
        st = read_piece(f, &one, w, err);
        if (st == QINS_OK)
            x = floats_of(&one, w, err);
        if (st == QINS_OK)
            st = x ? look_shape(f, &one, x, hist, err) : QINS_ERR_MEMORY;
    }
    return st;
}

/* All looks at a tensor of one chunk. */
static enum qins_status settle_now(const struct flight *f, const struct piece *p,
                                   struct qn_workspace *w, struct qins_error *err)
{
    struct qn_look *l = p->look;
    bool scale = qn_needs_abs_max(l->rows.line), search = qn_needs_search(l->rows.line);
    enum qins_status st = QINS_OK;
    if (scale || search) {
        const float *x = floats_of(p, w, err);
        if (!x)
            return QINS_ERR_MEMORY;
        if (scale)
            st = look_abs_max(f, p, x, &l->abs_max, err);
        w->hist = (struct qn_hist){0};
        if (st == QINS_OK && search)
            st = look_shape(f, p, x, &w->hist, err);
    }
    if (st == QINS_OK)
        qn_shape_settle(&l->rows, l->abs_max, &w->hist);
    p->unit->settled = st == QINS_OK;
    return st;
}

static enum qins_status encode_runs(const struct flight *f, const struct piece *p,
                                    const struct qn_feedback *feedback, struct qn_workspace *w,
                                    struct qn_buf *payload, struct qins_error *err)
{
    enum qins_status st = qn_shape_runs(&p->unit->t, p->first, p->count, feedback, &w->runs, err);
    if (st != QINS_OK)
        return st;
    const struct qn_chunk_run *runs = (const struct qn_chunk_run *)(const void *)w->runs.data;
    payload->size = 0;
    st = qn_chunk_encode_runs(runs, w->runs.size / sizeof *runs, w->source.data, &w->chunk, payload,
                              err);
    if (st == QINS_ERR_UNSUPPORTED && err && err->offset != QN_NO_OFFSET) {
        size_t index = (size_t)err->offset;
        const float *x = floats_of(p, w, err);
        return x ? fail_nonfinite(f, p, x, index, err) : QINS_ERR_MEMORY;
    }
    return st;
}

static enum qins_status encode_piece(const struct flight *f, const struct piece *p,
                                     struct qn_workspace *w, struct qn_encode_slot *slot,
                                     struct qins_error *err)
{
    const struct qn_archive_tensor *t = &p->unit->t;
    const struct qn_feedback *feedback = NULL;
    enum qins_status st = read_piece(f, p, w, err);
    if (st == QINS_OK && !p->unit->settled)
        st = settle_now(f, p, w, err);
    if (st != QINS_OK)
        return st;
    slot->leaf = qn_hash128(w->source.data, w->source.size);
    if (qn_plan_feeds_back(&t->plan, t->blocks, t->n_blocks))
        st = qn_feedback_acquire(f->e->feedback, &t->tensor, &feedback, err);
    if (st == QINS_OK)
        st = encode_runs(f, p, feedback, w, &slot->payload, err);
    if (feedback)
        qn_feedback_release(f->e->feedback, feedback);
    return st;
}

/* A look at a chunk of what has several, or is a block. */
static enum qins_status look_piece(const struct flight *f, const struct piece *p,
                                   struct qn_workspace *w, struct qn_encode_slot *slot,
                                   struct qins_error *err)
{
    uint64_t stride = p->sweep == SWEEP_SHAPE ? qn_shape_stride(&p->look->rows) : 1;
    slot->hist = (struct qn_hist){0};
    if (stride > 1)
        return sample_shape(f, p, stride, w, &slot->hist, err);
    enum qins_status st = read_piece(f, p, w, err);
    const float *x = st == QINS_OK ? floats_of(p, w, err) : NULL;
    if (!x)
        return st == QINS_OK ? QINS_ERR_MEMORY : st;
    if (p->sweep == SWEEP_ABS_MAX)
        return look_abs_max(f, p, x, &slot->abs_max, err);
    return look_shape(f, p, x, &slot->hist, err);
}

static enum qins_status work(void *ctx, unsigned slot_index, uint64_t item, struct qins_error *err)
{
    const struct flight *f = ctx;
    struct piece p = find_piece(f, item);
    struct qn_encode_slot *slot = &f->e->slot[slot_index];
    struct qn_workspace *w = qn_workspace_take(&f->e->pool);
    enum qins_status st = p.sweep == SWEEP_ENCODE ? encode_piece(f, &p, w, slot, err)
                                                  : look_piece(f, &p, w, slot, err);
    qn_workspace_give(&f->e->pool, w);
    qn_error_in_file(err, st, f->e->source->path);
    return qn_error_in_tensor(err, st, p.unit->t.tensor.name);
}

/* Tells the sink about B's units up to and including LAST; those before it are complete. */
static enum qins_status advance(struct qn_sink *sink, struct qn_batch *b,
                                const struct qn_unit *last, struct qins_error *err)
{
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

static enum qins_status emit_chunk(struct flight *f, const struct piece *p,
                                   struct qn_encode_slot *slot, struct qins_error *err)
{
    struct qn_encoder *e = f->e;
    enum qins_status st = advance(e->sink, f->batch[SWEEP_ENCODE], p->unit, err);
    if (st == QINS_OK)
        st = e->sink->chunk(e->sink, slot->payload.data, slot->payload.size, &slot->leaf, err);
    e->done += p->count * qins_dtype_size(p->unit->t.tensor.dtype);
    qn_progress(e->monitor, "converting", e->done, e->total);
    return st;
}

static enum qins_status emit(void *ctx, unsigned slot_index, uint64_t item, struct qins_error *err)
{
    struct flight *f = ctx;
    struct piece p = find_piece(f, item);
    struct qn_encode_slot *slot = &f->e->slot[slot_index];
    if (p.sweep == SWEEP_ENCODE)
        return emit_chunk(f, &p, slot, err);
    qn_progress(f->e->monitor, "converting", f->e->done, f->e->total); /* it is alive */
    if (p.sweep == SWEEP_ABS_MAX) {
        if (slot->abs_max > p.look->abs_max)
            p.look->abs_max = slot->abs_max;
        return QINS_OK;
    }
    if (p.chunk == 0)
        f->e->hist = slot->hist;
    else
        qn_hist_merge(&f->e->hist, &slot->hist);
    if (p.chunk + 1 == p.look->rows.layout.n_chunks) {
        qn_shape_settle(&p.look->rows, p.look->abs_max, &f->e->hist);
        p.look->settled = true;
    }
    return QINS_OK;
}

/* What had nothing to search, and what blocks have alike. */
static void settle_rest(struct qn_batch *b)
{
    for (size_t i = 0; i < b->n_looks; i++) {
        struct qn_look *l = &b->looks[i];
        if (!l->settled && !l->unit->settled && !in_one_go(l->unit))
            qn_shape_settle(&l->rows, l->abs_max, NULL);
    }
    for (size_t i = 0; i < b->n; i++) {
        struct qn_unit *u = &b->units[i];
        if (!u->settled && u->t.n_blocks)
            qn_shape_settle_blocks(&u->t);
        u->settled = u->settled || !in_one_go(u);
    }
}

enum qins_status qn_batch_init(struct qn_batch *b, struct qn_unit *units, size_t n,
                               struct qins_error *err)
{
    *b = (struct qn_batch){.units = units, .n = n};
    for (size_t i = 0; i < n; i++)
        b->n_looks += units[i].t.n_blocks ? units[i].t.n_blocks : 1;
    struct qn_look *l = b->looks = calloc(b->n_looks + 1, sizeof *b->looks);
    if (!l)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        struct qn_unit *u = &units[i];
        size_t count = u->t.n_blocks ? u->t.n_blocks : 1;
        u->looks = l;
        for (size_t k = 0; k < count; k++, l++) {
            l->unit = u;
            qn_coded_rows_init(&l->rows, &u->t, k);
        }
    }
    return QINS_OK;
}

void qn_batch_finish(struct qn_batch *b)
{
    free(b->looks);
    *b = (struct qn_batch){0};
}

enum qins_status qn_encode_flight(struct qn_encoder *e, struct qn_batch *encode,
                                  struct qn_batch *shape, struct qn_batch *abs_max,
                                  struct qins_error *err)
{
    struct flight f = {.e = e, .batch = {encode, shape, abs_max}};
    size_t n = 0;
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        n += count_entries(&f, (enum sweep)sweep);
    enum qins_status st = qn_chunk_map_init(&f.map, n, count_chunks, &f, err);
    struct qn_ordered job = {.work = work,
                             .emit = emit,
                             .ctx = &f,
                             .threads = e->threads,
                             .slots = e->slots,
                             .monitor = e->monitor};
    if (st == QINS_OK) {
        job.end = qn_chunk_map_total(&f.map);
        st = qn_run_ordered(&job, err);
    }
    if (st == QINS_OK && encode)
        st = advance(e->sink, encode, NULL, err);
    if (st == QINS_OK && shape)
        settle_rest(shape);
    qn_chunk_map_finish(&f.map);
    return st;
}
