#include "core/bytes.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/chunk_layout.h"
#include "formats/codec/kernels.h"
#include "formats/codec/lossless.h"
#include "formats/codec/rate.h"

#include <math.h>

/* One chunk on its way into a payload. `payload` has room for the largest outcome. */
struct encoder {
    const struct qn_chunk_params *params;
    struct qn_chunk_header header;
    struct qn_chunk_work *work;
    uint8_t *payload;
    size_t used; /* bytes of it that are written, header included */
};

static enum qins_status check_params(const struct qn_chunk_params *p, size_t n,
                                     struct qins_error *err)
{
    if (n < 1 || n > QN_CHUNK_MAX)
        return qn_fail(err, QINS_ERR_USAGE, "a chunk cannot hold %zu elements", n);
    if (!qn_dtype(p->dtype) || (unsigned)p->codec >= QN_CODEC_COUNT)
        return qn_fail(err, QINS_ERR_USAGE, "unknown element type or coder");
    if (p->content == QN_CONTENT_LOSSLESS) {
        if (p->codec == QN_CODEC_BITPACK)
            return qn_fail(err, QINS_ERR_USAGE, "bit packing needs quantised values");
        return QINS_OK;
    }
    if (p->content != QN_CONTENT_QINS && p->content != QN_CONTENT_SEED)
        return qn_fail(err, QINS_ERR_USAGE, "unknown kind of chunk content");
    if (!qn_dtype_is_quantisable(p->dtype))
        return qn_fail(err, QINS_ERR_USAGE, "%s values cannot be quantised",
                       qins_dtype_name(p->dtype));
    if (p->rounding == QN_ROUND_FEEDBACK && (p->content != QN_CONTENT_QINS || !p->feedback ||
                                             p->feedback->n < 1 || n % p->feedback->n != 0))
        return qn_fail(err, QINS_ERR_USAGE, "feedback rounding needs whole rows and their factor");
    if (p->content == QN_CONTENT_SEED)
        return QINS_OK;
    if (!(p->tensor_scale >= 0.0f && isfinite(p->tensor_scale)) ||
        (p->tensor_scale == 0.0f && !(p->clip > 0.0f && p->clip <= 1.0f)))
        return qn_fail(err, QINS_ERR_USAGE, "scale or clip out of range");
    if (p->tensor_scale == 0.0f &&
        (p->row_length < 1 || p->group < 1 || (n % p->row_length != 0 && n > p->row_length)))
        return qn_fail(err, QINS_ERR_USAGE, "rows and groups do not fit the chunk");
    return QINS_OK;
}

static enum qins_status refuse_value(const float *x, uint32_t begin, uint32_t size,
                                     struct qins_error *err)
{
    uint32_t i = begin;
    while (i + 1 < begin + size && isfinite(x[i]))
        i++;
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, NULL, i,
                      "%s cannot be quantised (lossless content keeps it)",
                      isnan(x[i]) ? "a NaN" : "an infinity");
}

static float group_scale(const struct qn_chunk_params *p, float most)
{
    if (p->tensor_scale > 0.0f)
        return p->tensor_scale;
    float scale = p->clip * most;
    return scale > 0.0f ? scale : most;
}

/* Scales into the payload and, where each value gets its nearest level, codes into
 * work->codes. */
static enum qins_status quantise_groups(struct encoder *e, const struct qn_grid *grid,
                                        const float *x, struct qins_error *err)
{
    uint16_t *codes = (uint16_t *)(void *)e->work->codes.data;
    struct qn_group_walk w = {.in = e->header.groups};
    while (qn_group_next(&w)) {
        bool finite = true;
        float most = qn_abs_max(x + w.begin, w.size, &finite);
        if (!finite)
            return refuse_value(x, w.begin, w.size, err);
        float scale = group_scale(e->params, most);
        if (grid->kind == QN_GRID_QINS) {
            qn_store32(e->payload + e->used, qn_float_bits(scale));
            e->used += 4;
        }
        if (e->params->rounding == QN_ROUND_NEAREST)
            qn_quantise(grid, scale, x + w.begin, w.size, codes + w.begin);
    }
    return QINS_OK;
}

/* The scales in the payload, as the kernel takes them: one for each group of each row, also where
 * one stands for all rows. */
static void spread_scales(const struct encoder *e, size_t count, float *scales)
{
    const uint32_t n_scales = e->header.info.n_scales;
    for (size_t i = 0; i < count; i++)
        scales[i] = qn_chunk_scale(&e->header, e->payload, n_scales == 1 ? 0 : (uint32_t)i);
}

