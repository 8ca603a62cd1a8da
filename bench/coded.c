#include "bench/coded.h"

#include "formats/codec/chunk_layout.h"

#include <math.h>

void qn_coded_finish(struct qn_coded *c)
{
    qn_buf_finish(&c->payloads);
    qn_buf_finish(&c->pieces);
}

static const struct qn_coded_piece *pieces_of(const struct qn_coded *c)
{
    return (const struct qn_coded_piece *)(const void *)c->pieces.data;
}

size_t qn_coded_count(const struct qn_coded *c)
{
    return c->pieces.size / sizeof(struct qn_coded_piece);
}

double qn_coded_bits(const struct qn_coded *c)
{
    return c->weights ? 8.0 * (double)c->payloads.size / (double)c->weights : (double)NAN;
}

/* The last SIZE bytes of the payloads become a piece; WANTED is QN_CODEC_COUNT for any. */
static enum qins_status add_last(struct qn_coded *c, struct qn_coded_piece piece,
                                 enum qn_codec_id wanted, struct qins_error *err)
{
    struct qn_chunk_info info;
    const uint8_t *payload = c->payloads.data + piece.begin;
    enum qins_status st = qn_chunk_inspect(payload, piece.size, &info, err);
    if (st == QINS_OK)
        st = qn_buf_append(&c->pieces, &piece, sizeof piece, err);
    if (st != QINS_OK)
        return st;
    c->weights += piece.n;
    if (info.codec != QN_CODEC_STORE && info.codec != QN_CODEC_BITPACK)
        c->entropy_coded += piece.n;
    c->fell_back += wanted != QN_CODEC_COUNT && info.codec != wanted;
    return QINS_OK;
}

enum qins_status qn_coded_add(struct qn_coded *c, const void *payload, size_t size,
                              enum qins_dtype dtype, size_t n, bool view, void *out,
                              struct qins_error *err)
{
    const struct qn_coded_piece piece = {
        .begin = c->payloads.size, .size = size, .n = n, .dtype = dtype, .view = view, .out = out};
    enum qins_status st = qn_buf_append(&c->payloads, payload, size, err);
    return st == QINS_OK ? add_last(c, piece, QN_CODEC_COUNT, err) : st;
}

/* Elements from FIRST on that make a page of about PAGE: whole rows, or of a long row whole groups,
 * or of a long group a piece. */
static size_t page_length(const struct qn_chunk_header *h, size_t first, size_t page)
{
    const size_t n = h->info.n_elements, row = h->groups.row_length, group = h->groups.group;
    size_t step = page, end = n;
    if (page == QN_WHOLE_PIECE)
        return n - first;
    if (h->info.n_scales > 1 && row <= page) {
        step = page / row * row;
    } else if (h->info.n_scales > 1) {
        const size_t begin = first / row * row;
        const size_t group_end = begin + ((first - begin) / group + 1) * group;
        end = group > page && group_end < begin + row ? group_end : begin + row;
        step = group > page ? page : page / group * group;
    }
    return first + step < end ? step : end - first;
}

/* How they are coded. Values are what was decoded: a clip has been applied already. */
static struct qn_chunk_params page_params(const struct qn_chunk_header *h, const uint8_t *payload,
                                          enum qn_codec_id codec, size_t first, size_t n)
{
    const size_t row = h->groups.row_length, group = h->groups.group;
    struct qn_chunk_params p = {.content = h->info.content,
                                .dtype = QINS_F32,
                                .codec = codec,
                                .levels = h->info.levels,
                                .kappa = h->info.kappa,
                                .clip = 1.0F,
                                .row_length = n,
                                .group = n};
    if (p.content == QN_CONTENT_LOSSLESS) {
        p.dtype = h->info.dtype;
        p.codec = codec == QN_CODEC_BITPACK ? QN_CODEC_STORE : codec;
    } else if (h->info.n_scales == 1) {
        p.tensor_scale = qn_chunk_scale(h, payload, 0);
    } else if (h->info.n_scales > 1 && n % row == 0) {
        p.row_length = row;
        p.group = group;
    } else if (h->info.n_scales > 1 && n < group) {
        const size_t in_row = (row + group - 1) / group;
        p.tensor_scale =
            qn_chunk_scale(h, payload, (uint32_t)(first / row * in_row + first % row / group));
    } else if (h->info.n_scales > 1) {
        p.group = group;
    }
    return p;
}

