#include "model/native_internal.h"

#include "core/bytes.h"
#include "model/taps.h"
#include "model/weights_plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct making {
    struct qn_model *m;
    const struct qn_transport *t;
    const char *file;
    struct qn_tap_list taps;
};

static float *take_floats(size_t rows, size_t each, struct qins_error *err)
{
    uint64_t bytes;
    float *x = NULL;
    if (qn_mul_u64(rows, each, &bytes) && qn_mul_u64(bytes, sizeof *x, &bytes) &&
        bytes < SIZE_MAX - QN_WEIGHTS_ALIGNMENT)
        x = aligned_alloc(QN_WEIGHTS_ALIGNMENT, (size_t)qn_weights_room(bytes ? bytes : 1));
    if (!x)
        qn_fail_memory(err);
    return x;
}

static enum qins_status copy_floats(const float *from, size_t n, float **to, struct qins_error *err)
{
    if (!from)
        return QINS_OK;
    *to = take_floats(n, 1, err);
    if (!*to)
        return QINS_ERR_MEMORY;
    memcpy(*to, from, n * sizeof **to);
    return QINS_OK;
}

/* W diag(c_k), planes side by side in a row, as convert/transport_output.c stores them. */
static enum qins_status multiply_planes(const struct qn_transport_input *in,
                                        const struct qn_linear_part *where, unsigned planes,
                                        struct qn_native_part *part, struct qins_error *err)
{
    const size_t n = in->channels;
    float *row = take_floats(n, 1, err);
    if (!row)
        return QINS_ERR_MEMORY;
    for (size_t i = 0; i < where->out; i++) {
        float *to = part->owned + i * planes * n;
        qn_part_row(where, i, row);
        for (size_t k = 0; k < planes; k++)
            for (size_t j = 0; j < n; j++)
                to[k * n + j] = qn_transport_product(row[j], in->coefficients[k * n + j]);
    }
    free(row);
    return QINS_OK;
}

/* The weights behind a decoded input: the model's own where their rows lie together. */
static enum qins_status borrow_weights(const struct qn_linear_part *where,
                                       struct qn_native_part *part, struct qins_error *err)
{
    const struct qn_matrix *w = where->matrix;
    const size_t size = qins_dtype_size(w->dtype);
    if (where->n == 1) {
        part->weights = *w;
        part->weights.out = where->out;
        part->weights.bias = NULL;
        part->weights.native = NULL;
        part->weights.data =
            (const uint8_t *)w->data + where->first * (w->transposed ? 1 : w->stride) * size;
        return QINS_OK;
    }
    part->owned = take_floats(where->out, w->in, err);
    if (!part->owned)
        return QINS_ERR_MEMORY;
    qn_part_weights(where, part->owned);
    return QINS_OK;
}

static enum qins_status make_part(const struct qn_transport_input *in,
                                  const struct qn_transport_layer *l,
                                  const struct qn_linear_part *where, struct qn_native_part *part,
                                  struct qins_error *err)
{
    const unsigned planes = qn_transport_planes(in);
    enum qins_status st = QINS_OK;
    *part = (struct qn_native_part){.first = where->first,
                                    .count = where->count,
                                    .step = where->step,
                                    .runs = where->n,
                                    .output_alpha = l->output_alpha,
                                    .output_floor = l->output_floor};
    if (in->method == QN_DECODE) {
        st = borrow_weights(where, part, err);
    } else {
        part->owned = take_floats(where->out, (size_t)planes * in->channels, err);
        if (!part->owned)
            return QINS_ERR_MEMORY;
        if (l->planes)
            memcpy(part->owned, l->planes,
                   where->out * planes * in->channels * sizeof *part->owned);
        else
            st = multiply_planes(in, where, planes, part, err);
    }
    if (st == QINS_OK && part->owned) {
        const size_t width = (planes ? planes : 1) * (size_t)in->channels;
        part->weights = (struct qn_matrix){.name = where->matrix->name,
                                           .data = part->owned,
                                           .dtype = QINS_F32,
                                           .out = where->out,
                                           .in = width,
                                           .stride = width};
    }
    if (st == QINS_OK)
        st = copy_floats(l->output_scale, where->out, &part->output_scale, err);
    return st == QINS_OK ? copy_floats(l->output_offset, where->out, &part->output_offset, err)
                         : st;
}

