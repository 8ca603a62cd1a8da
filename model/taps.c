#include "model/taps.h"

#include "core/buf.h"

#include <stdlib.h>
#include <string.h>

/* Adds a point that the first of MATRICES that are there names: N of them. */
static enum qins_status add(struct qn_tap_list *list, struct qn_tap_point point,
                            const struct qn_matrix *const matrices[QN_POINT_TENSORS],
                            struct qins_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < QN_POINT_TENSORS; i++)
        if (matrices[i] && matrices[i]->name)
            point.tensors[n++] = matrices[i]->name;
    point.name =
        qn_format(err, "%s:%s", point.tensors[0], point.kind == QN_TAP_VALUE ? "output" : "input");
    if (!point.name)
        return QINS_ERR_MEMORY;
    list->points[list->n++] = point;
    return QINS_OK;
}

static enum qins_status add_attention(struct qn_tap_list *list, const struct qn_model_config *c,
                                      const struct qn_layer *l, uint32_t layer,
                                      struct qins_error *err)
{
    const struct qn_matrix *const all[QN_POINT_TENSORS] = {l->qkv.name ? &l->qkv : &l->q, &l->k,
                                                           &l->v};
    const struct qn_matrix *const value[QN_POINT_TENSORS] = {l->qkv.name ? &l->qkv : &l->v};
    const struct qn_matrix *const o[QN_POINT_TENSORS] = {&l->o};
    struct qn_tap_point p = {.kind = QN_TAP_ATTENTION, .layer = layer, .channels = c->hidden};
    enum qins_status st = add(list, p, all, err);
    p.kind = QN_TAP_VALUE;
    p.channels = c->n_kv_heads * c->head_dim;
    if (st == QINS_OK)
        st = add(list, p, value, err);
    p.kind = QN_TAP_O;
    p.channels = c->n_heads * c->head_dim;
    return st == QINS_OK ? add(list, p, o, err) : st;
}

static enum qins_status add_mlp(struct qn_tap_list *list, const struct qn_model_config *c,
                                const struct qn_mlp *mlp, uint32_t layer, uint32_t expert,
                                struct qins_error *err)
{
    const struct qn_matrix *const in[QN_POINT_TENSORS] = {&mlp->gate, &mlp->up, &mlp->gate_up};
    const struct qn_matrix *const down[QN_POINT_TENSORS] = {&mlp->down};
    struct qn_tap_point p = {
        .kind = QN_TAP_MLP, .layer = layer, .expert = expert, .channels = c->hidden};
    enum qins_status st = add(list, p, in, err);
    p.kind = QN_TAP_DOWN;
    p.channels = c->intermediate;
    return st == QINS_OK ? add(list, p, down, err) : st;
}

static enum qins_status add_layer(struct qn_tap_list *list, const struct qn_model *m,
                                  uint32_t layer, struct qins_error *err)
{
    const struct qn_model_config *c = &m->config;
    const struct qn_layer *l = &m->layers[layer];
    const struct qn_matrix *const router[QN_POINT_TENSORS] = {&l->router};
    struct qn_tap_point p = {.kind = QN_TAP_ROUTER, .layer = layer, .channels = c->hidden};
    enum qins_status st = add_attention(list, c, l, layer, err);
    if (st == QINS_OK && l->router.name)
        st = add(list, p, router, err);
    for (uint32_t i = 0; i < (c->n_experts ? c->n_experts : 1) && st == QINS_OK; i++)
        st = add_mlp(list, c, &l->mlp[i], layer, i, err);
    return st;
}

enum qins_status qn_taps_init(struct qn_tap_list *list, const struct qn_model *m,
                              struct qins_error *err)
{
    const struct qn_model_config *c = &m->config;
    const struct qn_matrix *const head[QN_POINT_TENSORS] = {&m->head};
    struct qn_tap_point p = {.kind = QN_TAP_HEAD, .channels = c->hidden};
    /* attention, value, o; router; two of each MLP; and the head at the end */
    size_t per_layer = c->n_experts ? 4 + 2 * (size_t)c->n_experts : 5;
    enum qins_status st = QINS_OK;
    *list =
        (struct qn_tap_list){.points = calloc(c->n_layers * per_layer + 1, sizeof *list->points)};
    if (!list->points)
        return qn_fail_memory(err);
    for (uint32_t i = 0; i < c->n_layers && st == QINS_OK; i++)
        st = add_layer(list, m, i, err);
    if (st == QINS_OK)
        st = add(list, p, head, err);
    if (st != QINS_OK)
        qn_taps_finish(list);
    return st;
}

void qn_taps_finish(struct qn_tap_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->points[i].name);
    free(list->points);
    *list = (struct qn_tap_list){0};
}
