#include "policy/allocate.h"

#include "analyze/candidates.h"

#include <math.h>
#include <stdlib.h>

/* A step along an item's hull: what it costs in bytes buys so much less cost. */
struct step {
    size_t item, to; /* to: choice */
    double bytes, gain, slope;
};

struct work {
    struct step *steps;
    size_t n_steps;
    double bytes, cost;
};

/* Steepest first. Along one hull slopes fall, so that an item's steps keep their order. */
static int by_slope(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    if (x->slope != y->slope)
        return x->slope < y->slope ? 1 : -1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The hull of item NUMBER: its first point is chosen, the ways on are steps. X, Y and HULL have
 * room for its choices. */
static enum qins_status add_item(struct work *w, struct qn_alloc_item *item, size_t number,
                                 double *x, double *y, size_t *hull, struct qins_error *err)
{
    for (size_t i = 0; i < item->n_choices; i++) {
        x[i] = item->choices[i].bytes;
        y[i] = item->choices[i].cost;
    }
    size_t n = qn_convex_hull(x, y, item->n_choices, hull);
    if (n == 0)
        return qn_fail(err, QINS_ERR_USAGE, "item %zu of an allocation has no finite choice",
                       number);
    item->chosen = hull[0];
    w->bytes += x[hull[0]];
    w->cost += y[hull[0]];
    for (size_t i = 1; i < n; i++) {
        struct step *s = &w->steps[w->n_steps++];
        *s = (struct step){.item = number,
                           .to = hull[i],
                           .bytes = x[hull[i]] - x[hull[i - 1]],
                           .gain = y[hull[i - 1]] - y[hull[i]]};
        s->slope = s->gain / s->bytes;
    }
    return QINS_OK;
}

/* All hulls, the smallest choices chosen. */
static enum qins_status begin(struct work *w, struct qn_alloc_item *items, size_t n,
                              struct qins_error *err)
{
    size_t total = 0, most = 1;
    for (size_t i = 0; i < n; i++) {
        total += items[i].n_choices;
        most = items[i].n_choices > most ? items[i].n_choices : most;
    }
    *w = (struct work){.steps = calloc(total ? total : 1, sizeof *w->steps)};
    double *x = calloc(most, sizeof *x), *y = calloc(most, sizeof *y);
    size_t *hull = calloc(most, sizeof *hull);
    bool room = w->steps && x && y && hull;
    enum qins_status st = room ? QINS_OK : qn_fail_memory(err);
    for (size_t i = 0; room && i < n && st == QINS_OK; i++)
        st = add_item(w, &items[i], i, x, y, hull, err);
    if (room && st == QINS_OK)
        qsort(w->steps, w->n_steps, sizeof *w->steps, by_slope);
    free(x);
    free(y);
    free(hull);
    return st;
}

static const struct qn_choice *chosen(const struct qn_alloc_item *item)
{
    return &item->choices[item->chosen];
}

static void sum_up(const struct qn_alloc_item *items, size_t n, struct work *w)
{
    w->bytes = w->cost = 0.0;
    for (size_t i = 0; i < n; i++) {
        w->bytes += chosen(&items[i])->bytes;
        w->cost += chosen(&items[i])->cost;
    }
}

/* So many changes an item at most: the room that a step of a hull leaves is small. */
enum { MAX_CHANGES = 8 };

/* The one change of an item, to any of its choices, that lowers the cost most within ROOM bytes
 * more, or (SAVE) the bytes most within ROOM more of cost. False if there is none. */
static bool improve(struct qn_alloc_item *items, size_t n, double room, bool save)
{
    double best = 0.0;
    size_t item = 0, to = 0;
    for (size_t i = 0; i < n; i++) {
        const struct qn_choice *now = chosen(&items[i]);
        for (size_t k = 0; k < items[i].n_choices; k++) {
            const struct qn_choice *c = &items[i].choices[k];
            double bytes = c->bytes - now->bytes, cost = c->cost - now->cost;
            double gain = save ? -bytes : -cost, price = save ? cost : bytes;
            if (gain > best && price <= room) {
                best = gain;
                item = i;
                to = k;
            }
        }
    }
    if (best > 0.0)
        items[item].chosen = to;
    return best > 0.0;
}

/* What is left of BUDGET is used up, item by item: a budget of cost (SAVE) or of bytes. */
static void use_rest(struct qn_alloc_item *items, size_t n, struct work *w, double budget,
                     bool save, struct qn_allocation *out)
{
    for (size_t k = 0; out->met && k < MAX_CHANGES * n; k++) {
        if (!improve(items, n, budget - (save ? w->cost : w->bytes), save))
            break;
        sum_up(items, n, w);
    }
    out->bytes = w->bytes;
    out->cost = w->cost;
}

enum qins_status qn_allocate_bytes(struct qn_alloc_item *items, size_t n, double budget,
                                   struct qn_allocation *out, struct qins_error *err)
{
    struct work w;
    enum qins_status st = begin(&w, items, n, err);
    *out = (struct qn_allocation){0};
    if (st == QINS_OK) {
        out->met = w.bytes <= budget;
        size_t i = 0;
        for (; i < w.n_steps && w.bytes + w.steps[i].bytes <= budget; i++) {
            const struct step *s = &w.steps[i];
            items[s->item].chosen = s->to;
            w.bytes += s->bytes;
        }
        out->multiplier = i < w.n_steps ? w.steps[i].slope : 0.0;
        sum_up(items, n, &w);
        use_rest(items, n, &w, budget, false, out);
    }
    free(w.steps);
    return st;
}

enum qins_status qn_allocate_cost(struct qn_alloc_item *items, size_t n, double budget,
                                  struct qn_allocation *out, struct qins_error *err)
{
    struct work w;
    enum qins_status st = begin(&w, items, n, err);
    *out = (struct qn_allocation){0};
    if (st == QINS_OK) {
        size_t i = 0;
        sum_up(items, n, &w);
        for (; i < w.n_steps && w.cost > budget; i++) {
            items[w.steps[i].item].chosen = w.steps[i].to;
            w.cost -= w.steps[i].gain;
            if (w.cost <= budget) /* so far as rounding lets one say */
                sum_up(items, n, &w);
        }
        out->met = w.cost <= budget;
        out->multiplier = i > 0 ? w.steps[i - 1].slope : 0.0;
        use_rest(items, n, &w, budget, true, out);
    }
    free(w.steps);
    return st;
}
