#include "model/packed.h"

#include "core/bytes.h"
#include "formats/codec/bitpack.h"

#include <stdlib.h>

enum {
    ITEM_BYTES = 128 << 10, /* of packed codes an item: in the second-level cache for more rows */
    ITEM_ROWS = 128,        /* at most, so that panels are not too many */
    MAX_FIXED_IN = 1 << 16, /* rows of inputs fit the room of model/packed_multiply.c */
};

/* Of the fixed-point numbers' error, in power: 1e-4 of the weights. */
static const double most_noise = 1e-8;

static size_t aligned(size_t bytes)
{
    return (bytes + QN_PACKED_ALIGNMENT - 1) / QN_PACKED_ALIGNMENT * QN_PACKED_ALIGNMENT;
}

bool qn_packed_takes(const struct qn_chunk_header *h, size_t in)
{
    const struct qn_chunk_info *i = &h->info;
    if (i->content != QN_CONTENT_QINS && i->content != QN_CONTENT_SEED)
        return false;
    if (in == 0 || in > QN_PACKED_MAX_IN || i->n_elements % in != 0)
        return false;
    return h->groups.row_length == in || h->groups.group == i->n_elements;
}

/* Whether the payload's own bytes are kept: its symbols are codes, and their coder is quick. */
static bool keeps_coded(const struct qn_chunk_header *h, bool looked_up)
{
    const bool quick = h->info.codec == QN_CODEC_TANS || h->info.codec == QN_CODEC_HUFFMAN;
    return quick && !looked_up && h->info.raw_bits == 0;
}

static size_t data_size(const struct qn_chunk_header *h, bool looked_up)
{
    return keeps_coded(h, looked_up)
               ? h->coded_size
               : qn_bitpack_size(h->info.n_elements, qn_code_bits(h->info.levels));
}

/* At least one: the seed grid has none in the payload. */
static size_t scales_size(const struct qn_chunk_header *h)
{
    return ((size_t)h->info.n_scales + 1 + QN_PACKED_LANES) * sizeof(float);
}

size_t qn_packed_room(const struct qn_chunk_header *h, bool looked_up)
{
    return aligned(data_size(h, looked_up) + QN_PACKED_MARGIN) + aligned(scales_size(h));
}

enum qins_status qn_packed_init(struct qn_packed *p, size_t out, size_t in, bool looked_up,
                                size_t n_runs, struct qins_error *err)
{
    *p = (struct qn_packed){.out = out, .in = in, .looked_up = looked_up, .n_runs = n_runs};
    p->runs = calloc(n_runs ? n_runs : 1, sizeof *p->runs);
    p->grids = calloc(1, sizeof *p->grids);
    if (p->grids) {
        pthread_mutex_init(&p->grids->lock, NULL);
        p->grids->users = 1;
    }
    return p->runs && p->grids ? QINS_OK : qn_fail_memory(err);
}

static void drop_grids(struct qn_packed_grids *grids)
{
    if (!grids || --grids->users > 0)
        return;
    for (size_t i = 0; i < QN_PACKED_GRID_LISTS; i++)
        for (struct qn_packed_grid *next, *g = grids->lists[i]; g; g = next) {
            next = g->next;
            free(g);
        }
    pthread_mutex_destroy(&grids->lock);
    free(grids);
}

void qn_packed_share_grids(struct qn_packed *p, const struct qn_packed *other)
{
    other->grids->users++;
    drop_grids(p->grids);
    p->grids = other->grids;
}

uint64_t qn_packed_grid_bytes(const struct qn_packed *p)
{
    return p->grids->n * sizeof(struct qn_packed_grid);
}

/* The list that has such a grid: by multiplication with an odd number near 2^32 over the golden
 * ratio. */
static struct qn_packed_grid **list_of(struct qn_packed_grids *grids, const struct qn_grid *grid)
{
    const uint32_t key = qn_float_bits(grid->kappa) ^ grid->levels ^ (uint32_t)grid->kind << 16;
    return &grids->lists[key * 2654435761u >> 16 & (QN_PACKED_GRID_LISTS - 1)];
}

