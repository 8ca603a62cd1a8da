/* What a transport adds to a report: its planes, studied like the model's own matrices, its grids,
 * coefficients and curves, and what forward passes do with it. */
#include "analyze/report_build.h"
#include "analyze/report_json.h"

#include "core/bytes.h"
#include "core/file.h"
#include "formats/archive/manifest_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMPONENT_SIZE = 64 };

enum qins_status qn_report_open_transport(struct qn_report_builder *b, const char *path,
                                          struct qins_error *err)
{
    const char *file = b->options->transport;
    if (!file)
        return QINS_OK;
    enum qins_status st = qn_transport_read(&b->transport, file, b->monitor, err);
    if (st == QINS_OK)
        st = qn_model_open_plain(&b->model, path, b->options->threads, b->monitor, err);
    if (st == QINS_OK)
        st = qn_report_stages(b, &b->stages, err); /* and tells whether it is this model's */
    for (size_t i = 0; i < b->transport.n_layers && st == QINS_OK; i++) {
        const struct qn_transport_layer *l = &b->transport.layers[i];
        const struct qn_transport_input *in = &b->transport.inputs[l->input];
        b->total += (uint64_t)qn_transport_planes(in) * l->out * in->channels * sizeof(float);
    }
    return st;
}

void qn_report_close_transport(struct qn_report_builder *b)
{
    qn_model_destroy(b->model);
    json_decref(b->stages);
    qn_transport_finish(&b->transport);
}

/* PLANE of layer L as a matrix of its own: W diag(c_k), or what is stored. */
static enum qins_status make_plane(struct qn_report_builder *b, const struct qn_transport_layer *l,
                                   size_t plane, float *x, struct qins_error *err)
{
    const struct qn_transport_input *in = &b->transport.inputs[l->input];
    const size_t n = in->channels, planes = qn_transport_planes(in);
    struct qn_linear_part part;
    if (l->planes) {
        for (size_t i = 0; i < l->out; i++)
            memcpy(x + i * n, l->planes + (i * planes + plane) * n, n * sizeof *x);
        return QINS_OK;
    }
    /* the stages have found it to be there, and of this shape */
    if (!qn_model_part(b->model, l->projection, l->layer, l->expert, &part))
        return qn_fail(err, QINS_ERR_FORMAT, "the model has no such layer");
    qn_part_weights(&part, x);
    for (size_t i = 0; i < l->out; i++)
        for (size_t j = 0; j < n; j++)
            x[i * n + j] *= in->coefficients[plane * n + j];
    return QINS_OK;
}

static json_t *describe_plane(const struct qn_transport_layer *l, const struct qn_tensor *t,
                              size_t plane)
{
    char component[COMPONENT_SIZE];
    json_t *j = json_object();
    snprintf(component, sizeof component, "transported %s", qn_projection_name(l->projection));
    qn_json_put(&j, "name", qn_json_text(t->name));
    qn_json_put(&j, "kind", json_string("transport"));
    qn_json_put(&j, "component", json_string(component));
    qn_json_put(&j, "layer", json_integer(l->layer));
    qn_json_put(&j, "plane", json_integer((json_int_t)plane + 1));
    qn_json_put(&j, "dtype", json_string(qins_dtype_name(t->dtype)));
    qn_json_put(&j, "shape", qn_json_shape(t));
    qn_json_put(&j, "numel", json_integer((json_int_t)t->n_elements));
    qn_json_put(&j, "source_bytes", json_integer((json_int_t)t->n_bytes));
    qn_json_put(&j, "access_frequency", json_null());
    qn_json_put(&j, "class", json_string(qn_class_name(QN_CLASS_UNKNOWN)));
    return j;
}

