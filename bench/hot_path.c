/* Forward passes with weights that stay coded in memory. */
#include "analyze/weight_list.h"
#include "bench/coded.h"
#include "bench/passes.h"
#include "bench/setup.h"
#include "formats/transport_archive.h"
#include "model/fused.h"

#include <string.h>

enum { PREFILL, ONE_TOKEN, KINDS };
enum { MAX_DECODED = 8 };

enum subject_id { CHECKPOINT, ARCHIVE, FUSED, HOT_PACKED, HOT, COLD, UNKNOWN, SUBJECTS };
enum { CANDIDATES = KINDS * SUBJECTS };
/* Models that are run: the archive's is also what is decoded again before each pass. */
enum { PASSES = FUSED + 1 };

/* By kind of run: prefill, one token. */
static const char *const names[SUBJECTS][KINDS] = {
    [CHECKPOINT] = {"prefill, checkpoint", "one token, checkpoint"},
    [ARCHIVE] = {"prefill, archive", "one token, archive"},
    [FUSED] = {"prefill, all as coded, fused", "one token, all as coded, fused"},
    [HOT_PACKED] = {"prefill, hot weights bit-packed", "one token, hot weights bit-packed"},
    [HOT] = {"prefill, hot weights coded", "one token, hot weights coded"},
    [COLD] = {"prefill, cold weights coded", "one token, cold weights coded"},
    [UNKNOWN] = {"prefill, unclassed weights coded", "one token, unclassed weights coded"},
};

/* Of what, over what. The first is what entropy coding costs the hot path, the second what an
 * archive costs that is decoded when it is loaded. */
static const struct {
    enum subject_id of, to;
} pairs[] = {{HOT, HOT_PACKED},        {ARCHIVE, CHECKPOINT}, {HOT, CHECKPOINT},
             {HOT_PACKED, CHECKPOINT}, {FUSED, CHECKPOINT},   {FUSED, HOT},
             {COLD, CHECKPOINT},       {UNKNOWN, CHECKPOINT}};
enum { PAIRS = sizeof pairs / sizeof *pairs };

/* Weights that are decoded before each pass. */
struct serving {
    struct qn_coded coded;
    struct qn_chunk_work *work;
    struct qn_passes_run run;
};

struct hot_path {
    struct qn_bench_setup setup;
    struct qn_model *served, *fused; /* the archive's: decoded at load, and as it is coded */
    struct qn_archive *archive;
    struct qn_weight_list weights;  /* of `served` */
    const struct qn_weight *weight; /* whose runs come by */
    uint64_t left_out;              /* weights that stay decoded */
    struct qn_buf payload;
    struct qn_chunk_work work;
    struct qn_passes passes[PASSES];
    struct serving servings[SUBJECTS];
    struct qn_bench_candidate candidates[CANDIDATES];
    size_t n_candidates, places[KINDS][SUBJECTS]; /* the candidate of each, or SIZE_MAX */
};

static enum subject_id subject_of(enum qn_class c)
{
    return c == QN_CLASS_HOT ? HOT : c == QN_CLASS_COLD ? COLD : UNKNOWN;
}

/* Decodes to where the model has the weight. */
static enum qins_status take_run(void *ctx, const struct qn_coded_run *run, struct qins_error *err)
{
    struct hot_path *h = ctx;
    const struct qn_weight *w = h->weight;
    const enum qins_dtype dtype = h->archive->manifest.tensors[run->tensor].tensor.dtype;
    const bool view = w->dtype == (run->quantised ? QINS_F32 : qn_dtype(dtype)->view);
    uint8_t *data = (uint8_t *)(uintptr_t)w->data;
    if (!view && (run->quantised || w->dtype != dtype)) {
        h->left_out += run->n;
        return QINS_OK;
    }
    return qn_coded_add(&h->servings[subject_of(run->access_class)].coded, run->payload, run->size,
                        dtype, run->n, view, data + run->first * qins_dtype_size(w->dtype), err);
}

/* Tables of which a token takes a row are no part of a pass. */
static bool only_looked_up(const struct qn_model *m, const char *name)
{
    return (!m->config.tied && strcmp(name, m->embedding.name) == 0) ||
           (m->positions.name && strcmp(name, m->positions.name) == 0);
}

static const struct qn_weight *find_weight(const struct hot_path *h, const struct qn_tensor *t)
{
    for (size_t i = 0; i < h->weights.count; i++) {
        const struct qn_weight *w = &h->weights.items[i];
        if (strcmp(w->name, t->name) == 0 &&
            t->n_elements == (uint64_t)w->rows * (uint64_t)w->row_length)
            return only_looked_up(h->served, t->name) ? NULL : w;
    }
    return NULL;
}

