#include "model/fused.h"

#include "core/buf.h"
#include "formats/archive/chunk_map.h"
#include "model/packed.h"
#include "model/weights_plan.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What a model owns. */
struct qn_fused {
    struct qn_packed *matrices;
    size_t n;
    uint8_t *rooms;
};

/* A chunk of an item between its reading and its place. */
struct chunk {
    struct qn_buf payload;
    size_t runs, rooms; /* in it; bytes that they want */
    size_t first_run;   /* of its matrix */
    uint64_t place;     /* in the block */
};

struct loading {
    struct qn_fused_item *items;
    const struct qn_fused_source *source;
    const struct qn_monitor *monitor;
    struct qn_chunk_map map;
    struct chunk *chunks;        /* as the map numbers them */
    atomic_bool *refused;        /* of each item */
    struct qn_chunk_work *works; /* [threads] */
    unsigned threads;
    struct qn_fused *fused;
    size_t *packed; /* the number of each item's matrix there */
};

bool qn_fused_cut(struct qn_layout *layout, size_t out, size_t in)
{
    const uint64_t shape[2] = {out, in};
    qn_layout_init(layout, 2, shape);
    return layout->split_axis == 0 && layout->n_chunks > 0;
}

void qn_fused_destroy(struct qn_fused *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n; i++)
        qn_packed_finish(&f->matrices[i]);
    free(f->matrices);
    free(f->rooms);
    free(f);
}

static uint64_t count_chunks(const void *ctx, size_t index)
{
    const struct loading *l = ctx;
    return l->items[index].layout.n_chunks;
}

/* Of a payload, one after the other. */
struct parts {
    struct qn_part_walk walk;
    struct qn_chunk_header header;
};

static enum qins_status parts_begin(struct parts *p, const struct qn_fused_item *x,
                                    const struct chunk *c, uint64_t count, struct qins_error *err)
{
    enum qins_status st = qn_chunk_parse(c->payload.data, c->payload.size, &p->header, err);
    if (st == QINS_OK)
        st = qn_chunk_check_shape(&p->header, x->dtype, (size_t)count, err);
    if (st == QINS_OK)
        qn_part_walk_init(&p->walk, &p->header, c->payload.data);
    return st;
}

/* A chunk's place among all: the item and the chunk of it, and its elements. */
struct where {
    size_t item;
    uint64_t index, first, count;
};

static struct where find(const struct loading *l, uint64_t number)
{
    struct where w;
    qn_chunk_map_find(&l->map, number, &w.item, &w.index);
    qn_layout_chunk(&l->items[w.item].layout, w.index, &w.first, &w.count);
    return w;
}

/* Fetches a chunk and sees what its runs want. */
static enum qins_status fetch(void *ctx, unsigned slot, uint64_t number, struct qins_error *err)
{
    struct loading *l = ctx;
    struct chunk *c = &l->chunks[number];
    const struct where w = find(l, number);
    const struct qn_fused_item *x = &l->items[w.item];
    struct parts p;
    bool more = true;
    if (atomic_load(&l->refused[w.item]))
        return QINS_OK;
    enum qins_status st = l->source->payload(l->source->ctx, x, w.index, w.first, w.count,
                                             &l->works[slot], &c->payload, err);
    if (st == QINS_OK)
        st = parts_begin(&p, x, c, w.count, err);
    while (st == QINS_OK && more) {
        st = qn_part_next(&p.walk, &more, err);
        if (st != QINS_OK || !more)
            break;
        if (!qn_packed_takes(&p.walk.part, x->matrix->in)) {
            atomic_store(&l->refused[w.item], true);
            break;
        }
        c->rooms += qn_packed_room(&p.walk.part, x->looked_up);
        c->runs++;
    }
    if (atomic_load(&l->refused[w.item]))
        qn_buf_finish(&c->payload);
    return qn_error_in_tensor(err, st, x->matrix->name);
}

/* Copies a chunk's runs to their rooms. */
static enum qins_status place(void *ctx, unsigned slot, uint64_t number, struct qins_error *err)
{
    struct loading *l = ctx;
    struct chunk *c = &l->chunks[number];
    const struct where w = find(l, number);
    const struct qn_fused_item *x = &l->items[w.item];
    struct parts p;
    bool more = true;
    if (x->refused)
        return QINS_OK;
    struct qn_packed *packed = &l->fused->matrices[l->packed[w.item]];
    uint8_t *room = l->fused->rooms + c->place;
    enum qins_status st = parts_begin(&p, x, c, w.count, err);
    for (size_t run = c->first_run; st == QINS_OK; run++) {
        st = qn_part_next(&p.walk, &more, err);
        if (st != QINS_OK || !more)
            break;
        st = qn_packed_add(packed, run, (size_t)(w.first + p.walk.first) / x->matrix->in,
                           p.walk.payload, (size_t)p.walk.part.info.payload_size, room,
                           &l->works[slot], err);
        room += qn_packed_room(&p.walk.part, x->looked_up);
    }
    qn_buf_finish(&c->payload);
    return qn_error_in_tensor(err, st, x->matrix->name);
}