static enum qins_status quantise_feedback(struct encoder *e, const struct qn_grid *grid,
                                          const float *x, struct qins_error *err)
{
    const struct qn_feedback *f = e->params->feedback;
    const struct qn_groups *g = &e->header.groups;
    const size_t rows = g->n / f->n;
    const bool one_scale = g->group == g->n;
    if (!one_scale && g->row_length != f->n)
        return qn_fail(err, QINS_ERR_USAGE, "the factor is for rows of %u elements, not %u", f->n,
                       g->row_length);
    const uint32_t group = one_scale ? f->n : g->group;
    const size_t n_scales = rows * qn_div_up(f->n, group);
    enum qins_status st =
        qn_buf_reserve(&e->work->rows, (n_scales + qn_feedback_work(f->n)) * sizeof(float), err);
    if (st != QINS_OK)
        return st;
    float *scales = (float *)(void *)e->work->rows.data;
    spread_scales(e, n_scales, scales);
    float bound = qn_quantise_feedback(grid, f, x, rows, scales, group,
                                       (uint16_t *)(void *)e->work->codes.data, scales + n_scales);
    if (!isfinite(bound))
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "values near the largest float cannot be rounded with feedback");
    e->header.info.error_bound = bound;
    return QINS_OK;
}

/* Low bits that do not go through the coder; tans sees to its own. */
static unsigned raw_bits_of(const struct encoder *e, const uint16_t *codes, size_t n)
{
    const unsigned bits = qn_code_bits(e->header.info.levels);
    uint32_t counts[2 * QN_MAX_LEVELS + 2];
    if (e->params->codec == QN_CODEC_TANS)
        return qn_least_raw_bits(bits);
    qn_codec_kernels()->count_codes(codes, n, (1U << bits) - 1, counts);
    return qn_choose_raw_bits(counts, bits, (uint32_t)n);
}

/* Codes as byte symbols through a coder and raw low bits, if that takes fewer than LIMIT bytes;
 * false if not. Leaves the codes as they are in that case. */
static bool write_coded(struct encoder *e, size_t limit)
{
    struct qn_chunk_info *info = &e->header.info;
    const size_t n = info->n_elements;
    uint16_t *codes = (uint16_t *)(void *)e->work->codes.data;
    uint8_t *restrict symbols = e->work->symbols.data;
    const unsigned raw_bits = raw_bits_of(e, codes, n);
    const size_t raw_size = qn_bitpack_size(n, raw_bits);
    if (raw_size >= limit)
        return false;
    qn_codec_kernels()->split_symbols(codes, n, raw_bits, symbols);

    uint8_t *dst = e->payload + e->used;
    size_t size = qn_codec(e->params->codec)
                      ->encode(symbols, n, dst, limit - raw_size - 1, e->work->scratch.data);
    if (size == 0)
        return false;
    if (raw_bits) {
        const uint16_t mask = (uint16_t)((1u << raw_bits) - 1);
        for (size_t i = 0; i < n; i++)
            codes[i] &= mask;
        qn_bitpack(codes, n, raw_bits, dst + size);
    }
    info->codec = e->params->codec;
    info->raw_bits = raw_bits;
    e->header.coded_size = (uint32_t)size;
    e->used += size + raw_size;
    return true;
}

static void write_uncoded(struct encoder *e, enum qn_codec_id codec, size_t size)
{
    const size_t n = e->header.info.n_elements;
    const uint16_t *codes = (const uint16_t *)(const void *)e->work->codes.data;
    uint8_t *restrict dst = e->payload + e->used;
    if (codec == QN_CODEC_BITPACK)
        qn_bitpack(codes, n, qn_code_bits(e->header.info.levels), dst);
    else if (size == n)
        qn_codec_kernels()->split_symbols(codes, n, 0, dst);
    else
        memcpy(dst, codes, size); /* little-endian hosts only: meson.build checks */
    e->header.info.codec = codec;
    e->header.coded_size = (uint32_t)size;
    e->used += size;
}

static void write_codes(struct encoder *e)
{
    const struct qn_chunk_info *info = &e->header.info;
    const size_t stored = qn_codes_stored_size(info->levels, info->n_elements);
    const size_t packed = qn_bitpack_size(info->n_elements, qn_code_bits(info->levels));
    const enum qn_codec_id wanted = e->params->codec;
    if (wanted == QN_CODEC_BITPACK)
        write_uncoded(e, wanted, packed);
    else if (wanted == QN_CODEC_STORE)
        write_uncoded(e, wanted, stored);
    else if (packed < stored ? !write_coded(e, packed) : !write_coded(e, stored))
        write_uncoded(e, packed < stored ? QN_CODEC_BITPACK : QN_CODEC_STORE,
                      packed < stored ? packed : stored);
}

static enum qins_status reserve_scratch(struct encoder *e, struct qins_error *err)
{
    const struct qn_codec *codec = qn_codec(e->params->codec);
    return qn_buf_reserve(&e->work->scratch, codec ? codec->scratch(e->header.info.n_elements) : 0,
                          err);
}

static enum qins_status encode_quantised(struct encoder *e, const void *src, struct qins_error *err)
{
    struct qn_chunk_info *info = &e->header.info;
    const size_t n = info->n_elements;
    struct qn_grid grid;
    info->rounding = e->params->rounding;
    info->levels = e->params->levels;
    info->kappa = e->params->kappa;
    if (!qn_grid_init(&grid, (enum qn_grid_kind)info->content, info->levels, info->kappa))
        return qn_fail(err, QINS_ERR_USAGE, "levels or shape of the grid out of range");
    enum qins_status st = reserve_scratch(e, err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&e->work->codes, n * sizeof(uint16_t), err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&e->work->symbols, n, err);
    const float *x =
        st == QINS_OK ? qn_chunk_floats(info->dtype, src, n, &e->work->values, err) : NULL;
    if (!x)
        return QINS_ERR_MEMORY;
    st = quantise_groups(e, &grid, x, err);
    if (st == QINS_OK && info->rounding == QN_ROUND_FEEDBACK)
        st = quantise_feedback(e, &grid, x, err);
    if (st == QINS_OK)
        write_codes(e);
    return st;
}

