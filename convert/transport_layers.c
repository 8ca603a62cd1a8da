/* Which layers are fitted. */
#include "convert/transport_work.h"
#include "core/buf.h"
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

/* What "all" stands for: q and k only when they are asked for by name. */
static const enum qn_projection all_roles[] = {QN_PROJECTION_V, QN_PROJECTION_O, QN_PROJECTION_DOWN,
                                               QN_PROJECTION_GATE, QN_PROJECTION_UP};
enum { N_ALL_ROLES = sizeof all_roles / sizeof *all_roles };

/* In the order of execution. */
static const enum qn_projection of_attention[] = {QN_PROJECTION_Q, QN_PROJECTION_K, QN_PROJECTION_V,
                                                  QN_PROJECTION_O};
static const enum qn_projection of_expert[] = {QN_PROJECTION_GATE, QN_PROJECTION_UP,
                                               QN_PROJECTION_DOWN};

/* A part of the list: a role, or a glob. */
struct wish {
    char *text;
    enum qn_projection role; /* QN_PROJECTIONS: a glob */
    bool met;
};

struct selection {
    struct qn_model *m;
    bool all;
    struct wish *wishes;
    size_t n_wishes;
    struct qn_fitted_layers *out;
    size_t capacity;
};

/* Length of TEXT up to a comma outside braces and brackets. */
static size_t part_length(const char *text)
{
    size_t n = 0;
    int depth = 0;
    for (; text[n] && (text[n] != ',' || depth > 0); n++) {
        depth += text[n] == '{' || text[n] == '[';
        depth -= (text[n] == '}' || text[n] == ']') && depth > 0;
    }
    return n;
}

static enum qins_status add_wish(struct selection *s, const char *text, size_t n,
                                 struct qins_error *err)
{
    struct wish *w = &s->wishes[s->n_wishes];
    w->text = qn_strndup(text, n, err);
    if (!w->text)
        return QINS_ERR_MEMORY;
    s->n_wishes++;
    w->role = qn_projection_of(w->text);
    if (strcmp(w->text, "all") == 0) {
        s->all = w->met = true;
        return QINS_OK;
    }
    if (n == 0 || (w->role == QN_PROJECTIONS && !qn_glob_valid(w->text)))
        return qn_fail(err, QINS_ERR_USAGE, "'%s' is neither a layer's role nor a glob", w->text);
    return QINS_OK;
}

static enum qins_status parse(struct selection *s, const char *text, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    s->wishes = calloc(strlen(text) + 1, sizeof *s->wishes);
    if (!s->wishes)
        return qn_fail_memory(err);
    for (size_t n;; text += n + 1) {
        n = part_length(text);
        st = add_wish(s, text, n, err);
        if (st != QINS_OK || !text[n])
            return st;
    }
}

static bool is_wanted(struct selection *s, enum qn_projection role, const char *tensor)
{
    bool wanted = false;
    for (size_t i = 0; i < N_ALL_ROLES && s->all; i++)
        wanted |= all_roles[i] == role;
    for (size_t i = 0; i < s->n_wishes; i++) {
        struct wish *w = &s->wishes[i];
        const bool fits =
            w->role == QN_PROJECTIONS ? qn_glob_match(w->text, tensor) : w->role == role;
        w->met |= fits;
        wanted |= fits;
    }
    return wanted;
}

static enum qins_status add_parts(struct selection *s, const enum qn_projection *roles, size_t n,
                                  uint32_t layer, uint32_t expert, struct qins_error *err)
{
    struct qn_fitted_layers *out = s->out;
    for (size_t i = 0; i < n; i++) {
        struct qn_fitted_layer l = {.projection = roles[i], .layer = layer, .expert = expert};
        if (!qn_model_part(s->m, roles[i], layer, expert, &l.part) ||
            !is_wanted(s, roles[i], l.part.matrix->name))
            continue;
        if (out->n == s->capacity) {
            s->capacity = 2 * s->capacity + 16;
            struct qn_fitted_layer *grown = realloc(out->items, s->capacity * sizeof *out->items);
            if (!grown)
                return qn_fail_memory(err);
            out->items = grown;
        }
        out->items[out->n++] = l;
    }
    return QINS_OK;
}

static enum qins_status collect(struct selection *s, struct qins_error *err)
{
    const struct qn_model_config *c = &s->m->config;
    enum qins_status st = QINS_OK;
    for (uint32_t i = 0; i < c->n_layers && st == QINS_OK; i++) {
        st = add_parts(s, of_attention, sizeof of_attention / sizeof *of_attention, i, 0, err);
        for (uint32_t e = 0; e < (c->n_experts ? c->n_experts : 1) && st == QINS_OK; e++)
            st = add_parts(s, of_expert, sizeof of_expert / sizeof *of_expert, i, e, err);
    }
    for (size_t i = 0; i < s->n_wishes && st == QINS_OK; i++)
        if (!s->wishes[i].met)
            st = qn_fail_at(err, QINS_ERR_USAGE, s->m->path, NULL, QN_NO_OFFSET,
                            "it has no layer '%s'; give v_proj, o_proj, down_proj, gate_proj, "
                            "up_proj, q_proj, k_proj, all, or a glob of weights' names",
                            s->wishes[i].text);
    return st;
}

enum qins_status qn_fitted_layers_select(struct qn_model *m, const char *text,
                                         struct qn_fitted_layers *out, struct qins_error *err)
{
    struct selection s = {.m = m, .out = out};
    *out = (struct qn_fitted_layers){0};
    enum qins_status st = parse(&s, text ? text : qn_projection_name(QN_PROJECTION_V), err);
    if (st == QINS_OK)
        st = collect(&s, err);
    for (size_t i = 0; i < s.n_wishes; i++)
        free(s.wishes[i].text);
    free(s.wishes);
    return st;
}
