#include "bench/archive_coders.h"
#include "bench/measure.h"
#include "bench/streams.h"
#include "bench/streams_bench.h"
#include "core/cpu.h"
#include "formats/codec/chunk.h"
#include "policy/costs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 16 chunks of 256 Ki float32: results that no second-level cache holds. */
enum { ROW = QN_STREAM_ROW, CHUNK = 1 << 18, CHUNKS = 16, ELEMENTS = CHUNK * CHUNKS, LEVELS = 127 };

static const double min_seconds = 0.05;

/* Every coder on weights that it codes: runs need zeros. */
enum weights { GAUSSIAN, SPARSE, N_WEIGHTS };

/* Of sparse rows: mean lengths of runs of zeros and of other weights, 70 % and 30 %. */
static const double zero_run = 14, other_run = 6;

static const struct subject {
    const char *name; /* in costs; NULL: the coder's */
    enum qn_codec_id codec;
    enum qn_content content;
    enum weights weights;
} subjects[] = {
    {NULL, QN_CODEC_STORE, QN_CONTENT_QINS, GAUSSIAN},
    {NULL, QN_CODEC_BITPACK, QN_CONTENT_QINS, GAUSSIAN},
    {NULL, QN_CODEC_HUFFMAN, QN_CONTENT_QINS, GAUSSIAN},
    {NULL, QN_CODEC_RLE, QN_CONTENT_QINS, SPARSE},
    {NULL, QN_CODEC_RLE_HUFFMAN, QN_CONTENT_QINS, SPARSE},
    {NULL, QN_CODEC_ZSTD, QN_CONTENT_QINS, GAUSSIAN},
    {NULL, QN_CODEC_TANS, QN_CONTENT_QINS, GAUSSIAN},
    {QN_COSTS_LOSSLESS, QN_CODEC_HUFFMAN, QN_CONTENT_LOSSLESS, GAUSSIAN},
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects, CANDIDATES = SUBJECTS + 1 };

struct coding {
    struct qn_buf payloads;
    size_t begin[CHUNKS + 1]; /* of each chunk's payload */
    struct qn_chunk_work *work;
    float *out;
};

struct copying {
    const float *from;
    float *out;
};

struct measuring {
    struct qn_harness harness;
    float *weights[N_WEIGHTS], *out;
    struct qn_chunk_work work;
    struct coding codings[SUBJECTS];
    struct copying copying;
    struct qn_bench_candidate candidates[CANDIDATES];
};

/* Zeros in runs: whether a weight is one changes with the probabilities of those lengths. */
static void fill_sparse(float *x, const float *values, uint64_t *state)
{
    bool zero = true;
    for (size_t i = 0; i < ELEMENTS; i++) {
        if (qn_uniform(state) * (zero ? zero_run : other_run) < 1)
            zero = !zero;
        x[i] = zero ? 0.0F : values[i];
    }
}

static enum qins_status make_weights(struct measuring *m, struct qins_error *err)
{
    uint64_t state = 1;
    bool ok = true;
    for (int i = 0; i < N_WEIGHTS; i++) {
        m->weights[i] = malloc(ELEMENTS * sizeof(float));
        ok = ok && m->weights[i];
    }
    m->out = calloc(ELEMENTS, sizeof *m->out);
    if (!ok || !m->out)
        return qn_fail_memory(err);
    for (size_t i = 0; i < ELEMENTS; i += ROW)
        qn_gaussian_row(&state, m->weights[GAUSSIAN] + i);
    fill_sparse(m->weights[SPARSE], m->weights[GAUSSIAN], &state);
    m->copying = (struct copying){m->weights[GAUSSIAN], m->out};
    return QINS_OK;
}

static enum qins_status encode(struct measuring *m, const struct subject *s, struct coding *c,
                               struct qins_error *err)
{
    struct qn_chunk_params params = {.content = s->content,
                                     .dtype = QINS_F32,
                                     .codec = s->codec,
                                     .levels = LEVELS,
                                     .clip = 1.0F,
                                     .row_length = ROW,
                                     .group = ROW};
    enum qins_status st = QINS_OK;
    c->work = &m->work;
    c->out = m->out;
    for (size_t i = 0; i < CHUNKS && st == QINS_OK; i++) {
        struct qn_chunk_info info = {.codec = s->codec};
        st = qn_chunk_encode(&params, m->weights[s->weights] + i * CHUNK, CHUNK, c->work,
                             &c->payloads, err);
        c->begin[i + 1] = c->payloads.size;
        if (st == QINS_OK)
            st = qn_chunk_inspect(c->payloads.data + c->begin[i], c->begin[i + 1] - c->begin[i],
                                  &info, err);
        if (st == QINS_OK && info.codec != s->codec)
            st = qn_fail(err, QINS_ERR_UNSUPPORTED, "%s does not pay on the weights made for it",
                         qn_codec_name(s->codec));
    }
    return st;
}

