#include "bench/gemv_data.h"

#include "bench/streams.h"
#include "model/weights_plan.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_ROWS = QN_GEMV_CHUNK / QN_GEMV_COLUMNS,
    DISTINCT = 8,    /* chunks; the others are copies of them */
    OUTLIERS = 1000, /* one of so many inputs */
};
_Static_assert((int)QN_GEMV_COLUMNS == (int)QN_STREAM_ROW, "rows of weights are made as one");

static const float outlier = 100.0F;

/* kappa 1.5 is best for Gaussian rows at a fixed rate; coders do best with a uniform grid. */
const struct qn_gemv_coding qn_gemv_codings[QN_GEMV_CODINGS] = {
    {"8 bits", QN_CODEC_BITPACK, 127, 1.5F},
    {"6 bits", QN_CODEC_BITPACK, 31, 1.5F},
    {"tans", QN_CODEC_TANS, 127, 0.0F},
};

/* As a model's weights lie. */
static void *allocate(size_t bytes, struct qins_error *err)
{
    void *p = qn_weights_block(bytes);
    if (!p)
        qn_fail_memory(err);
    return p;
}

static enum qins_status encode(const struct qn_gemv_coding *c, const float *weights,
                               struct qn_chunk_work *work, struct qn_buf *payload,
                               struct qins_error *err)
{
    const struct qn_chunk_params params = {.content = QN_CONTENT_QINS,
                                           .dtype = QINS_F32,
                                           .codec = c->codec,
                                           .levels = c->levels,
                                           .kappa = c->kappa,
                                           .clip = 1.0F,
                                           .row_length = QN_GEMV_COLUMNS,
                                           .group = QN_GEMV_COLUMNS};
    payload->size = 0;
    return qn_chunk_encode(&params, weights, QN_GEMV_CHUNK, work, payload, err);
}

/* One coding of all chunks, of which the first are WEIGHTS. */
static enum qins_status pack(struct qn_gemv_data *d, size_t coding, struct qn_chunk_work *work,
                             struct qn_buf *payload, struct qins_error *err)
{
    struct qn_packed *p = &d->packed[coding];
    const size_t chunks = d->rows / CHUNK_ROWS, most = QN_GEMV_CHUNK + QN_GEMV_CHUNK / 4;
    uint8_t *room = d->rooms[coding] = allocate(chunks * most, err);
    enum qins_status st = room ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_packed_init(p, d->rows, QN_GEMV_COLUMNS, false, chunks, err);
    for (size_t first = 0; st == QINS_OK && first < DISTINCT && first < chunks; first++) {
        struct qn_chunk_header h;
        st = encode(&qn_gemv_codings[coding], d->weights + first * QN_GEMV_CHUNK, work, payload,
                    err);
        if (st == QINS_OK)
            st = qn_chunk_parse(payload->data, payload->size, &h, err);
        for (size_t i = first; st == QINS_OK && i < chunks; i += DISTINCT) {
            st = qn_packed_add(p, i, i * CHUNK_ROWS, payload->data, payload->size, room, work, err);
            room += qn_packed_room(&h, false);
        }
    }
    d->room_bytes[coding] = (size_t)(room - (uint8_t *)d->rooms[coding]);
    return st == QINS_OK ? qn_packed_seal(p, err) : st;
}

static enum qins_status fill(struct qn_gemv_data *d, struct qins_error *err)
{
    const size_t n = d->rows * QN_GEMV_COLUMNS;
    uint64_t state = 1;
    d->weights = allocate(n * sizeof *d->weights, err);
    d->inputs = allocate((size_t)(QN_GEMV_MAX_ROWS + 1) * QN_GEMV_COLUMNS * sizeof *d->inputs, err);
    if (!d->weights || !d->inputs)
        return QINS_ERR_MEMORY;
    for (size_t i = 0; i < n; i += QN_GEMV_COLUMNS)
        if (i < (size_t)DISTINCT * QN_GEMV_CHUNK)
            qn_gaussian_row(&state, d->weights + i);
        else
            memcpy(d->weights + i, d->weights + i - (size_t)DISTINCT * QN_GEMV_CHUNK,
                   QN_GEMV_COLUMNS * sizeof *d->weights);
    for (size_t r = 0; r <= QN_GEMV_MAX_ROWS; r++)
        qn_gaussian_row(&state, d->inputs + r * QN_GEMV_COLUMNS);
    d->outliers = d->inputs + (size_t)QN_GEMV_MAX_ROWS * QN_GEMV_COLUMNS;
    for (size_t i = 0; i < QN_GEMV_COLUMNS; i += OUTLIERS)
        d->outliers[i] = i % 2 ? -outlier : outlier;
    return QINS_OK;
}

enum qins_status qn_gemv_data_init(struct qn_gemv_data *d, unsigned mebi, struct qins_error *err)
{
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    *d = (struct qn_gemv_data){.rows = ((size_t)mebi << 20) / QN_GEMV_COLUMNS};
    enum qins_status st = fill(d, err);
    for (size_t i = 0; st == QINS_OK && i < QN_GEMV_CODINGS; i++)
        st = pack(d, i, &work, &payload, err);
    if (st == QINS_OK) {
        d->copy = allocate(d->room_bytes[0], err);
        st = d->copy ? QINS_OK : QINS_ERR_MEMORY;
    }
    qn_chunk_work_finish(&work);
    qn_buf_finish(&payload);
    return st;
}

void qn_gemv_data_finish(struct qn_gemv_data *d)
{
    for (size_t i = 0; i < QN_GEMV_CODINGS; i++) {
        qn_packed_finish(&d->packed[i]);
        free(d->rooms[i]);
    }
    free(d->weights);
    free(d->inputs);
    free(d->copy);
    *d = (struct qn_gemv_data){0};
}
