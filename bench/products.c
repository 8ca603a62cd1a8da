#include "bench/products.h"

#include "core/linalg.h"

#include <stdlib.h>

struct product {
    const struct qn_matrix *w;
    /* The rows it sees: those from chosen * part / parts to chosen * (part + 1) / parts, times
     * the batch's. One part, but for experts, among whom the chosen rows are spread evenly. */
    size_t chosen, part, parts;
};

struct qn_products {
    struct product *list;
    size_t n, capacity;
    float *stand_in; /* as the largest weight that is not F32 */
    float *x, *y;    /* [batch][widest input], [batch][widest output] */
    size_t batch;
};

/* One product as the pool's items see it. */
struct pieces {
    const struct qn_products *p;
    const struct qn_matrix *w;
    size_t rows, n;
};

static enum qins_status add(struct qn_products *p, const struct qn_matrix *w, size_t chosen,
                            size_t part, size_t parts, struct qins_error *err)
{
    if (!w->name)
        return QINS_OK;
    if (p->n == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 64;
        struct product *list = realloc(p->list, capacity * sizeof *list);
        if (!list)
            return qn_fail_memory(err);
        p->list = list;
        p->capacity = capacity;
    }
    p->list[p->n++] = (struct product){w, chosen, part, parts};
    return QINS_OK;
}

static enum qins_status add_layer(struct qn_products *p, const struct qn_model *m,
                                  const struct qn_layer *l, struct qins_error *err)
{
    enum { N_SHARED = 6, N_OWN = 4 };
    const struct qn_matrix *const shared[N_SHARED] = {&l->q,   &l->k, &l->v,
                                                      &l->qkv, &l->o, &l->router};
    const struct qn_model_config *c = &m->config;
    size_t experts = c->n_experts ? c->n_experts : 1;
    size_t chosen = c->n_experts ? c->experts_per_token : 1;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < N_SHARED && st == QINS_OK; i++)
        st = add(p, shared[i], 1, 0, 1, err);
    for (size_t e = 0; e < experts && st == QINS_OK; e++) {
        const struct qn_mlp *mlp = &l->mlp[e];
        const struct qn_matrix *const own[N_OWN] = {&mlp->gate, &mlp->up, &mlp->gate_up,
                                                    &mlp->down};
        for (size_t i = 0; i < N_OWN && st == QINS_OK; i++)
            st = add(p, own[i], chosen, e, experts, err);
    }
    return st;
}

/* N floats, all the same: normal numbers, whose product's time does not depend on them. */
static float *filled(size_t n)
{
    float *data = malloc((n + 1) * sizeof *data);
    for (size_t i = 0; data && i < n; i++)
        data[i] = 0.01F;
    return data;
}

static enum qins_status make_buffers(struct qn_products *p, struct qins_error *err)
{
    size_t stand_in = 0, x_max = 0, y_max = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct qn_matrix *w = p->list[i].w;
        size_t size = w->transposed ? w->in * w->stride : w->out * w->stride;
        x_max = w->in > x_max ? w->in : x_max;
        y_max = w->out > y_max ? w->out : y_max;
        if (w->dtype != QINS_F32 && size > stand_in)
            stand_in = size;
    }
    p->x = filled(p->batch * x_max);
    p->y = filled(p->batch * y_max);
    p->stand_in = filled(stand_in);
    return p->x && p->y && p->stand_in ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status products_init(struct qn_products *p, const struct qn_model *m, size_t batch,
                                      struct qins_error *err)
{
    p->batch = batch;
    enum qins_status st = qn_linalg_init(err);
    for (uint32_t i = 0; i < m->config.n_layers && st == QINS_OK; i++)
        st = add_layer(p, m, &m->layers[i], err);
    if (st == QINS_OK)
        st = add(p, &m->head, 1, 0, 1, err);
    return st == QINS_OK ? make_buffers(p, err) : st;
}

enum qins_status qn_products_create(struct qn_products **out, const struct qn_model *m,
                                    size_t batch, struct qins_error *err)
{
    struct qn_products *p = calloc(1, sizeof *p);
    enum qins_status st = p ? products_init(p, m, batch, err) : qn_fail_memory(err);
    if (st != QINS_OK) {
        qn_products_destroy(p);
        p = NULL;
    }
    *out = p;
    return st;
}

void qn_products_destroy(struct qn_products *p)
{
    if (!p)
        return;
    free(p->list);
    free(p->stand_in);
    free(p->x);
    free(p->y);
    free(p);
}

static void multiply(void *ctx, unsigned worker, size_t item)
{
    const struct pieces *s = ctx;
    const struct qn_matrix *w = s->w;
    const float *weight = w->dtype == QINS_F32 ? w->data : s->p->stand_in;
    size_t extent = s->rows < s->n ? w->out : s->rows;
    size_t begin = extent * item / s->n, count = extent * (item + 1) / s->n - begin;
    (void)worker;
    if (count == 0)
        return;
    if (s->rows < s->n)
        qn_sgemm(false, !w->transposed, s->rows, count, w->in, 1.0F, s->p->x, w->in,
                 weight + begin * (w->transposed ? 1 : w->stride), w->stride, 0.0F, s->p->y + begin,
                 w->out);
    else
        qn_sgemm(false, !w->transposed, count, w->out, w->in, 1.0F, s->p->x + begin * w->in, w->in,
                 weight, w->stride, 0.0F, s->p->y + begin * w->out, w->out);
}

void qn_products_run(struct qn_products *p, struct qn_pool *pool, size_t rows, size_t head_rows)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct product *of = &p->list[i];
        size_t all = (i + 1 < p->n ? rows : head_rows) * of->chosen;
        size_t n = all * (of->part + 1) / of->parts - all * of->part / of->parts;
        struct pieces pieces = {p, of->w, n, qn_pool_threads(pool)};
        if (n > 0)
            qn_pool_run(pool, pieces.n, multiply, &pieces);
    }
}
