#include "core/bytes.h"
#include "formats/codec/chunk_layout.h"

struct tally {
    uint64_t mismatches, first;
};

static void tally_add(struct tally *t, size_t index)
{
    if (t->mismatches == 0)
        t->first = index;
    t->mismatches++;
}

static enum qins_status compare_lossless(const void *payload, size_t size, enum qins_dtype dtype,
                                         const uint8_t *src, size_t n, struct qn_chunk_work *work,
                                         struct tally *tally, struct qins_error *err)
{
    const size_t width = qins_dtype_size(dtype);
    enum qins_status st = qn_buf_reserve(&work->coded, n * width, err);
    if (st == QINS_OK)
        st = qn_chunk_decode(payload, size, dtype, n, false, work, work->coded.data, err);
    if (st != QINS_OK || memcmp(work->coded.data, src, n * width) == 0)
        return st;
    for (size_t i = 0; i < n; i++)
        if (memcmp(work->coded.data + i * width, src + i * width, width) != 0)
            tally_add(tally, i);
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

static enum qins_status compare_quantised(const struct qn_chunk_header *h, const uint8_t *payload,
                                          const void *src, struct qn_chunk_work *work,
                                          struct tally *tally, struct qins_error *err)
{
    const size_t n = h->info.n_elements;
    enum qins_status st = qn_chunk_unpack_codes(h, payload, work, err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&work->coded, n * sizeof(uint16_t), err);
    const float *x =
        st == QINS_OK ? qn_chunk_floats(h->info.dtype, src, n, &work->values, err) : NULL;
    if (!x)
        return st == QINS_OK ? QINS_ERR_MEMORY : st;

    const uint16_t *codes = (const uint16_t *)(const void *)work->codes.data;
    uint16_t *again = (uint16_t *)(void *)work->coded.data;
    struct qn_grid grid;
    qn_chunk_grid(h, &grid);
    struct qn_group_walk w = {.in = h->groups};
    for (uint32_t g = 0; qn_group_next(&w); g++) {
        const float scale = qn_chunk_scale(h, payload, g);
        bool finite = true, suspect = scale == 0.0f;
        qn_abs_max(x + w.begin, w.size, &finite);
        qn_quantise(&grid, scale, x + w.begin, w.size, again + w.begin);
        if (finite && !suspect &&
            memcmp(again + w.begin, codes + w.begin, w.size * sizeof *codes) == 0)
            continue;
        for (size_t i = w.begin; i < (size_t)w.begin + w.size; i++)
            if (!value_matches(&grid, scale, x[i], codes[i]))
                tally_add(tally, i);
    }
    return QINS_OK;
}

enum qins_status qn_chunk_compare(const void *payload, size_t size, enum qins_dtype dtype,
                                  const void *src, size_t n, struct qn_chunk_work *work,
                                  uint64_t *mismatches, uint64_t *first, struct qins_error *err)
{
    struct qn_chunk_header h;
    struct tally tally = {0};
    enum qins_status st = qn_chunk_parse(payload, size, &h, err);
    if (st == QINS_OK)
        st = qn_chunk_check_shape(&h, dtype, n, err);
    if (st == QINS_OK && h.info.content == QN_CONTENT_LOSSLESS)
        st = compare_lossless(payload, size, dtype, src, n, work, &tally, err);
    else if (st == QINS_OK)
        st = compare_quantised(&h, payload, src, work, &tally, err);
    *mismatches = tally.mismatches;
    *first = tally.first;
    return st;
}

static bool same_grid(const struct qn_chunk_header *h, const void *payload,
                      const struct qn_chunk_params *p, uint32_t n)
{
    struct qn_groups g = qn_chunk_groups(p, n);
    bool one_scale = p->content == QN_CONTENT_QINS && p->tensor_scale > 0.0f;
    return h->info.levels == p->levels && qn_float_bits(h->info.kappa) == qn_float_bits(p->kappa) &&
           h->groups.row_length == g.row_length && h->groups.group == g.group &&
           (!one_scale ||
            qn_float_bits(qn_chunk_scale(h, payload, 0)) == qn_float_bits(p->tensor_scale));
}

enum qins_status qn_chunk_check_params(const void *payload, size_t size,
                                       const struct qn_chunk_params *params, size_t n,
                                       struct qins_error *err)
{
    struct qn_chunk_header h;
    enum qins_status st = qn_chunk_parse(payload, size, &h, err);
    if (st == QINS_OK)
        st = qn_chunk_check_shape(&h, params->dtype, n, err);
    if (st == QINS_OK &&
        (h.info.content != params->content ||
         (params->content != QN_CONTENT_LOSSLESS && !same_grid(&h, payload, params, (uint32_t)n))))
        st = qn_fail(err, QINS_ERR_FORMAT, "a chunk is not coded as the manifest says");
    return st;
}