static enum qins_status decode_all(void *ctx, struct qins_error *err)
{
    const struct coding *c = ctx;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < CHUNKS && st == QINS_OK; i++)
        st = qn_chunk_decode(c->payloads.data + c->begin[i], c->begin[i + 1] - c->begin[i],
                             QINS_F32, CHUNK, true, c->work, c->out + i * CHUNK, err);
    return st;
}

static enum qins_status copy_all(void *ctx, struct qins_error *err)
{
    const struct copying *c = ctx;
    (void)err;
    memcpy(c->out, c->from, ELEMENTS * sizeof *c->out);
    return QINS_OK;
}

static const char *name_of(const struct subject *s)
{
    return s->name ? s->name : qn_codec_name(s->codec);
}

static enum qins_status measuring_init(struct measuring *m, unsigned rounds, struct qins_error *err)
{
    enum qins_status st = qn_harness_init(&m->harness, 1, err);
    m->harness.rounds = rounds;
    if (st == QINS_OK)
        st = make_weights(m, err);
    for (size_t i = 0; i < SUBJECTS && st == QINS_OK; i++) {
        st = encode(m, &subjects[i], &m->codings[i], err);
        m->candidates[i] = (struct qn_bench_candidate){.name = name_of(&subjects[i]),
                                                       .threads = 1,
                                                       .tokens = ELEMENTS,
                                                       .run = decode_all,
                                                       .ctx = &m->codings[i]};
    }
    m->candidates[SUBJECTS] = (struct qn_bench_candidate){.name = QN_COSTS_MEMORY,
                                                          .threads = 1,
                                                          .tokens = ELEMENTS,
                                                          .run = copy_all,
                                                          .ctx = &m->copying};
    return st;
}

static void measuring_finish(struct measuring *m)
{
    for (int i = 0; i < N_WEIGHTS; i++)
        free(m->weights[i]);
    for (size_t i = 0; i < SUBJECTS; i++)
        qn_buf_finish(&m->codings[i].payloads);
    free(m->out);
    qn_chunk_work_finish(&m->work);
    qn_harness_finish(&m->harness);
    free(m);
}

/* Nanoseconds an element, to 0.001. */
static json_t *nanoseconds(double per_second)
{
    return qn_json_real(round(1e12 / per_second) / 1e3);
}

static json_t *report_of(const struct measuring *m)
{
    json_t *j = qn_report_begin(QN_COSTS_SCHEMA), *machine = json_object();
    json_t *median = json_object(), *low = json_object(), *high = json_object();
    json_t *bits = json_object();
    for (size_t i = 0; i < CANDIDATES; i++) {
        const struct qn_bench_candidate *c = &m->candidates[i];
        struct qn_spread speed = qn_speed(c, QN_CLOCK_CPU);
        double bytes = i < SUBJECTS ? (double)m->codings[i].payloads.size : 4.0 * ELEMENTS;
        qn_json_put(&median, c->name, nanoseconds(speed.median));
        qn_json_put(&low, c->name, nanoseconds(speed.high));
        qn_json_put(&high, c->name, nanoseconds(speed.low));
        qn_json_put(&bits, c->name, qn_json_real(round(8e3 * bytes / ELEMENTS) / 1e3));
    }
    qn_json_put(&machine, "cpu_level", json_string(qn_cpu_level_name(qn_cpu_level())));
    qn_json_put(&j, "machine", machine);
    qn_json_put(&j, "elements", json_integer(ELEMENTS));
    qn_json_put(&j, "rounds", json_integer(m->candidates[0].rounds));
    qn_json_put(&j, "decode_ns", median);
    qn_json_put(&j, "decode_ns_low", low);
    qn_json_put(&j, "decode_ns_high", high);
    qn_json_put(&j, "bits_per_element", bits);
    return j;
}

static enum qins_status make_costs(const struct qn_bench_options *options, json_t **report,
                                   struct qins_error *err)
{
    struct measuring *m = calloc(1, sizeof *m);
    if (!m)
        return qn_fail_memory(err);
    enum qins_status st = measuring_init(m, options->rounds, err);
    if (st == QINS_OK)
        st = qn_measure(&m->harness, m->candidates, CANDIDATES, min_seconds, options->monitor, err);
    if (st == QINS_OK) {
        *report = report_of(m);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    measuring_finish(m);
    return st;
}

enum qins_status qn_bench_coders(const struct qn_bench_options *options, json_t **report,
                                 struct qins_error *err)
{
    *report = NULL;
    if (options->archive)
        return qn_bench_archive_coders(options, report, err);
    return options->costs ? make_costs(options, report, err)
                          : qn_bench_streams(options, report, err);
}
