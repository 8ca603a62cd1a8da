#include "analyze/encode_check.h"

#include "analyze/code_counts.h"
#include "analyze/sample.h"
#include "formats/codec/chunk_layout.h"

#include <stdlib.h>
#include <string.h>

struct check {
    const struct qn_tensor_study *study;
    const struct qn_candidate *candidate;
    struct qn_grid grid;
    struct qn_code_counts *counts;
    struct qn_buf codes, decoded;
    struct qn_true_sizes *out;
};

static struct qn_chunk_params params_of(const struct check *k)
{
    const struct qn_candidate *c = k->candidate;
    const uint64_t row = k->study->layout.row_length;
    const bool whole = c->granularity == QN_PER_TENSOR;
    const float most = (float)k->study->statistics.abs_max;
    return (struct qn_chunk_params){.content = QN_CONTENT_QINS,
                                    .dtype = QINS_F32,
                                    .levels = c->levels,
                                    .kappa = c->kappa,
                                    .clip = c->clip,
                                    .tensor_scale = whole ? c->clip * most : 0.0f,
                                    .row_length = row,
                                    .group =
                                        whole ? row : qn_granularity_group(c->granularity, row)};
}

/* Bytes under every coder. */
static enum qins_status encode_all(struct check *k, const struct qn_sample *s,
                                   struct qn_chunk_work *work, struct qn_buf *payload,
                                   struct qins_error *err)
{
    struct qn_chunk_params params = params_of(k);
    enum qins_status st = QINS_OK;
    for (int id = 0; id < QN_CODEC_COUNT && st == QINS_OK; id++) {
        params.codec = (enum qn_codec_id)id;
        payload->size = 0;
        st = qn_chunk_encode(&params, s->x, s->n, work, payload, err);
        k->out->bytes[id] += payload->size;
    }
    return st;
}

/* Codes by the groups of a payload; counts them and sums errors. */
static enum qins_status look(struct check *k, const struct qn_sample *s,
                             const struct qn_buf *payload, struct qins_error *err)
{
    const struct qn_chunk_params params = params_of(k);
    struct qn_group_walk w = {.in = qn_chunk_groups(&params, (uint32_t)s->n)};
    struct qn_chunk_header header;
    enum qins_status st = qn_chunk_parse(payload->data, payload->size, &header, err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&k->codes, s->n * sizeof(uint16_t), err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&k->decoded, s->n * sizeof(float), err);
    if (st != QINS_OK)
        return st;
    uint16_t *codes = (uint16_t *)(void *)k->codes.data;
    float *decoded = (float *)(void *)k->decoded.data;
    for (uint32_t group = 0; qn_group_next(&w); group++) {
        float scale = qn_chunk_scale(&header, payload->data, group);
        qn_quantise(&k->grid, scale, s->x + w.begin, w.size, codes + w.begin);
        qn_dequantise(&k->grid, scale, codes + w.begin, w.size, decoded + w.begin);
    }
    for (size_t i = 0; i < s->n; i++) {
        double off = (double)decoded[i] - (double)s->x[i];
        k->out->error += off * off;
    }
    size_t row = (size_t)k->study->layout.row_length;
    for (size_t begin = 0; begin < s->n; begin += row)
        qn_code_counts_add(k->counts, codes + begin, s->n - begin < row ? s->n - begin : row);
    return QINS_OK;
}

static void sum_up(struct check *k)
{
    struct qn_true_sizes *out = k->out;
    struct qn_code_figures figures;
    qn_code_counts_sum_up(k->counts, &figures);
    for (int id = 0; id < QN_CODEC_COUNT && figures.codes > 0; id++)
        out->bits[id] = 8.0 * (double)out->bytes[id] / (double)figures.codes;
    out->elements = figures.codes;
    out->entropy_bits = figures.entropy_bits;
    out->order1_bits = figures.order1_bits;
    out->run_bits = figures.run_bits;
    out->zero_share = figures.zero_share;
}

enum qins_status qn_encode_check(const struct qn_source *source, size_t index,
                                 const struct qn_tensor_study *study,
                                 const struct qn_candidate *candidate, uint64_t max_elements,
                                 struct qn_true_sizes *out, struct qins_error *err)
{
    const uint64_t n = study->tensor->n_elements;
    struct check k = {.study = study, .candidate = candidate, .out = out};
    struct qn_sample sample = {0};
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    *out = (struct qn_true_sizes){0};
    if (!qn_grid_init(&k.grid, QN_GRID_QINS, candidate->levels, candidate->kappa))
        return qn_fail(err, QINS_ERR_USAGE, "levels or shape of the grid out of range");
    enum qins_status st = qn_code_counts_create(
        &k.counts, candidate->levels, max_elements > 0 && max_elements < n ? max_elements : n, err);
    qn_sample_init(&sample, source, index, &study->layout, max_elements);
    while (st == QINS_OK && qn_sample_more(&sample)) {
        st = qn_sample_next(&sample, err);
        if (st == QINS_OK)
            st = encode_all(&k, &sample, &work, &payload, err);
        if (st == QINS_OK)
            st = look(&k, &sample, &payload, err);
    }
    if (st == QINS_OK)
        sum_up(&k);
    qn_code_counts_destroy(k.counts);
    qn_buf_finish(&k.codes);
    qn_buf_finish(&k.decoded);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
    qn_sample_finish(&sample);
    return st;
}
