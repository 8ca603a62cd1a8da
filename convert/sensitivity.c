#include "convert/sensitivity.h"

#include "analyze/divergence.h"
#include "analyze/estimate.h"
#include "analyze/prediction.h"
#include "convert/perturb.h"
#include "core/buf.h"
#include "core/bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double default_bits = 4.0;
static const uint64_t default_logit_bytes = UINT64_C(1) << 30;

/* A matrix of the model that is changed. */
struct target {
    struct qn_matrix *x;
    bool joined; /* with the one before it */
};

struct window {
    size_t first, n; /* tokens */
    size_t at;       /* number of its first token among those of all windows */
};

struct job {
    const struct qn_model *m;
    const struct qn_corpus *corpus;
    uint32_t context;
    struct qn_sensitivity_options o;
    const struct qn_monitor *monitor;
    struct qn_monitor silent; /* only what may stop a session */
    struct qn_calibration *c;

    struct qn_model changed; /* has layers of its own, but m's weights, but for those changed */
    struct target *targets;
    size_t n_targets;

    struct window *windows;
    size_t n_windows, tokens;
    float *logits;    /* [tokens][vocab] of M; NULL: it runs beside the changed one */
    double *lse;      /* [tokens], where there are logits */
    double *kl;       /* [tokens] */
    double *variance; /* [threads][vocab]: of the windows in progress, as head_variance */
};

static void add_target(struct job *j, struct qn_matrix *x, bool joined)
{
    if (x->name)
        j->targets[j->n_targets++] = (struct target){x, joined};
}

static void add_experts(struct job *j, struct qn_layer *l)
{
    enum { MATRICES = 4 };
    const uint32_t n = j->m->config.n_experts ? j->m->config.n_experts : 1;
    const bool together = n > QN_SENSITIVITY_EXPERTS; /* each kind of matrix, of all experts */
    for (uint32_t i = 0; i < n * MATRICES; i++) {
        const uint32_t e = together ? i % n : i / MATRICES;
        struct qn_mlp *mlp = &l->mlp[e];
        struct qn_matrix *const of[MATRICES] = {&mlp->gate, &mlp->up, &mlp->gate_up, &mlp->down};
        add_target(j, of[together ? i / n : i % MATRICES], together && e > 0);
    }
}

/* The matrices in the order of the forward pass; a head that is the embedding is not listed. */
static void list_targets(struct job *j)
{
    struct qn_model *m = &j->changed;
    add_target(j, &m->embedding, false);
    add_target(j, &m->positions, false);
    for (uint32_t i = 0; i < m->config.n_layers; i++) {
        struct qn_layer *l = &m->layers[i];
        add_target(j, &l->q, false);
        add_target(j, &l->k, false);
        add_target(j, &l->v, false);
        add_target(j, &l->qkv, false);
        add_target(j, &l->o, false);
        add_target(j, &l->router, false);
        add_experts(j, l);
    }
    if (!m->config.tied)
        add_target(j, &m->head, false);
}

static enum qins_status copy_model(struct job *j, struct qins_error *err)
{
    enum { OUTSIDE = 3, OF_LAYER = 6, OF_EXPERT = 4 };
    const struct qn_model_config *c = &j->m->config;
    const size_t experts = c->n_experts ? c->n_experts : 1;
    j->changed = *j->m;
    j->changed.layers = calloc(c->n_layers, sizeof *j->changed.layers);
    j->targets =
        calloc(OUTSIDE + c->n_layers * (OF_LAYER + OF_EXPERT * experts), sizeof *j->targets);
    if (!j->changed.layers || !j->targets)
        return qn_fail_memory(err);
    for (uint32_t i = 0; i < c->n_layers; i++) {
        struct qn_layer *l = &j->changed.layers[i];
        *l = j->m->layers[i];
        l->mlp = calloc(experts, sizeof *l->mlp);
        if (!l->mlp)
            return qn_fail_memory(err);
        memcpy(l->mlp, j->m->layers[i].mlp, experts * sizeof *l->mlp);
    }
    list_targets(j);
    return QINS_OK;
}