static struct qn_packed_grid *find_grid(struct qn_packed_grids *grids, const struct qn_grid *grid)
{
    struct qn_packed_grid *g = *list_of(grids, grid);
    while (g && (g->grid.kind != grid->kind || g->grid.levels != grid->levels ||
                 g->grid.kappa != grid->kappa))
        g = g->next;
    return g;
}

static enum qins_status add_grid(struct qn_packed_grids *grids, const struct qn_grid *grid,
                                 struct qins_error *err)
{
    struct qn_packed_grid **list = list_of(grids, grid);
    if (grids->n == QN_PACKED_MAX_GRIDS)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "packed weights: more than %d grids",
                       QN_PACKED_MAX_GRIDS);
    struct qn_packed_grid *g = calloc(1, sizeof *g);
    if (!g)
        return qn_fail_memory(err);
    g->grid = *grid;
    qn_code_decoder_init(&g->decoder, &g->grid, NULL, 0, qn_code_bits(grid->levels));
    if (qn_packed_table_init(&g->packed, &g->grid)) {
        g->bytes = g->packed;
        g->bytes.bits = 8;
    }
    g->next = *list;
    *list = g;
    grids->n++;
    return QINS_OK;
}

/* The matrix's grid of a payload; NULL where that fails. */
static enum qins_status take_grid(struct qn_packed *p, const struct qn_chunk_header *h,
                                  const struct qn_packed_grid **out, struct qins_error *err)
{
    struct qn_grid grid;
    enum qins_status st = QINS_OK;
    qn_chunk_grid(h, &grid);
    pthread_mutex_lock(&p->grids->lock);
    if (!find_grid(p->grids, &grid))
        st = add_grid(p->grids, &grid, err);
    *out = find_grid(p->grids, &grid);
    pthread_mutex_unlock(&p->grids->lock);
    return st;
}

/* Whether kernels take this grid and these groups, and 16 bits are enough for the codes: asked on
 * all levels, so that what goes through kernels does not depend on them. */
static bool goes_fixed(const struct qn_packed *p, const struct qn_packed_run *r,
                       const uint16_t *codes, size_t n)
{
    uint32_t counts[2 * QN_MAX_LEVELS + 1];
    const struct qn_packed_grid *g = r->grid;
    if (g->packed.bits == 0 || p->in > MAX_FIXED_IN || qn_packed_block(p->in, r->group) == 0)
        return false;
    qn_codec_kernels()->count_codes(codes, n, 2 * g->grid.levels, counts);
    return qn_packed_noise(&g->packed, &g->grid, counts) <= most_noise;
}

/* Codes and scales to their room. */
static void lay_out(struct qn_packed_run *r, const struct qn_chunk_header *h,
                    const uint8_t *payload, const uint16_t *codes, bool looked_up, uint8_t *room)
{
    const size_t n = h->info.n_elements, size = data_size(h, looked_up);
    const uint8_t *section = payload + QN_CHUNK_HEADER_SIZE + 4 * (size_t)h->info.n_scales;
    float *scales = (float *)(void *)(room + aligned(size + QN_PACKED_MARGIN));
    if (r->codec != QN_CODEC_BITPACK || h->info.codec == QN_CODEC_BITPACK)
        memcpy(room, section, size);
    else
        qn_bitpack(codes, n, qn_code_bits(h->info.levels), room);
    memset(room + size, 0, QN_PACKED_MARGIN);
    memset(scales, 0, scales_size(h));
    scales[0] = 1.0f;
    for (uint32_t i = 0; i < h->info.n_scales; i++)
        scales[i] = qn_chunk_scale(h, payload, i);
    r->data = room;
    r->size = size;
    r->scales = scales;
}

