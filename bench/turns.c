#include "bench/turns.h"

#include "model/weights_plan.h"

#include <stdlib.h>
#include <string.h>

static bool sees(const struct qn_tap_point *p, const char *name)
{
    for (size_t i = 0; p->kind != QN_TAP_VALUE && i < QN_POINT_TENSORS && p->tensors[i]; i++)
        if (strcmp(p->tensors[i], name) == 0)
            return true;
    return false;
}

static size_t bytes_of(const struct qn_matrix *m)
{
    const size_t bytes = m->out * m->in * qins_dtype_size(m->dtype);
    return (bytes + QN_WEIGHTS_ALIGNMENT - 1) / QN_WEIGHTS_ALIGNMENT * QN_WEIGHTS_ALIGNMENT;
}

/* Lists the pieces of what POINT feeds and gives these matrices places. *SIZE: of the buffer. */
static enum qins_status add_point(struct qn_turns *t, size_t point, size_t *size,
                                  struct qins_error *err)
{
    size_t n, n_matrices, at = 0;
    const struct qn_form_piece *pieces = qn_formed_pieces(t->formed, &n);
    const struct qn_matrix *const *matrices = qn_twin_matrices(t->twin, &n_matrices);
    const bool tied_head = t->formed->tied && point + 1 == t->taps.n;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        const size_t m = pieces[i].matrix;
        if (pieces[i].table || !sees(&t->taps.points[point], matrices[m]->name))
            continue;
        if (!tied_head && t->places[m] == SIZE_MAX) {
            t->places[m] = at;
            at += bytes_of(matrices[m]);
        }
        st = qn_buf_append(&t->order, &i, sizeof i, err);
    }
    *size = at > *size ? at : *size;
    t->begin[point + 1] = t->order.size / sizeof(size_t);
    return st;
}

/* Before the products with what it feeds. */
static void decode_point(void *ctx, size_t point, const float *x, size_t rows, size_t stride)
{
    struct qn_turns *t = ctx;
    const size_t *order = (const size_t *)(const void *)t->order.data + t->begin[point];
    (void)x;
    (void)stride;
    if (rows > 0 && t->begin[point + 1] > t->begin[point] &&
        !qn_twin_decode_some(t->twin, t->formed, order, t->begin[point + 1] - t->begin[point],
                             t->pool))
        t->failed = true;
}

enum qins_status qn_turns_init(struct qn_turns *t, struct qn_twin *twin, const struct qn_formed *f,
                               struct qn_pool *pool, struct qins_error *err)
{
    size_t n, size = 0;
    (void)qn_twin_matrices(twin, &n);
    *t = (struct qn_turns){.twin = twin, .formed = f, .pool = pool};
    t->listener = (struct qn_listener){.ctx = t, .rows = decode_point, .last_layer = UINT32_MAX};
    enum qins_status st = qn_taps_init(&t->taps, twin->model, err);
    if (st != QINS_OK)
        return st;
    t->begin = calloc(t->taps.n + 1, sizeof *t->begin);
    t->places = malloc(n * sizeof *t->places);
    t->own = calloc(n, sizeof *t->own);
    if (!t->begin || !t->places || !t->own)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        t->places[i] = SIZE_MAX;
    for (size_t i = 0; i < t->taps.n && st == QINS_OK; i++)
        st = add_point(t, i, &size, err);
    return st == QINS_OK ? qn_twin_hold(twin, size, err) : st;
}

void qn_turns_finish(struct qn_turns *t)
{
    qn_taps_finish(&t->taps);
    qn_buf_finish(&t->order);
    free(t->begin);
    free(t->places);
    free(t->own);
    *t = (struct qn_turns){0};
}

/* Every other matrix stays where it is. */
static void point_to(struct qn_turns *t, bool buffer)
{
    size_t n;
    const struct qn_matrix *const *matrices = qn_twin_matrices(t->twin, &n);
    for (size_t i = 0; i < n; i++) {
        struct qn_matrix *m = (struct qn_matrix *)(uintptr_t)matrices[i]; /* the owner's model */
        if (t->places[i] == SIZE_MAX)
            continue;
        if (buffer)
            t->own[i] = m->data;
        m->data = buffer ? t->twin->buffer + t->places[i] : t->own[i];
    }
}

void qn_turns_begin(struct qn_turns *t)
{
    t->failed = false;
    point_to(t, true);
}

enum qins_status qn_turns_end(struct qn_turns *t, struct qins_error *err)
{
    point_to(t, false);
    /* What was encoded here decodes. */
    return t->failed ? qn_fail_memory(err) : QINS_OK;
}
