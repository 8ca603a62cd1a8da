/* Size against decoding time of each coder and page size, on an archive's own weights. */
#include "bench/archive_coders.h"

#include "analyze/weight_list.h"
#include "bench/coded.h"
#include "bench/setup.h"
#include "core/clock.h"

#include <stdlib.h>
#include <string.h>

enum {
    SAMPLE = 2 << 20, /* weights: results of 8 MiB, which no second-level cache holds */
    MAX_KINDS = 64,
    PAGE_SIZES = 5,
    CANDIDATES = QN_CODEC_COUNT * PAGE_SIZES + 1, /* the archive as it stands last */
};

/* There are many candidates: half a minute together. */
static const double min_seconds = 0.02;

static const size_t page_sizes[PAGE_SIZES] = {1 << 12, 1 << 14, 1 << 16, 1 << 18, QN_WHOLE_PIECE};

/* Tensors whose names end alike. */
struct kind {
    const char *name;
    size_t length; /* of the name */
    size_t tensors;
    uint64_t sampled;
};

struct subject {
    struct qn_coded coded;
    struct qn_chunk_work *work;
};

struct sampling {
    struct qn_harness harness;
    struct qn_archive *archive;
    struct kind kinds[MAX_KINDS];
    size_t n_kinds;
    struct kind *kind;    /* whose runs come by */
    uint64_t quota, left; /* weights of a kind, and of this tensor of it */
    float *out;           /* [SAMPLE + QN_CHUNK_MAX] */
    struct qn_buf payload;
    struct qn_chunk_work work;
    struct subject subjects[CANDIDATES];
    struct qn_bench_candidate candidates[CANDIDATES];
};

static struct qn_coded *as_it_stands(struct sampling *s)
{
    return &s->subjects[CANDIDATES - 1].coded;
}

/* NULL where there are too many kinds already. */
static struct kind *find_kind(struct sampling *s, const char *tensor)
{
    size_t length, i = 0;
    const char *name = qn_weight_component(tensor, &length);
    while (i < s->n_kinds &&
           (s->kinds[i].length != length || memcmp(s->kinds[i].name, name, length) != 0))
        i++;
    if (i == MAX_KINDS)
        return NULL;
    if (i == s->n_kinds)
        s->kinds[s->n_kinds++] = (struct kind){.name = name, .length = length};
    return &s->kinds[i];
}

static void find_kinds(struct sampling *s)
{
    const struct qn_manifest *m = &s->archive->manifest;
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct kind *k = qn_archive_tensor_is_quantised(&m->tensors[i])
                             ? find_kind(s, m->tensors[i].tensor.name)
                             : NULL;
        if (k)
            k->tensors++;
    }
    s->quota = s->n_kinds ? SAMPLE / s->n_kinds : 0;
}

static enum qins_status take_run(void *ctx, const struct qn_coded_run *run, struct qins_error *err)
{
    struct sampling *s = ctx;
    struct qn_coded *c = as_it_stands(s);
    if (!run->quantised || s->left == 0 || c->weights + run->n > SAMPLE + (uint64_t)QN_CHUNK_MAX)
        return QINS_OK;
    enum qins_status st = qn_coded_add(c, run->payload, run->size,
                                       s->archive->manifest.tensors[run->tensor].tensor.dtype,
                                       run->n, true, s->out + c->weights, err);
    s->left = run->n < s->left ? s->left - run->n : 0;
    s->kind->sampled += run->n;
    return st;
}

/* Of every kind as many weights, from as many of its tensors: whole chunks, from the front. */
static enum qins_status take_sample(struct sampling *s, const struct qn_monitor *monitor,
                                    struct qins_error *err)
{
    const struct qn_manifest *m = &s->archive->manifest;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < m->n_tensors && st == QINS_OK; i++) {
        const struct qn_archive_tensor *t = &m->tensors[i];
        s->kind = qn_archive_tensor_is_quantised(t) ? find_kind(s, t->tensor.name) : NULL;
        if (!s->kind || s->kind->tensors == 0 || s->kind->sampled >= s->quota)
            continue;
        s->left = s->quota / s->kind->tensors + 1;
        for (uint64_t c = 0; c < t->layout.n_chunks && s->left > 0 && st == QINS_OK; c++) {
            st = qn_check_stop(monitor, err);
            if (st == QINS_OK)
                st = qn_coded_visit(s->archive, i, c, &s->payload, take_run, s, err);
        }
    }
    if (st == QINS_OK && as_it_stands(s)->weights == 0)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED, "the archive has no quantised weights");
    return qn_error_in_file(err, st, s->archive->file.path);
}

static enum qins_status decode(void *ctx, struct qins_error *err)
{
    const struct subject *s = ctx;
    return qn_coded_decode(&s->coded, s->work, err);
}

