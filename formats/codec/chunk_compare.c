#include "core/bytes.h"
#include "formats/codec/lossless.h"

#include <math.h>

struct tally {
    uint64_t mismatches, first;
};

static void tally_add(struct tally *t, size_t index)
{
    if (t->mismatches == 0)
        t->first = index;
    t->mismatches++;
}

/* What is compared: a part, and the source of its elements. */
struct subject {
    const struct qn_chunk_header *h;
    const uint8_t *payload, *src;
    struct qn_chunk_work *work;
    struct tally *tally;
    size_t first; /* index of its first element in the chunk */
};

static enum qins_status compare_lossless(const struct subject *s, struct qins_error *err)
{
    const size_t n = s->h->info.n_elements, width = qins_dtype_size(s->h->info.dtype);
    struct qn_buf *decoded = &s->work->coded;
    enum qins_status st = qn_buf_reserve(decoded, n * width, err);
    if (st == QINS_OK)
        st = qn_lossless_decode(s->h, s->payload, false, s->work, decoded->data, err);
    if (st != QINS_OK || memcmp(decoded->data, s->src, n * width) == 0)
        return st;
    for (size_t i = 0; i < n; i++)
        if (memcmp(decoded->data + i * width, s->src + i * width, width) != 0)
            tally_add(s->tally, s->first + i);
    return QINS_OK;
}

/* A value that is not finite never matches, nor does one that is not 0 in a group whose scale
 * says that all are. */
static bool value_matches(const struct qn_grid *grid, float scale, float x, uint16_t code)
{
    uint32_t bits = qn_float_bits(x) & 0x7fffffffu;
    bool all_zero = grid->kind == QN_GRID_QINS && scale == 0.0f;
    uint16_t again;
    qn_quantise(grid, scale, &x, 1, &again);
    return bits < 0x7f800000u && (!all_zero || bits == 0) && again == code;
}

static void compare_nearest(const struct subject *s, const float *x, const uint16_t *codes,
                            uint16_t *again)
{
    struct qn_grid grid;
    qn_chunk_grid(s->h, &grid);
    struct qn_group_walk w = {.in = s->h->groups};
    for (uint32_t g = 0; qn_group_next(&w); g++) {
        const float scale = qn_chunk_scale(s->h, s->payload, g);
        bool finite = true, suspect = scale == 0.0f;
        qn_abs_max(x + w.begin, w.size, &finite);
        qn_quantise(&grid, scale, x + w.begin, w.size, again + w.begin);
        if (finite && !suspect &&
            memcmp(again + w.begin, codes + w.begin, w.size * sizeof *codes) == 0)
            continue;
        for (size_t i = w.begin; i < (size_t)w.begin + w.size; i++)
            if (!value_matches(&grid, scale, x[i], codes[i]))
                tally_add(s->tally, s->first + i);
    }
}

/* Values that were not rounded to their nearest level: none may be farther away than the bound,
 * and one must be as far, or the bound is not the chunk's own. */
static void compare_feedback(const struct subject *s, const float *x, const uint16_t *codes,
                             float *values)
{
    struct qn_grid grid;
    const uint64_t before = s->tally->mismatches;
    float largest = 0.0f;
    size_t farthest = 0;
    qn_chunk_grid(s->h, &grid);
    struct qn_group_walk w = {.in = s->h->groups};
    for (uint32_t g = 0; qn_group_next(&w); g++) {
        const float scale = qn_chunk_scale(s->h, s->payload, g);
        qn_dequantise(&grid, scale, codes + w.begin, w.size, values + w.begin);
        for (size_t i = w.begin; i < (size_t)w.begin + w.size; i++) {
            const float error = fabsf(x[i] - values[i]);
            if (!(error <= s->h->info.error_bound) || (scale == 0.0f && x[i] != 0.0f))
                tally_add(s->tally, s->first + i);
            else if (error > largest) {
                largest = error;
                farthest = i;
            }
        }
    }
    if (s->tally->mismatches == before && largest < s->h->info.error_bound)
        tally_add(s->tally, s->first + farthest);
}