static enum qins_status bad_layer(const struct making *k, const struct qn_transport_layer *l,
                                  const char *why, struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, k->file, l->tensor, QN_NO_OFFSET,
                      "%s of layer %" PRIu32 ", expert %" PRIu32 ": %s",
                      qn_projection_name(l->projection), l->layer, l->expert, why);
}

static enum qins_status find_part(const struct making *k, const struct qn_transport_layer *l,
                                  struct qn_linear_part *where, struct qins_error *err)
{
    const struct qn_transport_input *in = &k->t->inputs[l->input];
    if (!qn_model_part(k->m, l->projection, l->layer, l->expert, where))
        return bad_layer(k, l, "the model has none", err);
    if (strcmp(where->matrix->name, l->tensor) != 0)
        return bad_layer(k, l, "the model has it in another tensor", err);
    if (where->out != l->out || where->matrix->in != in->channels)
        return bad_layer(k, l, "the model's has another shape", err);
    if (strcmp(k->taps.points[where->point].name, in->name) != 0)
        return bad_layer(k, l, "its input is not the one that the model has there", err);
    return QINS_OK;
}

static struct qn_native_matrix *matrix_of(struct qn_native *x, struct qn_matrix *w)
{
    for (size_t i = 0; i < x->n_matrices; i++)
        if (x->matrices[i].matrix == w)
            return &x->matrices[i];
    x->matrices[x->n_matrices].matrix = w;
    return &x->matrices[x->n_matrices++];
}

static enum qins_status add_layer(const struct making *k, const struct qn_transport_layer *l,
                                  struct qins_error *err)
{
    struct qn_native *x = k->m->native;
    struct qn_linear_part where;
    enum qins_status st = find_part(k, l, &where, err);
    if (st != QINS_OK)
        return st;
    struct qn_native_matrix *matrix = matrix_of(x, where.matrix);
    struct qn_native_part *grown =
        realloc(matrix->parts, (matrix->n_parts + 1) * sizeof *matrix->parts);
    if (!grown)
        return qn_fail_memory(err);
    matrix->parts = grown;
    matrix->input = &x->inputs[l->input];
    st = make_part(&k->t->inputs[l->input], l, &where, &grown[matrix->n_parts++], err);
    size_t rows = 0;
    for (size_t i = 0; i < matrix->n_parts; i++)
        rows += matrix->parts[i].count * matrix->parts[i].runs;
    matrix->whole = rows == where.matrix->out;
    if (where.n > 1 && where.out > x->max_apart)
        x->max_apart = where.out;
    return st;
}

static enum qins_status add_input(struct qn_native *x, const struct qn_transport_input *from,
                                  const char *file, struct qins_error *err)
{
    struct qn_native_input *in = &x->inputs[x->n_inputs++];
    const unsigned planes = qn_transport_planes(from);
    *in = (struct qn_native_input){.scale = from->scale,
                                   .channels = from->channels,
                                   .tables = planes ? planes : 1,
                                   .decode = from->method == QN_DECODE};
    if (!qn_grid_init(&in->grid, QN_GRID_QINS, from->levels, from->kappa))
        return qn_fail_at(err, QINS_ERR_FORMAT, file, NULL, QN_NO_OFFSET,
                          "the input '%s' has no grid", from->name);
    const size_t features = in->tables * in->channels;
    x->max_channels = in->channels > x->max_channels ? in->channels : x->max_channels;
    x->max_features = features > x->max_features ? features : x->max_features;
    in->table = take_floats(in->tables, 2 * (size_t)from->levels + 1, err);
    return in->table ? qn_transport_features(from, in->table, err) : QINS_ERR_MEMORY;
}

