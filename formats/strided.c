#include "formats/strided.h"

#include "core/bytes.h"

#include <stdlib.h>

enum { WINDOW = 256 << 10, NEAR = 8 << 10 };

/* A box of the view that is copied in the source's order. Axes are sorted by falling stride in
 * the source, so that reads move forward and the innermost axis gives the longest runs. */
struct axis {
    uint64_t count, source, target; /* extent; steps in source and target, bytes */
};

struct copy {
    qn_fetch_fn fetch;
    void *ctx;
    size_t element_size;
    uint8_t *dst;
    struct axis axes[QINS_MAX_RANK];
    unsigned rank;
    uint8_t *window; /* bytes [window_at, window_at + window_size) of the source */
    uint64_t window_at, window_size;
    uint64_t limit; /* end of what the box reaches in the source, bytes */
    bool read_ahead;
};

bool qn_strided_extent(const struct qn_strided *v, uint64_t *bytes)
{
    uint64_t last = v->base;
    for (unsigned i = 0; i < v->rank; i++) {
        if (v->shape[i] == 0) {
            *bytes = 0;
            return true;
        }
    }
    for (unsigned i = 0; i < v->rank; i++) {
        uint64_t span;
        if (!qn_mul_u64(v->shape[i] - 1, v->stride[i], &span) || !qn_add_u64(last, span, &last))
            return false;
    }
    return qn_add_u64(last, 1, &last) && qn_mul_u64(last, v->element_size, bytes);
}

bool qn_strided_is_contiguous(const struct qn_strided *v)
{
    uint64_t step = 1;
    for (unsigned i = v->rank; i-- > 0;) {
        if (v->shape[i] == 0)
            return true;
        if (v->shape[i] != 1 && v->stride[i] != step)
            return false;
        if (!qn_mul_u64(step, v->shape[i], &step))
            return false;
    }
    return true;
}

/* *out: SIZE <= WINDOW bytes of the source. */
static enum qins_status look(struct copy *c, uint64_t at, uint64_t size, const uint8_t **out,
                             struct qins_error *err)
{
    if (at < c->window_at || at + size > c->window_at + c->window_size) {
        uint64_t want = c->read_ahead ? qn_min_u64(WINDOW, c->limit - at) : size;
        c->window_size = 0;
        enum qins_status st = c->fetch(c->ctx, at, c->window, (size_t)want, err);
        if (st != QINS_OK)
            return st;
        c->window_at = at;
        c->window_size = want;
    }
    *out = c->window + (at - c->window_at);
    return QINS_OK;
}

/* Spreads COUNT elements, STEP bytes apart in P, over the target. */
static void scatter(uint8_t *dst, uint64_t target, const uint8_t *p, uint64_t step, uint64_t count,
                    size_t element_size)
{
    switch (element_size) {
    case 4:
        for (uint64_t i = 0; i < count; i++)
            memcpy(dst + i * target, p + i * step, 4);
        break;
    case 2:
        for (uint64_t i = 0; i < count; i++)
            memcpy(dst + i * target, p + i * step, 2);
        break;
    default:
        for (uint64_t i = 0; i < count; i++)
            memcpy(dst + i * target, p + i * step, element_size);
        break;
    }
}

/* One run along the innermost axis: in pieces whose span fits the window. */
static enum qins_status copy_run(struct copy *c, uint64_t source, uint64_t target,
                                 struct qins_error *err)
{
    static const struct axis single = {1, 0, 0};
    const struct axis *a = c->rank ? &c->axes[c->rank - 1] : &single;
    uint64_t per_piece = a->count;
    if (a->source > NEAR)
        per_piece = 1;
    else if (a->source)
        per_piece = (WINDOW - c->element_size) / a->source + 1;
    for (uint64_t done = 0; done < a->count;) {
        uint64_t n = qn_min_u64(per_piece, a->count - done);
        uint64_t at = source + done * a->source, span = (n - 1) * a->source + c->element_size;
        const uint8_t *p = NULL;
        enum qins_status st = look(c, at, span, &p, err);
        if (st != QINS_OK)
            return st;
        scatter(c->dst + target + done * a->target, a->target, p, a->source, n, c->element_size);
        done += n;
    }
    return QINS_OK;
}

