/* What forward passes do when more and more layers take coded inputs, counted in passes of a few
 * tokens: decoding before every product (pattern A), and as the transport has it (B). */
#include "analyze/report_build.h"

#include "core/bytes.h"
#include "model/corpus.h"
#include "model/session.h"

#include <stdlib.h>
#include <string.h>

/* Tokens of a pass: enough for a router to use several experts. */
enum { PASS_TOKENS = 32, TITLE_SIZE = 64 };

/* In this order layers become native (the seeds' order of extension). */
static const enum qn_projection extension[QN_PROJECTIONS] = {
    QN_PROJECTION_V,  QN_PROJECTION_O, QN_PROJECTION_DOWN, QN_PROJECTION_GATE,
    QN_PROJECTION_UP, QN_PROJECTION_Q, QN_PROJECTION_K,
};

/* Part of a transport; arrays are those of the whole. */
struct stage {
    struct qn_transport part;
    char title[TITLE_SIZE];
};

static enum qins_status forward(const struct qn_model *m, struct qn_compute_counts *counts,
                                struct qins_error *err)
{
    uint32_t ids[PASS_TOKENS];
    const size_t n = (size_t)qn_min_u64(PASS_TOKENS, qn_window_size(&m->config, 0, NULL));
    const struct qn_session_options o = {.positions = n};
    struct qn_session *session = NULL;
    float *logits = calloc(m->config.vocab, sizeof *logits);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)(i % m->config.vocab);
    enum qins_status st = logits ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_session_create(&session, m, &o, err);
    if (st == QINS_OK)
        st = qn_session_forward(session, ids, n, NULL, err);
    if (st == QINS_OK) {
        qn_session_logits(session, qn_session_last_batch(session) - 1, 1, logits);
        qn_session_counts(session, counts);
    }
    qn_session_destroy(session);
    free(logits);
    return st;
}

static json_t *counts_to_json(const struct qn_compute_counts *c)
{
    json_t *j = json_object();
    qn_json_put(&j, "products", json_integer((json_int_t)c->products));
    qn_json_put(&j, "encodes", json_integer((json_int_t)c->encodes));
    qn_json_put(&j, "decodes", json_integer((json_int_t)c->decodes));
    qn_json_put(&j, "plane_products", json_integer((json_int_t)c->plane_products));
    return j;
}

/* The same layers, their inputs decoded before each product. */
static void make_decoded(struct qn_transport *t)
{
    for (size_t i = 0; i < t->n_inputs; i++) {
        struct qn_transport_input *in = &t->inputs[i];
        in->method = QN_DECODE;
        in->order = 0;
        in->sign_plane = false;
        in->coefficients = NULL;
    }
    for (size_t i = 0; i < t->n_layers; i++) {
        struct qn_transport_layer *l = &t->layers[i];
        l->planes = l->output_scale = l->output_offset = NULL;
        l->output_alpha = l->output_floor = 0.0F;
    }
}

static enum qins_status count_stage(struct qn_report_builder *b, struct stage *s, json_t **stages,
                                    struct qins_error *err)
{
    static const char *const patterns[] = {"pattern_b", "pattern_a"};
    json_t *j = json_object();
    enum qins_status st = QINS_OK;
    qn_json_put(&j, "stage", json_string(s->title));
    qn_json_put(&j, "layers", json_integer((json_int_t)s->part.n_layers));
    for (int i = 0; i < 2 && st == QINS_OK; i++) {
        struct qn_compute_counts counts = {0};
        if (i == 1)
            make_decoded(&s->part);
        st = qn_check_stop(b->monitor, err);
        if (st == QINS_OK)
            st = qn_model_go_native(b->model, &s->part, b->options->transport, err);
        if (st == QINS_OK)
            st = forward(b->model, &counts, err);
        qn_model_drop_native(b->model);
        qn_json_put(&j, patterns[i], counts_to_json(&counts));
    }
    if (json_array_append_new(*stages, j) != 0 && st == QINS_OK)
        st = qn_fail_memory(err);
    return st;
}

/* The layers of T of the first N projections of the extension; of at most MOST layers. */
static enum qins_status begin_stage(const struct qn_transport *t, size_t n, size_t most,
                                    struct stage *s, struct qins_error *err)
{
    struct qn_transport *p = &s->part;
    *p = (struct qn_transport){
        .model = t->model, .calibration = t->calibration, .n_inputs = t->n_inputs};
    p->inputs = calloc(t->n_inputs + 1, sizeof *p->inputs);
    p->layers = calloc(t->n_layers + 1, sizeof *p->layers);
    if (!p->inputs || !p->layers)
        return qn_fail_memory(err);
    for (size_t i = 0; i < t->n_inputs; i++)
        p->inputs[i] = t->inputs[i];
    for (size_t i = 0; i < t->n_layers && p->n_layers < most; i++)
        for (size_t k = 0; k < n; k++)
            if (t->layers[i].projection == extension[k])
                p->layers[p->n_layers++] = t->layers[i];
    return QINS_OK;
}

static void end_stage(struct stage *s)
{
    free(s->part.inputs);
    free(s->part.layers);
    s->part = (struct qn_transport){0};
}

static enum qins_status add_stage(struct qn_report_builder *b, size_t n, size_t most,
                                  const char *which, json_t **out, struct qins_error *err)
{
    struct stage s;
    snprintf(s.title, sizeof s.title, "%s %s", which, qn_projection_name(extension[n - 1]));
    enum qins_status st = begin_stage(&b->transport, n, most, &s, err);
    if (st == QINS_OK)
        st = count_stage(b, &s, out, err);
    end_stage(&s);
    return st;
}

static size_t layers_of(const struct qn_transport *t, enum qn_projection p)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_layers; i++)
        n += t->layers[i].projection == p;
    return n;
}

enum qins_status qn_report_stages(struct qn_report_builder *b, json_t **out, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    bool first = true;
    *out = json_array();
    for (size_t k = 0; k < QN_PROJECTIONS && st == QINS_OK; k++) {
        const size_t n = layers_of(&b->transport, extension[k]);
        if (n == 0)
            continue;
        if (first && n > 1) /* the first kind begins with one of them */
            st = add_stage(b, k + 1, 1, "one", out, err);
        if (st == QINS_OK)
            st = add_stage(b, k + 1, SIZE_MAX, first ? "every" : "and every", out, err);
        first = false;
    }
    return st;
}
