#include "formats/kv_page.h"

#include "core/bytes.h"
#include "core/hash.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/codec.h"
#include "formats/codec/huffman.h"
#include "formats/codec/quant.h"
#include "formats/codec/rle.h"

/* The header, docs/kv-format.md. */
enum { AT_HASH = 0, AT_KIND = 8, AT_BITS, AT_HEADS, AT_HEAD_DIM = 12, AT_TOKENS = 14 };
enum { AT_KAPPA = 16, AT_LARGEST = 20, VERSION = 1, KIND_CODER = 15, KIND_VERSION_SHIFT = 4 };

/* Scales as bytes: (33 + low five bits) / 64 * 2^(high three bits - 7) of the page's largest. */
enum { SCALE_STEPS = 32, SCALE_SHIFT = 5, SCALE_LARGEST = 255 };
static const float scale_unit = 0x1p-13F; /* (33 … 64) * 2^(0 … 7) of it are at most 1 */

enum { DEFAULT_TOKENS = 64, RUNS_SHARE = 32, ALIGN = 8 };

/* Chosen by measuring: docs/kv-format.md. */
static const float kappa_8_bit = 0.25F, kappa_6_bit = 0.25F;

struct work {
    struct qn_grid *grid;
    float *scales;             /* [tokens][groups] */
    uint16_t *codes;           /* [tokens][heads][head_dim] */
    uint8_t *symbols, *second; /* the same as bytes; a second result of coding */
    void *coder;
};

static size_t values_of(const struct qn_kv_layout *l)
{
    return (size_t)l->tokens * l->heads * l->head_dim;
}

uint32_t qn_kv_groups(const struct qn_kv_layout *l)
{
    return l->head_dim >= QN_KV_HEAD_SCALES ? l->heads : 1;
}

static size_t n_scales(const struct qn_kv_layout *l)
{
    return (size_t)l->tokens * qn_kv_groups(l);
}

static unsigned levels_of(const struct qn_kv_layout *l)
{
    return (1U << (l->bits - 1)) - 1;
}

enum qins_status qn_kv_layout_init(struct qn_kv_layout *l, uint32_t heads, uint32_t head_dim,
                                   unsigned bits, size_t page_bytes, struct qins_error *err)
{
    const uint64_t values = (uint64_t)heads * head_dim, token_bytes = values * sizeof(float);
    *l = (struct qn_kv_layout){heads, head_dim, 0, bits, bits == 8 ? kappa_8_bit : kappa_6_bit};
    if (bits != 8 && bits != 6)
        return qn_fail(err, QINS_ERR_USAGE, "V is cached with 8 or 6 bits, not with %u", bits);
    if (page_bytes != 0 && (page_bytes < QN_KV_MIN_PAGE || page_bytes > QN_KV_MAX_PAGE))
        return qn_fail(err, QINS_ERR_USAGE, "pages of V have %d to %d bytes before coding, not %zu",
                       QN_KV_MIN_PAGE, QN_KV_MAX_PAGE, page_bytes);
    if (heads == 0 || head_dim == 0 || heads > QN_KV_MAX_HEADS || head_dim > QN_KV_MAX_HEADS ||
        values > QN_KV_MAX_VALUES)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "pages of V with %u heads of %u values", heads,
                       head_dim);
    if (page_bytes == 0) {
        page_bytes = DEFAULT_TOKENS * token_bytes;
        page_bytes = page_bytes < QN_KV_MIN_PAGE ? QN_KV_MIN_PAGE : page_bytes;
        page_bytes = page_bytes > QN_KV_MAX_PAGE ? QN_KV_MAX_PAGE : page_bytes;
    }
    l->tokens = page_bytes < token_bytes ? 1 : (uint32_t)(page_bytes / token_bytes);
    return QINS_OK;
}

bool qn_kv_layout_valid(const struct qn_kv_layout *l)
{
    const uint64_t values = (uint64_t)l->heads * l->head_dim;
    return (l->bits == 8 || l->bits == 6) && l->heads >= 1 && l->heads <= QN_KV_MAX_HEADS &&
           l->head_dim >= 1 && l->head_dim <= QN_KV_MAX_HEADS && values <= QN_KV_MAX_VALUES &&
           l->tokens >= 1 && l->kappa >= 0.0F && l->kappa <= QN_MAX_KAPPA &&
           (l->tokens == 1 || l->tokens <= QN_KV_MAX_PAGE / sizeof(float) / values);
}

