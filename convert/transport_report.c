/* The report of `qins transport`: docs/schemas/transport.schema.json. */
#include "convert/transport_work.h"

#include <math.h>

/* Shapes that are shown for every order at the largest scale, so that tables of several models
 * have lines in common. */
static const float fixed_kappas[] = {1.0F, 3.0F};
enum { N_FIXED = sizeof fixed_kappas / sizeof *fixed_kappas };

static json_t *count(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static void append(json_t **array, json_t *value)
{
    if (*array && value && json_array_append_new(*array, value) == 0)
        return;
    json_decref(*array);
    *array = NULL;
}

static json_t *real_or_null(bool given, double value)
{
    return given ? qn_json_real(value) : json_null();
}

/* float32 values of options and tables, as a person writes them. */
static double short_real(float value)
{
    enum { DIGITS = 1000000 };
    const double rounded = round((double)value * DIGITS) / DIGITS;
    return (float)rounded == value ? rounded : (double)value;
}

static json_t *table(const float *values, size_t n)
{
    json_t *j = json_array();
    for (size_t i = 0; i < n; i++)
        append(&j, qn_json_real(short_real(values[i])));
    return j;
}

json_t *qn_transport_report_settings(const struct qn_transport_options *o, unsigned levels)
{
    json_t *j = json_object();
    const bool all = o->method == QN_TRANSPORT_METHODS;
    qn_json_put(&j, "layers",
                qn_json_text(o->layers ? o->layers : qn_projection_name(QN_PROJECTION_V)));
    qn_json_put(&j, "method", json_string(all ? "all" : qn_transport_method_name(o->method)));
    qn_json_put(&j, "order", o->order ? count(o->order) : json_null());
    qn_json_put(&j, "max_order", count(o->max_order ? o->max_order : QN_TRANSPORT_ORDER));
    qn_json_put(&j, "sign_plane", json_boolean(o->sign_plane));
    qn_json_put(&j, "bits", count(o->bits));
    qn_json_put(&j, "levels", count(levels));
    qn_json_put(&j, "kappa", real_or_null(o->kappa >= 0.0F, short_real(o->kappa)));
    qn_json_put(&j, "clip", real_or_null(o->clip >= 0.0F, short_real(o->clip)));
    qn_json_put(&j, "materialize", json_boolean(o->materialize));
    qn_json_put(&j, "kappas", table(qn_transport_kappas, QN_TRANSPORT_KAPPAS));
    qn_json_put(&j, "clips", table(qn_transport_clips, QN_TRANSPORT_CLIPS));
    return j;
}

static unsigned planes_of(const struct qn_fit_choice *c)
{
    return c->method == QN_DECODE ? 0 : c->order + c->sign_plane;
}

static double share(uint64_t part, size_t rows, size_t channels)
{
    return rows ? (double)part / ((double)rows * (double)channels) : 0.0;
}

static uint64_t dead_channels(const struct qn_calibration_point *point)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < point->channels; i++)
        n += point->min[i] == 0.0F && point->max[i] == 0.0F;
    return n;
}

