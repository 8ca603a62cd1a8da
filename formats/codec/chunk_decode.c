#include "core/bytes.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/chunk_layout.h"
#include "formats/codec/kernels.h"
#include "formats/codec/lossless.h"

void qn_chunk_work_finish(struct qn_chunk_work *w)
{
    qn_buf_finish(&w->values);
    qn_buf_finish(&w->codes);
    qn_buf_finish(&w->symbols);
    qn_buf_finish(&w->coded);
    qn_buf_finish(&w->scratch);
    qn_buf_finish(&w->rows);
}

enum qins_status qn_chunk_inspect(const void *payload, size_t size, struct qn_chunk_info *info,
                                  struct qins_error *err)
{
    struct qn_chunk_header h;
    enum qins_status st = qn_chunk_parse(payload, size, &h, err);
    if (st == QINS_OK)
        *info = h.info;
    return st;
}

enum qins_status qn_chunk_decode_symbols(enum qn_codec_id id, const uint8_t *src, size_t size,
                                         uint8_t *dst, size_t n, struct qn_buf *scratch,
                                         struct qins_error *err)
{
    const struct qn_codec *codec = qn_codec(id);
    if (!codec)
        return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: unknown coder %u", (unsigned)id);
    enum qins_status st = qn_buf_reserve(scratch, codec->scratch(n), err);
    if (st == QINS_OK && !codec->decode(src, size, dst, n, scratch->data))
        st = qn_fail(err, QINS_ERR_FORMAT, "chunk payload: damaged %s stream", codec->name);
    return st;
}

static enum qins_status damaged_bits(struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: bits are set after the last packed code");
}

/* The symbols, which are the codes' high parts, into work->symbols. */
static enum qins_status read_symbols(const struct qn_chunk_header *h, const uint8_t *src,
                                     struct qn_chunk_work *work, struct qins_error *err)
{
    const size_t n = h->info.n_elements;
    enum qins_status st = qn_buf_reserve(&work->symbols, n, err);
    if (st == QINS_OK)
        st = qn_chunk_decode_symbols(h->info.codec, src, h->coded_size, work->symbols.data, n,
                                     &work->scratch, err);
    return st;
}

/* Joins them with the codes' low bits, which follow the coded bytes, packed. */
static enum qins_status join_raw_bits(const struct qn_chunk_header *h, const uint8_t *raw,
                                      struct qn_chunk_work *work, uint16_t *codes,
                                      struct qins_error *err)
{
    const size_t n = h->info.n_elements;
    const unsigned raw_bits = h->info.raw_bits;
    if (!qn_bitunpack(raw, qn_bitpack_size(n, raw_bits), n, raw_bits, codes))
        return damaged_bits(err);
    qn_codec_kernels()->join_symbols(work->symbols.data, n, raw_bits, codes);
    return QINS_OK;
}

/* Where the codes lie packed: in the payload, or decoded in a buffer of WORK. */
struct packed {
    const uint8_t *data;
    size_t size;
    unsigned bits;
};

static enum qins_status find_codes(const struct qn_chunk_header *h, const uint8_t *payload,
                                   struct qn_chunk_work *work, struct packed *p,
                                   struct qins_error *err)
{
    const size_t n = h->info.n_elements;
    const uint8_t *section = payload + QN_CHUNK_HEADER_SIZE + 4 * (size_t)h->info.n_scales;
    *p = (struct packed){section, h->coded_size, 8};
    if (h->info.codec == QN_CODEC_STORE) {
        p->bits = qn_codes_stored_size(h->info.levels, n) == n ? 8 : 16;
        return QINS_OK;
    }
    if (h->info.codec == QN_CODEC_BITPACK) {
        p->bits = qn_code_bits(h->info.levels);
        return qn_bitpack_is_padded(section, n, p->bits) ? QINS_OK : damaged_bits(err);
    }
    enum qins_status st = read_symbols(h, section, work, err);
    *p = (struct packed){work->symbols.data, n, 8};
    if (st != QINS_OK || h->info.raw_bits == 0)
        return st;
    st = qn_buf_reserve(&work->codes, n * sizeof(uint16_t), err);
    if (st == QINS_OK)
        st = join_raw_bits(h, section + h->coded_size, work, (uint16_t *)(void *)work->codes.data,
                           err);
    *p = (struct packed){work->codes.data, n * sizeof(uint16_t), 16};
    return st;
}

static enum qins_status check_range(const struct qn_chunk_header *h, struct qn_code_range range,
                                    struct qins_error *err)
{
    /* The seed grid has a pole at its last level. */
    const unsigned edge = h->info.content == QN_CONTENT_SEED;
    if (range.least < edge || range.most > 2 * h->info.levels - edge)
        return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: code out of range");
    return QINS_OK;
}