static size_t codes_size(const struct qn_kv_layout *l)
{
    return qn_bitpack_size(values_of(l), l->bits);
}

/* Where the codes begin. */
static size_t codes_at(const struct qn_kv_layout *l)
{
    return QN_KV_HEADER + n_scales(l);
}

size_t qn_kv_packed_size(const struct qn_kv_layout *l)
{
    return codes_at(l) + codes_size(l);
}

static size_t reserve(size_t *at, size_t size)
{
    const size_t begin = *at;
    *at += (size + ALIGN - 1) / ALIGN * ALIGN;
    return begin;
}

/* Where scratch memory has what. */
struct places {
    size_t grid, scales, codes, symbols, second, coder, end;
};

static struct places places_of(const struct qn_kv_layout *l)
{
    const size_t n = values_of(l), rle = qn_codec(QN_CODEC_RLE_HUFFMAN)->scratch(n),
                 huffman = qn_codec(QN_CODEC_HUFFMAN)->scratch(n);
    struct places p = {0};
    p.grid = reserve(&p.end, sizeof(struct qn_grid));
    p.scales = reserve(&p.end, n_scales(l) * sizeof(float));
    p.codes = reserve(&p.end, n * sizeof(uint16_t));
    p.symbols = reserve(&p.end, n);
    p.second = reserve(&p.end, n);
    p.coder = reserve(&p.end, rle > huffman ? rle : huffman);
    return p;
}

static struct work carve(const struct qn_kv_layout *l, void *scratch)
{
    const struct places p = places_of(l);
    uint8_t *base = scratch;
    return (struct work){.grid = (void *)(base + p.grid),
                         .scales = (void *)(base + p.scales),
                         .codes = (void *)(base + p.codes),
                         .symbols = base + p.symbols,
                         .second = base + p.second,
                         .coder = base + p.coder};
}

size_t qn_kv_scratch(const struct qn_kv_layout *l)
{
    return places_of(l).end;
}

static float scale_value(float largest, unsigned code)
{
    const unsigned step = (SCALE_STEPS + 1 + code % SCALE_STEPS) << (code >> SCALE_SHIFT);
    return largest * ((float)step * scale_unit);
}

/* The least scale that is not below MOST, which is at most LARGEST. */
static uint8_t scale_code(float largest, float most)
{
    unsigned low = 0, high = SCALE_LARGEST;
    while (low < high) {
        const unsigned middle = (low + high) / 2;
        if (scale_value(largest, middle) >= most)
            high = middle;
        else
            low = middle + 1;
    }
    return (uint8_t)low;
}

/* Largest magnitude of each group, and of all. */
static enum qins_status find_largest(const struct qn_kv_layout *l, const float *v,
                                     size_t head_stride, float *most, float *largest,
                                     struct qins_error *err)
{
    const uint32_t groups = qn_kv_groups(l);
    *largest = 0.0F;
    memset(most, 0, n_scales(l) * sizeof *most);
    for (size_t i = 0; i < l->tokens; i++)
        for (size_t h = 0; h < l->heads; h++) {
            float *group = &most[i * groups + (groups > 1 ? h : 0)];
            bool finite = true;
            const float m = qn_abs_max(v + h * head_stride + i * l->head_dim, l->head_dim, &finite);
            if (!finite)
                return qn_fail(err, QINS_ERR_FORMAT,
                               "V of head %zu of token %zu of a page is not finite", h, i);
            *group = m > *group ? m : *group;
            *largest = m > *largest ? m : *largest;
        }
    return QINS_OK;
}

static void put_header(const struct qn_kv_layout *l, float largest, uint8_t *dst)
{
    dst[AT_KIND] = VERSION << KIND_VERSION_SHIFT | QN_CODEC_BITPACK;
    dst[AT_BITS] = (uint8_t)l->bits;
    qn_store16(dst + AT_HEADS, (uint16_t)l->heads);
    qn_store16(dst + AT_HEAD_DIM, (uint16_t)l->head_dim);
    qn_store16(dst + AT_TOKENS, (uint16_t)l->tokens);
    qn_store32(dst + AT_KAPPA, qn_float_bits(l->kappa));
    qn_store32(dst + AT_LARGEST, qn_float_bits(largest));
}

