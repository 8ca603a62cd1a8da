#include "bench/setup.h"
#include "convert/calibrate.h"
#include "core/file.h"
#include "model/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Calibrating a synthetic llama of 210 M parameters against running it: the project's goal. */
static const double overhead_goal = 5.0;

/* Tokens of the text: about this many times the parameters, between these bounds. Fewer, and what
 * a calibration does once would count too much. */
static const double token_parameters = 4e11;
enum { MIN_WINDOWS = 8, MAX_TEXT = 1 << 15 };

/* Files with Gram matrices that are larger are not written over and over. */
static const uint64_t max_gram_bytes = UINT64_C(256) << 20;

/* Never: it is the finished file that is measured. */
static const double checkpoint_seconds = 1e9;

struct calibrating;

struct lane {
    struct calibrating *c;
    unsigned threads;
};

struct calibrating {
    struct qn_bench_setup setup;
    struct lane lanes[2];         /* one thread, all threads */
    struct qn_session **sessions; /* [threads] */
    struct qn_corpus corpus;      /* ids are part of the setup's */
    size_t begin[2];
    size_t windows;
    char *folder, *out;
};

static enum qins_status run_window(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct calibrating *c = ctx;
    qn_session_reset(c->sessions[slot]);
    return qn_session_forward(c->sessions[slot], c->corpus.ids.data + item * c->setup.context,
                              c->setup.context, NULL, err);
}

static enum qins_status run_plain(void *ctx, struct qins_error *err)
{
    const struct lane *l = ctx;
    struct qn_ordered job = {.work = run_window,
                             .ctx = l->c,
                             .threads = l->threads,
                             .slots = l->threads,
                             .end = l->c->windows};
    return qn_run_ordered(&job, err);
}

static enum qins_status calibrate(const struct lane *l, bool gram, struct qins_error *err)
{
    struct qn_calibrate_options o = {.sample = {.context = l->c->setup.context, .gram = gram},
                                     .threads = l->threads,
                                     .checkpoint_seconds = checkpoint_seconds};
    return qn_calibrate_corpus(l->c->setup.model, &l->c->corpus, l->c->out, &o, NULL, NULL, err);
}

static enum qins_status run_calibrate(void *ctx, struct qins_error *err)
{
    return calibrate(ctx, false, err);
}

static enum qins_status run_gram(void *ctx, struct qins_error *err)
{
    return calibrate(ctx, true, err);
}

static enum qins_status make_folder(struct calibrating *c, struct qins_error *err)
{
    const char *tmp = getenv("TMPDIR");
    char *folder = qn_path_join(tmp && tmp[0] ? tmp : "/tmp", "qins-bench-XXXXXX", err);
    if (!folder)
        return QINS_ERR_MEMORY;
    if (!mkdtemp(folder)) {
        enum qins_status st = qn_fail_errno(err, folder, "cannot create a folder");
        free(folder);
        return st;
    }
    c->folder = folder;
    c->out = qn_path_join(folder, "calibration.h5", err);
    return c->out ? QINS_OK : QINS_ERR_MEMORY;
}

static size_t choose_windows(const struct qn_model *m, const struct qn_bench_options *o,
                             uint32_t context)
{
    double tokens = token_parameters / (double)(m->n_parameters + 1);
    size_t windows = (size_t)(tokens < MAX_TEXT ? tokens : MAX_TEXT) / context;
    if (o->tokens)
        return o->tokens < context ? 1 : o->tokens / context;
    return windows < MIN_WINDOWS ? MIN_WINDOWS : windows;
}