/* Whole windows of the corpus, spread over it; where it has none, what is there. */
static enum qins_status choose_windows(struct job *j, struct qins_error *err)
{
    const struct qn_corpus *c = j->corpus;
    size_t whole = 0, texts = 0, seen = 0;
    for (size_t i = 0; i < c->n_parts; i++) {
        whole += (c->begin[i + 1] - c->begin[i]) / j->context;
        texts += c->begin[i + 1] > c->begin[i];
    }
    const size_t all = whole ? whole : texts;
    const uint64_t asked = j->o.max_tokens / j->context;
    const size_t n = asked < 1 ? 1 : asked < all ? (size_t)asked : all;
    j->windows = calloc(n + 1, sizeof *j->windows);
    if (!j->windows)
        return qn_fail_memory(err);
    for (size_t i = 0; i < c->n_parts; i++) {
        const size_t length = c->begin[i + 1] - c->begin[i], step = whole ? j->context : length;
        for (size_t at = 0; length > 0 && at + step <= length; at += step, seen++)
            if (j->n_windows < n && seen == qn_spread_evenly(j->n_windows, n, all)) {
                j->windows[j->n_windows++] = (struct window){c->begin[i] + at, step, j->tokens};
                j->tokens += step;
            }
    }
    if (j->tokens == 0)
        return qn_fail(err, QINS_ERR_FORMAT, "the text has no tokens");
    return QINS_OK;
}

static size_t fill(void *ctx, uint64_t window, uint32_t *ids)
{
    const struct job *j = ctx;
    const struct window *w = &j->windows[window];
    memcpy(ids, j->corpus->ids.data + w->first, w->n * sizeof *ids);
    return w->n;
}

/* Keeps the unchanged model's logits, where there is room, and adds up p (1 - p). */
static void keep(void *ctx, const struct qn_predicted *p)
{
    struct job *j = ctx;
    const size_t vocab = j->m->config.vocab, at = j->windows[p->window].at + p->first;
    double *variance = j->variance + p->slot * vocab;
    if (j->logits)
        memcpy(j->logits + at * vocab, p->logits[0], p->count * vocab * sizeof *j->logits);
    for (size_t i = 0; i < p->count; i++) {
        const float *row = p->logits[0] + i * vocab;
        const double lse = qn_log_sum_exp(row, vocab);
        if (j->logits)
            j->lse[at + i] = lse;
        for (size_t k = 0; k < vocab; k++) {
            const double share = exp((double)row[k] - lse);
            variance[k] += share * (1.0 - share);
        }
    }
}

/* In the order of windows, so that sums do not depend on threads. */
static enum qins_status add_variance(void *ctx, unsigned slot, uint64_t window,
                                     struct qins_error *err)
{
    struct job *j = ctx;
    const size_t vocab = j->m->config.vocab;
    double *variance = j->variance + slot * vocab;
    (void)window;
    (void)err;
    for (size_t k = 0; k < vocab; k++) {
        j->c->head_variance[k] += variance[k] / (double)j->tokens;
        variance[k] = 0.0;
    }
    return QINS_OK;
}

/* The changed model comes first, and alone where the other's logits are kept. */
static void compare(void *ctx, const struct qn_predicted *p)
{
    struct job *j = ctx;
    const size_t vocab = j->m->config.vocab, at = j->windows[p->window].at + p->first;
    for (size_t i = 0; i < p->count; i++) {
        const float *changed = p->logits[0] + i * vocab;
        const float *model = j->logits ? j->logits + (at + i) * vocab : p->logits[1] + i * vocab;
        const double lse = j->logits ? j->lse[at + i] : qn_log_sum_exp(model, vocab);
        j->kl[at + i] = qn_kl_of_logits(model, lse, changed, vocab);
    }
}

static enum qins_status predict(struct job *j, const struct qn_model *first,
                                const struct qn_model *second,
                                void (*use)(void *ctx, const struct qn_predicted *p),
                                struct qins_error *err)
{
    struct qn_window_run p = {.emit = use == keep ? add_variance : NULL,
                              .models = {first, second},
                              .context = j->context,
                              .end = j->context,
                              .windows = j->n_windows,
                              .threads = j->o.threads,
                              .fill = fill,
                              .use = use,
                              .ctx = j,
                              .monitor = &j->silent};
    return qn_predict_windows(&p, err);
}

static enum qins_status run_model(struct job *j, struct qins_error *err)
{
    const uint64_t vocab = j->m->config.vocab;
    const uint64_t limit = j->o.logit_bytes ? j->o.logit_bytes : default_logit_bytes;
    uint64_t bytes = 0;
    if (qn_mul_u64(j->tokens, vocab * sizeof *j->logits, &bytes) && bytes <= limit) {
        j->logits = malloc((size_t)bytes);
        j->lse = calloc(j->tokens, sizeof *j->lse);
        if (!j->logits || !j->lse)
            return qn_fail_memory(err);
    }
    free(j->c->head_variance);
    j->c->n_head_rows = (uint32_t)vocab;
    j->c->head_variance = calloc(vocab, sizeof *j->c->head_variance);
    j->variance = calloc(j->o.threads, vocab * sizeof *j->variance);
    if (!j->c->head_variance || !j->variance)
        return qn_fail_memory(err);
    enum qins_status st = predict(j, j->m, NULL, keep, err);
    for (uint64_t k = 0; k < vocab && st == QINS_OK; k++)
        if (!isfinite(j->c->head_variance[k]))
            st = qn_fail_at(err, QINS_ERR_FORMAT, j->m->path, NULL, QN_NO_OFFSET,
                            "the model's logits are not finite");
    return st;
}

