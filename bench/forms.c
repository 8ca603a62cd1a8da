#include "bench/forms.h"

#include "model/fused.h"
#include "model/weights_plan.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const struct qn_form_piece *qn_formed_pieces(const struct qn_formed *f, size_t *n)
{
    *n = f->pieces.size / sizeof(struct qn_form_piece);
    return (const struct qn_form_piece *)(const void *)f->pieces.data;
}

/* Keeps a copy of a payload. */
static enum qins_status keep(struct qn_formed *f, struct qn_form_piece piece,
                             const uint8_t *payload, struct qins_error *err)
{
    struct qn_chunk_info info;
    enum qins_status st = qn_chunk_inspect(payload, piece.size, &info, err);
    if (st != QINS_OK)
        return st;
    piece.payload = malloc(piece.size);
    if (!piece.payload)
        return qn_fail_memory(err);
    memcpy(piece.payload, payload, piece.size);
    pthread_mutex_lock(&f->lock);
    st = qn_buf_append(&f->pieces, &piece, sizeof piece, err);
    f->payload_bytes += piece.size;
    f->weights += piece.n;
    f->fell_back += info.codec != f->form->codec ? piece.n : 0;
    pthread_mutex_unlock(&f->lock);
    if (st != QINS_OK)
        free(piece.payload);
    return st;
}

/* Weights that are coded are still there when they are asked for. */
static enum qins_status encode(void *ctx, const struct qn_fused_item *item, uint64_t chunk,
                               uint64_t first, uint64_t count, struct qn_chunk_work *work,
                               struct qn_buf *out, struct qins_error *err)
{
    struct qn_formed *f = ctx;
    const struct qn_matrix *m = item->matrix;
    const struct qn_chunk_params params = {.content = QN_CONTENT_QINS,
                                           .dtype = m->dtype,
                                           .codec = f->form->codec,
                                           .levels = f->form->levels,
                                           .kappa = f->form->kappa,
                                           .clip = 1.0F,
                                           .row_length = m->in,
                                           .group = m->in};
    const uint8_t *from = (const uint8_t *)m->data + first * qins_dtype_size(m->dtype);
    (void)chunk;
    out->size = 0;
    enum qins_status st = qn_chunk_encode(&params, from, (size_t)count, work, out, err);
    const struct qn_form_piece piece = {.matrix = item->source,
                                        .first = first,
                                        .n = (size_t)count,
                                        .size = out->size,
                                        .dtype = m->dtype,
                                        .table = item->looked_up && !f->tied};
    return st == QINS_OK ? keep(f, piece, out->data, err) : st;
}

enum qins_status qn_formed_init(struct qn_formed *f, const struct qn_form *form,
                                const struct qn_model *m, unsigned threads,
                                const struct qn_monitor *monitor, struct qins_error *err)
{
    const struct qn_fused_source source = {.payload = encode, .ctx = f, .what = "coding weights"};
    *f =
        (struct qn_formed){.form = form, .tied = m->config.tied, .lock = PTHREAD_MUTEX_INITIALIZER};
    return qn_model_code(&f->model, m, &source, threads, monitor, err);
}

void qn_formed_finish(struct qn_formed *f)
{
    size_t n;
    const struct qn_form_piece *p = qn_formed_pieces(f, &n);
    for (size_t i = 0; i < n; i++)
        free(p[i].payload);
    qn_buf_finish(&f->pieces);
    qn_model_destroy(f->model);
    *f = (struct qn_formed){0};
}

static enum qins_status collect(void *ctx, const struct qn_need *need, struct qins_error *err)
{
    struct qn_twin *t = ctx;
    return need->matrix
               ? qn_buf_append(&t->matrices, &need->matrix, sizeof(struct qn_matrix *), err)
               : QINS_OK;
}

enum qins_status qn_twin_init(struct qn_twin *t, struct qn_model *model, unsigned threads,
                              struct qins_error *err)
{
    *t = (struct qn_twin){.model = model, .threads = threads};
    t->works = calloc(threads, sizeof *t->works);
    return t->works ? qn_weights_each(model, "", collect, t, err) : qn_fail_memory(err);
}

void qn_twin_finish(struct qn_twin *t)
{
    for (unsigned i = 0; t->works && i < t->threads; i++)
        qn_chunk_work_finish(&t->works[i]);
    free(t->works);
    free(t->buffer);
    qn_buf_finish(&t->matrices);
}

enum qins_status qn_twin_hold(struct qn_twin *t, size_t size, struct qins_error *err)
{
    if (size <= t->buffer_bytes)
        return QINS_OK;
    free(t->buffer);
    t->buffer = qn_weights_block(size);
    t->buffer_bytes = t->buffer ? size : 0;
    if (!t->buffer)
        return qn_fail_memory(err);
    memset(t->buffer, 0, size); /* pages are found before anything is timed */
    return QINS_OK;
}

const struct qn_matrix *const *qn_twin_matrices(const struct qn_twin *t, size_t *n)
{
    *n = t->matrices.size / sizeof(struct qn_matrix *);
    return (const struct qn_matrix *const *)(const void *)t->matrices.data;
}

struct decoding {
    struct qn_twin *twin;
    const struct qn_form_piece *pieces;
    const size_t *order; /* of those that are decoded; NULL: all */
    bool tables;
    atomic_bool failed;
};

static void decode_piece(void *ctx, unsigned worker, size_t item)
{
    struct decoding *d = ctx;
    const struct qn_form_piece *p = &d->pieces[d->order ? d->order[item] : item];
    size_t n;
    uint8_t *to = (uint8_t *)(uintptr_t)qn_twin_matrices(d->twin, &n)[p->matrix]->data;
    if ((!p->table || d->tables) &&
        qn_chunk_decode(p->payload, p->size, p->dtype, p->n, false, &d->twin->works[worker],
                        to + p->first * qins_dtype_size(p->dtype), NULL) != QINS_OK)
        atomic_store(&d->failed, true);
}

enum qins_status qn_twin_decode(struct qn_twin *t, const struct qn_formed *f, bool tables,
                                struct qn_pool *pool, struct qins_error *err)
{
    struct decoding d = {.twin = t, .tables = tables};
    size_t n;
    d.pieces = qn_formed_pieces(f, &n);
    qn_pool_run(pool, n, decode_piece, &d);
    /* What was encoded here decodes. */
    return atomic_load(&d.failed) ? qn_fail_memory(err) : QINS_OK;
}

bool qn_twin_decode_some(struct qn_twin *t, const struct qn_formed *f, const size_t *order,
                         size_t n, struct qn_pool *pool)
{
    struct decoding d = {.twin = t, .order = order};
    size_t all;
    d.pieces = qn_formed_pieces(f, &all);
    qn_pool_run(pool, n, decode_piece, &d);
    return !atomic_load(&d.failed);
}