enum qins_status qn_packed_add(struct qn_packed *p, size_t index, size_t first, const void *payload,
                               size_t size, void *room, struct qn_chunk_work *work,
                               struct qins_error *err)
{
    struct qn_chunk_header h;
    struct qn_packed_run *r = &p->runs[index];
    enum qins_status st = qn_chunk_parse(payload, size, &h, err);
    if (st == QINS_OK && !qn_packed_takes(&h, p->in))
        st = qn_fail(err, QINS_ERR_UNSUPPORTED,
                     "chunk payload: cannot be multiplied by as it is packed");
    if (st == QINS_OK)
        st = qn_chunk_unpack_codes(&h, payload, work, err);
    if (st != QINS_OK)
        return st;
    const struct qn_packed_grid *grid;
    st = take_grid(p, &h, &grid, err);
    if (!grid)
        return st;
    const uint16_t *codes = (const uint16_t *)(const void *)work->codes.data;
    const bool rows = h.info.n_scales > 0 && h.groups.row_length == p->in;
    *r = (struct qn_packed_run){
        .first = first,
        .rows = h.info.n_elements / p->in,
        .codec = keeps_coded(&h, p->looked_up) ? h.info.codec : QN_CODEC_BITPACK,
        .row_scales = rows ? qn_div_up(p->in, h.groups.group) : 0,
        .group = rows ? h.groups.group : p->in,
        .grid = grid,
    };
    r->fixed = goes_fixed(p, r, codes, h.info.n_elements);
    lay_out(r, &h, payload, codes, p->looked_up, room);
    return QINS_OK;
}

static enum qins_status check_runs(const struct qn_packed *p, struct qins_error *err)
{
    size_t rows = 0;
    for (size_t i = 0; i < p->n_runs; i++) {
        if (!p->runs[i].grid || p->runs[i].first != rows)
            return qn_fail(err, QINS_ERR_FORMAT, "packed weights: row %zu is not there", rows);
        rows += p->runs[i].rows;
    }
    if (rows != p->out)
        return qn_fail(err, QINS_ERR_FORMAT, "packed weights: there are %zu rows of %zu", rows,
                       p->out);
    return QINS_OK;
}

/* Rows of a run that one item takes: all of a coded one, whose symbols come in their order. */
static size_t item_rows(const struct qn_packed *p, const struct qn_packed_run *r)
{
    if (r->codec != QN_CODEC_BITPACK)
        return r->rows;
    size_t rows = ITEM_BYTES / qn_bitpack_size(p->in, r->grid->decoder.bits);
    rows = rows < 1 ? 1 : rows;
    return rows < ITEM_ROWS ? rows : ITEM_ROWS;
}

static enum qins_status make_items(struct qn_packed *p, struct qins_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_runs; i++)
        n += qn_div_up(p->runs[i].rows, item_rows(p, &p->runs[i]));
    p->items = calloc(n ? n : 1, sizeof *p->items);
    if (!p->items)
        return qn_fail_memory(err);
    for (size_t i = 0; i < p->n_runs; i++) {
        const struct qn_packed_run *r = &p->runs[i];
        const size_t most = item_rows(p, r);
        for (size_t first = 0; first < r->rows; first += most) {
            const size_t rows = (size_t)qn_min_u64(most, r->rows - first);
            p->items[p->n_items++] = (struct qn_packed_item){r, first, rows};
        }
    }
    return QINS_OK;
}

enum qins_status qn_packed_seal(struct qn_packed *p, struct qins_error *err)
{
    enum qins_status st = check_runs(p, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < p->n_runs; i++) {
        const struct qn_packed_run *r = &p->runs[i];
        const size_t block = r->fixed ? qn_packed_block(p->in, r->group) : 0;
        const size_t scales = r->row_scales ? r->row_scales * r->rows : 1;
        if (block && (p->block == 0 || block < p->block))
            p->block = block;
        p->bytes += r->size + scales * sizeof(float);
    }
    return make_items(p, err);
}

void qn_packed_finish(struct qn_packed *p)
{
    drop_grids(p->grids);
    free(p->runs);
    free(p->items);
    *p = (struct qn_packed){0};
}