/* Quantised copies of targets FIRST ... END - 1. */
static enum qins_status perturb(const struct job *j, size_t first, size_t end,
                                struct qn_perturbed *changes, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = first; i < end && st == QINS_OK; i++)
        st = qn_perturb(j->targets[i].x, j->o.target_bits, &changes[i - first], err);
    return st;
}

/* KL with these copies in place. */
static enum qins_status measure(struct job *j, size_t first, size_t end,
                                const struct qn_perturbed *changes, struct qn_estimate *out,
                                struct qins_error *err)
{
    const size_t n = end - first;
    struct qn_matrix *before = calloc(n, sizeof *before);
    if (!before)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        struct qn_matrix *x = j->targets[first + i].x;
        before[i] = *x;
        x->data = changes[i].data;
        x->dtype = QINS_F32;
    }
    if (j->m->config.tied)
        j->changed.head = j->changed.embedding;
    enum qins_status st = predict(j, &j->changed, j->logits ? NULL : j->m, compare, err);
    for (size_t i = 0; i < n; i++)
        *j->targets[first + i].x = before[i];
    if (j->m->config.tied)
        j->changed.head = j->changed.embedding;
    free(before);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < j->tokens; i++)
        if (!isfinite(j->kl[i]))
            return qn_fail_at(err, QINS_ERR_FORMAT, j->m->path, j->targets[first].x->name,
                              QN_NO_OFFSET,
                              "the model's logits are not finite with or without it "
                              "quantised");
    /* Windows of one length, or short ones that count as one. */
    const bool whole = j->tokens == j->n_windows * j->windows[0].n;
    *out = qn_estimate_mean(j->kl, j->tokens, whole ? j->n_windows : 1);
    return QINS_OK;
}

/* Tokens that took part, of a tensor that is measured together with others. */
static double touches(const struct qn_calibration *c, const char *name)
{
    uint64_t n = 1;
    qn_calibration_touches(c, name, &n);
    return (double)n;
}

/* In proportion to touches and error. */
static void deal(const struct qn_calibration *c, struct qn_sensitivity *items, size_t n)
{
    double total = 0.0;
    for (size_t i = 0; i < n; i++)
        total += touches(c, items[i].tensor) * items[i].error;
    for (size_t i = 0; i < n; i++) {
        struct qn_sensitivity *s = &items[i];
        const double share = total > 0.0 ? touches(c, s->tensor) * s->error / total : 0.0;
        s->kl = share * s->kl;
        s->standard_error = share * s->standard_error;
        s->joined = false;
    }
}

void qn_sensitivity_deal(struct qn_calibration *c)
{
    for (size_t i = 0, end; i < c->n_sensitivities; i = end) {
        for (end = i + 1; end < c->n_sensitivities && c->sensitivities[end].joined;)
            end++;
        if (end > i + 1)
            deal(c, &c->sensitivities[i], end - i);
    }
}

/* What the KL of targets FIRST ... END - 1 did together. */
static enum qins_status append(struct job *j, size_t first, size_t end,
                               const struct qn_perturbed *changes, const struct qn_estimate *kl,
                               struct qins_error *err)
{
    struct qn_calibration *c = j->c;
    const size_t n = end - first, before = c->n_sensitivities;
    struct qn_sensitivity *grown =
        realloc(c->sensitivities, (before + n) * sizeof *c->sensitivities);
    if (!grown)
        return qn_fail_memory(err);
    c->sensitivities = grown;
    for (size_t i = first; i < end; i++) {
        const struct qn_perturbed *p = &changes[i - first];
        char *name = qn_strdup(j->targets[i].x->name, err);
        if (!name)
            return QINS_ERR_MEMORY;
        c->sensitivities[c->n_sensitivities++] = (struct qn_sensitivity){
            .tensor = name,
            .error = p->error,
            .kl = kl->value,
            .standard_error = isnan(kl->standard_error) ? 0.0 : kl->standard_error,
            .levels = p->levels,
            .joined = j->o.shard.count > 0 && i > first,
        };
    }
    if (n > 1 && j->o.shard.count == 0)
        deal(c, c->sensitivities + before, n);
    return QINS_OK;
}

