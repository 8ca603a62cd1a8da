#include "formats/codec/chunk_layout.h"

#include "core/bytes.h"
#include "core/hash.h"
#include "formats/codec/bitpack.h"

/* Byte offsets of the header's fields. */
enum {
    AT_HASH = 0, /* of all bytes from AT_MAGIC on */
    AT_MAGIC = 8,
    AT_VERSION = 12,
    AT_CONTENT = 13,
    AT_DTYPE = 14,
    AT_CODEC = 15,
    AT_ELEMENTS = 16,
    AT_SIZE = 20,
    AT_LEVELS = 24,
    AT_RAW_BITS = 26,
    AT_KAPPA = 28,
    AT_SCALES = 32,
    AT_ROW_LENGTH = 36,
    AT_GROUP = 40,
    AT_CODED_SIZE = 44,
    AT_RESERVED = 48,
};

static const uint8_t chunk_magic[4] = {'Q', 'N', 'C', 'K'};
enum { CHUNK_VERSION = 1 };

struct qn_groups qn_chunk_groups(const struct qn_chunk_params *p, uint32_t n)
{
    bool whole = p->content == QN_CONTENT_SEED || p->tensor_scale > 0.0f;
    uint32_t row = whole ? n : (uint32_t)qn_min_u64(p->row_length, n);
    uint32_t group = whole ? n : (uint32_t)qn_min_u64(p->group, row);
    struct qn_groups g = {n, row, group};
    return g;
}

bool qn_groups_valid(const struct qn_groups *g)
{
    return g->group >= 1 && g->group <= g->row_length && g->row_length <= g->n &&
           g->n % g->row_length == 0;
}

uint32_t qn_groups_count(const struct qn_groups *g)
{
    return g->n / g->row_length * (uint32_t)qn_div_up(g->row_length, g->group);
}

bool qn_group_next(struct qn_group_walk *w)
{
    w->begin += w->size;
    if (w->begin >= w->in.n)
        return false;
    if (w->begin >= w->row_end)
        w->row_end += w->in.row_length;
    uint32_t left = w->row_end - w->begin;
    w->size = left < w->in.group ? left : w->in.group;
    return true;
}

size_t qn_codes_stored_size(unsigned levels, size_t n)
{
    return 2 * levels < 256 ? n : 2 * n;
}

void qn_chunk_seal(const struct qn_chunk_header *h, uint8_t *payload)
{
    const struct qn_chunk_info *info = &h->info;
    memset(payload, 0, QN_CHUNK_HEADER_SIZE);
    memcpy(payload + AT_MAGIC, chunk_magic, sizeof chunk_magic);
    payload[AT_VERSION] = CHUNK_VERSION;
    payload[AT_CONTENT] = (uint8_t)info->content;
    payload[AT_DTYPE] = (uint8_t)info->dtype;
    payload[AT_CODEC] = (uint8_t)info->codec;
    qn_store32(payload + AT_ELEMENTS, info->n_elements);
    qn_store32(payload + AT_SIZE, (uint32_t)info->payload_size);
    qn_store16(payload + AT_LEVELS, (uint16_t)info->levels);
    payload[AT_RAW_BITS] = (uint8_t)info->raw_bits;
    qn_store32(payload + AT_KAPPA, qn_float_bits(info->kappa));
    qn_store32(payload + AT_SCALES, info->n_scales);
    qn_store32(payload + AT_ROW_LENGTH, h->groups.row_length);
    qn_store32(payload + AT_GROUP, h->groups.group);
    qn_store32(payload + AT_CODED_SIZE, h->coded_size);
    qn_store64(payload + AT_HASH, qn_hash64(payload + AT_MAGIC, info->payload_size - AT_MAGIC));
}

static enum qins_status bad(struct qins_error *err, const char *what)
{
    return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: %s", what);
}

static void read_header(const uint8_t *p, struct qn_chunk_header *h)
{
    *h = (struct qn_chunk_header){
        .info =
            {
                .content = (enum qn_content)p[AT_CONTENT],
                .dtype = (enum qins_dtype)p[AT_DTYPE],
                .codec = (enum qn_codec_id)p[AT_CODEC],
                .levels = qn_load16(p + AT_LEVELS),
                .raw_bits = p[AT_RAW_BITS],
                .kappa = qn_float_from_bits(qn_load32(p + AT_KAPPA)),
                .n_elements = qn_load32(p + AT_ELEMENTS),
                .n_scales = qn_load32(p + AT_SCALES),
                .payload_size = qn_load32(p + AT_SIZE),
            },
        .groups = {qn_load32(p + AT_ELEMENTS), qn_load32(p + AT_ROW_LENGTH),
                   qn_load32(p + AT_GROUP)},
        .coded_size = qn_load32(p + AT_CODED_SIZE),
    };
}

static enum qins_status check_lossless(const struct qn_chunk_header *h, struct qins_error *err)
{
    const struct qn_chunk_info *i = &h->info;
    if (i->codec == QN_CODEC_BITPACK)
        return bad(err, "bit packing under lossless content");
    if (i->levels || i->raw_bits || qn_float_bits(i->kappa) || i->n_scales ||
        h->groups.row_length || h->groups.group || h->coded_size)
        return bad(err, "a field of quantised content is set under lossless content");
    return QINS_OK;
}