static enum qins_status tell(void *ctx, unsigned slot, uint64_t number, struct qins_error *err)
{
    const struct loading *l = ctx;
    (void)slot;
    (void)err;
    qn_progress_of(l->monitor, l->source->what, "chunks", number + 1, qn_chunk_map_total(&l->map));
    return QINS_OK;
}

/* Drops what is refused and gives the rest its places. */
static enum qins_status settle(struct loading *l, size_t n, struct qins_error *err)
{
    struct qn_fused *f = l->fused;
    uint64_t total = 0;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        struct qn_fused_item *x = &l->items[i];
        size_t runs = 0;
        x->refused = atomic_load(&l->refused[i]);
        for (uint64_t k = l->map.first[i]; k < l->map.first[i + 1]; k++) {
            struct chunk *c = &l->chunks[k];
            if (x->refused) {
                qn_buf_finish(&c->payload);
                continue;
            }
            c->first_run = runs;
            c->place = total;
            runs += c->runs;
            total += c->rooms;
        }
        if (x->refused)
            continue;
        struct qn_packed *p = &f->matrices[f->n];
        l->packed[i] = f->n++;
        st = qn_packed_init(p, x->matrix->out, x->matrix->in, x->looked_up, runs, err);
        if (st == QINS_OK && p != f->matrices)
            qn_packed_share_grids(p, f->matrices);
    }
    if (st == QINS_OK)
        f->rooms = qn_weights_block(total);
    return st != QINS_OK || f->rooms ? st : qn_fail_memory(err);
}

static enum qins_status run(struct loading *l,
                            enum qins_status (*work)(void *ctx, unsigned slot, uint64_t item,
                                                     struct qins_error *err),
                            struct qins_error *err)
{
    const struct qn_ordered job = {.work = work,
                                   .emit = tell,
                                   .ctx = l,
                                   .threads = l->threads,
                                   .slots = l->threads,
                                   .end = qn_chunk_map_total(&l->map),
                                   .monitor = l->monitor};
    return qn_run_ordered(&job, err);
}

/* The matrices learn of it at last. */
static enum qins_status hand_over(struct loading *l, struct qn_model *m, size_t n,
                                  struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < l->fused->n && st == QINS_OK; i++)
        st = qn_packed_seal(&l->fused->matrices[i], err);
    if (st != QINS_OK)
        return st;
    m->fused = (struct qn_fused_figures){.on = true};
    for (size_t i = 0; i < n; i++) {
        const struct qn_fused_item *x = &l->items[i];
        if (x->refused)
            continue;
        struct qn_packed *p = &l->fused->matrices[l->packed[i]];
        const uint64_t elements = (uint64_t)p->out * p->in;
        if (x->matrix->data)
            m->weight_bytes -= elements * qins_dtype_size(x->matrix->dtype);
        else
            m->n_parameters += elements;
        x->matrix->packed = p;
        x->matrix->data = NULL;
        x->matrix->dtype = QINS_F32;
        m->fused.matrices++;
        m->fused.coded_bytes += p->bytes;
    }
    if (l->fused->n > 0)
        m->fused.coded_bytes += qn_packed_grid_bytes(l->fused->matrices);
    m->weight_bytes += m->fused.coded_bytes;
    m->coded = l->fused;
    l->fused = NULL;
    return QINS_OK;
}

static enum qins_status prepare(struct loading *l, size_t n, struct qins_error *err)
{
    enum qins_status st = qn_chunk_map_init(&l->map, n, count_chunks, l, err);
    if (st != QINS_OK)
        return st;
    l->chunks = calloc(qn_chunk_map_total(&l->map) + 1, sizeof *l->chunks);
    l->refused = calloc(n + 1, sizeof *l->refused);
    l->packed = calloc(n + 1, sizeof *l->packed);
    l->works = calloc(l->threads, sizeof *l->works);
    l->fused = calloc(1, sizeof *l->fused);
    if (!l->chunks || !l->refused || !l->packed || !l->works || !l->fused)
        return qn_fail_memory(err);
    l->fused->matrices = calloc(n + 1, sizeof *l->fused->matrices);
    return l->fused->matrices ? QINS_OK : qn_fail_memory(err);
}