/* The model's matrices learn of it at last: a failure leaves them as they were. */
static enum qins_status make_native(const struct making *k, struct qins_error *err)
{
    struct qn_native *x = calloc(1, sizeof *x);
    enum qins_status st = QINS_OK;
    k->m->native = x;
    if (!x)
        return qn_fail_memory(err);
    x->file = qn_strdup(k->file, err);
    if (!x->file)
        return QINS_ERR_MEMORY;
    x->inputs = calloc(k->t->n_inputs + 1, sizeof *x->inputs);
    x->matrices = calloc(k->t->n_layers + 1, sizeof *x->matrices);
    if (!x->inputs || !x->matrices)
        return qn_fail_memory(err);
    for (size_t i = 0; i < k->t->n_inputs && st == QINS_OK; i++)
        st = add_input(x, &k->t->inputs[i], k->file, err);
    for (size_t i = 0; i < k->t->n_layers && st == QINS_OK; i++)
        st = add_layer(k, &k->t->layers[i], err);
    for (size_t i = 0; i < x->n_matrices && st == QINS_OK; i++)
        x->matrices[i].matrix->native = &x->matrices[i];
    return st;
}

enum qins_status qn_model_go_native(struct qn_model *m, const struct qn_transport *t,
                                    const char *file, struct qins_error *err)
{
    struct making k = {.m = m, .t = t, .file = file};
    if (memcmp(&t->model, &m->fingerprint, sizeof m->fingerprint) != 0)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, file, NULL, QN_NO_OFFSET,
                          "it was made for another model than %s: fingerprints differ", m->path);
    enum qins_status st = qn_error_in_file(err, qn_transport_check(t, err), file);
    if (st != QINS_OK)
        return st;
    qn_model_drop_native(m);
    st = qn_taps_init(&k.taps, m, err);
    if (st == QINS_OK)
        st = make_native(&k, err);
    qn_taps_finish(&k.taps);
    if (st != QINS_OK)
        qn_model_drop_native(m);
    return st;
}

enum qins_status qn_model_not_finite(const struct qn_model *m, const char *where,
                                     struct qins_error *err)
{
    const char *file = m->native ? m->native->file : NULL;
    if (!file)
        return qn_fail_at(err, QINS_ERR_FORMAT, m->path, NULL, QN_NO_OFFSET,
                          "the model's logits are not finite %s", where);
    if (m->path && strcmp(file, m->path) == 0)
        return qn_fail_at(err, QINS_ERR_FORMAT, m->path, NULL, QN_NO_OFFSET,
                          "with the transport that it carries the logits are not finite %s", where);
    return qn_fail_at(err, QINS_ERR_FORMAT, m->path, NULL, QN_NO_OFFSET,
                      "with the transport %s the logits are not finite %s", file, where);
}

static void finish_matrix(struct qn_native_matrix *x)
{
    for (size_t i = 0; i < x->n_parts; i++) {
        free(x->parts[i].owned);
        free(x->parts[i].output_scale);
        free(x->parts[i].output_offset);
    }
    free(x->parts);
    x->matrix->native = NULL;
}

bool qn_matrix_is_native(const struct qn_matrix *x)
{
    return x->native && x->native->whole;
}

void qn_model_drop_native(struct qn_model *m)
{
    struct qn_native *x = m->native;
    if (!x)
        return;
    for (size_t i = 0; i < x->n_matrices; i++)
        finish_matrix(&x->matrices[i]);
    for (size_t i = 0; i < x->n_inputs; i++)
        free(x->inputs[i].table);
    free(x->matrices);
    free(x->inputs);
    free(x->file);
    free(x);
    m->native = NULL;
}