json_t *qn_transport_report_input(const struct qn_point_work *p,
                                  const struct qn_transport_input *in,
                                  const struct qn_calibration_point *point, size_t first_layer)
{
    static const char *const parts[] = {
        [QN_ROWS_FIT] = "fit", [QN_ROWS_SELECT] = "select", [QN_ROWS_TEST] = "test"};
    const struct qn_fit_choice *c = &p->chosen->choice;
    const size_t *rows = p->rows.rows, channels = p->rows.channels;
    json_t *j = json_object(), *of_parts = json_object(), *layers = json_array();
    for (int i = 0; i <= QN_ROWS_TEST; i++)
        qn_json_put(&of_parts, parts[i], count(rows[i]));
    for (size_t i = 0; i < p->n_layers; i++)
        append(&layers, count(first_layer + i));
    qn_json_put(&j, "name", qn_json_text(in->name));
    qn_json_put(&j, "channels", count(channels));
    qn_json_put(&j, "dead_channels", count(dead_channels(point)));
    qn_json_put(&j, "abs_max", qn_json_real((double)p->rows.abs_max));
    qn_json_put(&j, "rows", of_parts);
    qn_json_put(&j, "search_rows", count(p->search_rows));
    qn_json_put(&j, "layers", layers);
    qn_json_put(&j, "method", json_string(qn_transport_method_name(c->method)));
    qn_json_put(&j, "order", count(c->order));
    qn_json_put(&j, "sign_plane", json_boolean(c->sign_plane));
    qn_json_put(&j, "planes", count(planes_of(c)));
    qn_json_put(&j, "kappa", qn_json_real(short_real(c->kappa)));
    qn_json_put(&j, "clip", qn_json_real(short_real(c->clip)));
    qn_json_put(&j, "scale", qn_json_real((double)in->scale));
    qn_json_put(&j, "bits", count(p->o->bits));
    qn_json_put(&j, "ridge", real_or_null(c->method == QN_RIDGE, c->ridge));
    qn_json_put(&j, "fallback", json_boolean(p->fallback));
    qn_json_put(&j, "clipped_share_select",
                qn_json_real(share(p->clipped[0], rows[QN_ROWS_SELECT], channels)));
    qn_json_put(&j, "clipped_share_test",
                qn_json_real(share(p->clipped[1], rows[QN_ROWS_TEST], channels)));
    qn_json_put(&j, "clamped", count(p->chosen->clamped));
    return j;
}

/* A layer's list of methods. */
struct lines {
    const struct qn_point_work *p;
    size_t layer;
    json_t *array;
    size_t n, chosen;
};

/* METHOD is t's but for the best ridge, where it fell back on split. */
static void add_line(struct lines *l, const struct qn_trial *t, enum qn_transport_method method,
                     const char *choice)
{
    if (!t)
        return;
    const struct qn_fit_choice *c = &t->choice;
    const struct qn_trial_errors *e = &t->errors[l->layer];
    const bool literal = method == QN_JACOBIAN_LITERAL;
    json_t *j = json_object();
    qn_json_put(&j, "method", json_string(qn_transport_method_name(method)));
    qn_json_put(&j, "choice", json_string(choice));
    qn_json_put(&j, "order", count(c->order));
    qn_json_put(&j, "sign_plane", json_boolean(c->sign_plane));
    qn_json_put(&j, "planes", count(planes_of(c)));
    qn_json_put(&j, "kappa", qn_json_real(short_real(c->kappa)));
    qn_json_put(&j, "clip", qn_json_real(short_real(c->clip)));
    qn_json_put(&j, "bits", count(l->p->o->bits));
    qn_json_put(&j, "ridge", real_or_null(c->method == QN_RIDGE, c->ridge));
    qn_json_put(&j, "fallback",
                json_boolean(c->method != method || (method == QN_RIDGE && isinf(c->ridge))));
    qn_json_put(&j, "output_decoded", literal ? json_boolean(!t->plain_output) : json_null());
    qn_json_put(&j, "clamped", count(t->clamped));
    qn_json_put(&j, "relative_error_select", qn_json_real(e->select.relative));
    qn_json_put(&j, "relative_error_test", qn_json_real(e->test.relative));
    qn_json_put(&j, "squared_error_select", qn_json_real(e->select.squared));
    qn_json_put(&j, "squared_error_test", qn_json_real(e->test.squared));
    append(&l->array, j);
    if (t == l->p->chosen && c->method == method && l->chosen == SIZE_MAX)
        l->chosen = l->n;
    l->n++;
}

static void add_kind(struct lines *l, size_t kind)
{
    const struct qn_point_work *p = l->p;
    const struct qn_trial_kind *k = &p->kinds[kind];
    if (k->method == QN_DECODE) {
        add_line(l, qn_trial_best(p, kind, 0.0F, -1.0F), QN_DECODE, "order");
        add_line(l, qn_trial_best(p, kind, 0.0F, 1.0F), QN_DECODE, "fixed");
    } else {
        add_line(l, qn_trial_best(p, kind, p->o->kappa, p->o->clip), k->method, "order");
    }
    for (size_t i = 0; i < N_FIXED; i++)
        add_line(l, qn_trial_best(p, kind, fixed_kappas[i], 1.0F), k->method, "fixed");
}

