/* The description of a transport as JSON. */
#include "core/buf.h"
#include "core/bytes.h"
#include "formats/archive/manifest_json.h"
#include "formats/described_json.h"
#include "formats/transport.h"

#include <float.h>
#include <stdlib.h>

static json_t *number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *input_json(const struct qn_transport_input *in)
{
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(in->name));
    qn_json_put(&j, "channels", number(in->channels));
    qn_json_put(&j, "method", json_string(qn_transport_method_name(in->method)));
    qn_json_put(&j, "order", number(in->order));
    qn_json_put(&j, "sign_plane", json_boolean(in->sign_plane));
    qn_json_put(&j, "levels", number(in->levels));
    qn_json_put(&j, "kappa", json_real((double)in->kappa));
    qn_json_put(&j, "scale", json_real((double)in->scale));
    return j;
}

static json_t *layer_json(const struct qn_transport_layer *l)
{
    json_t *j = json_object();
    qn_json_put(&j, "tensor", json_string(l->tensor));
    qn_json_put(&j, "projection", json_string(qn_projection_name(l->projection)));
    qn_json_put(&j, "layer", number(l->layer));
    qn_json_put(&j, "expert", number(l->expert));
    qn_json_put(&j, "input", number(l->input));
    qn_json_put(&j, "out", number(l->out));
    qn_json_put(&j, "planes", json_boolean(l->planes != NULL));
    qn_json_put(&j, "output_scale", json_boolean(l->output_scale != NULL));
    qn_json_put(&j, "output_offset", json_boolean(l->output_offset != NULL));
    qn_json_put(&j, "output_alpha", json_real((double)l->output_alpha));
    qn_json_put(&j, "output_floor", json_real((double)l->output_floor));
    return j;
}

json_t *qn_transport_to_json(const struct qn_transport *t)
{
    json_t *j = qn_report_begin(QN_TRANSPORT_SCHEMA);
    json_t *inputs = json_array(), *layers = json_array();
    bool good = inputs && layers;
    for (size_t i = 0; i < t->n_inputs && good; i++)
        good = json_array_append_new(inputs, input_json(&t->inputs[i])) == 0;
    for (size_t i = 0; i < t->n_layers && good; i++)
        good = json_array_append_new(layers, layer_json(&t->layers[i])) == 0;
    qn_json_put(&j, "model_fingerprint", qn_json_digest(&t->model));
    qn_json_put(&j, "calibration_fingerprint", qn_json_digest(&t->calibration));
    qn_json_put(&j, "inputs", inputs);
    qn_json_put(&j, "layers", layers);
    qn_json_put(&j, "study", t->study ? json_incref(t->study) : json_null());
    if (!good) {
        json_decref(j);
        j = NULL;
    }
    return j;
}

static enum qins_status take_u32(const json_t *j, const char *key, uint32_t *out,
                                 struct qins_error *err)
{
    return qn_described_u32(j, key, 0, UINT32_MAX, out, err);
}

static enum qins_status take_float(const json_t *j, const char *key, float *out,
                                   struct qins_error *err)
{
    return qn_json_float_between(json_object_get(j, key), 0.0F, FLT_MAX, out)
               ? QINS_OK
               : qn_described_bad(err, key);
}

static enum qins_status take_name(const json_t *j, const char *key, char **out,
                                  struct qins_error *err)
{
    const char *text = json_string_value(json_object_get(j, key));
    if (!text)
        return qn_described_bad(err, key);
    *out = qn_strdup(text, err);
    return *out ? QINS_OK : QINS_ERR_MEMORY;
}

static enum qins_status take_input(const json_t *j, struct qn_transport_input *in,
                                   struct qins_error *err)
{
    enum qins_status st = take_name(j, "name", &in->name, err);
    in->method = qn_transport_method_of(json_string_value(json_object_get(j, "method")));
    if (st == QINS_OK && in->method == QN_TRANSPORT_METHODS)
        st = qn_described_bad(err, "method");
    if (st == QINS_OK)
        st = take_u32(j, "channels", &in->channels, err);
    if (st == QINS_OK)
        st = take_u32(j, "order", &in->order, err);
    if (st == QINS_OK)
        st = qn_described_bool(j, "sign_plane", &in->sign_plane, err);
    if (st == QINS_OK)
        st = take_u32(j, "levels", &in->levels, err);
    if (st == QINS_OK)
        st = take_float(j, "kappa", &in->kappa, err);
    if (st == QINS_OK)
        st = take_float(j, "scale", &in->scale, err);
    return st;
}

static enum qins_status take_layer(const json_t *j, struct qn_transport_layer *l,
                                   struct qins_error *err)
{
    enum qins_status st = take_name(j, "tensor", &l->tensor, err);
    l->projection = qn_projection_of(json_string_value(json_object_get(j, "projection")));
    if (st == QINS_OK && l->projection == QN_PROJECTIONS)
        st = qn_described_bad(err, "projection");
    if (st == QINS_OK)
        st = take_u32(j, "layer", &l->layer, err);
    if (st == QINS_OK)
        st = take_u32(j, "expert", &l->expert, err);
    if (st == QINS_OK)
        st = take_u32(j, "input", &l->input, err);
    if (st == QINS_OK)
        st = take_u32(j, "out", &l->out, err);
    if (st == QINS_OK)
        st = take_float(j, "output_alpha", &l->output_alpha, err);
    if (st == QINS_OK)
        st = take_float(j, "output_floor", &l->output_floor, err);
    return st;
}