static enum qins_status take_payloads(struct hot_path *h, struct qins_error *err)
{
    const size_t own = qn_manifest_own_tensors(&h->archive->manifest);
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < own && st == QINS_OK; i++) {
        const struct qn_archive_tensor *t = &h->archive->manifest.tensors[i];
        h->weight = find_weight(h, &t->tensor);
        if (!h->weight)
            h->left_out += t->tensor.n_elements;
        for (uint64_t c = 0; h->weight && c < t->layout.n_chunks && st == QINS_OK; c++) {
            st = qn_check_stop(h->setup.options->monitor, err);
            if (st == QINS_OK)
                st = qn_coded_visit(h->archive, i, c, &h->payload, take_run, h, err);
        }
    }
    const struct qn_coded *hot = &h->servings[HOT].coded;
    for (size_t i = 0; i < qn_coded_count(hot) && st == QINS_OK; i++)
        st = qn_coded_recode(&h->servings[HOT_PACKED].coded, hot, i, QN_CODEC_BITPACK,
                             QN_WHOLE_PIECE, &h->work, err);
    return qn_error_in_file(err, st, h->archive->file.path);
}

static enum qins_status decode_weights(void *ctx, struct qins_error *err)
{
    const struct serving *s = ctx;
    return qn_coded_decode(&s->coded, s->work, err);
}

static enum qins_status open_archive(struct hot_path *h, const struct qn_bench_options *options,
                                     struct qins_error *err)
{
    enum qins_status st = qn_archive_open(&h->archive, options->archive, err);
    if (st == QINS_OK)
        st = qn_model_open_plain(&h->served, options->archive, 1, options->monitor, err);
    if (st == QINS_OK && memcmp(&h->served->fingerprint, &h->setup.model->fingerprint,
                                sizeof h->served->fingerprint) != 0)
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, options->archive, NULL, QN_NO_OFFSET,
                        "it is the archive of another model");
    if (st == QINS_OK)
        st = qn_archive_has_transport(h->archive)
                 ? QINS_OK
                 : qn_model_open_fused(&h->fused, options->archive, 1, options->monitor, err);
    if (st == QINS_OK)
        st = qn_weight_list_of(&h->weights, h->served, err);
    return st == QINS_OK ? take_payloads(h, err) : st;
}

static enum qins_status hot_path_init(struct hot_path *h, const struct qn_bench_options *options,
                                      struct qins_error *err)
{
    enum qins_status st = qn_bench_setup_init(&h->setup, options, err);
    h->setup.context = h->setup.tokens;
    if (st == QINS_OK)
        st = qn_bench_draw_ids(&h->setup, h->setup.tokens, err);
    if (st == QINS_OK)
        st = open_archive(h, options, err);
    const size_t tokens = h->setup.tokens;
    const struct qn_passes_options o = {
        .tokens = tokens, .decoded = tokens / 2 < MAX_DECODED ? tokens / 2 : MAX_DECODED};
    const struct qn_model *const models[PASSES] = {
        [CHECKPOINT] = h->setup.model, [ARCHIVE] = h->served, [FUSED] = h->fused};
    for (int i = 0; i < PASSES && models[i] && st == QINS_OK; i++)
        st = qn_passes_init(&h->passes[i], models[i], &h->setup.ids, &o, err);
    return st;
}

/* Those that are compared have their turns one after the other. */
static void make_candidates(struct hot_path *h)
{
    for (int i = 0; i < SUBJECTS; i++) {
        struct serving *s = &h->servings[i];
        s->work = &h->work;
        s->run = (struct qn_passes_run){.passes = &h->passes[i < PASSES ? i : ARCHIVE],
                                        .before = i >= HOT_PACKED ? decode_weights : NULL,
                                        .ctx = s};
    }
    for (int i = 0; i < KINDS * SUBJECTS; i++) {
        const int kind = i / SUBJECTS, id = i % SUBJECTS;
        struct serving *s = &h->servings[id];
        if ((id >= HOT_PACKED && s->coded.weights == 0) || (id == FUSED && !h->fused)) {
            h->places[kind][id] = SIZE_MAX;
            continue;
        }
        h->places[kind][id] = h->n_candidates;
        h->candidates[h->n_candidates++] = (struct qn_bench_candidate){
            .name = names[id][kind],
            .threads = 1,
            .tokens = kind == PREFILL ? h->setup.tokens : s->run.passes->options.decoded,
            .run = kind == PREFILL ? qn_run_prefill : qn_run_decode,
            .ctx = &s->run};
    }
}

