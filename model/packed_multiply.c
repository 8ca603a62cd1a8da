#include "core/bytes.h"
#include "core/linalg.h"
#include "formats/codec/huffman.h"
#include "formats/codec/tans.h"
#include "model/kernels.h"
#include "model/packed.h"

/* How a product is cut; none of it depends on the pool, so neither does any bit of the result. */
enum {
    FEW_PANEL_ROWS = 4,     /* the same of our dot products with a panel */
    INPUT_ROOM = 512 << 10, /* bytes of prepared inputs, in the first thread's scratch */
    PIECE = 64 << 10,       /* symbols decoded at a time: with the inputs in the 2nd-level cache */
    PANEL = 256 * 1024,     /* floats */
    PANEL_ROWS = 128,
    PANEL_DEPTH = PANEL / PANEL_ROWS, /* inputs, where the panel is for OpenBLAS */
    MANY_ROWS = 1024,                 /* of inputs a product at most */
    STREAMED = QN_CHUNK_MAX, /* floats decoded at once, from which on they are not read soon */
    ALIGNMENT = 64,
    SYMBOLS_ROOM = QN_CHUNK_MAX + QN_PACKED_MARGIN,
};
_Static_assert((int)PANEL >= (int)QN_PACKED_MAX_IN, "a row fits a panel");
_Static_assert(2 * QN_PACKED_MAX_IN + PIECE + QN_TANS_VECTOR <= QN_CHUNK_MAX,
               "a piece and what is left of a row fit in");

struct scratch {
    uint8_t *inputs, *symbols, *coder;
    float *panel;
};

