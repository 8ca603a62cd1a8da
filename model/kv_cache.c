#include "model/kv_cache.h"

#include "core/bytes.h"
#include "core/clock.h"

#include <stdlib.h>

/* Values to decode below which waking a pool costs more than it brings: about 20 us of work. */
static const size_t DECODE_GRAIN = (size_t)1 << 15;

/* A coded page: size 0 where there is none. */
struct page {
    uint8_t *bytes;
    size_t size;
};

/* What a thread decodes with. */
struct worker {
    void *scratch;
    uint64_t decoded;
    double seconds, longest;
    enum qins_status status;
    struct qins_error error;
};

struct qn_kv_cache {
    struct qn_kv_options options;
    struct qn_kv_layout layout;
    struct qn_kv_shape shape;
    size_t n_pages;     /* of a layer, at most */
    struct page *pages; /* [layers][n_pages] */
    float *open;        /* [layers][heads][tokens][head_dim]: the page that is being filled */
    bool reopened;      /* its values are those of a coded page, until the next batch is done */
    uint8_t *coded;     /* what coding makes, qn_kv_packed_size() bytes */
    struct worker *workers;
    unsigned n_workers;
    struct qn_kv_counts counts; /* of sequences that are over, and of all that was coded */
};

static struct page *page_of(const struct qn_kv_cache *c, uint32_t layer, size_t page)
{
    return &c->pages[layer * c->n_pages + page];
}

static size_t open_values(const struct qn_kv_cache *c)
{
    return (size_t)c->shape.heads * c->layout.tokens * c->shape.head_dim;
}

static enum qins_status take_memory(struct qn_kv_cache *c, struct qins_error *err)
{
    const struct qn_kv_shape *s = &c->shape;
    uint64_t pages = 0, values = 0;
    const bool fits =
        qn_mul_u64(s->layers, c->n_pages, &pages) && qn_mul_u64(s->layers, open_values(c), &values);
    c->n_workers = qn_pool_threads(s->pool);
    c->pages = fits ? calloc(pages, sizeof *c->pages) : NULL;
    c->open = fits ? calloc(values, sizeof *c->open) : NULL;
    c->coded = malloc(qn_kv_packed_size(&c->layout));
    c->workers = calloc(c->n_workers, sizeof *c->workers);
    bool ok = c->pages && c->open && c->coded && c->workers;
    for (unsigned i = 0; i < c->n_workers && ok; i++) {
        c->workers[i].scratch = malloc(qn_kv_scratch(&c->layout));
        ok = c->workers[i].scratch != NULL;
    }
    return ok ? QINS_OK : qn_fail_memory(err);
}

enum qins_status qn_kv_cache_create(struct qn_kv_cache **out, const struct qn_kv_shape *shape,
                                    const struct qn_kv_options *options, struct qins_error *err)
{
    struct qn_kv_cache *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return qn_fail_memory(err);
    c->options = *options;
    c->shape = *shape;
    if (c->options.recent == 0)
        c->options.recent = QN_KV_DEFAULT_RECENT;
    enum qins_status st = qn_kv_layout_init(&c->layout, shape->heads, shape->head_dim,
                                            options->bits, options->page_bytes, err);
    if (st == QINS_OK) {
        c->n_pages = (size_t)qn_div_up(shape->positions, c->layout.tokens);
        st = take_memory(c, err);
    }
    if (st == QINS_OK)
        *out = c;
    else
        qn_kv_cache_destroy(c);
    return st;
}

/* Of all layers, page FIRST and those behind. */
static void free_pages(struct qn_kv_cache *c, size_t first)
{
    for (uint32_t l = 0; l < c->shape.layers; l++)
        for (size_t i = first; i < c->n_pages; i++) {
            struct page *p = page_of(c, l, i);
            free(p->bytes);
            *p = (struct page){0};
        }
}

void qn_kv_cache_destroy(struct qn_kv_cache *c)
{
    if (!c)
        return;
    if (c->pages)
        free_pages(c, 0);
    for (unsigned i = 0; c->workers && i < c->n_workers; i++)
        free(c->workers[i].scratch);
    free(c->workers);
    free(c->coded);
    free(c->open);
    free(c->pages);
    free(c);
}

/* 1 + 2 + … + N. */
static double sum_to(size_t n)
{
    return (double)n * (double)(n + 1) / 2.0;
}

/* Adds what was held while a sequence grew to POSITION tokens, summed over all its lengths: a page
 * as it was packed until RECENT younger ones were full, from then on as it is now. */