/* Whether both were measured. */
static bool compare(const struct hot_path *h, enum subject_id of, enum subject_id to, int kind,
                    struct qn_comparison *c)
{
    const size_t x = h->places[kind][of], y = h->places[kind][to];
    if (x == SIZE_MAX || y == SIZE_MAX)
        return false;
    *c = (struct qn_comparison){.of = &h->candidates[x], .to = &h->candidates[y], .overhead = true};
    return true;
}

/* More time for a token, or null. */
static json_t *overhead(const struct hot_path *h, enum subject_id of, enum subject_id to, int kind)
{
    struct qn_comparison c;
    return compare(h, of, to, kind, &c) ? qn_bench_spread(qn_comparison_value(&c)) : json_null();
}

static json_t *class_report(const struct hot_path *h, enum subject_id id)
{
    const struct qn_coded *c = &h->servings[id].coded;
    json_t *j = json_object();
    if (h->places[PREFILL][id] == SIZE_MAX) {
        json_decref(j);
        return json_null();
    }
    qn_json_put(&j, "weights", json_integer((json_int_t)c->weights));
    qn_json_put(&j, "entropy_coded_weights", json_integer((json_int_t)c->entropy_coded));
    qn_json_put(&j, "bits_per_weight", qn_json_real(qn_coded_bits(c)));
    qn_json_put(&j, "overhead_percent", overhead(h, id, CHECKPOINT, ONE_TOKEN));
    qn_json_put(&j, "prefill_overhead_percent", overhead(h, id, CHECKPOINT, PREFILL));
    return j;
}

/* What it takes to leave the archive's matrices coded, whatever their class; an archive with a
 * transport is not run so. */
static json_t *fused_report(const struct hot_path *h)
{
    if (!h->fused)
        return json_null();
    json_t *j = json_object();
    qn_fused_report(&j, h->fused);
    qn_json_put(&j, "overhead_percent", overhead(h, FUSED, CHECKPOINT, ONE_TOKEN));
    qn_json_put(&j, "prefill_overhead_percent", overhead(h, FUSED, CHECKPOINT, PREFILL));
    return j;
}

static json_t *report_of(const struct hot_path *h)
{
    struct qn_comparison compared[KINDS * PAIRS];
    size_t n = 0;
    json_t *coded = json_object(), *latency = json_object();
    for (int i = 0; i < KINDS * PAIRS; i++)
        n += compare(h, pairs[i / KINDS].of, pairs[i / KINDS].to,
                     i % KINDS == 0 ? ONE_TOKEN : PREFILL, &compared[n]);
    json_t *j = qn_bench_report("hot-path", &h->setup, h->candidates, h->n_candidates, compared, n);
    qn_json_put(&coded, "hot", class_report(h, HOT));
    qn_json_put(&coded, "hot_bit_packed", class_report(h, HOT_PACKED));
    qn_json_put(&coded, "cold", class_report(h, COLD));
    qn_json_put(&coded, "unknown", class_report(h, UNKNOWN));
    qn_json_put(&latency, "overhead_percent", overhead(h, ARCHIVE, CHECKPOINT, ONE_TOKEN));
    qn_json_put(&latency, "prefill_overhead_percent", overhead(h, ARCHIVE, CHECKPOINT, PREFILL));
    qn_json_put(&j, "archive", qn_bench_archive(h->archive));
    qn_json_put(&j, "overhead_percent", overhead(h, HOT, HOT_PACKED, ONE_TOKEN));
    qn_json_put(&j, "latency", latency);
    qn_json_put(&j, "coded", coded);
    qn_json_put(&j, "fused", fused_report(h));
    qn_json_put(&j, "weights_left_decoded", json_integer((json_int_t)h->left_out));
    return j;
}

static void hot_path_finish(struct hot_path *h)
{
    for (int i = 0; i < SUBJECTS; i++)
        qn_coded_finish(&h->servings[i].coded);
    for (int i = 0; i < PASSES; i++)
        qn_passes_finish(&h->passes[i]);
    qn_weight_list_finish(&h->weights);
    qn_model_destroy(h->served);
    qn_model_destroy(h->fused);
    qn_archive_destroy(h->archive);
    qn_buf_finish(&h->payload);
    qn_chunk_work_finish(&h->work);
    qn_bench_setup_finish(&h->setup);
}

enum qins_status qn_bench_hot_path(const struct qn_bench_options *options, json_t **report,
                                   struct qins_error *err)
{
    struct hot_path h = {0};
    *report = NULL;
    enum qins_status st = hot_path_init(&h, options, err);
    if (st == QINS_OK) {
        make_candidates(&h);
        st = qn_measure(&h.setup.harness, h.candidates, h.n_candidates, h.setup.min_seconds,
                        options->monitor, err);
    }
    if (st == QINS_OK) {
        *report = report_of(&h);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    hot_path_finish(&h);
    return st;
}
