#include "model/weights_plan.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "model/fused.h"
#include "model/native.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 256 };

struct walk {
    const char *prefix;
    struct qn_model *m;
    enum qins_status (*visit)(void *ctx, const struct qn_need *need, struct qins_error *err);
    void *ctx;
    uint32_t layer, expert;
};

/* PREFIX + PATTERN with the numbers of layer and expert in place of its one or two "%u". */
static void expand(const struct walk *w, const char *pattern, bool head, char *out, size_t size)
{
    uint32_t numbers[2] = {w->layer, w->expert};
    size_t used = (size_t)snprintf(out, size, "%s", head ? "" : w->prefix);
    for (unsigned i = 0; used < size; i++) {
        const char *mark = strstr(pattern, "%u");
        if (!mark || i == 2) {
            snprintf(out + used, size - used, "%s", pattern);
            return;
        }
        used += (size_t)snprintf(out + used, size - used, "%.*s%u", (int)(mark - pattern), pattern,
                                 numbers[i]);
        pattern = mark + 2;
    }
}

static enum qins_status need(const struct walk *w, enum qn_role role, struct qn_need n,
                             struct qins_error *err)
{
    const struct qn_arch *a = w->m->config.arch;
    char name[NAME_MAX_BYTES];
    if (!a->weight[role])
        return QINS_OK;
    /* The head stands beside the model, not in it, in all of Hugging Face's classes. */
    expand(w, a->weight[role], role == QN_HEAD, name, sizeof name);
    n.name = name;
    if (n.matrix) {
        n.matrix->out = n.out;
        n.matrix->in = n.in;
        n.matrix->transposed = a->transposed && role >= QN_Q;
        n.matrix->stride = n.matrix->transposed ? n.out : n.in;
    }
    return w->visit(w->ctx, &n, err);
}

static enum qins_status need_norm(const struct walk *w, enum qn_role role, struct qn_norm *norm,
                                  size_t size, bool bias, struct qins_error *err)
{
    struct qn_need n = {.norm = norm, .out = size, .in = 1, .bias = bias};
    return need(w, role, n, err);
}

static enum qins_status need_matrix(const struct walk *w, enum qn_role role,
                                    struct qn_matrix *matrix, size_t out, size_t in, bool bias,
                                    struct qins_error *err)
{
    struct qn_need n = {.matrix = matrix, .out = out, .in = in, .bias = bias};
    return need(w, role, n, err);
}

static enum qins_status attention_needs(const struct walk *w, struct qn_layer *l,
                                        struct qins_error *err)
{
    const struct qn_model_config *c = &w->m->config;
    size_t hidden = c->hidden, head = c->head_dim;
    size_t q = c->n_heads * head, kv = c->n_kv_heads * head;
    bool bias = c->qkv_bias;
    enum qins_status st =
        need_norm(w, QN_ATTN_NORM, &l->attn_norm, hidden, c->arch->norm_bias, err);
    if (st == QINS_OK)
        st = need_matrix(w, QN_Q, &l->q, q, hidden, bias, err);
    if (st == QINS_OK)
        st = need_matrix(w, QN_K, &l->k, kv, hidden, bias, err);
    if (st == QINS_OK)
        st = need_matrix(w, QN_V, &l->v, kv, hidden, bias, err);
    if (st == QINS_OK)
        st = need_matrix(w, QN_QKV, &l->qkv, q + 2 * kv, hidden, bias, err);
    if (st == QINS_OK)
        st = need_norm(w, QN_Q_NORM, &l->q_norm, head, false, err);
    if (st == QINS_OK)
        st = need_norm(w, QN_K_NORM, &l->k_norm, head, false, err);
    if (st == QINS_OK)
        st = need_matrix(w, QN_O, &l->o, hidden, q, c->o_bias, err);
    return st;
}

static enum qins_status mlp_needs(const struct walk *w, struct qn_mlp *mlp, struct qins_error *err)
{
    const struct qn_model_config *c = &w->m->config;
    size_t hidden = c->hidden, inner = c->intermediate;
    bool bias = c->mlp_bias;
    enum qins_status st = need_matrix(w, QN_GATE, &mlp->gate, inner, hidden, bias, err);
    if (st == QINS_OK)
        st = need_matrix(w, QN_UP, &mlp->up, inner, hidden, bias, err);
    if (st == QINS_OK)
        st = need_matrix(w, QN_GATE_UP, &mlp->gate_up, 2 * inner, hidden, bias, err);
    if (st == QINS_OK)
        st = need_matrix(w, QN_DOWN, &mlp->down, hidden, inner, bias, err);
    return st;
}

static uint32_t mlps(const struct qn_model_config *c)
{
    return c->n_experts ? c->n_experts : 1;
}

static enum qins_status layer_needs(struct walk *w, struct qn_layer *l, struct qins_error *err)
{
    const struct qn_model_config *c = &w->m->config;
    enum qins_status st = attention_needs(w, l, err);
    if (st == QINS_OK)
        st = need_norm(w, QN_MLP_NORM, &l->mlp_norm, c->hidden, c->arch->norm_bias, err);
    if (st == QINS_OK)
        st = need_matrix(w, QN_ROUTER, &l->router, c->n_experts, c->hidden, false, err);
    for (w->expert = 0; w->expert < mlps(c) && st == QINS_OK; w->expert++)
        st = mlp_needs(w, &l->mlp[w->expert], err);
    return st;
}

