#include "convert/windows.h"

#include "core/buf.h"
#include "core/bytes.h"

#include <stdlib.h>
#include <string.h>

/* Of 5 windows 3 are for fitting, one for selection and one for the test
 * (docs/calibration-format.md, "/rows"). */
enum { SHARES = 5, SELECT_SHARE = 3 };

static uint8_t part_of(uint64_t window)
{
    const uint64_t share = qn_hash64(&window, sizeof window) % SHARES;
    return share < SELECT_SHARE    ? QN_ROWS_FIT
           : share == SELECT_SHARE ? QN_ROWS_SELECT
                                   : QN_ROWS_TEST;
}

static uint64_t priority_of(uint64_t window, uint32_t position)
{
    uint8_t key[12];
    qn_store64(key, window);
    qn_store32(key + 8, position);
    return qn_hash64(key, sizeof key);
}

int qn_kept_compare(const struct qn_kept_row *a, const struct qn_kept_row *b)
{
    if (a->priority != b->priority)
        return a->priority < b->priority ? -1 : 1;
    if (a->window != b->window)
        return a->window < b->window ? -1 : 1;
    return a->position < b->position ? -1 : a->position > b->position;
}

static enum qins_status hash_window(struct qn_window *w, const struct qn_window_source *source,
                                    uint64_t seed, struct qn_buf *key, struct qins_error *err)
{
    uint8_t row[8];
    key->size = 0;
    qn_store64(row, seed);
    enum qins_status st = qn_buf_append(key, row, sizeof row, err);
    if (st == QINS_OK && source->ids)
        st = qn_buf_append(key, source->ids + w->first, w->n * sizeof *source->ids, err);
    if (st == QINS_OK && !source->ids) {
        qn_store64(row, w->first);
        st = qn_buf_append(key, source->digest.bytes, sizeof source->digest.bytes, err);
        if (st == QINS_OK)
            st = qn_buf_append(key, row, sizeof row, err);
    }
    w->hash = st == QINS_OK ? qn_hash64(key->data, key->size) : 0;
    return st;
}

static enum qins_status cut(struct qn_windows *w, const struct qn_window_source *source,
                            const struct qn_calibration_options *o, struct qins_error *err)
{
    struct qn_buf key = {0};
    enum qins_status st = QINS_OK;
    size_t n = 0;
    for (size_t i = 0; i < source->n_parts; i++)
        n += qn_div_up(source->begin[i + 1] - source->begin[i], o->context);
    w->items = calloc(n + 1, sizeof *w->items);
    if (!w->items)
        return qn_fail_memory(err);
    for (size_t i = 0; i < source->n_parts; i++)
        for (size_t at = source->begin[i]; at < source->begin[i + 1] && st == QINS_OK;) {
            struct qn_window *item = &w->items[w->n++];
            item->first = at;
            item->n = (uint32_t)qn_min_u64(o->context, source->begin[i + 1] - at);
            at += item->n;
            st = hash_window(item, source, o->seed, &key, err);
        }
    qn_buf_finish(&key);
    return st;
}

/* A row that may be kept, and the number of its window. */
struct candidate {
    struct qn_kept_row row;
    size_t window;
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    int order = qn_kept_compare(&x->row, &y->row);
    return order ? order : x->window < y->window ? -1 : x->window > y->window;
}

/* Restores the heap, greatest on top, after its item AT was replaced. */
static void sift_down(struct candidate *heap, size_t n, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && compare_candidates(&heap[child + 1], &heap[child]) > 0)
            child++;
        if (compare_candidates(&heap[child], &heap[at]) <= 0)
            return;
        struct candidate t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
    }
}

static void offer(struct candidate *heap, size_t *n, size_t capacity, const struct candidate *c)
{
    if (*n < capacity) {
        heap[(*n)++] = *c;
        for (size_t i = *n / 2; *n == capacity && i-- > 0;)
            sift_down(heap, *n, i);
    } else if (compare_candidates(c, &heap[0]) < 0) {
        heap[0] = *c;
        sift_down(heap, *n, 0);
    }
}

static size_t choose(const struct qn_windows *w, const struct qn_window_source *source,
                     struct candidate *heap, size_t capacity)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct qn_window *item = &w->items[i];
        const uint8_t part = part_of(item->hash);
        for (uint32_t k = 0; k < item->n; k++) {
            const struct candidate c = {
                .row = {.priority = priority_of(item->hash, k),
                        .window = item->hash,
                        .position = k,
                        .token = source->ids ? source->ids[item->first + k] : 0,
                        .part = part},
                .window = i};
            offer(heap, &n, capacity, &c);
        }
    }
    qsort(heap, n, sizeof *heap, compare_candidates);
    return n;
}

static int compare_places(const void *a, const void *b, void *ctx)
{
    const struct qn_windows *w = ctx;
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (w->kept_window[x] != w->kept_window[y])
        return w->kept_window[x] < w->kept_window[y] ? -1 : 1;
    return w->kept[x].position < w->kept[y].position ? -1 : 1;
}

/* Lists the kept rows by window and position: `order` and `first`, which is all 0. */
static void place_kept(struct qn_windows *w)
{
    for (uint32_t i = 0; i < w->n_kept; i++) {
        w->order[i] = i;
        w->first[w->kept_window[i] + 1]++;
    }
    for (size_t i = 0; i < w->n; i++)
        w->first[i + 1] += w->first[i];
    qsort_r(w->order, w->n_kept, sizeof *w->order, compare_places, w);
}

static enum qins_status keep(struct qn_windows *w, const struct qn_window_source *source,
                             uint32_t want, struct qins_error *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < w->n; i++)
        total += w->items[i].n;
    const size_t capacity = (size_t)qn_min_u64(want, total);
    struct candidate *heap = calloc(capacity + 1, sizeof *heap);
    w->kept = calloc(capacity + 1, sizeof *w->kept);
    w->kept_window = calloc(capacity + 1, sizeof *w->kept_window);
    w->order = calloc(capacity + 1, sizeof *w->order);
    w->first = calloc(w->n + 1, sizeof *w->first);
    if (!heap || !w->kept || !w->kept_window || !w->order || !w->first) {
        free(heap);
        return qn_fail_memory(err);
    }
    if (capacity > 0)
        w->n_kept = (uint32_t)choose(w, source, heap, capacity);
    for (uint32_t i = 0; i < w->n_kept; i++) {
        w->kept[i] = heap[i].row;
        w->kept_window[i] = heap[i].window;
    }
    place_kept(w);
    free(heap);
    return QINS_OK;
}

enum qins_status qn_windows_init(struct qn_windows *w, const struct qn_window_source *source,
                                 const struct qn_calibration_options *o, struct qins_error *err)
{
    *w = (struct qn_windows){0};
    enum qins_status st = cut(w, source, o, err);
    return st == QINS_OK ? keep(w, source, o->keep_rows, err) : st;
}

void qn_windows_restrict(struct qn_windows *w, size_t begin, size_t end)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n_kept; i++)
        if (w->kept_window[i] >= begin && w->kept_window[i] < end) {
            w->kept[n] = w->kept[i];
            w->kept_window[n++] = w->kept_window[i] - begin;
        }
    w->n_kept = n;
    w->n = end - begin;
    memmove(w->items, w->items + begin, w->n * sizeof *w->items);
    memset(w->first, 0, (w->n + 1) * sizeof *w->first);
    place_kept(w);
}

void qn_windows_finish(struct qn_windows *w)
{
    free(w->items);
    free(w->kept);
    free(w->kept_window);
    free(w->order);
    free(w->first);
    *w = (struct qn_windows){0};
}
