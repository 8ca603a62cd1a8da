#include "core/bytes.h"
#include "core/linalg.h"
#include "model/session_internal.h"

#include <inttypes.h>
#include <stdlib.h>

enum { DEFAULT_BATCH = 512, LINE = 64 /* bytes of a cache line */, LINE_FLOATS = 16 };
/* Beyond this every buffer is too large for any machine; below it no size overflows unseen. */
static const size_t MOST_POSITIONS = (size_t)1 << 40;

/* COUNT * EACH zeroed elements on a cache line's boundary that live as long as the session; NULL
 * and *ok cleared where there is no memory. Large blocks of calloc are pages that do not exist
 * before they are written, so the cache costs what is used of it. */
static void *take(struct qn_session *s, uint64_t count, uint64_t each, size_t element, bool *ok)
{
    uint64_t bytes;
    *ok = *ok && qn_mul_u64(count, each, &bytes) && qn_mul_u64(bytes, element, &bytes) &&
          qn_add_u64(bytes, LINE, &bytes) && s->n_owned < QN_SESSION_BUFFERS &&
          (s->owned[s->n_owned] = calloc(bytes, 1)) != NULL;
    if (!*ok)
        return NULL;
    char *block = s->owned[s->n_owned++];
    return block + (LINE - (uintptr_t)block % LINE) % LINE;
}

/* Rows a multiple of 1 KiB apart would compete for few sets of a cache of 64 sets a way. */
static size_t row_stride(size_t width)
{
    const size_t stride = (width + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
    return stride % 256 == 0 ? stride + LINE_FLOATS : stride;
}

static void place_heads(struct qn_session *s)
{
    const struct qn_model_config *c = &s->model->config;
    const size_t dim = c->head_dim, q = c->n_heads * dim, kv = c->n_kv_heads * dim;
    if (c->arch->qkv_order == QN_QKV_BY_HEAD) {
        s->q = (struct qn_head_place){0, 3 * dim};
        s->k = (struct qn_head_place){dim, 3 * dim};
        s->v = (struct qn_head_place){2 * dim, 3 * dim};
    } else {
        s->q = (struct qn_head_place){0, dim};
        s->k = (struct qn_head_place){q, dim};
        s->v = (struct qn_head_place){q + kv, dim};
    }
    s->qkv_stride = row_stride(q + 2 * kv);
    s->heads_stride = row_stride(q);
}

static void take_routing(struct qn_session *s, bool *ok)
{
    const struct qn_model_config *c = &s->model->config;
    const uint64_t choices = c->experts_per_token;
    struct qn_routing *r = &s->routing;
    r->logits = take(s, s->batch, c->n_experts, sizeof *r->logits, ok);
    r->chosen = take(s, s->batch, choices, sizeof *r->chosen, ok);
    r->share = take(s, s->batch, choices, sizeof *r->share, ok);
    r->first = take(s, (uint64_t)c->n_experts + 1, 1, sizeof *r->first, ok);
    r->row = take(s, s->batch, choices, sizeof *r->row, ok);
    r->row_share = take(s, s->batch, choices, sizeof *r->row_share, ok);
    r->gathered = take(s, s->batch, s->hidden_stride, sizeof *r->gathered, ok);
    r->contributed = take(s, s->batch, s->hidden_stride, sizeof *r->contributed, ok);
}

static void take_coding(struct qn_session *s, bool *ok)
{
    const struct qn_native *n = s->model->native;
    struct qn_coding *c = &s->coding;
    c->rows = qn_native_rows(n, s->batch);
    c->codes = take(s, s->batch, n->max_channels, sizeof *c->codes, ok);
    c->features = take(s, c->rows, n->max_features, sizeof *c->features, ok);
    if (n->max_apart > 0)
        c->apart = take(s, c->rows, n->max_apart, sizeof *c->apart, ok);
}

static bool take_buffers(struct qn_session *s)
{
    const struct qn_model_config *c = &s->model->config;
    const uint64_t kv = (uint64_t)c->n_kv_heads * c->head_dim;
    bool ok = true;
    place_heads(s);
    s->hidden_stride = row_stride(c->hidden);
    s->mlp_stride = row_stride((c->arch->gated ? 2 : 1) * (size_t)c->intermediate);
    s->capacity = (s->positions + QN_KEY_BLOCK - 1) / QN_KEY_BLOCK * QN_KEY_BLOCK;
    s->keys = take(s, s->capacity, c->n_layers * kv, sizeof *s->keys, &ok);
    s->values = take(s, s->capacity, (s->kv ? 1 : c->n_layers) * kv, sizeof *s->values, &ok);
    s->x = take(s, s->batch, s->hidden_stride, sizeof *s->x, &ok);
    s->input = take(s, s->batch, s->hidden_stride, sizeof *s->input, &ok);
    s->delta = take(s, s->batch, s->hidden_stride, sizeof *s->delta, &ok);
    s->qkv = take(s, s->batch, s->qkv_stride, sizeof *s->qkv, &ok);
    s->heads = take(s, s->batch, s->heads_stride, sizeof *s->heads, &ok);
    s->mlp = take(s, s->batch, s->mlp_stride, sizeof *s->mlp, &ok);
    if (s->listener && s->v.step != c->head_dim)
        s->value_rows = take(s, s->batch, kv, sizeof *s->value_rows, &ok);
    if (c->n_experts > 0)
        take_routing(s, &ok);
    if (s->model->native)
        take_coding(s, &ok);
    s->linear_scratch = take(s, s->threads, qn_linear_scratch(), sizeof *s->linear_scratch, &ok);
    s->attend_scratch_size = qn_attend_scratch(s->positions);
    s->attend_scratch = take(s, s->threads, s->attend_scratch_size, sizeof *s->attend_scratch, &ok);
    return ok;
}

static enum qins_status create_kv(struct qn_session *s, const struct qn_kv_options *options,
                                  struct qins_error *err)
{
    const struct qn_model_config *c = &s->model->config;
    const struct qn_kv_shape shape = {c->n_layers, c->n_kv_heads, c->head_dim, s->positions,
                                      s->pool};
    return qn_kv_cache_create(&s->kv, &shape, options, err);
}

static enum qins_status fill_session(struct qn_session *s, const struct qn_session_options *options,
                                     struct qins_error *err)
{
    const struct qn_model *m = s->model;
    enum qins_status st = qn_linalg_init(err);
    if (st != QINS_OK)
        return st;
    if (s->positions == 0 || s->batch > s->positions)
        return qn_fail(err, QINS_ERR_USAGE, "batches of %zu tokens for a context of %zu positions",
                       s->batch, s->positions);
    if (m->positions.name && s->positions > m->positions.out)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, m->path, m->positions.name, QN_NO_OFFSET,
                          "a context of %zu positions is asked for, the model has learned %zu",
                          s->positions, m->positions.out);
    if (options->kv && options->kv->bits != 0 && s->positions <= MOST_POSITIONS) {
        st = create_kv(s, options->kv, err);
        if (st != QINS_OK)
            return st;
    }
    if (s->positions > MOST_POSITIONS || !take_buffers(s))
        return qn_fail(err, QINS_ERR_MEMORY,
                       "there is not enough memory for a context of %zu positions", s->positions);
    if (m->config.arch->rope != QN_ROPE_NONE)
        st = qn_rope_init(&s->rope, &m->config.rope, s->positions, err);
    return st;
}

