#include "model/session_internal.h"

#include <string.h>

/* The most probable experts of one token, their shares made to sum to 1: Mixtral's rule, Jiang et
 * al., arXiv 2401.04088, section 2.1 (softmax over all, then the largest, then renormalised, is
 * the softmax over the largest). The lower number wins a tie. */
static void choose_experts(const float *probability, size_t n_experts, size_t n_chosen,
                           uint32_t *chosen, float *share)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n_chosen; i++) {
        size_t best = n_experts;
        for (size_t e = 0; e < n_experts; e++) {
            bool taken = false;
            for (size_t j = 0; j < i; j++)
                taken = taken || chosen[j] == e;
            if (!taken && (best == n_experts || probability[e] > probability[best]))
                best = e;
        }
        chosen[i] = (uint32_t)best;
        share[i] = probability[best];
        sum += share[i];
    }
    for (size_t i = 0; i < n_chosen; i++)
        share[i] /= sum;
}

static void choose_rows(void *ctx, size_t begin, size_t end)
{
    const struct qn_session *s = ctx;
    const struct qn_routing *r = &s->routing;
    const size_t experts = s->model->config.n_experts, k = s->model->config.experts_per_token;
    for (size_t i = begin; i < end; i++) {
        s->kernels->softmax(r->logits + i * experts, experts);
        choose_experts(r->logits + i * experts, experts, k, r->chosen + i * k, r->share + i * k);
    }
}

/* Sorts the N * k choices by expert, those of one expert by row. */
static void group_by_expert(struct qn_session *s, size_t n)
{
    struct qn_routing *r = &s->routing;
    const size_t experts = s->model->config.n_experts, k = s->model->config.experts_per_token;
    memset(r->first, 0, (experts + 1) * sizeof *r->first);
    for (size_t i = 0; i < n * k; i++)
        r->first[r->chosen[i] + 1]++;
    for (size_t e = 0; e < experts; e++)
        r->first[e + 1] += r->first[e];
    for (size_t i = 0; i < n * k; i++) {
        const size_t at = r->first[r->chosen[i]]++;
        r->row[at] = (uint32_t)(i / k);
        r->row_share[at] = r->share[i];
    }
    /* Each first has become the next one's. */
    memmove(r->first + 1, r->first, experts * sizeof *r->first);
    r->first[0] = 0;
}

/* The rows of one expert. */
struct expert_rows {
    const struct qn_session *s;
    size_t first; /* entry in routing.row */
};

static void gather_rows(void *ctx, size_t begin, size_t end)
{
    const struct expert_rows *x = ctx;
    const struct qn_session *s = x->s;
    for (size_t i = begin; i < end; i++)
        memcpy(s->routing.gathered + i * s->hidden_stride,
               s->input + s->routing.row[x->first + i] * s->hidden_stride,
               s->model->config.hidden * sizeof(float));
}

static void scatter_rows(void *ctx, size_t begin, size_t end)
{
    const struct expert_rows *x = ctx;
    const struct qn_session *s = x->s;
    for (size_t i = begin; i < end; i++)
        s->kernels->add_scaled(s->delta + s->routing.row[x->first + i] * s->hidden_stride,
                               s->routing.contributed + i * s->hidden_stride,
                               s->routing.row_share[x->first + i], s->model->config.hidden);
}

void qn_experts(struct qn_session *s, uint32_t layer, size_t n)
{
    const struct qn_model_config *c = &s->model->config;
    const struct qn_layer *l = &s->model->layers[layer];
    struct qn_routing *r = &s->routing;
    const size_t point = qn_layer_point(s, layer, QN_POINT_MLP);
    qn_visit(s, point, s->input, n, s->hidden_stride);
    qn_session_linear(s, &l->router, s->input, n, s->hidden_stride, r->logits, c->n_experts);
    qn_session_rows(s, n, (size_t)c->n_experts * c->experts_per_token, 0, choose_rows, s);
    if (s->listener && s->listener->experts)
        s->listener->experts(s->listener->ctx, layer, r->chosen, n);
    group_by_expert(s, n);
    memset(s->delta, 0, n * s->hidden_stride * sizeof *s->delta);
    /* A row's experts are added in the order of their numbers, whatever the batch. */
    for (uint32_t e = 0; e < c->n_experts; e++) {
        struct expert_rows x = {s, r->first[e]};
        const size_t rows = r->first[e + 1] - r->first[e];
        if (rows == 0)
            continue;
        qn_session_rows(s, rows, c->hidden, 0, gather_rows, &x);
        qn_mlp(s, &l->mlp[e], point + 1 + 2 * (size_t)e, r->gathered, rows, r->contributed);
        qn_session_rows(s, rows, c->hidden, 0, scatter_rows, &x);
    }
}