static size_t coder_scratch(void)
{
    const size_t tans = qn_tans_scratch(QN_CHUNK_MAX), huffman = qn_huffman_scratch(QN_CHUNK_MAX);
    const size_t most = tans > huffman ? tans : huffman;
    return (most + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t qn_packed_scratch(void)
{
    const size_t bytes = ALIGNMENT + INPUT_ROOM + SYMBOLS_ROOM + coder_scratch();
    return bytes / sizeof(float) + PANEL;
}

static struct scratch scratch_of(float *memory)
{
    uint8_t *m = (uint8_t *)memory;
    struct scratch s;
    m += (ALIGNMENT - (uintptr_t)m % ALIGNMENT) % ALIGNMENT;
    s.panel = (float *)(void *)m;
    s.inputs = m + PANEL * sizeof(float);
    s.symbols = s.inputs + INPUT_ROOM;
    s.coder = s.symbols + SYMBOLS_ROOM;
    return s;
}

/* Codes of rows of a run: as they are packed, or decoded to bytes. */
struct source {
    const struct qn_packed_run *run;
    const uint8_t *data;
    size_t size;   /* bytes */
    size_t first;  /* row of the run that begins at DATA */
    unsigned bits; /* of a code */
    bool stream;   /* decoded values may go past the caches */
};

static struct source packed_source(const struct qn_packed_run *r)
{
    return (struct source){r, r->data, r->size, 0, r->grid->decoder.bits, false};
}

static struct source decode_symbols(const struct qn_packed_run *r, size_t in, struct scratch *s)
{
    const size_t n = r->rows * in;
    /* qn_packed_add() has decoded it once: this does not fail. */
    (void)qn_codec(r->codec)->decode(r->data, r->size, s->symbols, n, s->coder);
    return (struct source){r, s->symbols, n, 0, 8, false};
}

/* Inputs FIRST … FIRST + N - 1 of row ROW of the run, decoded. */
static void decode_row(const struct source *s, size_t in, size_t row, size_t first, size_t n,
                       float *dst)
{
    const struct qn_packed_run *r = s->run;
    const float *scales = r->scales + row * r->row_scales;
    struct qn_code_decoder d = r->grid->decoder;
    struct qn_code_range range = {UINT16_MAX, 0};
    d.data = s->data;
    d.size = s->size;
    d.bits = s->bits;
    d.stream = s->stream;
    for (size_t i = first, end = first + n; i < end;) {
        const size_t group = i / r->group;
        const size_t count = (size_t)qn_min_u64((group + 1) * r->group, end) - i;
        qn_codec_kernels()->decode(&d, (row - s->first) * in + i, count, scales[group],
                                   dst + (i - first), &range);
        i += count;
    }
}

struct task {
    const struct qn_packed *p;
    const float *bias, *x;
    float *y;
    size_t rows, x_stride, y_stride;
    const struct qn_packed_input *inputs; /* prepared rows of x; NULL: none are */
    float *scratch;
};

static void multiply_fixed(const struct task *t, const struct source *s, size_t first, size_t rows)
{
    const struct qn_packed_run *r = s->run;
    const bool packed = s->bits == r->grid->packed.bits;
    const struct qn_packed_rows w = {
        .table = packed ? &r->grid->packed : &r->grid->bytes,
        .codes = s->data,
        .first = (first - s->first) * t->p->in,
        .rows = rows,
        .in = t->p->in,
        .scales = r->scales + first * r->row_scales,
        .row_scales = r->row_scales,
        .group = r->group,
    };
    for (size_t k = 0; k < t->rows; k += QN_PACKED_MAX_ROWS) {
        const size_t n = (size_t)qn_min_u64(QN_PACKED_MAX_ROWS, t->rows - k);
        qn_packed_kernels()->multiply(&w, t->inputs + k, n,
                                      t->y + k * t->y_stride + r->first + first, t->y_stride);
    }
}

/* Few rows of X: dot products with whole decoded rows. */
static void multiply_few(const struct task *t, const struct source *s, size_t first, size_t rows,
                         float *panel)
{
    const size_t in = t->p->in, most = PANEL / in;
    for (size_t i = 0; i < rows; i += most) {
        const size_t n = (size_t)qn_min_u64(most, rows - i);
        for (size_t r = 0; r < n; r++)
            decode_row(s, in, first + i + r, 0, in, panel + r * in);
        for (size_t k = 0; k < t->rows; k++)
            qn_kernels()->gemv(QINS_F32, t->y + k * t->y_stride + s->run->first + first + i, panel,
                               in, n, in, t->x + k * t->x_stride, NULL);
    }
}

static void multiply_many(const struct task *t, const struct source *s, size_t first, size_t n_out,
                          float *panel)
{
    const size_t in = t->p->in;
    for (size_t i = 0; i < in; i += PANEL_DEPTH) {
        const size_t depth = (size_t)qn_min_u64(PANEL_DEPTH, in - i);
        for (size_t r = 0; r < n_out; r++)
            decode_row(s, in, first + r, i, depth, panel + r * depth);
        for (size_t k = 0; k < t->rows; k += MANY_ROWS) {
            const size_t rows = (size_t)qn_min_u64(MANY_ROWS, t->rows - k);
            qn_sgemm(false, true, rows, n_out, depth, 1.0F, t->x + k * t->x_stride + i, t->x_stride,
                     panel, depth, i == 0 ? 0.0F : 1.0F,
                     t->y + k * t->y_stride + s->run->first + first, t->y_stride);
        }
    }
}

static void multiply_rows(const struct task *t, const struct source *s, size_t first, size_t rows,
                          const struct scratch *scratch)
{
    if (s->run->fixed && t->inputs)
        multiply_fixed(t, s, first, rows);
    else if (t->rows <= FEW_PANEL_ROWS)
        multiply_few(t, s, first, rows, scratch->panel);
    else
        for (size_t i = 0; i < rows; i += PANEL_ROWS)
            multiply_many(t, s, first + i, (size_t)qn_min_u64(PANEL_ROWS, rows - i),
                          scratch->panel);
}

/* Symbols come in order, whole registers at a time, and are multiplied while they are in a cache;
 * what is there of a row that is not complete goes to the front. */
static void multiply_pieces(const struct task *t, const struct qn_packed_run *r,
                            const struct scratch *scratch)
{
    const size_t in = t->p->in;
    const size_t piece =
        (in > PIECE ? in : PIECE) / QN_TANS_VECTOR * QN_TANS_VECTOR + QN_TANS_VECTOR;
    size_t left = r->rows * in, held = 0;
    (void)qn_tans_begin(r->data, r->size, left, scratch->coder);
    for (size_t row = 0; row < r->rows;) {
        const size_t n = left < piece ? left : piece;
        /* qn_packed_add() has decoded it once: this does not fail. */
        (void)qn_tans_next(scratch->coder, scratch->symbols + held, n);
        left -= n;
        held += n;
        const size_t rows = held / in;
        const struct source s = {r, scratch->symbols, held, row, 8, false};
        multiply_rows(t, &s, row, rows, scratch);
        held -= rows * in;
        memmove(scratch->symbols, scratch->symbols + rows * in, held);
        row += rows;
    }
}

static void multiply_item(void *ctx, unsigned worker, size_t index)
{
    const struct task *t = ctx;
    const struct qn_packed_item *item = &t->p->items[index];
    const struct qn_packed_run *r = item->run;
    struct scratch scratch = scratch_of(t->scratch + worker * qn_packed_scratch());
    if (r->codec == QN_CODEC_TANS) {
        multiply_pieces(t, r, &scratch);
    } else {
        const struct source s =
            r->codec == QN_CODEC_BITPACK ? packed_source(r) : decode_symbols(r, t->p->in, &scratch);
        multiply_rows(t, &s, item->first, item->rows, &scratch);
    }
    const size_t first = r->first + item->first;
    for (size_t k = 0; t->bias && k < t->rows; k++)
        qn_kernels()->add(t->y + k * t->y_stride + first, t->bias + first, item->rows);
}

void qn_packed_multiply(struct qn_pool *pool, const struct qn_packed *p, const float *bias,
                        const float *x, size_t rows, size_t x_stride, float *y, size_t y_stride,
                        float *scratch)
{
    struct qn_packed_input inputs[QN_PACKED_MAX_FEW];
    const bool fixed = rows <= qn_packed_kernels()->few_rows && p->block > 0;
    const size_t size = fixed ? qn_packed_input_size(p->in, p->block) : 0;
    const size_t most = fixed ? INPUT_ROOM / size : rows;
    uint8_t *room = scratch_of(scratch).inputs;
    for (size_t k = 0; k < rows; k += most) {
        struct task t = {p,        bias, x + k * x_stride, y + k * y_stride, 0, x_stride,
                         y_stride, NULL, scratch};
        t.rows = (size_t)qn_min_u64(most, rows - k);
        for (size_t i = 0; fixed && i < t.rows; i++) {
            qn_packed_input_place(&inputs[i], p->in, p->block, room + i * size);
            qn_packed_kernels()->prepare(&inputs[i], t.x + i * x_stride);
            t.inputs = inputs;
        }
        qn_pool_run(pool, p->n_items, multiply_item, &t);
    }
}

/* The run of row ROW. */
static const struct qn_packed_run *find_run(const struct qn_packed *p, size_t row)
{
    size_t low = 0, high = p->n_runs - 1;
    while (low < high) {
        const size_t middle = (low + high + 1) / 2;
        if (p->runs[middle].first <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return &p->runs[low];
}

void qn_packed_rows(const struct qn_packed *p, size_t first, size_t n, float *dst, float *scratch)
{
    for (size_t row = first, end = first + n; row < end;) {
        const struct qn_packed_run *r = find_run(p, row);
        const size_t stop = (size_t)qn_min_u64(end, r->first + r->rows);
        struct source s = packed_source(r);
        if (r->codec != QN_CODEC_BITPACK) {
            struct scratch room = scratch_of(scratch);
            s = decode_symbols(r, p->in, &room);
        }
        s.stream = n * p->in >= STREAMED;
        for (; row < stop; row++)
            decode_row(&s, p->in, row - r->first, 0, p->in, dst + (row - first) * p->in);
    }
}
