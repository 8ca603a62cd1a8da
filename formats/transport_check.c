/* Whether a transport's numbers can be, one by one and together. */
#include "core/bytes.h"
#include "formats/codec/quant.h"
#include "formats/transport.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The bounds of calibrations. */
enum { MAX_EXTENT = 1 << 24, MAX_LAYERS = 4096 };

static enum qins_status fail(struct qins_error *err, const char *name, const char *what)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, NULL, name, QN_NO_OFFSET, "%s", what);
}

static bool proper_name(const char *s)
{
    return s && s[0] && strlen(s) <= UINT16_MAX && qn_utf8_valid(s, strlen(s));
}

static bool order_fits(const struct qn_transport_input *in)
{
    switch (in->method) {
    case QN_JACOBIAN_LITERAL:
    case QN_JACOBIAN_TANGENT:
        return in->order == 1 && !in->sign_plane;
    case QN_SPLIT:
        return in->order >= 1 && in->order <= QN_TRANSPORT_ORDER;
    case QN_RIDGE:
        return in->order >= 1 && in->order <= QN_TRANSPORT_ORDER && !in->sign_plane;
    case QN_DECODE:
        return in->order == 0 && !in->sign_plane;
    default:
        return false;
    }
}

static enum qins_status check_input(const struct qn_transport_input *in, struct qins_error *err)
{
    if (!proper_name(in->name))
        return fail(err, NULL, "an input of the transport has no proper name");
    if (in->channels < 1 || in->channels > MAX_EXTENT)
        return fail(err, in->name, "its number of channels is out of range");
    if (!order_fits(in))
        return fail(err, in->name, "its order or sign plane does not fit its method");
    if (in->levels < QN_MIN_LEVELS || in->levels > QN_MAX_LEVELS)
        return fail(err, in->name, "its number of levels is out of range");
    if (!(in->kappa >= 0.0F && in->kappa <= QN_MAX_KAPPA))
        return fail(err, in->name, "its kappa is out of range");
    if (!(in->scale >= 0.0F && in->scale <= FLT_MAX))
        return fail(err, in->name, "its scale is out of range");
    return QINS_OK;
}

/* What follows the product. Decoding divides by alpha and by |z|, which is at least the floor. */
static enum qins_status check_output(const struct qn_transport_layer *l, bool jacobian,
                                     struct qins_error *err)
{
    const float alpha = l->output_alpha, floor = l->output_floor;
    if (!(alpha >= 0.0F && alpha <= FLT_MAX && floor >= 0.0F && floor <= 1.0F) ||
        (alpha > 0.0F && !isfinite((1.0F - floor) / (alpha * floor))))
        return fail(err, l->tensor, "its output's alpha or floor is out of range");
    if (!jacobian && (alpha > 0.0F || floor > 0.0F))
        return fail(err, l->tensor, "its output's alpha or floor does not fit its method");
    return QINS_OK;
}

static enum qins_status check_layer(const struct qn_transport *t,
                                    const struct qn_transport_layer *l, struct qins_error *err)
{
    if (!proper_name(l->tensor))
        return fail(err, NULL, "a layer of the transport has no proper name");
    if ((unsigned)l->projection >= QN_PROJECTIONS || l->layer > MAX_LAYERS ||
        l->expert > MAX_EXTENT || l->out < 1 || l->out > MAX_EXTENT)
        return fail(err, l->tensor, "its place or its number of rows is out of range");
    if (l->input >= t->n_inputs)
        return fail(err, l->tensor, "its input is none of the transport's");
    return check_output(l, qn_transport_is_jacobian(t->inputs[l->input].method), err);
}