static enum qins_status calibrating_init(struct calibrating *c,
                                         const struct qn_bench_options *options,
                                         struct qins_error *err)
{
    enum qins_status st = qn_bench_setup_init(&c->setup, options, err);
    if (st != QINS_OK)
        return st;
    struct qn_session_options o = {.positions = c->setup.context};
    c->windows = choose_windows(c->setup.model, options, c->setup.context);
    c->setup.tokens = (uint32_t)c->windows * c->setup.context;
    st = qn_bench_draw_ids(&c->setup, c->setup.tokens, err);
    c->corpus.ids = c->setup.ids;
    c->corpus.begin = c->begin;
    c->corpus.n_parts = 1;
    c->begin[1] = c->setup.ids.count;
    c->lanes[0] = (struct lane){c, 1};
    c->lanes[1] = (struct lane){c, c->setup.threads};
    c->sessions = calloc(c->setup.threads, sizeof(struct qn_session *));
    if (st == QINS_OK && !c->sessions)
        st = qn_fail_memory(err);
    for (unsigned i = 0; i < c->setup.threads && st == QINS_OK; i++)
        st = qn_session_create(&c->sessions[i], c->setup.model, &o, err);
    return st == QINS_OK ? make_folder(c, err) : st;
}

static void calibrating_finish(struct calibrating *c)
{
    for (unsigned i = 0; c->sessions && i < c->setup.threads; i++)
        qn_session_destroy(c->sessions[i]);
    free(c->sessions);
    if (c->out)
        unlink(c->out);
    if (c->folder)
        rmdir(c->folder);
    free(c->out);
    free(c->folder);
    qn_bench_setup_finish(&c->setup);
}

/* Of the Gram matrices in a file: float64 whole, float32 upper triangles. */
static enum qins_status gram_bytes(const struct qn_model *m, uint64_t *bytes,
                                   struct qins_error *err)
{
    struct qn_tap_list taps = {0};
    enum qins_status st = qn_taps_init(&taps, m, err);
    *bytes = 0;
    for (size_t i = 0; i < taps.n && st == QINS_OK; i++)
        *bytes += 10 * (uint64_t)taps.points[i].channels * taps.points[i].channels;
    qn_taps_finish(&taps);
    return st;
}

enum {
    PLAIN,
    CALIBRATE,
    GRAM,
    N_KINDS,
    N_WITHOUT_GRAM = 2 * GRAM, /* candidates: each kind on one thread, then on all */
    N_CANDIDATES = 2 * N_KINDS,
};
static const struct kind {
    const char *name;
    enum qins_status (*run)(void *ctx, struct qins_error *err);
} kinds[N_KINDS] = {
    {"prefill", run_plain}, {"calibrate", run_calibrate}, {"calibrate with gram", run_gram}};

static void fill(struct calibrating *c, struct qn_bench_candidate candidates[N_CANDIDATES],
                 struct qn_comparison compared[N_CANDIDATES])
{
    for (size_t i = 0; i < N_CANDIDATES; i++) {
        const struct kind *k = &kinds[i / 2];
        struct lane *l = &c->lanes[i % 2];
        candidates[i] = (struct qn_bench_candidate){.name = k->name,
                                                    .threads = l->threads,
                                                    .tokens = c->setup.tokens,
                                                    .run = k->run,
                                                    .ctx = l};
        compared[i] = (struct qn_comparison){
            .of = &candidates[i], .to = &candidates[i % 2], .overhead = true};
        if (i / 2 == CALIBRATE && !c->setup.options->model)
            compared[i].goal = overhead_goal;
    }
}

enum qins_status qn_bench_calibrate(const struct qn_bench_options *options, json_t **report,
                                    struct qins_error *err)
{
    struct qn_bench_candidate candidates[N_CANDIDATES];
    struct qn_comparison compared[N_CANDIDATES];
    struct calibrating c = {0};
    size_t n = N_CANDIDATES;
    uint64_t bytes = 0;
    *report = NULL;
    enum qins_status st = calibrating_init(&c, options, err);
    if (st == QINS_OK)
        st = gram_bytes(c.setup.model, &bytes, err);
    if (st == QINS_OK && bytes > max_gram_bytes) {
        qn_notice(options->monitor, "Gram matrices of this model take %.1f GB: not measured",
                  1e-9 * (double)bytes);
        n = N_WITHOUT_GRAM;
    }
    fill(&c, candidates, compared);
    if (st == QINS_OK)
        st =
            qn_measure(&c.setup.harness, candidates, n, c.setup.min_seconds, options->monitor, err);
    if (st == QINS_OK) {
        *report = qn_bench_report("calibrate", &c.setup, candidates, n, compared + 2, n - 2);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    calibrating_finish(&c);
    return st;
}