static void seal(uint8_t *page, size_t size)
{
    qn_store64(page + AT_HASH, qn_hash64(page + AT_KIND, size - AT_KIND));
}

static enum qins_status init_grid(const struct qn_kv_layout *l, struct qn_grid *g,
                                  struct qins_error *err)
{
    if (!qn_grid_init(g, QN_GRID_QINS, levels_of(l), l->kappa))
        return qn_fail(err, QINS_ERR_USAGE, "no grid of V has a kappa of %g", (double)l->kappa);
    return QINS_OK;
}

enum qins_status qn_kv_encode(const struct qn_kv_layout *l, const float *v, size_t head_stride,
                              uint8_t *dst, void *scratch, struct qins_error *err)
{
    const uint32_t groups = qn_kv_groups(l);
    struct work w = carve(l, scratch);
    float largest;
    enum qins_status st = init_grid(l, w.grid, err);
    if (st == QINS_OK)
        st = find_largest(l, v, head_stride, w.scales, &largest, err);
    if (st != QINS_OK)
        return st;
    put_header(l, largest, dst);
    uint8_t *scales = dst + QN_KV_HEADER;
    for (size_t i = 0; i < n_scales(l); i++) {
        scales[i] = scale_code(largest, w.scales[i]);
        w.scales[i] = scale_value(largest, scales[i]);
    }
    for (size_t i = 0; i < l->tokens; i++)
        for (size_t h = 0; h < l->heads; h++)
            qn_quantise(w.grid, w.scales[i * groups + (groups > 1 ? h : 0)],
                        v + h * head_stride + i * l->head_dim, l->head_dim,
                        w.codes + (i * l->heads + h) * l->head_dim);
    qn_bitpack(w.codes, values_of(l), l->bits, dst + codes_at(l));
    seal(dst, qn_kv_packed_size(l));
    return QINS_OK;
}

/* Checks all but the codes. */
static enum qins_status check_page(const struct qn_kv_layout *l, const uint8_t *src, size_t size,
                                   struct qins_error *err)
{
    if (size < codes_at(l) || size > qn_kv_packed_size(l))
        return qn_fail(err, QINS_ERR_FORMAT, "a page of V has %zu bytes, not %zu to %zu", size,
                       codes_at(l), qn_kv_packed_size(l));
    if (qn_load64(src + AT_HASH) != qn_hash64(src + AT_KIND, size - AT_KIND))
        return qn_fail(err, QINS_ERR_FORMAT, "a page of V is damaged: its hash does not match");
    if (src[AT_KIND] >> KIND_VERSION_SHIFT != VERSION)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "a page of V has version %d",
                       src[AT_KIND] >> KIND_VERSION_SHIFT);
    if (src[AT_BITS] != l->bits || qn_load16(src + AT_HEADS) != l->heads ||
        qn_load16(src + AT_HEAD_DIM) != l->head_dim || qn_load16(src + AT_TOKENS) != l->tokens ||
        qn_load32(src + AT_KAPPA) != qn_float_bits(l->kappa))
        return qn_fail(err, QINS_ERR_FORMAT, "a page of V is of another shape than its cache");
    /* Finite and not below 0, a negative 0 included. */
    if (qn_load32(src + AT_LARGEST) >= 0x7f800000U)
        return qn_fail(err, QINS_ERR_FORMAT, "a page of V has a largest value that is no number");
    return QINS_OK;
}

static bool unpack(const struct qn_kv_layout *l, const uint8_t *src, size_t size, struct work *w)
{
    const size_t n = values_of(l);
    const enum qn_codec_id id = src[AT_KIND] & KIND_CODER;
    const uint16_t top = (uint16_t)(2 * levels_of(l));
    const uint8_t *coded = src + codes_at(l);
    const size_t coded_size = size - codes_at(l);
    uint16_t most = 0;
    if (id == QN_CODEC_BITPACK) {
        if (!qn_bitunpack(coded, coded_size, n, l->bits, w->codes))
            return false;
    } else if (id == QN_CODEC_HUFFMAN || id == QN_CODEC_RLE_HUFFMAN) {
        if (!qn_codec(id)->decode(coded, coded_size, w->symbols, n, w->coder))
            return false;
        for (size_t i = 0; i < n; i++)
            w->codes[i] = w->symbols[i];
    } else {
        return false;
    }
    for (size_t i = 0; i < n; i++)
        most = w->codes[i] > most ? w->codes[i] : most;
    return most <= top;
}