enum qins_status qn_weights_each(struct qn_model *m, const char *prefix,
                                 enum qins_status (*visit)(void *ctx, const struct qn_need *need,
                                                           struct qins_error *err),
                                 void *ctx, struct qins_error *err)
{
    const struct qn_model_config *c = &m->config;
    struct walk w = {.prefix = prefix, .m = m, .visit = visit, .ctx = ctx};
    enum qins_status st =
        need_matrix(&w, QN_EMBEDDING, &m->embedding, c->vocab, c->hidden, false, err);
    if (st == QINS_OK)
        st = need_matrix(&w, QN_POSITIONS, &m->positions, c->max_positions, c->hidden, false, err);
    for (w.layer = 0; w.layer < c->n_layers && st == QINS_OK; w.layer++)
        st = layer_needs(&w, &m->layers[w.layer], err);
    if (st == QINS_OK)
        st = need_norm(&w, QN_FINAL_NORM, &m->final_norm, c->hidden, c->arch->norm_bias, err);
    if (st == QINS_OK && !c->tied)
        st = need_matrix(&w, QN_HEAD, &m->head, c->vocab, c->hidden, false, err);
    return st;
}

void qn_weights_tie(struct qn_model *m)
{
    if (m->config.tied)
        m->head = m->embedding;
}

enum qins_status qn_weights_allocate(struct qn_model *m, struct qins_error *err)
{
    const struct qn_model_config *c = &m->config;
    m->storage = calloc(1, sizeof(struct qn_weights_storage));
    m->layers = calloc(c->n_layers, sizeof *m->layers);
    if (!m->storage || !m->layers)
        return qn_fail_memory(err);
    for (uint32_t i = 0; i < c->n_layers; i++) {
        m->layers[i].mlp = calloc(mlps(c), sizeof *m->layers[i].mlp);
        if (!m->layers[i].mlp)
            return qn_fail_memory(err);
    }
    return QINS_OK;
}

const char *qn_weights_name(struct qn_model *m, const char *name, const char *suffix,
                            struct qins_error *err)
{
    struct qn_weights_storage *s = m->storage;
    if (s->n_names == s->name_capacity) {
        size_t grown = s->name_capacity ? 2 * s->name_capacity : 64;
        char **names = realloc(s->names, grown * sizeof *names);
        if (!names) {
            qn_fail_memory(err);
            return NULL;
        }
        s->names = names;
        s->name_capacity = grown;
    }
    char *copy = qn_format(err, "%s%s", name, suffix);
    if (copy)
        s->names[s->n_names++] = copy;
    return copy;
}

enum qins_status qn_weights_reserve(struct qn_model *m, uint64_t n, enum qins_dtype dtype,
                                    uint64_t *offset, struct qins_error *err)
{
    struct qn_weights_storage *s = m->storage;
    uint64_t bytes, end;
    if (!qn_mul_u64(n, qins_dtype_size(dtype), &bytes) ||
        bytes > INT64_MAX - QN_WEIGHTS_ALIGNMENT ||
        !qn_add_u64(s->size, qn_weights_room(bytes), &end) || end > SIZE_MAX / 2)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the weights exceed the address space");
    *offset = s->size;
    s->size = end;
    m->n_parameters += n;
    m->weight_bytes += bytes;
    return QINS_OK;
}

enum qins_status qn_weights_fit(const struct qn_model *m, struct qins_error *err)
{
    /* What a small archive decodes to has no bound, and the kernel promises more than there is. */
    const struct qn_weights_storage *s = m->storage;
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (s->size <= memory)
        return QINS_OK;
    return qn_fail(err, QINS_ERR_MEMORY,
                   "the weights take %" PRIu64 " bytes, the machine's memory has %" PRIu64, s->size,
                   memory);
}

void *qn_weights_block(uint64_t size)
{
    /* Weights are read from end to end for each token [measured: one thread reads 30 GB/s from
     * pages of this size, 22 from small ones]. */
    static const size_t huge_page = (size_t)1 << 21;
    const size_t unit = size >= huge_page ? huge_page : QN_WEIGHTS_ALIGNMENT;
    const size_t whole = ((size_t)size + unit - 1) / unit * unit;
    void *block = aligned_alloc(unit, whole ? whole : unit);
    if (block && unit == huge_page)
        (void)madvise(block, whole, MADV_HUGEPAGE);
    return block;
}

enum qins_status qn_weights_commit(struct qn_model *m, struct qins_error *err)
{
    struct qn_weights_storage *s = m->storage;
    if (qn_weights_fit(m, err) != QINS_OK)
        return QINS_ERR_MEMORY;
    s->data = qn_weights_block(s->size);
    return s->data ? QINS_OK : qn_fail_memory(err);
}

void qn_model_destroy(struct qn_model *m)
{
    if (!m)
        return;
    struct qn_weights_storage *s = m->storage;
    qn_model_drop_native(m);
    qn_fused_destroy(m->coded);
    for (size_t i = 0; s && i < s->n_names; i++)
        free(s->names[i]);
    if (s) {
        free(s->names);
        free(s->data);
    }
    for (uint32_t i = 0; m->layers && i < m->config.n_layers; i++)
        free(m->layers[i].mlp);
    free(m->layers);
    free(s);
    qn_attachment_list_finish(&m->files);
    free(m->path);
    free(m);
}
