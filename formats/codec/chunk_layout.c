#include "formats/codec/chunk_layout.h"

#include "core/bytes.h"
#include "core/hash.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/rate.h"

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
    AT_ROUNDING = 27,
    AT_KAPPA = 28,
    AT_SCALES = 32, /* or number of parts */
    AT_ROW_LENGTH = 36,
    AT_GROUP = 40,
    AT_CODED_SIZE = 44,
    AT_ERROR_BOUND = 48,
    AT_RESERVED = 52, /* to the header's end */
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
    payload[AT_ROUNDING] = (uint8_t)info->rounding;
    qn_store32(payload + AT_KAPPA, qn_float_bits(info->kappa));
    qn_store32(payload + AT_SCALES,
               info->content == QN_CONTENT_BLOCKS ? info->n_parts : info->n_scales);
    qn_store32(payload + AT_ROW_LENGTH, h->groups.row_length);
    qn_store32(payload + AT_GROUP, h->groups.group);
    qn_store32(payload + AT_CODED_SIZE, h->coded_size);
    qn_store32(payload + AT_ERROR_BOUND, qn_float_bits(info->error_bound));
    qn_store64(payload + AT_HASH, qn_hash64(payload + AT_MAGIC, info->payload_size - AT_MAGIC));
}

static enum qins_status bad(struct qins_error *err, const char *what)
{
    return qn_fail(err, QINS_ERR_FORMAT, "chunk payload: %s", what);
}

static void read_header(const uint8_t *p, struct qn_chunk_header *h)
{
    const bool blocks = p[AT_CONTENT] == QN_CONTENT_BLOCKS;
    const uint32_t count = qn_load32(p + AT_SCALES);
    *h = (struct qn_chunk_header){
        .info =
            {
                .content = (enum qn_content)p[AT_CONTENT],
                .dtype = (enum qins_dtype)p[AT_DTYPE],
                .codec = (enum qn_codec_id)p[AT_CODEC],
                .levels = qn_load16(p + AT_LEVELS),
                .raw_bits = p[AT_RAW_BITS],
                .kappa = qn_float_from_bits(qn_load32(p + AT_KAPPA)),
                .rounding = (enum qn_rounding)p[AT_ROUNDING],
                .error_bound = qn_float_from_bits(qn_load32(p + AT_ERROR_BOUND)),
                .n_elements = qn_load32(p + AT_ELEMENTS),
                .n_scales = blocks ? 0 : count,
                .n_parts = blocks ? count : 1,
                .payload_size = qn_load32(p + AT_SIZE),
            },
        .groups = {qn_load32(p + AT_ELEMENTS), qn_load32(p + AT_ROW_LENGTH),
                   qn_load32(p + AT_GROUP)},
        .coded_size = qn_load32(p + AT_CODED_SIZE),
    };
}

/* All that only codes have. */
static bool quantiser_fields_clear(const struct qn_chunk_header *h)
{
    const struct qn_chunk_info *i = &h->info;
    return !i->levels && !i->raw_bits && !i->rounding && !qn_float_bits(i->kappa) && !i->n_scales &&
           !h->groups.row_length && !h->groups.group && !h->coded_size &&
           !qn_float_bits(i->error_bound);
}

static enum qins_status check_lossless(const struct qn_chunk_header *h, struct qins_error *err)
{
    if (h->info.codec == QN_CODEC_BITPACK)
        return bad(err, "bit packing under lossless content");
    if (!quantiser_fields_clear(h))
        return bad(err, "a field of quantised content is set under lossless content");
    return QINS_OK;
}

static enum qins_status check_blocks(const struct qn_chunk_header *h, struct qins_error *err)
{
    const struct qn_chunk_info *i = &h->info;
    if (!quantiser_fields_clear(h))
        return bad(err, "a field of quantised content is set in front of blocks");
    if (i->n_parts < 2 || i->n_parts > i->n_elements ||
        i->payload_size / QN_CHUNK_HEADER_SIZE <= i->n_parts)
        return bad(err, "impossible number of parts");
    return QINS_OK;
}

static enum qins_status check_rounding(const struct qn_chunk_info *i, struct qins_error *err)
{
    uint32_t bound = qn_float_bits(i->error_bound);
    if (i->rounding != QN_ROUND_NEAREST && i->rounding != QN_ROUND_FEEDBACK)
        return bad(err, "unknown rounding");
    if (i->rounding == QN_ROUND_NEAREST ? bound != 0 : bound >= 0x7f800000u)
        return bad(err, "impossible error bound");
    if (i->rounding == QN_ROUND_FEEDBACK && i->content != QN_CONTENT_QINS)
        return bad(err, "feedback rounding on the seed grid");
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
    enum qins_status st = check_rounding(i, err);
    if (st != QINS_OK)
        return st;
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
    uint8_t reserved = 0;
    for (size_t i = AT_RESERVED; i < QN_CHUNK_HEADER_SIZE; i++)
        reserved |= p[i];
    if (reserved)
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
    case QN_CONTENT_BLOCKS:
        return check_blocks(h, err);
    default:
        return bad(err, "unknown content");
    }
}

void qn_part_walk_init(struct qn_part_walk *w, const struct qn_chunk_header *h, const void *payload)
{
    const size_t skip = h->info.content == QN_CONTENT_BLOCKS ? QN_CHUNK_HEADER_SIZE : 0;
    *w = (struct qn_part_walk){
        .whole = *h,
        .next = (const uint8_t *)payload + skip,
        .left = (size_t)h->info.payload_size - skip,
        .parts_left = h->info.n_parts,
    };
}

/* The header of the part at w->next, of a chunk of blocks. */
static enum qins_status parse_part(struct qn_part_walk *w, struct qins_error *err)
{
    const struct qn_chunk_info *whole = &w->whole.info, *part = &w->part.info;
    size_t size = w->left < QN_CHUNK_HEADER_SIZE ? 0 : qn_load32(w->next + AT_SIZE);
    if (size < QN_CHUNK_HEADER_SIZE || size > w->left)
        return bad(err, "a part does not fit in");
    bool first = w->parts_left == whole->n_parts;
    enum qins_status st = qn_chunk_parse(w->next, size, &w->part, err);
    if (st != QINS_OK)
        return st;
    if (part->content == QN_CONTENT_BLOCKS)
        return bad(err, "a part has parts of its own");
    if (part->dtype != whole->dtype || (first && part->codec != whole->codec))
        return bad(err, "a part's type or coder is not what the header says");
    if (part->n_elements > whole->n_elements - w->first)
        return bad(err, "its parts hold more elements than it");
    return QINS_OK;
}

enum qins_status qn_part_next(struct qn_part_walk *w, bool *more, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    w->first += w->part.info.n_elements;
    *more = w->parts_left > 0;
    if (!*more && (w->left > 0 || w->first != w->whole.info.n_elements))
        return bad(err, "its parts do not add up to it");
    if (!*more)
        return QINS_OK;
    if (w->whole.info.content == QN_CONTENT_BLOCKS)
        st = parse_part(w, err);
    else
        w->part = w->whole;
    if (st != QINS_OK) {
        *more = false;
        return st;
    }
    w->payload = w->next;
    w->next += w->part.info.payload_size;
    w->left -= (size_t)w->part.info.payload_size;
    w->parts_left--;
    return QINS_OK;
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
