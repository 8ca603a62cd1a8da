/* Which tensors a model has, and how many tokens each took part in. */
#include "convert/calibrate_job.h"

#include "core/buf.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>

/* The model's tensors; owner is 0 for those that every token needs, or 1 + layer * n_experts +
 * expert. */
struct name_list {
    char **items;
    size_t *owners;
    size_t n, capacity;
    size_t owner; /* of what is added now */
    struct qins_error *err;
    bool failed;
};

static void grow(struct name_list *l)
{
    const size_t capacity = l->capacity ? 2 * l->capacity : 64;
    char **items = realloc(l->items, capacity * sizeof *items);
    if (items)
        l->items = items;
    size_t *owners = realloc(l->owners, capacity * sizeof *owners);
    if (owners)
        l->owners = owners;
    l->failed = !items || !owners;
    if (!l->failed)
        l->capacity = capacity;
}

static void add_name(struct name_list *l, char *name)
{
    if (l->n == l->capacity && !l->failed)
        grow(l);
    if (!name || l->failed) {
        l->failed = true;
        free(name);
        return;
    }
    l->owners[l->n] = l->owner;
    l->items[l->n++] = name;
}

/* "….weight" and, where there is one, "….bias". */
static void add_weight(struct name_list *l, const char *name, bool bias)
{
    static const char suffix[] = "weight";
    if (!name)
        return;
    add_name(l, qn_strdup(name, l->err));
    if (bias && qn_has_suffix(name, suffix))
        add_name(l, qn_format(l->err, "%.*sbias", (int)(strlen(name) - strlen(suffix)), name));
}

static void add_matrix(struct name_list *l, const struct qn_matrix *m)
{
    add_weight(l, m->name, m->bias != NULL);
}

static void add_norm(struct name_list *l, const struct qn_norm *n)
{
    add_weight(l, n->name, n->bias != NULL);
}

static void add_mlp(struct name_list *l, const struct qn_mlp *mlp)
{
    add_matrix(l, &mlp->gate);
    add_matrix(l, &mlp->up);
    add_matrix(l, &mlp->gate_up);
    add_matrix(l, &mlp->down);
}

static void add_layer(struct name_list *l, const struct qn_model *m, uint32_t number)
{
    const struct qn_layer *layer = &m->layers[number];
    const uint32_t experts = m->config.n_experts;
    add_norm(l, &layer->attn_norm);
    add_matrix(l, &layer->q);
    add_matrix(l, &layer->k);
    add_matrix(l, &layer->v);
    add_matrix(l, &layer->qkv);
    add_norm(l, &layer->q_norm);
    add_norm(l, &layer->k_norm);
    add_matrix(l, &layer->o);
    add_norm(l, &layer->mlp_norm);
    add_matrix(l, &layer->router);
    for (uint32_t i = 0; i < (experts ? experts : 1); i++) {
        l->owner = experts ? 1 + (size_t)number * experts + i : 0;
        add_mlp(l, &layer->mlp[i]);
    }
    l->owner = 0;
}

static enum qins_status list_tensors(struct name_list *l, const struct qn_model *m,
                                     struct qins_error *err)
{
    *l = (struct name_list){.err = err};
    add_matrix(l, &m->embedding);
    add_matrix(l, &m->positions);
    for (uint32_t i = 0; i < m->config.n_layers; i++)
        add_layer(l, m, i);
    add_norm(l, &m->final_norm);
    if (!m->config.tied)
        add_matrix(l, &m->head);
    return l->failed ? qn_fail_memory(err) : QINS_OK;
}

static void list_finish(struct name_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    free(l->owners);
}

enum qins_status qn_calibrate_access_init(struct qn_calibrating *job, struct qins_error *err)
{
    const struct qn_model_config *c = &job->m->config;
    struct name_list l;
    enum qins_status st = list_tensors(&l, job->m, err);
    job->c.has_access = true;
    if (st == QINS_OK)
        st = qn_access_init(&job->c.access, (const char *const *)l.items, l.n, c->vocab,
                            c->n_layers, c->n_experts, err);
    list_finish(&l);
    return st;
}

enum qins_status qn_calibrate_touches(struct qn_calibrating *job, struct qins_error *err)
{
    struct qn_access *a = &job->c.access;
    struct name_list l;
    enum qins_status st = list_tensors(&l, job->m, err);
    for (size_t i = 0; i < l.n && i < a->n_tensors && st == QINS_OK; i++)
        a->touches[i] = l.owners[i] ? a->experts[l.owners[i] - 1] : job->c.tokens;
    list_finish(&l);
    return st;
}
