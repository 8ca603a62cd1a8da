#include "analyze/encode_check.h"

#include "analyze/logarithm.h"
#include "analyze/sample.h"
#include "formats/codec/chunk_layout.h"

#include <stdlib.h>
#include <string.h>

enum {
    CODES = 2 * QN_MAX_LEVELS + 2,
    CLASS_BITS = 8, /* leading bits of a code, at most, by which pairs of codes are counted */
    CONTEXTS = 1 << CLASS_BITS,
    PAIR_ELEMENTS = 16, /* for each pair of classes, at least */
    RUNS = 65,          /* run lengths by their number of bits */
};

/* Counts of the codes of a sample. */
struct code_counts {
    uint64_t code[CODES];
    uint64_t pair[CONTEXTS][CONTEXTS], context[CONTEXTS]; /* of the codes' leading bits */
    uint64_t class[CONTEXTS];                             /* of codes that have one before them */
    uint64_t runs[RUNS], literals;                        /* runs of zero codes; other codes */
    uint64_t run_bits;                                    /* of lengths, below their leading one */
    uint64_t total, pairs;
};

struct check {
    const struct qn_tensor_study *study;
    const struct qn_candidate *candidate;
    struct qn_grid grid;
    unsigned shift; /* of a code to its class */
    struct code_counts *counts;
    struct qn_buf codes, decoded;
    struct qn_true_sizes *out;
};

static double entropy_sum(const uint64_t *counts, size_t n, uint64_t total)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        if (counts[i] > 0)
            sum += (double)counts[i] * (qn_log2((double)total) - qn_log2((double)counts[i]));
    return sum;
}

static void count_run(struct code_counts *c, uint64_t length)
{
    if (length == 0)
        return;
    unsigned bits = 63 - (unsigned)__builtin_clzll(length);
    c->runs[bits]++;
    c->run_bits += bits;
}

/* One row, or what a chunk has of it. */
static void count_row(struct check *k, const uint16_t *codes, size_t n)
{
    struct code_counts *c = k->counts;
    uint64_t run = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned code = codes[i], class = code >> k->shift;
        c->code[code]++;
        if (i > 0) {
            unsigned before = (unsigned)codes[i - 1] >> k->shift;
            c->pair[before][class]++;
            c->context[before]++;
            c->class[class]++;
            c->pairs++;
        }
        if (code == k->candidate->levels) {
            run++;
            continue;
        }
        count_run(c, run);
        run = 0;
        c->literals++;
    }
    count_run(c, run);
    c->total += n;
}

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
        count_row(k, codes + begin, s->n - begin < row ? s->n - begin : row);
    return QINS_OK;
}

static double used(const uint64_t *counts, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += counts[i] > 0 ? 1.0 : 0.0;
    return sum;
}

static double chance_bits(const struct code_counts *c)
{
    static const double half_of_log2_e = 0x1.71547652b82fep-1;
    double cells = used(&c->pair[0][0], (size_t)CONTEXTS * CONTEXTS);
    double excess = cells - used(c->context, CONTEXTS) - used(c->class, CONTEXTS) + 1.0;
    return excess > 0.0 ? half_of_log2_e * excess : 0.0;
}

/* Bits of a code that are left out of its class: so many pairs of classes that each has elements
 * enough. */
static unsigned class_shift(unsigned code_bits, uint64_t elements)
{
    unsigned class_bits = 1;
    while (class_bits < CLASS_BITS && elements >> (2 * class_bits + 2) >= PAIR_ELEMENTS)
        class_bits++;
    return code_bits > class_bits ? code_bits - class_bits : 0;
}

static void sum_up(struct check *k)
{
    const struct code_counts *c = k->counts;
    struct qn_true_sizes *out = k->out;
    const double n = (double)c->total, pairs = (double)c->pairs;
    double coded = entropy_sum(c->code, CODES, c->total), joint = 0.0, runs = 0.0;
    uint64_t n_runs = 0;
    for (int id = 0; id < QN_CODEC_COUNT; id++)
        out->bits[id] = 8.0 * (double)out->bytes[id] / n;
    out->elements = c->total;
    out->entropy_bits = coded / n;
    out->zero_share = (double)c->code[k->candidate->levels] / n;
    for (size_t i = 0; i < CONTEXTS; i++)
        joint += c->context[i] ? entropy_sum(c->pair[i], CONTEXTS, c->context[i]) : 0.0;
    /* What the class before tells of a class, less what it would seem to tell by chance (Miller
     * 1955, "Note on the bias of information estimates"); low bits are taken to be independent. */
    double gain = 0.0;
    if (c->pairs > 0)
        gain = (entropy_sum(c->class, CONTEXTS, c->pairs) - joint - chance_bits(c)) / pairs;
    out->order1_bits = out->entropy_bits - (gain > 0.0 ? gain : 0.0);
    /* A stream of literals and runs, each run's length as its number of bits and those bits. */
    for (size_t i = 0; i < RUNS; i++)
        n_runs += c->runs[i];
    uint64_t zeros = c->code[k->candidate->levels];
    double literals = coded - (zeros ? (double)zeros * (qn_log2(n) - qn_log2((double)zeros)) : 0.0);
    if (c->literals > 0)
        literals -= (double)c->literals * (qn_log2(n) - qn_log2((double)c->literals));
    const uint64_t kinds[2] = {c->literals, n_runs};
    runs = literals + entropy_sum(kinds, 2, c->literals + n_runs) +
           (n_runs ? entropy_sum(c->runs, RUNS, n_runs) : 0.0) + (double)c->run_bits;
    out->run_bits = runs / n;
}

enum qins_status qn_encode_check(const struct qn_source *source, size_t index,
                                 const struct qn_tensor_study *study,
                                 const struct qn_candidate *candidate, uint64_t max_elements,
                                 struct qn_true_sizes *out, struct qins_error *err)
{
    const unsigned bits = qn_code_bits(candidate->levels);
    const uint64_t n = study->tensor->n_elements;
    struct check k = {.study = study, .candidate = candidate, .out = out};
    struct qn_sample sample = {0};
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    *out = (struct qn_true_sizes){0};
    if (!qn_grid_init(&k.grid, QN_GRID_QINS, candidate->levels, candidate->kappa))
        return qn_fail(err, QINS_ERR_USAGE, "levels or shape of the grid out of range");
    k.shift = class_shift(bits, max_elements > 0 && max_elements < n ? max_elements : n);
    k.counts = calloc(1, sizeof *k.counts);
    if (!k.counts)
        return qn_fail_memory(err);
    enum qins_status st = QINS_OK;
    qn_sample_init(&sample, source, index, &study->layout, max_elements);
    while (st == QINS_OK && qn_sample_more(&sample)) {
        st = qn_sample_next(&sample, err);
        if (st == QINS_OK)
            st = encode_all(&k, &sample, &work, &payload, err);
        if (st == QINS_OK)
            st = look(&k, &sample, &payload, err);
    }
    if (st == QINS_OK && k.counts->total > 0)
        sum_up(&k);
    free(k.counts);
    qn_buf_finish(&k.codes);
    qn_buf_finish(&k.decoded);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
    qn_sample_finish(&sample);
    return st;
}