static int compare_inputs(const void *a, const void *b)
{
    const struct qn_transport_input *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int three_way(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int compare_layers(const void *a, const void *b)
{
    const struct qn_transport_layer *const *x = a, *const *y = b;
    int order = three_way((*x)->layer, (*y)->layer);
    if (order == 0)
        order = three_way((*x)->expert, (*y)->expert);
    return order ? order : three_way((uint32_t)(*x)->projection, (uint32_t)(*y)->projection);
}

/* The first of N items of SIZE bytes that is equal to another, into *TWICE; NULL if none is. */
static enum qins_status find_twice(const void *items, size_t n, size_t size,
                                   int (*compare)(const void *, const void *), const void **twice,
                                   struct qins_error *err)
{
    const void **order = calloc(n + 1, sizeof *order);
    *twice = NULL;
    if (!order)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        order[i] = (const uint8_t *)items + i * size;
    qsort(order, n, sizeof *order, compare);
    for (size_t i = 1; i < n && !*twice; i++)
        if (compare(&order[i - 1], &order[i]) == 0)
            *twice = order[i];
    free(order);
    return QINS_OK;
}

static enum qins_status check_unique(const struct qn_transport *t, struct qins_error *err)
{
    const void *twice;
    enum qins_status st =
        find_twice(t->inputs, t->n_inputs, sizeof *t->inputs, compare_inputs, &twice, err);
    if (st == QINS_OK && twice)
        return fail(err, ((const struct qn_transport_input *)twice)->name,
                    "it is an input of the transport twice");
    if (st == QINS_OK)
        st = find_twice(t->layers, t->n_layers, sizeof *t->layers, compare_layers, &twice, err);
    if (st == QINS_OK && twice)
        return fail(err, ((const struct qn_transport_layer *)twice)->tensor,
                    "its layer is in the transport twice");
    return st;
}

/* Those that a method needs are there, and no others. */
static enum qins_status check_presence(const struct qn_transport *t, struct qins_error *err)
{
    for (size_t i = 0; i < t->n_inputs; i++)
        if (qn_transport_has_coefficients(t->inputs[i].method) !=
            (t->inputs[i].coefficients != NULL))
            return fail(err, t->inputs[i].name, "its coefficients do not fit its method");
    for (size_t i = 0; i < t->n_layers; i++) {
        const struct qn_transport_layer *l = &t->layers[i];
        const enum qn_transport_method method = t->inputs[l->input].method;
        if ((method == QN_RIDGE && !l->planes) || (method == QN_DECODE && l->planes))
            return fail(err, l->tensor, "its planes do not fit its input's method");
        if (!qn_transport_is_jacobian(method) && (l->output_scale || l->output_offset))
            return fail(err, l->tensor, "its output's scale or offset does not fit its method");
    }
    return QINS_OK;
}

static enum qins_status check_arrays(const struct qn_transport *t, struct qins_error *err)
{
    struct qn_transport_array a;
    struct qn_transport copy = *t; /* arrays are handed out to be filled; here they are read */
    for (size_t at = 0; qn_transport_array(&copy, &at, &a);) {
        const uint64_t n = qn_transport_array_elements(&a);
        bool finite = true;
        qn_abs_max(*a.data, (size_t)n, &finite);
        if (!finite)
            return fail(err, a.name, "it has values that are not finite");
    }
    return QINS_OK;
}

enum qins_status qn_transport_check_figures(const struct qn_transport *t, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (t->study && !json_is_object(t->study))
        return fail(err, NULL, "the transport's report is no JSON object");
    for (size_t i = 0; i < t->n_inputs && st == QINS_OK; i++)
        st = check_input(&t->inputs[i], err);
    for (size_t i = 0; i < t->n_layers && st == QINS_OK; i++)
        st = check_layer(t, &t->layers[i], err);
    return st == QINS_OK ? check_unique(t, err) : st;
}

enum qins_status qn_transport_check(const struct qn_transport *t, struct qins_error *err)
{
    enum qins_status st = qn_transport_check_figures(t, err);
    if (st == QINS_OK)
        st = check_presence(t, err);
    return st == QINS_OK ? check_arrays(t, err) : st;
}