static enum qins_status check_code_section(const struct qn_chunk_header *h, struct qins_error *err)
{
    const struct qn_chunk_info *i = &h->info;
    unsigned bits = qn_code_bits(i->levels);
    if (i->codec == QN_CODEC_STORE || i->codec == QN_CODEC_BITPACK) {
        size_t size = i->codec == QN_CODEC_STORE ? qn_codes_stored_size(i->levels, i->n_elements)
                                                 : qn_bitpack_size(i->n_elements, bits);
        if (i->raw_bits || h->coded_size != size)
            return bad(err, "wrong size of uncoded codes");
    } else if (i->raw_bits > QN_MAX_RAW_BITS || i->raw_bits >= bits ||
               i->raw_bits + QN_CODE_SYMBOL_BITS < bits) {
        return bad(err, "wrong number of raw bits");
    }
    uint64_t raw_size = qn_bitpack_size(i->n_elements, i->raw_bits);
    uint64_t sections = 4 * (uint64_t)i->n_scales + h->coded_size + raw_size;
    if (i->payload_size != QN_CHUNK_HEADER_SIZE + sections)
        return bad(err, "sections do not add up to the payload's size");
    return QINS_OK;
}

static enum qins_status check_quantised(const struct qn_chunk_header *h, struct qins_error *err)
{
    const struct qn_chunk_info *i = &h->info;
    struct qn_grid grid;
    if (!qn_dtype_is_quantisable(i->dtype))
        return bad(err, "quantised content of a type that cannot be quantised");
    if (!qn_grid_init(&grid, (enum qn_grid_kind)i->content, i->levels, i->kappa))
        return bad(err, "grid parameters out of range");
    if (!qn_groups_valid(&h->groups) ||
        (i->content == QN_CONTENT_SEED && h->groups.group != i->n_elements))
        return bad(err, "impossible group geometry");
    if (i->n_scales != (i->content == QN_CONTENT_SEED ? 0 : qn_groups_count(&h->groups)))
        return bad(err, "number of scales does not match the groups");
    return check_code_section(h, err);
}

_Static_assert((int)QN_CONTENT_QINS == (int)QN_GRID_QINS &&
                   (int)QN_CONTENT_SEED == (int)QN_GRID_SEED,
               "content values name the grid");

enum qins_status qn_chunk_parse(const void *payload, size_t size, struct qn_chunk_header *h,
                                struct qins_error *err)
{
    const uint8_t *p = payload;
    if (size < QN_CHUNK_HEADER_SIZE)
        return bad(err, "shorter than its header");
    if (memcmp(p + AT_MAGIC, chunk_magic, sizeof chunk_magic) != 0)
        return bad(err, "no magic number");
    if (qn_load64(p + AT_HASH) != qn_hash64(p + AT_MAGIC, size - AT_MAGIC))
        return bad(err, "hash does not match (damaged data)");
    if (p[AT_VERSION] != CHUNK_VERSION)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "chunk payload: version %u is not known",
                       (unsigned)p[AT_VERSION]);

    read_header(p, h);
    if (h->info.payload_size != size)
        return bad(err, "size differs from the header's");
    if (p[AT_RAW_BITS + 1] || qn_load64(p + AT_RESERVED) || qn_load64(p + AT_RESERVED + 8))
        return bad(err, "reserved bytes are not zero");
    if (!qn_dtype(h->info.dtype) || (unsigned)h->info.codec >= QN_CODEC_COUNT)
        return bad(err, "unknown element type or coder");
    if (h->info.n_elements < 1 || h->info.n_elements > QN_CHUNK_MAX)
        return bad(err, "number of elements out of range");
    switch (h->info.content) {
    case QN_CONTENT_LOSSLESS:
        return check_lossless(h, err);
    case QN_CONTENT_QINS:
    case QN_CONTENT_SEED:
        return check_quantised(h, err);
    default:
        return bad(err, "unknown content");
    }
}

enum qins_status qn_chunk_check_shape(const struct qn_chunk_header *h, enum qins_dtype dtype,
                                      size_t n, struct qins_error *err)
{
    if (h->info.dtype == dtype && h->info.n_elements == n)
        return QINS_OK;
    return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: holds %u elements of %s, not %zu of %s",
                   h->info.n_elements, qins_dtype_name(h->info.dtype), n, qins_dtype_name(dtype));
}

void qn_chunk_grid(const struct qn_chunk_header *h, struct qn_grid *grid)
{
    qn_grid_init(grid, (enum qn_grid_kind)h->info.content, h->info.levels, h->info.kappa);
}

const float *qn_chunk_floats(enum qins_dtype dtype, const void *src, size_t n,
                             struct qn_buf *values, struct qins_error *err)
{
    if (dtype == QINS_F32 && (uintptr_t)src % _Alignof(float) == 0)
        return src;
    if (qn_buf_reserve(values, n * sizeof(float), err) != QINS_OK)
        return NULL;
    float *floats = (float *)(void *)values->data;
    qn_to_f32(dtype, src, floats, n);
    return floats;
}