static enum qins_status copy_box(struct copy *c, uint64_t source, uint64_t target,
                                 struct qins_error *err)
{
    uint64_t index[QINS_MAX_RANK] = {0};
    for (;;) {
        enum qins_status st = copy_run(c, source, target, err);
        if (st != QINS_OK)
            return st;
        unsigned i = c->rank ? c->rank - 1 : 0;
        for (; i > 0; i--) {
            const struct axis *a = &c->axes[i - 1];
            source += a->source;
            target += a->target;
            if (++index[i - 1] < a->count)
                break;
            index[i - 1] = 0;
            source -= a->source * a->count;
            target -= a->target * a->count;
        }
        if (i == 0)
            return QINS_OK;
    }
}

static int by_falling_source_step(const void *a, const void *b)
{
    const struct axis *x = a, *y = b;
    if (x->source != y->source)
        return x->source < y->source ? 1 : -1;
    return x->target < y->target ? 1 : x->target > y->target ? -1 : 0;
}

/* Copies a box whose first element is number FIRST of the view: COUNT steps along axis
 * TOP and all of every later axis. TARGET is where it goes, in elements. */
static enum qins_status copy_slab(struct copy *c, const struct qn_strided *v, unsigned top,
                                  uint64_t first, uint64_t count, uint64_t target,
                                  struct qins_error *err)
{
    uint64_t source = v->base, rest = first, step = 1, last = 0;
    c->rank = 0;
    for (unsigned i = v->rank; i-- > 0;) {
        uint64_t n = i > top ? v->shape[i] : i == top ? count : 1;
        source += rest % v->shape[i] * v->stride[i];
        last += (n - 1) * v->stride[i];
        rest /= v->shape[i];
        if (n > 1)
            c->axes[c->rank++] =
                (struct axis){n, v->stride[i] * v->element_size, step * v->element_size};
        step *= v->shape[i];
    }
    c->limit = (source + last + 1) * v->element_size;
    qsort(c->axes, c->rank, sizeof c->axes[0], by_falling_source_step);
    /* Read ahead only where the next run, too, is likely to lie within the window. */
    uint64_t next = c->rank > 1 ? c->axes[c->rank - 2].source : 0;
    c->read_ahead = c->rank > 0 && next <= NEAR && c->axes[c->rank - 1].source <= NEAR;
    return copy_box(c, source * v->element_size, target * v->element_size, err);
}

enum qins_status qn_strided_read(const struct qn_strided *v, qn_fetch_fn fetch, void *ctx,
                                 uint64_t offset, void *dst, size_t size, struct qins_error *err)
{
    if (qn_strided_is_contiguous(v))
        return fetch(ctx, v->base * v->element_size + offset, dst, size, err);

    struct copy c = {.fetch = fetch, .ctx = ctx, .element_size = v->element_size, .dst = dst};
    c.window = malloc(WINDOW);
    if (!c.window)
        return qn_fail_memory(err);
    enum qins_status st = QINS_OK;
    uint64_t first = offset / v->element_size, begin = first, end = first + size / v->element_size;
    /* A range of the row-major order is cut into the largest slabs that fit: some steps along
     * one axis with every later axis whole. There are at most 2 a axis. */
    while (first < end && st == QINS_OK) {
        unsigned top = v->rank;
        uint64_t block = 1; /* elements of the axes from TOP on, whole */
        while (top > 1 && first % (block * v->shape[top - 1]) == 0 &&
               block * v->shape[top - 1] <= end - first)
            block *= v->shape[--top];
        top--;
        uint64_t left_on_axis = v->shape[top] - first / block % v->shape[top];
        uint64_t count = qn_min_u64(left_on_axis, (end - first) / block);
        st = copy_slab(&c, v, top, first, count, first - begin, err);
        first += count * block;
    }
    free(c.window);
    return st;
}

void qn_swap_elements(void *data, size_t size, size_t element_size)
{
    uint8_t *p = data;
    for (size_t i = 0; element_size > 1 && i + element_size <= size; i += element_size) {
        for (size_t a = 0, b = element_size - 1; a < b; a++, b--) {
            uint8_t t = p[i + a];
            p[i + a] = p[i + b];
            p[i + b] = t;
        }
    }
}
