#include "formats/codec/lossless.h"

#include "core/bytes.h"
#include "formats/codec/planes.h"

enum { PIECE = 4096 }; /* elements that are merged at a time: floats of them fit the first cache */

/* Where the bytes of each plane are: in the payload itself, or decoded in work->symbols. */
struct plane_table {
    const uint8_t *planes[QN_MAX_PLANES];
};

struct coded_plane {
    enum qn_codec_id codec;
    const uint8_t *data;
    size_t size;
};

static enum qins_status read_planes(const struct qn_chunk_header *h, const uint8_t *payload,
                                    size_t width, struct coded_plane *planes,
                                    struct qins_error *err)
{
    struct qn_cursor c = qn_cursor_init(payload, (size_t)h->info.payload_size);
    qn_cursor_take(&c, QN_CHUNK_HEADER_SIZE);
    for (size_t k = width; k-- > 0;) {
        struct coded_plane *p = &planes[k];
        p->codec = (enum qn_codec_id)qn_cursor_u8(&c);
        p->size = qn_cursor_u32(&c);
        p->data = qn_cursor_take(&c, p->size);
        if (!p->data || (k == width - 1 && p->codec != h->info.codec))
            return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: damaged plane table");
        if (!qn_codec(p->codec))
            return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: unknown coder %u",
                           (unsigned)p->codec);
    }
    if (qn_cursor_left(&c) != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: bytes after the last plane");
    return QINS_OK;
}

static enum qins_status damaged(const struct coded_plane *p, struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: damaged %s stream",
                   qn_codec_name(p->codec));
}

static enum qins_status decode_plane(const struct coded_plane *p, size_t n, uint8_t *dst,
                                     struct qn_buf *scratch, struct qins_error *err)
{
    const struct qn_codec *codec = qn_codec(p->codec);
    enum qins_status st = qn_buf_reserve(scratch, codec->scratch(n), err);
    if (st == QINS_OK && !codec->decode(p->data, p->size, dst, n, scratch->data))
        st = damaged(p, err);
    return st;
}

/* Finds the bytes of stored planes where they are, and decodes the others. */
static enum qins_status find_planes(const struct coded_plane *coded, size_t width, size_t n,
                                    struct qn_chunk_work *work, struct plane_table *t,
                                    struct qins_error *err)
{
    size_t used = 0;
    for (size_t k = 0; k < width; k++)
        used += coded[k].codec == QN_CODEC_STORE ? 0 : n;
    enum qins_status st = qn_buf_reserve(&work->symbols, used, err);
    used = 0;
    for (size_t k = 0; k < width && st == QINS_OK; k++) {
        t->planes[k] = coded[k].data;
        if (coded[k].codec == QN_CODEC_STORE) {
            if (coded[k].size != n)
                st = damaged(&coded[k], err);
            continue;
        }
        t->planes[k] = work->symbols.data + used;
        st = decode_plane(&coded[k], n, work->symbols.data + used, &work->scratch, err);
        used += n;
    }
    return st;
}

static void advance(struct plane_table *t, size_t width, size_t n)
{
    for (size_t k = 0; k < width; k++)
        t->planes[k] += n;
}

/* Narrow floats, merged and widened while they are in the first cache. */
static enum qins_status merge_floats(enum qins_dtype dtype, struct plane_table *t, size_t n,
                                     struct qn_chunk_work *work, uint8_t *dst,
                                     struct qins_error *err)
{
    const bool aligned = (uintptr_t)dst % _Alignof(float) == 0;
    const size_t width = qins_dtype_size(dtype);
    uint8_t elements[2 * PIECE];
    enum qins_status st = qn_buf_reserve(&work->values, PIECE * sizeof(float), err);
    if (st != QINS_OK)
        return st;
    for (size_t at = 0, some; at < n; at += some) {
        some = n - at < PIECE ? n - at : PIECE;
        uint8_t *place = dst + at * sizeof(float);
        float *values = (float *)(void *)(aligned ? place : work->values.data);
        qn_planes_merge(dtype, t->planes, some, elements);
        qn_to_f32(dtype, elements, values, some);
        if (!aligned)
            memcpy(place, values, some * sizeof(float));
        advance(t, width, some);
    }
    return QINS_OK;
}

enum qins_status qn_lossless_decode(const struct qn_chunk_header *h, const uint8_t *payload,
                                    bool view, struct qn_chunk_work *work, void *dst,
                                    struct qins_error *err)
{
    const enum qins_dtype dtype = h->info.dtype;
    const size_t n = h->info.n_elements, width = qins_dtype_size(dtype);
    const bool widens = view && qn_dtype(dtype)->view != dtype;
    struct coded_plane coded[QN_MAX_PLANES];
    struct plane_table table;
    enum qins_status st = read_planes(h, payload, width, coded, err);
    if (st != QINS_OK)
        return st;
    if (width == 1 && !widens)
        return decode_plane(&coded[0], n, dst, &work->scratch, err);
    st = find_planes(coded, width, n, work, &table, err);
    if (st != QINS_OK)
        return st;
    if (widens)
        return merge_floats(dtype, &table, n, work, dst, err);
    qn_planes_merge(dtype, table.planes, n, dst);
    return QINS_OK;
}