enum qins_status qn_session_create(struct qn_session **out, const struct qn_model *m,
                                   const struct qn_session_options *options, struct qins_error *err)
{
    struct qn_session *s = calloc(1, sizeof *s);
    enum qins_status st;
    *out = NULL;
    if (!s)
        return qn_fail_memory(err);
    s->model = m;
    s->kernels = qn_kernels();
    s->pool = options->pool;
    s->threads = qn_pool_threads(options->pool);
    s->listener = options->listener;
    s->positions = options->positions;
    s->batch = options->batch;
    if (s->batch == 0)
        s->batch = s->positions < DEFAULT_BATCH ? s->positions : DEFAULT_BATCH;
    st = fill_session(s, options, err);
    if (st == QINS_OK)
        *out = s;
    else
        qn_session_destroy(s);
    return st;
}

void qn_session_destroy(struct qn_session *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->n_owned; i++)
        free(s->owned[i]);
    qn_kv_cache_destroy(s->kv);
    qn_rope_finish(&s->rope);
    free(s);
}

void qn_session_reset(struct qn_session *s)
{
    if (s->kv)
        qn_kv_cache_reset(s->kv, s->position);
    s->position = 0;
}

void qn_session_truncate(struct qn_session *s, size_t position)
{
    if (position >= s->position)
        return;
    if (s->kv)
        qn_kv_cache_truncate(s->kv, s->position, position);
    s->position = position;
}

size_t qn_session_position(const struct qn_session *s)
{
    return s->position;
}

size_t qn_session_last_batch(const struct qn_session *s)
{
    return s->last_batch;
}

enum qins_status qn_session_forward(struct qn_session *s, const uint32_t *ids, size_t n,
                                    const struct qn_monitor *monitor, struct qins_error *err)
{
    const uint32_t vocab = s->model->config.vocab;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= vocab)
            return qn_fail(err, QINS_ERR_FORMAT,
                           "token %zu has the id %" PRIu32 ", the vocabulary ends at %" PRIu32, i,
                           ids[i], vocab - 1);
    if (n > s->positions - s->position)
        return qn_fail(err, QINS_ERR_USAGE,
                       "%zu tokens do not fit behind %zu in a context of %zu positions", n,
                       s->position, s->positions);
    for (size_t done = 0, count; st == QINS_OK && done < n; done += count) {
        count = n - done < s->batch ? n - done : s->batch;
        st = qn_check_stop(monitor, err);
        if (st != QINS_OK)
            break;
        st = qn_forward_batch(s, ids + done, count, err);
        if (st != QINS_OK)
            qn_session_reset(s);
    }
    return st;
}

void qn_session_logits(struct qn_session *s, size_t first, size_t count, float *out)
{
    const struct qn_matrix *head = &s->model->head;
    if (first >= s->last_batch || count > s->last_batch - first)
        return;
    s->counts.products += !s->has_logits;
    s->has_logits = true;
    qn_linear(s->pool, head, s->x + first * s->hidden_stride, count, s->hidden_stride, out,
              head->out, s->linear_scratch);
}

void qn_session_counts(const struct qn_session *s, struct qn_compute_counts *out)
{
    *out = s->counts;
}

void qn_session_kv_counts(const struct qn_session *s, struct qn_kv_counts *out)
{
    *out = (struct qn_kv_counts){0};
    if (s->kv)
        qn_kv_cache_counts(s->kv, s->position, out);
}