static enum qins_status compare_quantised(const struct subject *s, struct qins_error *err)
{
    const size_t n = s->h->info.n_elements;
    struct qn_chunk_work *work = s->work;
    enum qins_status st = qn_chunk_unpack_codes(s->h, s->payload, work, err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&work->coded, n * sizeof(float), err);
    const float *x =
        st == QINS_OK ? qn_chunk_floats(s->h->info.dtype, s->src, n, &work->values, err) : NULL;
    if (!x)
        return st == QINS_OK ? QINS_ERR_MEMORY : st;
    const uint16_t *codes = (const uint16_t *)(void *)work->codes.data;
    if (s->h->info.rounding == QN_ROUND_FEEDBACK)
        compare_feedback(s, x, codes, (float *)(void *)work->coded.data);
    else
        compare_nearest(s, x, codes, (uint16_t *)(void *)work->coded.data);
    return QINS_OK;
}

enum qins_status qn_chunk_compare(const void *payload, size_t size, enum qins_dtype dtype,
                                  const void *src, size_t n, struct qn_chunk_work *work,
                                  uint64_t *mismatches, uint64_t *first, struct qins_error *err)
{
    struct qn_chunk_header h;
    struct qn_part_walk w;
    struct tally tally = {0};
    enum qins_status st = qn_chunk_parse(payload, size, &h, err);
    if (st == QINS_OK)
        st = qn_chunk_check_shape(&h, dtype, n, err);
    bool more = st == QINS_OK;
    if (more)
        qn_part_walk_init(&w, &h, payload);
    while (st == QINS_OK && more) {
        st = qn_part_next(&w, &more, err);
        if (st != QINS_OK || !more)
            break;
        struct subject s = {
            &w.part, w.payload, (const uint8_t *)src + w.first * qins_dtype_size(dtype),
            work,    &tally,    w.first};
        st = w.part.info.content == QN_CONTENT_LOSSLESS ? compare_lossless(&s, err)
                                                        : compare_quantised(&s, err);
    }
    *mismatches = tally.mismatches;
    *first = tally.first;
    return st;
}

/* Whether a part is coded with P. */
static bool has_params(const struct qn_chunk_header *h, const void *payload,
                       const struct qn_chunk_params *p)
{
    if (h->info.content != p->content)
        return false;
    if (p->content == QN_CONTENT_LOSSLESS)
        return true;
    struct qn_groups g = qn_chunk_groups(p, h->info.n_elements);
    bool one_scale = p->content == QN_CONTENT_QINS && p->tensor_scale > 0.0f;
    return h->info.levels == p->levels && qn_float_bits(h->info.kappa) == qn_float_bits(p->kappa) &&
           h->info.rounding == p->rounding && h->groups.row_length == g.row_length &&
           h->groups.group == g.group &&
           (!one_scale ||
            qn_float_bits(qn_chunk_scale(h, payload, 0)) == qn_float_bits(p->tensor_scale));
}

enum qins_status qn_chunk_check_runs(const void *payload, size_t size,
                                     const struct qn_chunk_run *runs, size_t n_runs,
                                     struct qins_error *err)
{
    struct qn_chunk_header h;
    struct qn_part_walk w;
    bool more = true, same = true;
    size_t i = 0, n = 0;
    for (size_t k = 0; k < n_runs; k++)
        n += runs[k].n;
    enum qins_status st = qn_chunk_parse(payload, size, &h, err);
    if (st == QINS_OK)
        st = qn_chunk_check_shape(&h, runs[0].params.dtype, n, err);
    if (st != QINS_OK)
        return st;
    qn_part_walk_init(&w, &h, payload);
    while (same && st == QINS_OK && more) {
        st = qn_part_next(&w, &more, err);
        if (st == QINS_OK && more) {
            same = i < n_runs && w.part.info.n_elements == runs[i].n &&
                   has_params(&w.part, w.payload, &runs[i].params);
            i++;
        }
    }
    if (st == QINS_OK && (!same || i != n_runs))
        st = qn_fail(err, QINS_ERR_FORMAT, "a chunk is not coded as the manifest says");
    return st;
}
