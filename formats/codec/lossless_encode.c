#include "formats/codec/lossless.h"

#include "core/bytes.h"
#include "formats/codec/histogram.h"
#include "formats/codec/planes.h"
#include "formats/codec/rate.h"
#include "formats/codec/tans.h"

enum {
    SAMPLE_PARTS = 16,
    SAMPLE_PART = 1024, /* elements */
    SAMPLED_FROM = 1 << 16,
    TRIED_BELOW = 4096, /* elements; tables of Huffman are shorter, and to try costs little */
};

/* One chunk on its way into planes. */
struct split {
    enum qins_dtype dtype;
    enum qn_codec_id wanted;
    const uint8_t *src;
    size_t n, width;
    struct qn_chunk_work *work;
    uint8_t
        *planes[QN_MAX_PLANES]; /* to be looked at, in work->symbols; NULL: stored as they are */
    uint32_t counts[QN_MAX_PLANES][256];
};

size_t qn_lossless_bound(enum qins_dtype dtype, size_t n)
{
    return qins_dtype_size(dtype) * (n + QN_PLANE_HEADER_SIZE);
}

/* Coders that no stream of near 8 bits of order-0 entropy a symbol is worth to. */
static bool is_order_0(enum qn_codec_id id)
{
    return id == QN_CODEC_HUFFMAN || id == QN_CODEC_TANS;
}

/* True if coding may save at least 2 %. The upper bits of a float32's mantissa would save 0.6 % of
 * their plane, 0.2 % of the chunk, and halve the speed at which it is decoded. */
static bool is_worth_coding(const uint32_t counts[256], size_t n)
{
    return qn_entropy_bits(counts, 256, (uint32_t)n) * 50 < (uint64_t)n * 8 * 49;
}

/* Counts the first N elements of each plane; drops planes that are not worth coding. */
static void drop_incompressible(struct split *s, size_t n)
{
    struct qn_histogram_work *work = (struct qn_histogram_work *)(void *)s->work->scratch.data;
    for (size_t k = 0; k < s->width; k++)
        if (s->planes[k]) {
            qn_histogram(s->planes[k], n, s->counts[k], work);
            if (!is_worth_coding(s->counts[k], n))
                s->planes[k] = NULL;
        }
}

/* Drops planes that are noise, as most bits of mantissas are, without looking at all of them. */
static void drop_noise(struct split *s)
{
    const size_t step = (s->n - SAMPLE_PART) / (SAMPLE_PARTS - 1);
    for (size_t i = 0; i < SAMPLE_PARTS; i++) {
        uint8_t *planes[QN_MAX_PLANES];
        for (size_t k = 0; k < s->width; k++)
            planes[k] = s->planes[k] + i * SAMPLE_PART;
        qn_planes_split(s->dtype, s->src + i * step * s->width, SAMPLE_PART, planes);
    }
    drop_incompressible(s, (size_t)SAMPLE_PARTS * SAMPLE_PART);
}

/* Splits off the planes that may be coded, and counts them where that decides. */
static void look_at_planes(struct split *s)
{
    const bool counted = is_order_0(s->wanted);
    for (size_t k = 0; k < s->width; k++)
        s->planes[k] = s->work->symbols.data + k * s->n;
    if (counted && s->n >= SAMPLED_FROM)
        drop_noise(s);
    qn_planes_split(s->dtype, s->src, s->n, s->planes);
    if (counted)
        drop_incompressible(s, s->n);
}

static size_t encode_plane(const struct split *s, enum qn_codec_id id, size_t k, uint8_t *dst,
                           size_t capacity)
{
    void *scratch = s->work->scratch.data;
    return id == QN_CODEC_TANS
               ? qn_tans_encode_counted(s->counts[k], s->planes[k], s->n, dst, capacity, scratch)
               : qn_codec(id)->encode(s->planes[k], s->n, dst, capacity, scratch);
}

static bool tries_huffman(const struct split *s)
{
    return s->wanted == QN_CODEC_TANS && s->n < TRIED_BELOW;
}

/* Codes plane K with *id, and sets that to the coder in fact used; returns the size, 0 if it would
 * not be smaller than the plane. */
static size_t try_plane(const struct split *s, size_t k, uint8_t *dst, enum qn_codec_id *id)
{
    const size_t most = s->n - 1;
    if (!tries_huffman(s))
        return encode_plane(s, *id, k, dst, most);
    const size_t other = encode_plane(s, QN_CODEC_HUFFMAN, k, dst, most);
    const size_t size = encode_plane(s, *id, k, dst, other > 0 ? other - 1 : most);
    if (size > 0 || other == 0)
        return size;
    *id = QN_CODEC_HUFFMAN;
    return encode_plane(s, *id, k, dst, most);
}

static enum qins_status reserve(const struct split *s, struct qins_error *err)
{
    size_t scratch = sizeof(struct qn_histogram_work);
    const enum qn_codec_id ids[] = {s->wanted, tries_huffman(s) ? QN_CODEC_HUFFMAN : s->wanted};
    for (size_t i = 0; i < 2; i++) {
        const size_t need = qn_codec(ids[i])->scratch(s->n);
        scratch = need > scratch ? need : scratch;
    }
    enum qins_status st = qn_buf_reserve(&s->work->scratch, scratch, err);
    return st == QINS_OK ? qn_buf_reserve(&s->work->symbols, s->n * s->width, err) : st;
}

enum qins_status qn_lossless_encode(enum qins_dtype dtype, enum qn_codec_id wanted,
                                    const uint8_t *src, size_t n, struct qn_chunk_work *work,
                                    uint8_t *dst, size_t *size, enum qn_codec_id *top,
                                    struct qins_error *err)
{
    struct split s = {.dtype = dtype,
                      .wanted = wanted,
                      .src = src,
                      .n = n,
                      .width = qins_dtype_size(dtype),
                      .work = work};
    uint8_t *stored[QN_MAX_PLANES], *p = dst;
    enum qins_status st = reserve(&s, err);
    if (st != QINS_OK)
        return st;
    if (wanted != QN_CODEC_STORE && n > 1)
        look_at_planes(&s);
    for (size_t k = s.width; k-- > 0;) {
        enum qn_codec_id id = wanted;
        size_t coded = s.planes[k] ? try_plane(&s, k, p + QN_PLANE_HEADER_SIZE, &id) : 0;
        stored[k] = coded > 0 ? NULL : p + QN_PLANE_HEADER_SIZE;
        if (coded == 0) {
            id = QN_CODEC_STORE;
            coded = n;
        }
        p[0] = (uint8_t)id;
        qn_store32(p + 1, (uint32_t)coded);
        p += QN_PLANE_HEADER_SIZE + coded;
        if (k == s.width - 1)
            *top = id;
    }
    qn_planes_split(dtype, src, n, stored);
    *size = (size_t)(p - dst);
    return QINS_OK;
}