static void count_growth(const struct qn_kv_cache *c, size_t position, double token_values,
                         struct qn_kv_counts *out)
{
    const size_t tokens = c->layout.tokens, full = position / tokens;
    const double packed_size = (double)qn_kv_packed_size(&c->layout);
    const uint64_t lengths = (uint64_t)position + 1; /* 0 … POSITION */
    out->grown_f16_bytes += sum_to(position) * token_values * (double)sizeof(uint16_t);
    out->grown_held_bytes += ((double)full * sum_to(tokens - 1) + sum_to(position % tokens)) *
                             token_values * (double)sizeof(float);
    for (size_t i = 0; i < full; i++) {
        const uint64_t filled = (uint64_t)(i + 1) * tokens,
                       old = qn_min_u64(filled + (uint64_t)c->options.recent * tokens, lengths);
        for (uint32_t l = 0; l < c->shape.layers; l++)
            out->grown_held_bytes += (double)(old - filled) * packed_size +
                                     (double)(lengths - old) * (double)page_of(c, l, i)->size;
    }
}

/* Adds a sequence of POSITION tokens, as it is. */
static void count_sequence(const struct qn_kv_cache *c, size_t position, struct qn_kv_counts *out)
{
    const struct qn_kv_shape *s = &c->shape;
    const size_t full = position / c->layout.tokens;
    const uint64_t token_values = (uint64_t)s->layers * s->heads * s->head_dim,
                   open = (position % c->layout.tokens) * token_values * sizeof(float);
    if (position == 0)
        return;
    out->sequences++;
    out->tokens += position;
    out->values += position * token_values;
    out->f16_bytes += position * token_values * sizeof(uint16_t);
    out->f32_bytes += position * token_values * sizeof(float);
    out->open_bytes += open;
    out->held_bytes += open;
    for (uint32_t l = 0; l < s->layers; l++)
        for (size_t i = 0; i < full; i++)
            out->held_bytes += page_of(c, l, i)->size;
    count_growth(c, position, (double)token_values, out);
}

void qn_kv_cache_reset(struct qn_kv_cache *c, size_t position)
{
    count_sequence(c, position, &c->counts);
    free_pages(c, 0);
    c->reopened = false;
}

void qn_kv_cache_truncate(struct qn_kv_cache *c, size_t position, size_t left)
{
    const size_t tokens = c->layout.tokens, page = left / tokens;
    if (left % tokens == 0)
        c->reopened = false;
    else if (page < position / tokens)
        c->reopened = true;
    free_pages(c, c->reopened ? page + 1 : page);
}

size_t qn_kv_cache_page_end(const struct qn_kv_cache *c, size_t position)
{
    return (position / c->layout.tokens + 1) * c->layout.tokens;
}

struct load {
    struct qn_kv_cache *c;
    uint32_t layer;
    size_t first; /* page */
    float *v;
    size_t head_stride;
};

static enum qins_status decode(struct qn_kv_cache *c, const struct page *p, struct worker *w,
                               float *v, size_t head_stride, struct qins_error *err)
{
    const double begun = qn_seconds();
    const enum qins_status st =
        qn_kv_decode(&c->layout, p->bytes, p->size, v, head_stride, w->scratch, err);
    const double seconds = qn_seconds() - begun;
    w->decoded++;
    w->seconds += seconds;
    w->longest = seconds > w->longest ? seconds : w->longest;
    return st;
}

static void load_item(void *ctx, unsigned worker, size_t item)
{
    const struct load *l = ctx;
    struct qn_kv_cache *c = l->c;
    struct worker *w = &c->workers[worker];
    const size_t page = l->first + item, token = page * c->layout.tokens;
    if (w->status == QINS_OK)
        w->status = decode(c, page_of(c, l->layer, page), w, l->v + token * c->shape.head_dim,
                           l->head_stride, &w->error);
}

/* Tokens BEGIN … END - 1 of the open page of LAYER, from or to the values V. */
static void copy_open(const struct qn_kv_cache *c, uint32_t layer, size_t begin, size_t end,
                      float *v, size_t head_stride, bool to_open)
{
    const size_t dim = c->shape.head_dim, tokens = c->layout.tokens, bytes = (end - begin) * dim;
    for (size_t h = 0; h < c->shape.heads; h++) {
        float *open = c->open + layer * open_values(c) + (h * tokens + begin % tokens) * dim,
              *value = v + h * head_stride + begin * dim;
        memcpy(to_open ? open : value, to_open ? value : open, bytes * sizeof *v);
    }
}

enum qins_status qn_kv_cache_load(struct qn_kv_cache *c, uint32_t layer, size_t from,
                                  size_t position, float *v, size_t head_stride,
                                  struct qins_error *err)
{
    const size_t tokens = c->layout.tokens, full = position / tokens,
                 coded = full + (c->reopened ? 1 : 0);
    struct load l = {c, layer, from / tokens, v, head_stride};
    enum qins_status st = QINS_OK;
    for (unsigned i = 0; i < c->n_workers; i++)
        c->workers[i].status = QINS_OK;
    if (l.first < coded)
        qn_pool_run((coded - l.first) * open_values(c) < DECODE_GRAIN ? NULL : c->shape.pool,
                    coded - l.first, load_item, &l);
    for (unsigned i = 0; i < c->n_workers && st == QINS_OK; i++) {
        st = c->workers[i].status;
        if (st != QINS_OK && err)
            *err = c->workers[i].error;
    }
    if (!c->reopened)
        copy_open(c, layer, full * tokens, position, v, head_stride, false);
    return st;
}