static enum qins_status encode_lossless(struct encoder *e, const void *src, struct qins_error *err)
{
    struct qn_chunk_info *info = &e->header.info;
    size_t size = 0;
    enum qins_status st =
        qn_lossless_encode(info->dtype, e->params->codec, src, info->n_elements, e->work,
                           e->payload + e->used, &size, &info->codec, err);
    e->used += size;
    return st;
}

enum qins_status qn_chunk_encode(const struct qn_chunk_params *params, const void *src, size_t n,
                                 struct qn_chunk_work *work, struct qn_buf *out,
                                 struct qins_error *err)
{
    enum qins_status st = check_params(params, n, err);
    if (st != QINS_OK)
        return st;
    bool lossless = params->content == QN_CONTENT_LOSSLESS;
    struct encoder e = {.params = params, .work = work};
    e.header.info = (struct qn_chunk_info){
        .content = params->content, .dtype = params->dtype, .n_elements = (uint32_t)n};
    size_t most = QN_CHUNK_HEADER_SIZE;
    if (lossless) {
        most += qn_lossless_bound(params->dtype, n);
    } else {
        e.header.groups = qn_chunk_groups(params, (uint32_t)n);
        if (params->content == QN_CONTENT_QINS)
            e.header.info.n_scales = qn_groups_count(&e.header.groups);
        most += 4 * (size_t)e.header.info.n_scales + 2 * n;
    }
    st = qn_buf_reserve(out, out->size + most, err);
    if (st != QINS_OK)
        return st;

    e.payload = out->data + out->size;
    e.used = QN_CHUNK_HEADER_SIZE;
    st = lossless ? encode_lossless(&e, src, err) : encode_quantised(&e, src, err);
    if (st != QINS_OK)
        return st;
    e.header.info.payload_size = e.used;
    qn_chunk_seal(&e.header, e.payload);
    out->size += e.used;
    return QINS_OK;
}

/* Encodes the runs behind the space for the header in *out; *codec is that of the first. */
static enum qins_status encode_parts(const struct qn_chunk_run *runs, size_t n_runs,
                                     const uint8_t *src, struct qn_chunk_work *work,
                                     struct qn_buf *out, enum qn_codec_id *codec,
                                     struct qins_error *err)
{
    const size_t width = qins_dtype_size(runs[0].params.dtype);
    size_t first = 0; /* element */
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < n_runs && st == QINS_OK; i++) {
        struct qn_chunk_info info;
        const size_t begin = out->size;
        if (runs[i].params.dtype != runs[0].params.dtype)
            return qn_fail(err, QINS_ERR_USAGE, "the blocks of a chunk have different types");
        st = qn_chunk_encode(&runs[i].params, src + first * width, runs[i].n, work, out, err);
        if (st == QINS_ERR_UNSUPPORTED && err && err->offset != QN_NO_OFFSET)
            err->offset += (int64_t)first;
        if (st == QINS_OK && i == 0) {
            st = qn_chunk_inspect(out->data + begin, out->size - begin, &info, err);
            *codec = info.codec;
        }
        first += runs[i].n;
    }
    return st;
}

enum qins_status qn_chunk_encode_runs(const struct qn_chunk_run *runs, size_t n_runs,
                                      const void *src, struct qn_chunk_work *work,
                                      struct qn_buf *out, struct qins_error *err)
{
    if (n_runs == 1)
        return qn_chunk_encode(&runs[0].params, src, runs[0].n, work, out, err);
    uint64_t n = 0;
    for (size_t i = 0; i < n_runs; i++)
        n += runs[i].n;
    if (n > QN_CHUNK_MAX)
        return qn_fail(err, QINS_ERR_USAGE, "a chunk cannot hold %llu elements",
                       (unsigned long long)n);
    const size_t begin = out->size;
    struct qn_chunk_header h = {.info = {.content = QN_CONTENT_BLOCKS,
                                         .dtype = runs[0].params.dtype,
                                         .n_elements = (uint32_t)n,
                                         .n_parts = (uint32_t)n_runs}};
    enum qins_status st = qn_buf_reserve(out, begin + QN_CHUNK_HEADER_SIZE, err);
    if (st != QINS_OK)
        return st;
    out->size += QN_CHUNK_HEADER_SIZE;
    st = encode_parts(runs, n_runs, src, work, out, &h.info.codec, err);
    if (st != QINS_OK) {
        out->size = begin;
        return st;
    }
    h.info.payload_size = out->size - begin;
    qn_chunk_seal(&h, out->data + begin);
    return QINS_OK;
}