static json_t *methods_of(struct lines *l)
{
    const struct qn_point_work *p = l->p;
    l->array = json_array();
    l->chosen = SIZE_MAX;
    for (int method = 0; method < QN_TRANSPORT_METHODS; method++) {
        add_line(l, p->best[method], (enum qn_transport_method)method, "best");
        for (size_t i = 0; i < p->n_kinds; i++)
            if (p->kinds[i].method == (enum qn_transport_method)method)
                add_kind(l, i);
    }
    return l->array;
}

/* Errors on test rows by shape, at the largest scale or at the one that is best on select rows. */
static json_t *curve_of(const struct qn_point_work *p, size_t layer, size_t kind, bool largest)
{
    const struct qn_trial_kind *k = &p->kinds[kind];
    json_t *j = json_object(), *clips = json_array();
    json_t *relative = json_array(), *squared = json_array();
    for (size_t i = 0; i < QN_TRANSPORT_KAPPAS; i++) {
        const struct qn_trial *t =
            qn_trial_best(p, kind, qn_transport_kappas[i], largest ? 1.0F : -1.0F);
        const struct qn_fit_error *e = t ? &t->errors[layer].test : NULL;
        append(&clips, real_or_null(t != NULL, t ? short_real(t->choice.clip) : 0.0));
        append(&relative, real_or_null(e != NULL, e ? e->relative : 0.0));
        append(&squared, real_or_null(e != NULL, e ? e->squared : 0.0));
    }
    qn_json_put(&j, "method", json_string(qn_transport_method_name(k->method)));
    qn_json_put(&j, "order", count(k->order));
    qn_json_put(&j, "sign_plane", json_boolean(k->sign_plane));
    qn_json_put(&j, "output_decoded",
                k->method == QN_JACOBIAN_LITERAL ? json_boolean(!k->plain_output) : json_null());
    qn_json_put(&j, "clip", json_string(largest ? "max" : "best"));
    qn_json_put(&j, "kappa", table(qn_transport_kappas, QN_TRANSPORT_KAPPAS));
    qn_json_put(&j, "clip_used", clips);
    qn_json_put(&j, "relative_error_test", relative);
    qn_json_put(&j, "squared_error_test", squared);
    return j;
}

json_t *qn_transport_report_layer(const struct qn_point_work *p, size_t layer, size_t input,
                                  bool experts)
{
    const struct qn_fitted_layer *l = &p->layers[layer];
    struct lines lines = {.p = p, .layer = layer};
    json_t *j = json_object(), *curves = json_array();
    for (size_t i = 0; i < p->n_kinds; i++) {
        const bool ridge = p->kinds[i].method == QN_RIDGE;
        if (ridge && i + 1 < p->n_kinds && p->kinds[i + 1].method == QN_RIDGE)
            continue; /* only the highest order was measured at every shape */
        if (!ridge)
            append(&curves, curve_of(p, layer, i, true));
        if (!qn_transport_is_jacobian(p->kinds[i].method))
            append(&curves, curve_of(p, layer, i, false));
    }
    json_t *methods = methods_of(&lines);
    const double values = (double)p->rows.rows[QN_ROWS_TEST] * (double)l->part.out;
    qn_json_put(&j, "name", qn_json_text(l->part.matrix->name));
    qn_json_put(&j, "projection", json_string(qn_projection_name(l->projection)));
    qn_json_put(&j, "layer", count(l->layer));
    qn_json_put(&j, "expert", experts ? count(l->expert) : json_null());
    qn_json_put(&j, "input", count(input));
    qn_json_put(&j, "out", count(l->part.out));
    qn_json_put(&j, "in", count(p->rows.channels));
    qn_json_put(&j, "mean_abs_output_test", qn_json_real(p->outputs[layer][1].abs / values));
    qn_json_put(&j, "chosen", count(lines.chosen));
    qn_json_put(&j, "methods", methods);
    qn_json_put(&j, "curves", curves);
    return j;
}