/* Keeps SIZE bytes of c->coded as a page and shows them to who wants to see them. */
static enum qins_status keep(struct qn_kv_cache *c, uint32_t layer, size_t page, size_t size,
                             struct qins_error *err)
{
    struct page *p = page_of(c, layer, page);
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return qn_fail_memory(err);
    memcpy(bytes, c->coded, size);
    free(p->bytes);
    *p = (struct page){bytes, size};
    return c->options.page ? c->options.page(c->options.ctx, layer, page, bytes, size, err)
                           : QINS_OK;
}

static enum qins_status recode(struct qn_kv_cache *c, uint32_t layer, size_t page,
                               struct qins_error *err)
{
    const struct page *p = page_of(c, layer, page);
    size_t size = 0;
    if (qn_kv_is_recoded(p->bytes, p->size)) /* before a truncation */
        return QINS_OK;
    const double begun = qn_seconds();
    enum qins_status st =
        qn_kv_recode(&c->layout, p->bytes, c->coded, &size, c->workers[0].scratch, err);
    if (st != QINS_OK)
        return st;
    c->counts.recode_seconds += qn_seconds() - begun;
    c->counts.recoded++;
    c->counts.old_pages++;
    c->counts.old_bytes += size;
    c->counts.old_values += open_values(c);
    return keep(c, layer, page, size, err);
}

/* Says in ERR which page it is about. */
static enum qins_status name_page(const struct qn_kv_cache *c, uint32_t layer, size_t page,
                                  enum qins_status st, struct qins_error *err)
{
    struct qins_error inner;
    if (!err)
        return st;
    inner = *err;
    return qn_fail(err, st, "layer %u, page of tokens %zu to %zu: %s", (unsigned)layer,
                   page * c->layout.tokens, (page + 1) * c->layout.tokens - 1, inner.message);
}

static enum qins_status encode(struct qn_kv_cache *c, uint32_t layer, size_t page, const float *v,
                               size_t head_stride, struct qins_error *err)
{
    const size_t size = qn_kv_packed_size(&c->layout);
    const double begun = qn_seconds();
    enum qins_status st =
        qn_kv_encode(&c->layout, v, head_stride, c->coded, c->workers[0].scratch, err);
    const double seconds = qn_seconds() - begun;
    if (st != QINS_OK)
        return name_page(c, layer, page, st, err);
    c->counts.encoded++;
    c->counts.encode_seconds += seconds;
    if (seconds > c->counts.max_encode_seconds)
        c->counts.max_encode_seconds = seconds;
    c->counts.packed_pages++;
    c->counts.packed_bytes += size;
    c->counts.packed_values += open_values(c);
    return keep(c, layer, page, size, err);
}

enum qins_status qn_kv_cache_store(struct qn_kv_cache *c, uint32_t layer, size_t begin, size_t end,
                                   bool more, float *v, size_t head_stride, struct qins_error *err)
{
    const size_t tokens = c->layout.tokens, page = begin / tokens;
    float *first = v + page * tokens * c->shape.head_dim;
    if (end % tokens != 0) {
        const size_t from = c->reopened ? page * tokens : begin;
        copy_open(c, layer, from, end, v, head_stride, true);
        return QINS_OK;
    }
    enum qins_status st = encode(c, layer, page, first, head_stride, err);
    if (st == QINS_OK && more)
        st = decode(c, page_of(c, layer, page), &c->workers[0], first, head_stride, err);
    if (st == QINS_OK && page >= c->options.recent)
        st = recode(c, layer, page - c->options.recent, err);
    return st;
}

void qn_kv_cache_done(struct qn_kv_cache *c, size_t position)
{
    if (c->reopened)
        free_pages(c, position / c->layout.tokens);
    c->reopened = false;
}

void qn_kv_cache_counts(const struct qn_kv_cache *c, size_t position, struct qn_kv_counts *out)
{
    *out = c->counts;
    count_sequence(c, position, out);
    out->work_bytes =
        (uint64_t)c->shape.positions * c->shape.heads * c->shape.head_dim * sizeof(float);
    for (unsigned i = 0; i < c->n_workers; i++) {
        const struct worker *w = &c->workers[i];
        out->decoded += w->decoded;
        out->decode_seconds += w->seconds;
        if (w->longest > out->max_decode_seconds)
            out->max_decode_seconds = w->longest;
    }
}
