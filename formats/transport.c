#include "formats/transport.h"

#include "formats/codec/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const method_names[QN_TRANSPORT_METHODS] = {
    "jacobian-literal", "jacobian-tangent", "split", "ridge", "decode",
};

static const char *const projection_names[QN_PROJECTIONS] = {
    "v_proj", "o_proj", "down_proj", "gate_proj", "up_proj", "q_proj", "k_proj",
};

static int choice(const char *name, const char *const *names, int n)
{
    int i = 0;
    while (i < n && (!name || strcmp(name, names[i]) != 0))
        i++;
    return i;
}

const char *qn_transport_method_name(enum qn_transport_method m)
{
    return method_names[m];
}

enum qn_transport_method qn_transport_method_of(const char *name)
{
    return (enum qn_transport_method)choice(name, method_names, QN_TRANSPORT_METHODS);
}

const char *qn_projection_name(enum qn_projection p)
{
    return projection_names[p];
}

enum qn_projection qn_projection_of(const char *name)
{
    return (enum qn_projection)choice(name, projection_names, QN_PROJECTIONS);
}

bool qn_transport_is_jacobian(enum qn_transport_method m)
{
    return m == QN_JACOBIAN_LITERAL || m == QN_JACOBIAN_TANGENT;
}

bool qn_transport_has_coefficients(enum qn_transport_method m)
{
    return m == QN_SPLIT || qn_transport_is_jacobian(m);
}

unsigned qn_transport_planes(const struct qn_transport_input *in)
{
    return in->method == QN_DECODE ? 0 : in->order + (in->sign_plane ? 1 : 0);
}

/* PLANE of the features at level L, without its sign. */
static double feature(const struct qn_transport_input *in, unsigned plane, unsigned l)
{
    const double t = (double)l / (double)in->levels, kappa = (double)in->kappa;
    double power = t;
    if (qn_transport_is_jacobian(in->method))
        return 1.0 - kappa * t / (1.0 + kappa);
    if (plane == in->order)
        return 1.0;
    for (unsigned k = 0; k < plane; k++)
        power *= t;
    return power;
}

static enum qins_status decoded(const struct qn_transport_input *in, float *table,
                                struct qins_error *err)
{
    struct qn_grid grid;
    uint16_t codes[2 * QN_MAX_LEVELS + 1];
    if (!qn_grid_init(&grid, QN_GRID_QINS, in->levels, in->kappa))
        return qn_fail(err, QINS_ERR_FORMAT, "its kappa is out of range");
    for (unsigned i = 0; i <= 2 * in->levels; i++)
        codes[i] = (uint16_t)i;
    qn_dequantise(&grid, in->scale, codes, 2 * (size_t)in->levels + 1, table);
    return QINS_OK;
}

enum qins_status qn_transport_features(const struct qn_transport_input *in, float *table,
                                       struct qins_error *err)
{
    const unsigned n = in->levels, planes = qn_transport_planes(in);
    if (n < QN_MIN_LEVELS || n > QN_MAX_LEVELS || planes > QN_TRANSPORT_PLANES)
        return qn_fail(err, QINS_ERR_FORMAT, "its levels or planes are out of range");
    if (in->method == QN_DECODE)
        return decoded(in, table, err);
    for (unsigned plane = 0; plane < planes; plane++, table += 2 * n + 1)
        for (unsigned l = 0; l <= n; l++) {
            const float value = (float)feature(in, plane, l);
            table[n - l] = -value;
            table[n + l] = value; /* last: sgn(0) = +1 */
        }
    return QINS_OK;
}

void qn_transport_finish(struct qn_transport *t)
{
    for (size_t i = 0; i < t->n_inputs; i++) {
        free(t->inputs[i].name);
        free(t->inputs[i].coefficients);
    }
    for (size_t i = 0; i < t->n_layers; i++) {
        free(t->layers[i].tensor);
        free(t->layers[i].planes);
        free(t->layers[i].output_scale);
        free(t->layers[i].output_offset);
    }
    free(t->inputs);
    free(t->layers);
    json_decref(t->study);
    *t = (struct qn_transport){0};
}

/* Array PLACE of a transport in which everything has all of them; false where it has it not. */
static bool array_at(struct qn_transport *t, size_t place, struct qn_transport_array *out)
{
    if (place < t->n_inputs) {
        struct qn_transport_input *in = &t->inputs[place];
        *out = (struct qn_transport_array){
            .rank = 2, .shape = {qn_transport_planes(in), in->channels}, .data = &in->coefficients};
        snprintf(out->name, sizeof out->name, "inputs/%zu/coefficients", place);
        return in->coefficients != NULL;
    }
    const size_t i = (place - t->n_inputs) / QN_LAYER_ARRAYS;
    struct qn_transport_layer *layer = &t->layers[i];
    const struct qn_transport_input *in = &t->inputs[layer->input];
    *out = (struct qn_transport_array){.rank = 1, .shape = {layer->out}};
    switch ((place - t->n_inputs) % QN_LAYER_ARRAYS) {
    case 0:
        out->rank = 3;
        out->shape[1] = qn_transport_planes(in);
        out->shape[2] = in->channels;
        out->data = &layer->planes;
        snprintf(out->name, sizeof out->name, "layers/%zu/planes", i);
        break;
    case 1:
        out->data = &layer->output_scale;
        snprintf(out->name, sizeof out->name, "layers/%zu/output_scale", i);
        break;
    default:
        out->data = &layer->output_offset;
        snprintf(out->name, sizeof out->name, "layers/%zu/output_offset", i);
    }
    return *out->data != NULL;
}

bool qn_transport_array(struct qn_transport *t, size_t *at, struct qn_transport_array *out)
{
    const size_t places = t->n_inputs + QN_LAYER_ARRAYS * t->n_layers;
    while (*at < places)
        if (array_at(t, (*at)++, out))
            return true;
    return false;
}

uint64_t qn_transport_array_elements(const struct qn_transport_array *a)
{
    uint64_t n = 1;
    for (unsigned i = 0; i < a->rank; i++)
        n *= a->shape[i];
    return n;
}