static enum qins_status recode_page(struct qn_coded *c, const struct qn_chunk_params *params,
                                    const uint8_t *values, struct qn_coded_piece piece,
                                    struct qn_chunk_work *work, struct qins_error *err)
{
    piece.begin = c->payloads.size;
    enum qins_status st = qn_chunk_encode(params, values, piece.n, work, &c->payloads, err);
    piece.size = c->payloads.size - piece.begin;
    return st == QINS_OK ? add_last(c, piece, params->codec, err) : st;
}

enum qins_status qn_coded_recode(struct qn_coded *c, const struct qn_coded *source, size_t from,
                                 enum qn_codec_id codec, size_t page, struct qn_chunk_work *work,
                                 struct qins_error *err)
{
    const struct qn_coded_piece *s = &pieces_of(source)[from];
    const uint8_t *payload = source->payloads.data + s->begin;
    struct qn_buf values = {0};
    struct qn_chunk_header h;
    enum qins_status st = qn_chunk_parse(payload, s->size, &h, err);
    if (st != QINS_OK)
        return st;
    const bool lossless = h.info.content == QN_CONTENT_LOSSLESS;
    const size_t width = lossless ? qins_dtype_size(s->dtype) : sizeof(float);
    const size_t out_width = qins_dtype_size(s->view ? qn_dtype(s->dtype)->view : s->dtype);
    st = qn_buf_reserve(&values, s->n * width, err);
    if (st == QINS_OK)
        st = qn_chunk_decode(payload, s->size, s->dtype, s->n, !lossless, work, values.data, err);
    for (size_t first = 0; first < s->n && st == QINS_OK;) {
        struct qn_coded_piece piece = *s;
        piece.n = page_length(&h, first, page);
        piece.dtype = lossless ? s->dtype : QINS_F32;
        piece.out = (uint8_t *)s->out + first * out_width;
        const struct qn_chunk_params params = page_params(&h, payload, codec, first, piece.n);
        st = recode_page(c, &params, values.data + first * width, piece, work, err);
        first += piece.n;
    }
    qn_buf_finish(&values);
    return st;
}

enum qins_status qn_coded_decode(const struct qn_coded *c, struct qn_chunk_work *work,
                                 struct qins_error *err)
{
    const struct qn_coded_piece *p = pieces_of(c);
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < qn_coded_count(c) && st == QINS_OK; i++)
        st = qn_chunk_decode(c->payloads.data + p[i].begin, p[i].size, p[i].dtype, p[i].n,
                             p[i].view, work, p[i].out, err);
    return st;
}

/* The line of element FIRST. */
static const struct qn_plan_line *line_at(const struct qn_archive_tensor *t, uint64_t first)
{
    struct qn_part part = {.first = first};
    return qn_next_part(t, first + 1, &part) ? part.line : &t->plan;
}

enum qins_status qn_coded_visit(const struct qn_archive *a, size_t tensor, uint64_t chunk,
                                struct qn_buf *payload,
                                enum qins_status (*visit)(void *ctx, const struct qn_coded_run *run,
                                                          struct qins_error *err),
                                void *ctx, struct qins_error *err)
{
    const struct qn_archive_tensor *t = &a->manifest.tensors[tensor];
    struct qn_chunk_header h;
    struct qn_part_walk w;
    uint64_t first, count;
    bool more = true;
    qn_layout_chunk(&t->layout, chunk, &first, &count);
    enum qins_status st = qn_archive_payload(a, tensor, chunk, payload, err);
    if (st == QINS_OK)
        st = qn_chunk_parse(payload->data, payload->size, &h, err);
    if (st == QINS_OK)
        st = qn_chunk_check_shape(&h, t->tensor.dtype, (size_t)count, err);
    if (st == QINS_OK)
        qn_part_walk_init(&w, &h, payload->data);
    while (st == QINS_OK && more) {
        st = qn_part_next(&w, &more, err);
        if (st != QINS_OK || !more)
            break;
        const struct qn_coded_run run = {.tensor = tensor,
                                         .first = first + w.first,
                                         .n = w.part.info.n_elements,
                                         .access_class = line_at(t, first + w.first)->access_class,
                                         .quantised = w.part.info.content != QN_CONTENT_LOSSLESS,
                                         .payload = w.payload,
                                         .size = (size_t)w.part.info.payload_size};
        st = visit(ctx, &run, err);
    }
    return qn_error_in_tensor(err, st, t->tensor.name);
}