static void finish(struct loading *l)
{
    for (uint64_t i = 0; l->chunks && i < qn_chunk_map_total(&l->map); i++)
        qn_buf_finish(&l->chunks[i].payload);
    for (unsigned i = 0; l->works && i < l->threads; i++)
        qn_chunk_work_finish(&l->works[i]);
    qn_fused_destroy(l->fused);
    qn_chunk_map_finish(&l->map);
    free(l->chunks);
    free(l->refused);
    free(l->packed);
    free(l->works);
}

enum qins_status qn_fused_load(struct qn_model *m, struct qn_fused_item *items, size_t n,
                               const struct qn_fused_source *source, unsigned threads,
                               const struct qn_monitor *monitor, struct qins_error *err)
{
    struct loading l = {
        .items = items, .source = source, .monitor = monitor, .threads = threads ? threads : 1};
    enum qins_status st = prepare(&l, n, err);
    if (st == QINS_OK)
        st = run(&l, fetch, err);
    if (st == QINS_OK)
        st = settle(&l, n, err);
    if (st == QINS_OK)
        st = run(&l, place, err);
    if (st == QINS_OK)
        st = hand_over(&l, m, n, err);
    finish(&l);
    return st;
}

/* Matrices of a model that is there, to be coded. */
struct coding {
    struct qn_fused_item *items;
    size_t n, visited;
    size_t capacity;
};

static enum qins_status collect(void *ctx, const struct qn_need *need, struct qins_error *err)
{
    struct coding *c = ctx;
    const size_t number = c->visited;
    struct qn_fused_item x = {.matrix = need->matrix,
                              .source = number,
                              .dtype = need->matrix ? need->matrix->dtype : QINS_DTYPE_INVALID};
    if (!need->matrix)
        return QINS_OK;
    c->visited++;
    if (need->matrix->transposed || !qn_fused_cut(&x.layout, need->out, need->in))
        return QINS_OK;
    if (c->n == c->capacity) {
        const size_t grown = c->capacity ? 2 * c->capacity : 64;
        struct qn_fused_item *items = realloc(c->items, grown * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        c->items = items;
        c->capacity = grown;
    }
    c->items[c->n++] = x;
    return QINS_OK;
}

/* All that M has, its matrices too. */
static enum qins_status copy_model(struct qn_model **out, const struct qn_model *m,
                                   struct qins_error *err)
{
    const size_t mlps = m->config.n_experts ? m->config.n_experts : 1;
    struct qn_model *c = calloc(1, sizeof *c);
    *out = c;
    if (!c)
        return qn_fail_memory(err);
    c->config = m->config;
    c->path = qn_strdup(m->path, err);
    enum qins_status st = c->path ? qn_weights_allocate(c, err) : QINS_ERR_MEMORY;
    if (st != QINS_OK)
        return st;
    c->embedding = m->embedding;
    c->positions = m->positions;
    c->head = m->head;
    c->final_norm = m->final_norm;
    c->fingerprint = m->fingerprint;
    c->n_parameters = m->n_parameters;
    c->weight_bytes = m->weight_bytes;
    for (uint32_t i = 0; i < m->config.n_layers; i++) {
        struct qn_mlp *mlp = c->layers[i].mlp;
        c->layers[i] = m->layers[i];
        c->layers[i].mlp = mlp;
        memcpy(mlp, m->layers[i].mlp, mlps * sizeof *mlp);
    }
    return QINS_OK;
}

enum qins_status qn_model_code(struct qn_model **out, const struct qn_model *m,
                               const struct qn_fused_source *source, unsigned threads,
                               const struct qn_monitor *monitor, struct qins_error *err)
{
    struct coding c = {0};
    struct qn_model *copy;
    *out = NULL;
    enum qins_status st = copy_model(&copy, m, err);
    if (st == QINS_OK)
        st = qn_weights_each(copy, "", collect, &c, err);
    for (size_t i = 0; i < c.n; i++)
        c.items[i].looked_up =
            c.items[i].matrix == &copy->embedding || c.items[i].matrix == &copy->positions;
    if (st == QINS_OK)
        st = qn_fused_load(copy, c.items, c.n, source, threads, monitor, err);
    if (st == QINS_OK) {
        qn_weights_tie(copy);
        copy->fused.decoded = c.visited - copy->fused.matrices;
        *out = copy;
    } else {
        qn_model_destroy(copy);
    }
    free(c.items);
    return st;
}

void qn_fused_report(json_t **j, const struct qn_model *m)
{
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {{"fused_matrices", m->fused.matrices},
                  {"decoded_matrices", m->fused.decoded},
                  {"coded_bytes", m->fused.coded_bytes}};
    qn_json_put(j, "weight_bytes", json_integer((json_int_t)m->weight_bytes));
    if (!m->fused.on)
        return;
    qn_json_put(j, "fused", json_true());
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        qn_json_put(j, counts[i].key, json_integer((json_int_t)counts[i].value));
}