float qn_chunk_scale(const struct qn_chunk_header *h, const uint8_t *payload, uint32_t index)
{
    if (index >= h->info.n_scales) /* the seed grid has none */
        return 0.0f;
    return qn_float_from_bits(qn_load32(payload + QN_CHUNK_HEADER_SIZE + 4 * (size_t)index));
}

static enum qins_status check_scales(const struct qn_chunk_header *h, const uint8_t *payload,
                                     struct qins_error *err)
{
    for (uint32_t i = 0; i < h->info.n_scales; i++)
        if (qn_float_bits(qn_chunk_scale(h, payload, i)) >= 0x7f800000u)
            return qn_fail(err, QINS_ERR_FORMAT,
                           "chunk payload: scale %u is negative or not finite", i);
    return QINS_OK;
}

enum qins_status qn_chunk_unpack_codes(const struct qn_chunk_header *h, const uint8_t *payload,
                                       struct qn_chunk_work *work, struct qins_error *err)
{
    const size_t n = h->info.n_elements;
    struct packed p;
    enum qins_status st = check_scales(h, payload, err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&work->codes, n * sizeof(uint16_t), err);
    if (st == QINS_OK)
        st = find_codes(h, payload, work, &p, err);
    if (st != QINS_OK)
        return st;
    uint16_t *codes = (uint16_t *)(void *)work->codes.data;
    if (p.data != work->codes.data)
        qn_codec_kernels()->unpack(p.data, n, p.bits, codes);
    return check_range(h, qn_codec_kernels()->range(codes, n), err);
}

/* DST if it can take floats, else work->values; NULL when out of memory. */
static float *float_target(void *dst, bool holds_floats, size_t n, struct qn_chunk_work *work,
                           struct qins_error *err)
{
    if (holds_floats && (uintptr_t)dst % _Alignof(float) == 0)
        return dst;
    if (qn_buf_reserve(&work->values, n * sizeof(float), err) != QINS_OK)
        return NULL;
    return (float *)(void *)work->values.data;
}

static enum qins_status decode_quantised(const struct qn_chunk_header *h, const uint8_t *payload,
                                         bool view, struct qn_chunk_work *work, void *dst,
                                         struct qins_error *err)
{
    const size_t n = h->info.n_elements;
    struct packed p;
    enum qins_status st = check_scales(h, payload, err);
    if (st == QINS_OK)
        st = find_codes(h, payload, work, &p, err);
    if (st != QINS_OK)
        return st;

    const enum qins_dtype target = view ? QINS_F32 : h->info.dtype;
    float *values = float_target(dst, target == QINS_F32, n, work, err);
    if (!values)
        return QINS_ERR_MEMORY;

    struct qn_grid grid;
    struct qn_code_decoder d;
    qn_chunk_grid(h, &grid);
    qn_code_decoder_init(&d, &grid, p.data, p.size, p.bits);
    struct qn_code_range range = {UINT16_MAX, 0};
    struct qn_group_walk w = {.in = h->groups};
    const bool scaled = grid.kind != QN_GRID_SEED;
    for (uint32_t i = 0; qn_group_next(&w); i++)
        qn_codec_kernels()->decode(&d, w.begin, w.size,
                                   scaled ? qn_chunk_scale(h, payload, i) : 1.0f, values + w.begin,
                                   &range);
    st = check_range(h, range, err);
    if (st == QINS_OK && values != dst)
        qn_from_f32(target, values, dst, n);
    return st;
}

enum qins_status qn_chunk_decode(const void *payload, size_t size, enum qins_dtype dtype, size_t n,
                                 bool view, struct qn_chunk_work *work, void *dst,
                                 struct qins_error *err)
{
    struct qn_chunk_header h;
    enum qins_status st = qn_chunk_parse(payload, size, &h, err);
    if (st == QINS_OK)
        st = qn_chunk_check_shape(&h, dtype, n, err);
    const size_t width = qins_dtype_size(view ? qn_dtype(dtype)->view : dtype);
    struct qn_part_walk w;
    bool more = st == QINS_OK;
    if (more)
        qn_part_walk_init(&w, &h, payload);
    while (st == QINS_OK && more) {
        st = qn_part_next(&w, &more, err);
        if (st == QINS_OK && more)
            st = (w.part.info.content == QN_CONTENT_LOSSLESS ? qn_lossless_decode
                                                             : decode_quantised)(
                &w.part, w.payload, view, work, (uint8_t *)dst + w.first * width, err);
    }
    return st;
}