/* Codes of a page to w->codes, scales to w->scales. */
static enum qins_status open_page(const struct qn_kv_layout *l, const uint8_t *src, size_t size,
                                  struct work *w, struct qins_error *err)
{
    enum qins_status st = check_page(l, src, size, err);
    if (st != QINS_OK)
        return st;
    if (!unpack(l, src, size, w))
        return qn_fail(err, QINS_ERR_FORMAT, "the codes of a page of V are malformed");
    const float largest = qn_float_from_bits(qn_load32(src + AT_LARGEST));
    for (size_t i = 0; i < n_scales(l); i++)
        w->scales[i] = scale_value(largest, src[QN_KV_HEADER + i]);
    return QINS_OK;
}

/* Codes N symbols into DST, in less than PLAIN bytes; returns how many, or 0. Pages are decoded
 * again and again, so eight streams also where an archive's chunk would have one, and runs only
 * where they save a share of the bytes that is worth their time. */
static size_t code_symbols(struct work *w, size_t n, size_t plain, uint8_t *dst,
                           enum qn_codec_id *id)
{
    const size_t streams = n < QN_HUFFMAN_MIN_INTERLEAVED ? 1 : QN_HUFFMAN_STREAMS,
                 huffman =
                     qn_huffman_encode_streams(w->symbols, n, streams, dst, plain - 1, w->coder),
                 best = huffman ? huffman : plain,
                 runs = qn_rle_huffman_encode(w->symbols, n, w->second,
                                              best - best / RUNS_SHARE - 1, w->coder);
    *id = runs ? QN_CODEC_RLE_HUFFMAN : QN_CODEC_HUFFMAN;
    if (runs)
        memcpy(dst, w->second, runs);
    return runs ? runs : huffman;
}

enum qins_status qn_kv_recode(const struct qn_kv_layout *l, const uint8_t *src, uint8_t *dst,
                              size_t *size, void *scratch, struct qins_error *err)
{
    const size_t n = values_of(l), at = codes_at(l), plain = codes_size(l);
    struct work w = carve(l, scratch);
    enum qn_codec_id id;
    enum qins_status st = open_page(l, src, at + plain, &w, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < n; i++)
        w.symbols[i] = (uint8_t)w.codes[i];
    const size_t coded = code_symbols(&w, n, plain, dst + at, &id);
    memcpy(dst, src, at + (coded ? 0 : plain));
    if (coded)
        dst[AT_KIND] = (uint8_t)(VERSION << KIND_VERSION_SHIFT | id);
    *size = at + (coded ? coded : plain);
    seal(dst, *size);
    return QINS_OK;
}

enum qins_status qn_kv_decode(const struct qn_kv_layout *l, const uint8_t *src, size_t size,
                              float *v, size_t head_stride, void *scratch, struct qins_error *err)
{
    const uint32_t groups = qn_kv_groups(l);
    struct work w = carve(l, scratch);
    enum qins_status st = init_grid(l, w.grid, err);
    if (st == QINS_OK)
        st = open_page(l, src, size, &w, err);
    for (size_t i = 0; i < l->tokens && st == QINS_OK; i++)
        for (size_t h = 0; h < l->heads; h++)
            qn_dequantise(w.grid, w.scales[i * groups + (groups > 1 ? h : 0)],
                          w.codes + (i * l->heads + h) * l->head_dim, l->head_dim,
                          v + h * head_stride + i * l->head_dim);
    return st;
}

enum qins_status qn_kv_codes(const struct qn_kv_layout *l, const uint8_t *src, size_t size,
                             uint16_t *codes, float *scales, void *scratch, struct qins_error *err)
{
    struct work w = carve(l, scratch);
    enum qins_status st = open_page(l, src, size, &w, err);
    if (st == QINS_OK && codes)
        memcpy(codes, w.codes, values_of(l) * sizeof *codes);
    if (st == QINS_OK && scales)
        memcpy(scales, w.scales, n_scales(l) * sizeof *scales);
    return st;
}

bool qn_kv_is_recoded(const uint8_t *src, size_t size)
{
    return size >= QN_KV_HEADER && (src[AT_KIND] & KIND_CODER) != QN_CODEC_BITPACK;
}