/* Room for all items of a list, 0. */
static enum qins_status take_list(const json_t *j, const char *key, size_t size,
                                  const json_t **list, void **items, struct qins_error *err)
{
    *list = json_object_get(j, key);
    if (!json_is_array(*list))
        return qn_described_bad(err, key);
    *items = calloc(json_array_size(*list) + 1, size);
    return *items ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status take_inputs(const json_t *j, struct qn_transport *t, struct qins_error *err)
{
    const json_t *list;
    void *items = NULL;
    enum qins_status st = take_list(j, "inputs", sizeof *t->inputs, &list, &items, err);
    t->inputs = items;
    for (size_t i = 0; st == QINS_OK && items && i < json_array_size(list); i++)
        st = take_input(json_array_get(list, i), &t->inputs[t->n_inputs++], err);
    return st;
}

static enum qins_status take_layers(const json_t *j, struct qn_transport *t, struct qins_error *err)
{
    const json_t *list;
    void *items = NULL;
    enum qins_status st = take_list(j, "layers", sizeof *t->layers, &list, &items, err);
    t->layers = items;
    for (size_t i = 0; st == QINS_OK && items && i < json_array_size(list); i++)
        st = take_layer(json_array_get(list, i), &t->layers[t->n_layers++], err);
    return st;
}

/* N float32, 0, if *LEFT bytes have room for them. */
static enum qins_status make(uint64_t n, uint64_t *left, float **out, struct qins_error *err)
{
    if (n == 0)
        return qn_fail(err, QINS_ERR_FORMAT, "it describes planes of a layer that has none");
    if (n > *left / sizeof **out)
        return qn_fail(err, QINS_ERR_FORMAT, "it describes more than a file of its size can hold");
    *left -= n * sizeof **out;
    *out = calloc((size_t)n, sizeof **out);
    return *out ? QINS_OK : qn_fail_memory(err);
}

/* Those of the layer's arrays that J says it has. */
static enum qins_status make_layer(const json_t *j, const struct qn_transport *t, uint64_t *left,
                                   struct qn_transport_layer *l, struct qins_error *err)
{
    const struct qn_transport_input *in = &t->inputs[l->input];
    const uint64_t out = l->out, width = (uint64_t)qn_transport_planes(in) * in->channels;
    const struct {
        const char *key;
        uint64_t n;
        float **data;
    } arrays[QN_LAYER_ARRAYS] = {{"planes", out * width, &l->planes},
                                 {"output_scale", out, &l->output_scale},
                                 {"output_offset", out, &l->output_offset}};
    enum qins_status st = QINS_OK;
    for (int i = 0; i < QN_LAYER_ARRAYS && st == QINS_OK; i++) {
        bool there = false;
        st = qn_described_bool(j, arrays[i].key, &there, err);
        if (st == QINS_OK && there)
            st = make(arrays[i].n, left, arrays[i].data, err);
    }
    return st;
}

/* The figures are sound, so that sizes fit 64 bits. */
static enum qins_status make_arrays(const json_t *j, uint64_t left, struct qn_transport *t,
                                    struct qins_error *err)
{
    const json_t *layers = json_object_get(j, "layers");
    enum qins_status st = QINS_OK;
    if (!t->inputs || !t->layers)
        return qn_fail_memory(err);
    for (size_t i = 0; i < t->n_inputs && st == QINS_OK; i++) {
        struct qn_transport_input *in = &t->inputs[i];
        if (qn_transport_has_coefficients(in->method))
            st = make((uint64_t)qn_transport_planes(in) * in->channels, &left, &in->coefficients,
                      err);
    }
    for (size_t i = 0; i < t->n_layers && st == QINS_OK; i++)
        st = make_layer(json_array_get(layers, i), t, &left, &t->layers[i], err);
    return st;
}

static enum qins_status take_all(const json_t *j, uint64_t left, struct qn_transport *t,
                                 struct qins_error *err)
{
    const char *schema = json_string_value(json_object_get(j, "schema"));
    json_t *study = json_object_get(j, "study");
    if (!schema || strcmp(schema, QN_TRANSPORT_SCHEMA) != 0)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "it holds no transport of the kind '%s'",
                       QN_TRANSPORT_SCHEMA);
    enum qins_status st = qn_described_digest(json_object_get(j, "model_fingerprint"),
                                              "model_fingerprint", &t->model, err);
    if (st == QINS_OK)
        st = qn_described_digest(json_object_get(j, "calibration_fingerprint"),
                                 "calibration_fingerprint", &t->calibration, err);
    if (st == QINS_OK)
        st = take_inputs(j, t, err);
    if (st == QINS_OK)
        st = take_layers(j, t, err);
    if (st == QINS_OK && !json_is_object(study) && !json_is_null(study))
        st = qn_described_bad(err, "study");
    if (st == QINS_OK && json_is_object(study))
        t->study = json_incref(study);
    if (st == QINS_OK)
        st = qn_transport_check_figures(t, err);
    if (st == QINS_OK)
        st = make_arrays(j, left, t, err);
    return st == QINS_OK ? qn_transport_check(t, err) : st;
}

enum qins_status qn_transport_from_json(const void *text, size_t size, uint64_t max_bytes,
                                        struct qn_transport *t, struct qins_error *err)
{
    *t = (struct qn_transport){0};
    json_t *j = qn_json_parse(text, size, 0, err);
    if (!j)
        return err ? err->status : QINS_ERR_FORMAT;
    enum qins_status st = take_all(j, max_bytes, t, err);
    json_decref(j);
    return st;
}