static size_t unit_end(const struct job *j, size_t first)
{
    size_t end = first + 1;
    while (end < j->n_targets && j->targets[end].joined)
        end++;
    return end;
}

static enum qins_status measure_unit(struct job *j, size_t first, size_t end,
                                     struct qins_error *err)
{
    struct qn_perturbed *changes = calloc(end - first, sizeof *changes);
    struct qn_estimate kl = {0};
    if (!changes)
        return qn_fail_memory(err);
    enum qins_status st = perturb(j, first, end, changes, err);
    if (st == QINS_OK)
        st = measure(j, first, end, changes, &kl, err);
    if (st == QINS_OK)
        st = append(j, first, end, changes, &kl, err);
    for (size_t i = 0; i < end - first; i++)
        qn_perturbed_finish(&changes[i]);
    free(changes);
    return st;
}

/* The targets of the shard, [*BEGIN, *END): a piece of the units. */
static void own_targets(const struct job *j, size_t *begin, size_t *end)
{
    uint64_t units = 0, first, behind, unit = 0;
    for (size_t i = 0; i < j->n_targets; i = unit_end(j, i))
        units++;
    qn_shard_range(&j->o.shard, units, &first, &behind);
    *begin = *end = 0;
    for (size_t i = 0; i < j->n_targets && unit < behind; unit++) {
        if (unit == first)
            *begin = i;
        i = unit_end(j, i);
        *end = i;
    }
    if (first == behind)
        *begin = *end;
}

/* How many of the targets from BEGIN on the table holds already, in their order. */
static size_t measured_before(const struct job *j, size_t begin)
{
    const struct qn_calibration *c = j->c;
    size_t n = 0;
    while (n < c->n_sensitivities && begin + n < j->n_targets &&
           strcmp(c->sensitivities[n].tensor, j->targets[begin + n].x->name) == 0)
        n++;
    return n;
}

static enum qins_status measure_all(struct job *j, struct qins_error *err)
{
    size_t begin, behind;
    own_targets(j, &begin, &behind);
    const size_t before = begin + measured_before(j, begin), n = behind - begin;
    enum qins_status st = QINS_OK;
    if (before - begin != j->c->n_sensitivities || before > behind)
        return qn_fail(err, QINS_ERR_FORMAT, "its sensitivities are of other tensors");
    if (before < behind)
        st = run_model(j, err);
    for (size_t i = begin; i < behind && st == QINS_OK;) {
        const size_t end = unit_end(j, i);
        qn_progress_of(j->monitor, "sensitivity", "tensors", i - begin, n);
        if (i >= before) {
            st = measure_unit(j, i, end, err);
            if (st == QINS_OK && j->o.measured)
                st = j->o.measured(j->o.ctx, err);
        }
        i = end;
    }
    if (st == QINS_OK)
        qn_progress_of(j->monitor, "sensitivity", "tensors", n, n);
    return st;
}

enum qins_status qn_measure_sensitivity(const struct qn_model *m, const struct qn_corpus *corpus,
                                        uint32_t context,
                                        const struct qn_sensitivity_options *options,
                                        const struct qn_monitor *monitor, struct qn_calibration *c,
                                        struct qins_error *err)
{
    struct job j = {
        .m = m, .corpus = corpus, .context = context, .o = *options, .monitor = monitor, .c = c};
    if (monitor)
        j.silent.stop = monitor->stop;
    if (j.o.max_tokens == 0)
        j.o.max_tokens = QN_SENSITIVITY_TOKENS;
    if (!(j.o.target_bits > 0.0))
        j.o.target_bits = default_bits;
    enum qins_status st = copy_model(&j, err);
    if (st == QINS_OK)
        st = choose_windows(&j, err);
    if (st == QINS_OK && !(j.kl = calloc(j.tokens + 1, sizeof *j.kl)))
        st = qn_fail_memory(err);
    if (st == QINS_OK) {
        c->sensitivity_tokens = j.tokens;
        st = measure_all(&j, err);
    }
    for (uint32_t i = 0; j.changed.layers && i < m->config.n_layers; i++)
        free(j.changed.layers[i].mlp);
    free(j.changed.layers);
    free(j.targets);
    free(j.windows);
    free(j.logits);
    free(j.lse);
    free(j.kl);
    free(j.variance);
    return st;
}