static enum qins_status make_candidates(struct sampling *s, const struct qn_monitor *monitor,
                                        struct qins_error *err)
{
    const struct qn_coded *own = as_it_stands(s);
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < CANDIDATES && st == QINS_OK; i++) {
        struct subject *to = &s->subjects[i];
        const size_t pieces = i < CANDIDATES - 1 ? qn_coded_count(own) : 0;
        to->work = &s->work;
        st = qn_check_stop(monitor, err);
        for (size_t k = 0; k < pieces && st == QINS_OK; k++)
            st = qn_coded_recode(&to->coded, own, k, (enum qn_codec_id)(i / PAGE_SIZES),
                                 page_sizes[i % PAGE_SIZES], &s->work, err);
        s->candidates[i] = (struct qn_bench_candidate){
            .name = "", .threads = 1, .tokens = own->weights, .run = decode, .ctx = to};
    }
    return st;
}

/* Nanoseconds a weight. */
static struct qn_spread nanoseconds(const struct qn_bench_candidate *c)
{
    const struct qn_spread v = qn_speed(c, QN_CLOCK_CPU);
    return (struct qn_spread){1e9 / v.median, 1e9 / v.high, 1e9 / v.low};
}

static json_t *candidate_report(const struct sampling *s, size_t i)
{
    const struct qn_coded *c = &s->subjects[i].coded;
    const bool own = i == CANDIDATES - 1;
    const size_t page = own ? QN_WHOLE_PIECE : page_sizes[i % PAGE_SIZES];
    json_t *j = json_object();
    qn_json_put(&j, "coder",
                json_string(own ? "archive" : qn_codec_name((enum qn_codec_id)(i / PAGE_SIZES))));
    qn_json_put(&j, "page_values",
                page == QN_WHOLE_PIECE ? json_null() : json_integer((json_int_t)page));
    qn_json_put(&j, "bits_per_weight", qn_json_real(qn_coded_bits(c)));
    qn_json_put(&j, "decode_ns", qn_bench_spread(nanoseconds(&s->candidates[i])));
    qn_json_put(&j, "fell_back_share",
                qn_json_real((double)c->fell_back / (double)qn_coded_count(c)));
    return j;
}

static json_t *kind_report(const struct kind *k)
{
    json_t *j = json_object();
    qn_json_put(&j, "name", json_stringn(k->name, k->length));
    qn_json_put(&j, "tensors", json_integer((json_int_t)k->tensors));
    qn_json_put(&j, "sampled_weights", json_integer((json_int_t)k->sampled));
    return j;
}

static json_t *report_of(struct sampling *s, double begun)
{
    json_t *j = qn_report_begin("qins/bench/1"), *coders = json_array(), *kinds = json_array();
    bool ok = true;
    for (size_t i = 0; i < s->n_kinds; i++)
        ok = json_array_append_new(kinds, kind_report(&s->kinds[i])) == 0 && ok;
    for (size_t i = 0; i < CANDIDATES; i++)
        ok = json_array_append_new(coders, candidate_report(s, i)) == 0 && ok;
    qn_json_put(&j, "benchmark", json_string("coders"));
    qn_json_put(&j, "machine", qn_bench_machine(&s->harness));
    qn_json_put(&j, "archive", qn_bench_archive(s->archive));
    qn_json_put(&j, "rounds", json_integer(s->candidates[0].rounds));
    qn_json_put(&j, "sampled_weights", json_integer((json_int_t)as_it_stands(s)->weights));
    qn_json_put(&j, "kinds", kinds);
    qn_json_put(&j, "coders", coders);
    qn_json_put(&j, "seconds", qn_json_real(qn_seconds() - begun));
    if (!ok) {
        json_decref(j);
        j = NULL;
    }
    return j;
}

static void sampling_finish(struct sampling *s)
{
    for (size_t i = 0; i < CANDIDATES; i++)
        qn_coded_finish(&s->subjects[i].coded);
    qn_archive_destroy(s->archive);
    qn_buf_finish(&s->payload);
    qn_chunk_work_finish(&s->work);
    qn_harness_finish(&s->harness);
    free(s->out);
    free(s);
}

enum qins_status qn_bench_archive_coders(const struct qn_bench_options *options, json_t **report,
                                         struct qins_error *err)
{
    const double begun = qn_seconds();
    struct sampling *s = calloc(1, sizeof *s);
    if (!s)
        return qn_fail_memory(err);
    enum qins_status st = qn_harness_init(&s->harness, 1, err);
    s->harness.rounds = options->rounds;
    if (st == QINS_OK)
        st = qn_archive_open(&s->archive, options->archive, err);
    if (st == QINS_OK) {
        s->out = calloc(SAMPLE + (size_t)QN_CHUNK_MAX, sizeof *s->out);
        st = s->out ? QINS_OK : qn_fail_memory(err);
    }
    if (st == QINS_OK) {
        find_kinds(s);
        st = take_sample(s, options->monitor, err);
    }
    if (st == QINS_OK)
        st = make_candidates(s, options->monitor, err);
    if (st == QINS_OK)
        st = qn_measure(&s->harness, s->candidates, CANDIDATES, min_seconds, options->monitor, err);
    if (st == QINS_OK) {
        *report = report_of(s, begun);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    sampling_finish(s);
    return st;
}
