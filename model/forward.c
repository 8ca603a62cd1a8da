#include "model/session_internal.h"

/* Elements that a range of rows should have to be worth a thread's while: about 5 us of work. */
enum { ROWS_GRAIN = 16384, ROWS_ALIGN = 16 };

struct rows_loop {
    void (*work)(void *ctx, size_t begin, size_t end);
    void *ctx;
    size_t n, step, phase;
};

static void rows_item(void *ctx, unsigned worker, size_t item)
{
    const struct rows_loop *l = ctx;
    size_t begin = item * l->step, end = begin + l->step - l->phase;
    (void)worker;
    l->work(l->ctx, begin > l->phase ? begin - l->phase : 0, end < l->n ? end : l->n);
}

void qn_session_rows(const struct qn_session *s, size_t n, size_t width, size_t phase,
                     void (*work)(void *ctx, size_t begin, size_t end), void *ctx)
{
    struct rows_loop l = {work, ctx, n, ROWS_ALIGN, phase % ROWS_ALIGN};
    while (l.step * width < ROWS_GRAIN)
        l.step += ROWS_ALIGN;
    if (s->threads == 1 || l.phase + n <= l.step)
        work(ctx, 0, n);
    else
        qn_pool_run(s->pool, (l.phase + n + l.step - 1) / l.step, rows_item, &l);
}

struct embedding {
    const struct qn_session *s;
    const uint32_t *ids;
};

static void embed_rows(void *ctx, size_t begin, size_t end)
{
    const struct embedding *e = ctx;
    const struct qn_session *s = e->s;
    const struct qn_model *m = s->model;
    for (size_t i = begin; i < end; i++) {
        float *x = s->x + i * s->hidden_stride, *learned = s->input + i * s->hidden_stride;
        qn_matrix_row(&m->embedding, e->ids[i], x);
        if (m->positions.name) {
            qn_matrix_row(&m->positions, s->position + i, learned);
            s->kernels->add(x, learned, m->config.hidden);
        }
    }
}

/* What happens to the residual stream between two layers: x += delta, out = norm(x). */
struct residual {
    const struct qn_session *s;
    const struct qn_norm *norm;
    float *out; /* s->input or s->x */
    bool add, norm_first;
};

static void norm_row(const struct qn_session *s, const struct qn_norm *norm, const float *x,
                     float *y)
{
    const struct qn_model_config *c = &s->model->config;
    if (c->arch->norm == QN_NORM_RMS)
        s->kernels->rms_norm(y, x, norm->weight, c->hidden, c->norm_eps);
    else
        s->kernels->layer_norm(y, x, norm->weight, norm->bias, c->hidden, c->norm_eps);
}

static void residual_rows(void *ctx, size_t begin, size_t end)
{
    const struct residual *r = ctx;
    const struct qn_session *s = r->s;
    for (size_t i = begin; i < end; i++) {
        const size_t at = i * s->hidden_stride;
        if (r->norm_first)
            norm_row(s, r->norm, s->x + at, r->out + at);
        if (r->add)
            s->kernels->add(s->x + at, s->delta + at, s->model->config.hidden);
        if (!r->norm_first)
            norm_row(s, r->norm, s->x + at, r->out + at);
    }
}

static void step_residual(const struct qn_session *s, size_t n, struct residual r)
{
    r.s = s;
    qn_session_rows(s, n, 2 * (size_t)s->model->config.hidden, 0, residual_rows, &r);
}

static void activate_rows(void *ctx, size_t begin, size_t end)
{
    const struct qn_session *s = ctx;
    const struct qn_model_config *c = &s->model->config;
    for (size_t i = begin; i < end; i++) {
        float *x = s->mlp + i * s->mlp_stride;
        s->kernels->activate((int)c->activation, x, x, c->arch->gated ? x + c->intermediate : NULL,
                             c->intermediate);
    }
}

void qn_mlp(struct qn_session *s, const struct qn_mlp *mlp, size_t point, const float *in,
            size_t rows, float *out)
{
    const struct qn_model_config *c = &s->model->config;
    qn_visit(s, point, in, rows, s->hidden_stride);
    if (mlp->gate_up.name) {
        qn_session_linear(s, &mlp->gate_up, in, rows, s->hidden_stride, s->mlp, s->mlp_stride);
    } else {
        float *up = s->mlp + (c->arch->gated ? c->intermediate : 0);
        if (c->arch->gated)
            qn_session_linear(s, &mlp->gate, in, rows, s->hidden_stride, s->mlp, s->mlp_stride);
        qn_session_linear(s, &mlp->up, in, rows, s->hidden_stride, up, s->mlp_stride);
    }
    /* An exponential counts for about four additions. */
    qn_session_rows(s, rows, 4 * (size_t)c->intermediate, 0, activate_rows, s);
    qn_visit(s, point + 1, s->mlp, rows, s->mlp_stride);
    qn_session_linear(s, &mlp->down, s->mlp, rows, s->mlp_stride, out, s->hidden_stride);
}

enum qins_status qn_forward_batch(struct qn_session *s, const uint32_t *ids, size_t n,
                                  struct qins_error *err)
{
    const struct qn_model *m = s->model;
    const struct qn_model_config *c = &m->config;
    struct embedding e = {s, ids};
    enum qins_status st = QINS_OK;
    if (c->arch->rope != QN_ROPE_NONE)
        qn_rope_fill(&s->rope, s->position + n);
    qn_session_rows(s, n, c->hidden, 0, embed_rows, &e);
    step_residual(s, n, (struct residual){.norm = &m->layers[0].attn_norm, .out = s->input});
    s->last_batch = 0;
    s->has_logits = false;
    s->counts.forwards++;
    for (uint32_t i = 0; i < c->n_layers; i++) {
        const struct qn_layer *l = &m->layers[i];
        const bool last = i + 1 == c->n_layers;
        st = qn_attention(s, i, n, err);
        if (st != QINS_OK)
            return st;
        step_residual(s, n,
                      (struct residual){.norm = &l->mlp_norm,
                                        .out = s->input,
                                        .add = true,
                                        .norm_first = c->parallel_residual});
        if (c->n_experts > 0)
            qn_experts(s, i, n);
        else
            qn_mlp(s, l->mlp, qn_layer_point(s, i, QN_POINT_MLP), s->input, n, s->delta);
        if (s->listener && s->listener->last_layer == i)
            goto done;
        step_residual(s, n,
                      (struct residual){.norm = last ? &m->final_norm : &l[1].attn_norm,
                                        .out = last ? s->x : s->input,
                                        .add = true});
    }
    s->last_batch = n;
    qn_tell(s, qn_layer_point(s, c->n_layers, 0), s->x, n, s->hidden_stride);
done:
    s->position += n;
    if (s->kv)
        qn_kv_cache_done(s->kv, s->position);
    return st;
}
