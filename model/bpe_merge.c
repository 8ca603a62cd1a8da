/* Merging of one run of symbols, with a heap of the pairs that can be joined: O(n log n). */
#include "core/hash.h"
#include "model/bpe_tables.h"

#include <stdlib.h>
#include <string.h>

/* Words of English have fewer bytes than this almost always; longer runs are merged anew each
 * time. */
enum { CACHED_SYMBOLS = 16, CACHE_LARGEST = 8192, CACHE_SMALLEST = 64 };

struct qn_bpe_cached {
    uint32_t n_in, n_out; /* n_in 0: empty */
    uint32_t in[CACHED_SYMBOLS], out[CACHED_SYMBOLS];
};

struct symbol {
    uint32_t id; /* QN_NO_TOKEN once joined to its left neighbour */
    uint32_t previous, next;
};

struct candidate {
    uint64_t order; /* rank << 32 | place of the left symbol */
    uint32_t id;
};

struct merging {
    const struct qn_bpe *bpe;
    struct symbol *symbols;
    struct candidate *heap;
    uint32_t n;
    size_t heap_size;
};

static const uint32_t none = UINT32_MAX;

enum qins_status qn_bpe_work_init(struct qn_bpe_work *w, size_t text_size, struct qins_error *err)
{
    uint32_t slots = CACHE_SMALLEST;
    *w = (struct qn_bpe_work){0};
    while (slots < CACHE_LARGEST && slots < text_size / 16)
        slots *= 2;
    w->cache = calloc(slots, sizeof *w->cache);
    w->cache_mask = slots - 1;
    return w->cache ? QINS_OK : qn_fail_memory(err);
}

void qn_bpe_work_finish(struct qn_bpe_work *w)
{
    qn_ids_finish(&w->run);
    qn_buf_finish(&w->symbols);
    qn_buf_finish(&w->heap);
    qn_buf_finish(&w->mapped);
    free(w->cache);
    *w = (struct qn_bpe_work){0};
}

static void sift_up(struct candidate *heap, size_t i)
{
    const struct candidate c = heap[i];
    for (; i > 0 && c.order < heap[(i - 1) / 2].order; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

static struct candidate pop(struct merging *m)
{
    struct candidate *heap = m->heap;
    const struct candidate top = heap[0], last = heap[--m->heap_size];
    size_t i = 0;
    for (size_t child = 1; child < m->heap_size; child = 2 * i + 1) {
        if (child + 1 < m->heap_size && heap[child + 1].order < heap[child].order)
            child++;
        if (last.order <= heap[child].order)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Each joining removes a symbol and adds at most two candidates, so the heap holds fewer than
 * three for each symbol that there was. */
static void push_pair(struct merging *m, uint32_t left, uint32_t right)
{
    const struct qn_bpe_merge *found =
        qn_bpe_find_merge(m->bpe, m->symbols[left].id, m->symbols[right].id);
    if (!found)
        return;
    m->heap[m->heap_size] = (struct candidate){(uint64_t)found->rank << 32 | left, found->id};
    sift_up(m->heap, m->heap_size++);
}

/* A candidate is out of date when its symbols are gone or now make something else. One whose
 * symbols changed but make the same token holds, as in Hugging Face's implementation. */
static bool is_current(const struct merging *m, const struct candidate *c)
{
    const struct symbol *left = &m->symbols[(uint32_t)c->order];
    if (left->id == QN_NO_TOKEN || left->next == none)
        return false;
    const struct qn_bpe_merge *found =
        qn_bpe_find_merge(m->bpe, left->id, m->symbols[left->next].id);
    return found && found->id == c->id;
}

static void join_all(struct merging *m)
{
    while (m->heap_size > 0) {
        const struct candidate c = pop(m);
        const uint32_t place = (uint32_t)c.order;
        if (!is_current(m, &c))
            continue;
        struct symbol *left = &m->symbols[place], *right = &m->symbols[left->next];
        left->id = c.id;
        right->id = QN_NO_TOKEN;
        left->next = right->next;
        if (left->next != none)
            m->symbols[left->next].previous = place;
        if (left->previous != none)
            push_pair(m, left->previous, place);
        if (left->next != none)
            push_pair(m, place, left->next);
    }
}

static enum qins_status prepare(struct merging *m, struct qn_bpe_work *w, const uint32_t *run,
                                struct qins_error *err)
{
    const size_t n = m->n;
    enum qins_status st = qn_buf_reserve(&w->symbols, n * sizeof *m->symbols, err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&w->heap, 3 * n * sizeof *m->heap, err);
    if (st != QINS_OK)
        return st;
    m->symbols = (struct symbol *)(void *)w->symbols.data;
    m->heap = (struct candidate *)(void *)w->heap.data;
    for (uint32_t i = 0; i < m->n; i++)
        m->symbols[i] = (struct symbol){run[i], i > 0 ? i - 1 : none, i + 1 < m->n ? i + 1 : none};
    for (uint32_t i = 0; i + 1 < m->n; i++)
        push_pair(m, i, i + 1);
    return QINS_OK;
}

static enum qins_status merge_long(const struct qn_bpe *b, struct qn_bpe_work *w,
                                   const uint32_t *run, size_t n, struct qn_ids *out,
                                   struct qins_error *err)
{
    /* What the places of a candidate can name. */
    if (n >= UINT32_MAX / 2)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "a word of %zu characters is too long", n);
    struct merging m = {.bpe = b, .n = (uint32_t)n};
    enum qins_status st = prepare(&m, w, run, err);
    if (st != QINS_OK)
        return st;
    join_all(&m);
    for (uint32_t i = 0; i != none && st == QINS_OK; i = m.symbols[i].next)
        st = qn_ids_append(out, &m.symbols[i].id, 1, err);
    return st;
}

enum qins_status qn_bpe_merge_run(const struct qn_bpe *b, struct qn_bpe_work *w,
                                  const uint32_t *run, size_t n, struct qn_ids *out,
                                  struct qins_error *err)
{
    if (n == 1)
        return qn_ids_append(out, run, 1, err);
    if (n > CACHED_SYMBOLS)
        return merge_long(b, w, run, n, out, err);
    struct qn_bpe_cached *c = &w->cache[qn_hash64(run, n * sizeof *run) & w->cache_mask];
    if (c->n_in == n && memcmp(c->in, run, n * sizeof *run) == 0)
        return qn_ids_append(out, c->out, c->n_out, err);
    const size_t count = out->count;
    enum qins_status st = merge_long(b, w, run, n, out, err);
    if (st != QINS_OK)
        return st;
    c->n_in = (uint32_t)n;
    c->n_out = (uint32_t)(out->count - count);
    memcpy(c->in, run, n * sizeof *run);
    memcpy(c->out, out->data + count, c->n_out * sizeof *run);
    return QINS_OK;
}
