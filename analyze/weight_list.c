#include "analyze/weight_list.h"

#include "core/buf.h"
#include "core/file.h"
#include "model/native.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char weight_suffix[] = ".weight", bias_suffix[] = ".bias";

struct walk {
    struct qn_weight_list *list;
    int64_t layer;
    struct qins_error *err;
};

/* Takes W with a name of its own: NAME of LENGTH bytes and SUFFIX. */
static enum qins_status add(const struct walk *walk, struct qn_weight w, const char *name,
                            size_t length, const char *suffix)
{
    struct qn_weight_list *l = walk->list;
    if (l->count == l->capacity) {
        const size_t grown = l->capacity ? 2 * l->capacity : 64;
        struct qn_weight *items = realloc(l->items, grown * sizeof *items);
        if (!items)
            return qn_fail_memory(walk->err);
        l->items = items;
        l->capacity = grown;
    }
    w.layer = walk->layer;
    w.name = qn_format(walk->err, "%.*s%s", (int)length, name, suffix);
    if (!w.name)
        return QINS_ERR_MEMORY;
    l->items[l->count++] = w;
    return QINS_OK;
}

static size_t stem(const char *name)
{
    const size_t length = strlen(name);
    return qn_has_suffix(name, weight_suffix) ? length - (sizeof weight_suffix - 1) : length;
}

static enum qins_status add_bias(const struct walk *walk, const char *name, const float *bias,
                                 size_t n)
{
    const struct qn_weight w = {.data = bias, .dtype = QINS_F32, .rows = 1, .row_length = n};
    return bias ? add(walk, w, name, stem(name), bias_suffix) : QINS_OK;
}

static enum qins_status add_matrix(const struct walk *walk, const struct qn_matrix *m)
{
    const struct qn_weight w = {.data = m->data,
                                .packed = m->packed,
                                .dtype = m->dtype,
                                .rows = m->transposed ? m->in : m->out,
                                .row_length = m->transposed ? m->out : m->in,
                                .matrix = true,
                                .native = qn_matrix_is_native(m)};
    if (!m->name)
        return QINS_OK;
    const enum qins_status st = add(walk, w, m->name, strlen(m->name), "");
    return st == QINS_OK ? add_bias(walk, m->name, m->bias, m->out) : st;
}

static enum qins_status add_norm(const struct walk *walk, const struct qn_norm *norm, size_t n)
{
    const struct qn_weight w = {
        .data = norm->weight, .dtype = QINS_F32, .rows = 1, .row_length = n};
    if (!norm->name)
        return QINS_OK;
    const enum qins_status st = add(walk, w, norm->name, strlen(norm->name), "");
    return st == QINS_OK ? add_bias(walk, norm->name, norm->bias, n) : st;
}

static enum qins_status add_mlp(const struct walk *walk, const struct qn_mlp *mlp)
{
    const struct qn_matrix *const all[] = {&mlp->gate, &mlp->up, &mlp->gate_up, &mlp->down};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < sizeof all / sizeof(const struct qn_matrix *) && st == QINS_OK; i++)
        st = add_matrix(walk, all[i]);
    return st;
}

static enum qins_status add_layer(const struct walk *walk, const struct qn_model_config *c,
                                  const struct qn_layer *l)
{
    const struct qn_matrix *const all[] = {&l->q, &l->k, &l->v, &l->qkv, &l->o, &l->router};
    const uint32_t experts = c->n_experts ? c->n_experts : 1;
    enum qins_status st = add_norm(walk, &l->attn_norm, c->hidden);
    for (size_t i = 0; i < sizeof all / sizeof(const struct qn_matrix *) && st == QINS_OK; i++)
        st = add_matrix(walk, all[i]);
    if (st == QINS_OK)
        st = add_norm(walk, &l->q_norm, c->head_dim);
    if (st == QINS_OK)
        st = add_norm(walk, &l->k_norm, c->head_dim);
    if (st == QINS_OK)
        st = add_norm(walk, &l->mlp_norm, c->hidden);
    for (uint32_t i = 0; i < experts && st == QINS_OK; i++)
        st = add_mlp(walk, &l->mlp[i]);
    return st;
}

enum qins_status qn_weight_list_of(struct qn_weight_list *list, const struct qn_model *m,
                                   struct qins_error *err)
{
    const struct qn_model_config *c = &m->config;
    struct walk walk = {.list = list, .layer = -1, .err = err};
    enum qins_status st = add_matrix(&walk, &m->embedding);
    if (st == QINS_OK)
        st = add_matrix(&walk, &m->positions);
    for (uint32_t i = 0; i < c->n_layers && st == QINS_OK; i++) {
        walk.layer = (int64_t)i;
        st = add_layer(&walk, c, &m->layers[i]);
    }
    walk.layer = -1;
    if (st == QINS_OK)
        st = add_norm(&walk, &m->final_norm, c->hidden);
    if (st == QINS_OK && !c->tied)
        st = add_matrix(&walk, &m->head);
    return st;
}

void qn_weight_list_finish(struct qn_weight_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].name);
    free(list->items);
    *list = (struct qn_weight_list){0};
}

const char *qn_weight_component(const char *name, size_t *length)
{
    const char *const suffixes[] = {weight_suffix, bias_suffix};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (qn_has_suffix(name, suffixes[i])) {
            n -= strlen(suffixes[i]);
            break;
        }
    }
    size_t begin = n;
    while (begin > 0 && name[begin - 1] != '.')
        begin--;
    *length = n - begin;
    return name + begin;
}