static enum qins_status add_plane(struct qn_report_builder *b, const struct qn_transport_layer *l,
                                  size_t plane, float *x, struct qins_error *err)
{
    const struct qn_transport_input *in = &b->transport.inputs[l->input];
    char *name = qn_format(err, "%s: %s, plane %zu", l->tensor, qn_projection_name(l->projection),
                           plane + 1);
    struct qn_tensor tensor = {.name = name, .dtype = QINS_F32, .rank = 2};
    const float *const values[] = {x};
    struct qn_source_tensor listed = {.tensor = &tensor};
    const struct qn_source source = {.path = b->source->path,
                                     .format = b->source->format,
                                     .values = values,
                                     .n_tensors = 1,
                                     .tensors = &listed};
    tensor.shape[0] = l->out;
    tensor.shape[1] = in->channels;
    tensor.n_elements = tensor.shape[0] * tensor.shape[1];
    tensor.n_bytes = tensor.n_elements * sizeof *x;
    enum qins_status st = name ? make_plane(b, l, plane, x, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_report_add_made(b, &source, 0, describe_plane(l, &tensor, plane), err);
    free(name);
    return st;
}

enum qins_status qn_report_add_planes(struct qn_report_builder *b, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    float *x = NULL;
    uint64_t largest = 0;
    for (size_t i = 0; i < b->transport.n_layers; i++) {
        const struct qn_transport_layer *l = &b->transport.layers[i];
        const uint64_t n = (uint64_t)l->out * b->transport.inputs[l->input].channels;
        largest = n > largest ? n : largest;
    }
    if (largest < SIZE_MAX / sizeof *x)
        x = malloc((largest + 1) * sizeof *x);
    if (!x)
        return qn_fail_memory(err);
    for (size_t i = 0; i < b->transport.n_layers; i++) {
        const struct qn_transport_layer *l = &b->transport.layers[i];
        const size_t planes = qn_transport_planes(&b->transport.inputs[l->input]);
        for (size_t k = 0; k < planes && st == QINS_OK; k++) {
            st = qn_check_stop(b->monitor, err);
            if (st == QINS_OK)
                st = add_plane(b, l, k, x, err);
        }
    }
    free(x);
    return st;
}

/* Coefficients of an input as a curve: a row a channel, a column a plane. */
static enum qins_status add_coefficients(struct qn_report_builder *b, size_t number, json_t **j,
                                         struct qins_error *err)
{
    const struct qn_transport_input *in = &b->transport.inputs[number];
    const size_t planes = qn_transport_planes(in), n = in->channels;
    char group[48], heads[16 * QN_TRANSPORT_PLANES] = "";
    size_t used = 0;
    if (!in->coefficients)
        return QINS_OK;
    float *table = calloc(n * planes + 1, sizeof *table);
    if (!table)
        return qn_fail_memory(err);
    for (size_t k = 0; k < planes; k++) {
        for (size_t i = 0; i < n; i++)
            table[i * planes + k] = in->coefficients[k * n + i];
        used +=
            (size_t)snprintf(heads + used, sizeof heads - used, "%splane%zu", k ? " " : "", k + 1);
    }
    snprintf(group, sizeof group, "/transport/%04zu", number);
    enum qins_status st =
        qn_curves_add(&b->curves, group, "coefficients", heads, n, planes, table, err);
    if (st == QINS_OK)
        st = qn_curves_label(&b->curves, group, in->name, err);
    qn_json_put(j, "curves", json_string(group));
    free(table);
    return st;
}

static enum qins_status describe_input(struct qn_report_builder *b, size_t number, json_t **out,
                                       struct qins_error *err)
{
    const struct qn_transport_input *in = &b->transport.inputs[number];
    json_t *j = json_object();
    qn_json_put(&j, "name", qn_json_text(in->name));
    qn_json_put(&j, "channels", json_integer(in->channels));
    qn_json_put(&j, "method", json_string(qn_transport_method_name(in->method)));
    qn_json_put(&j, "order", json_integer(in->order));
    qn_json_put(&j, "sign_plane", json_boolean(in->sign_plane));
    qn_json_put(&j, "planes", json_integer(qn_transport_planes(in)));
    qn_json_put(&j, "levels", json_integer(in->levels));
    qn_json_put(&j, "kappa", qn_json_real((double)in->kappa));
    qn_json_put(&j, "scale", qn_json_real((double)in->scale));
    enum qins_status st = add_coefficients(b, number, &j, err);
    *out = j;
    return st;
}

static json_t *describe_layer(const struct qn_transport_layer *l)
{
    json_t *j = json_object();
    qn_json_put(&j, "tensor", qn_json_text(l->tensor));
    qn_json_put(&j, "projection", json_string(qn_projection_name(l->projection)));
    qn_json_put(&j, "layer", json_integer(l->layer));
    qn_json_put(&j, "expert", json_integer(l->expert));
    qn_json_put(&j, "input", json_integer(l->input));
    qn_json_put(&j, "out", json_integer(l->out));
    return j;
}

/* Whether the calibration is the one that the transport was fitted to. */
static enum qins_status same_calibration(const struct qn_report_builder *b, json_t **out,
                                         struct qins_error *err)
{
    struct qn_digest d;
    *out = json_null();
    if (!b->has_calibration)
        return QINS_OK;
    enum qins_status st = qn_hash_file(b->options->calibration, &d, err);
    const bool same = st == QINS_OK && memcmp(&d, &b->transport.calibration, sizeof d) == 0;
    *out = json_boolean(same);
    if (st == QINS_OK && !same)
        qn_notice(b->monitor, "the transport %s was fitted to another calibration than %s",
                  b->options->transport, b->options->calibration);
    return st;
}

enum qins_status qn_report_transport(struct qn_report_builder *b, json_t **out,
                                     struct qins_error *err)
{
    const struct qn_transport *t = &b->transport;
    *out = json_null();
    if (!b->options->transport)
        return QINS_OK;
    json_t *j = json_object(), *same, *inputs = json_array(), *layers = json_array();
    enum qins_status st = same_calibration(b, &same, err);
    qn_json_put(&j, "path", qn_json_text(b->options->transport));
    qn_json_put(&j, "calibration_matches", same);
    for (size_t i = 0; i < t->n_inputs && st == QINS_OK; i++) {
        json_t *input;
        st = describe_input(b, i, &input, err);
        qn_json_append(&inputs, input);
    }
    for (size_t i = 0; i < t->n_layers; i++)
        qn_json_append(&layers, describe_layer(&t->layers[i]));
    qn_json_put(&j, "inputs", inputs);
    qn_json_put(&j, "layers", layers);
    qn_json_put(&j, "stages", b->stages ? json_incref(b->stages) : json_array());
    qn_json_put(&j, "study", t->study ? json_incref(t->study) : json_null());
    *out = j;
    return st;
}
