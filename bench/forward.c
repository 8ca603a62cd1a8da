#include "analyze/perplexity.h"
#include "bench/passes.h"
#include "bench/products.h"
#include "bench/setup.h"
#include "core/pool.h"

enum {
    MAX_DECODED = 8,
    LARGE_PARAMETERS = 50 * 1000 * 1000,
    SMALL_WINDOWS = 8, /* times as many windows where the model is not large */
};

/* Two threads with one core busy against one: the project's goal. */
static const double busy_goal = 0.95;

struct forward;

/* What runs on one number of threads. */
struct lane {
    struct forward *f;
    unsigned threads;
    struct qn_pool *pool; /* NULL for one thread */
    struct qn_passes passes;
    struct qn_passes_run run;
};

struct forward {
    struct qn_bench_setup setup;
    struct lane lanes[2]; /* one thread, all threads */
    struct qn_products *products;
    struct qn_ids windows; /* part of the setup's ids */
    size_t decoded;        /* tokens decoded in a run */
    size_t evaluated;      /* tokens of an evaluation */
    size_t batch;
};

static enum qins_status run_evaluate(void *ctx, struct qins_error *err)
{
    const struct lane *l = ctx;
    struct qn_text_windows windows;
    struct qn_perplexity figures;
    enum qins_status st =
        qn_text_windows_init(&windows, &l->f->windows, l->f->setup.context, QN_PPL_QINS, -1, err);
    return st == QINS_OK
               ? qn_perplexity(l->f->setup.model, &windows, l->threads, NULL, &figures, err)
               : st;
}

static enum qins_status run_prefill_products(void *ctx, struct qins_error *err)
{
    const struct lane *l = ctx;
    size_t left = l->f->setup.tokens;
    (void)err;
    while (left > l->f->batch) {
        qn_products_run(l->f->products, l->pool, l->f->batch, 0);
        left -= l->f->batch;
    }
    qn_products_run(l->f->products, l->pool, left, 1);
    return QINS_OK;
}

static enum qins_status run_decode_products(void *ctx, struct qins_error *err)
{
    const struct lane *l = ctx;
    (void)err;
    for (size_t i = 0; i < l->f->decoded; i++)
        qn_products_run(l->f->products, l->pool, 1, 1);
    return QINS_OK;
}

static enum qins_status create_lane(struct forward *f, struct lane *l, unsigned threads,
                                    struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    l->f = f;
    l->threads = threads;
    l->run = (struct qn_passes_run){.passes = &l->passes};
    if (threads > 1)
        st = qn_pool_create(&l->pool, threads, err);
    const struct qn_passes_options o = {
        .tokens = f->setup.tokens, .decoded = f->decoded, .batch = f->batch, .pool = l->pool};
    return st == QINS_OK ? qn_passes_init(&l->passes, f->setup.model, &f->setup.ids, &o, err) : st;
}

static enum qins_status forward_init(struct forward *f, const struct qn_bench_options *options,
                                     struct qins_error *err)
{
    /* Enough windows that a thread on the busy core holds up the last one a little only. */
    size_t windows = 2 * (size_t)options->threads;
    enum qins_status st = qn_bench_setup_init(&f->setup, options, err);
    if (st != QINS_OK)
        return st;
    const struct qn_model *m = f->setup.model;
    if (m->n_parameters < LARGE_PARAMETERS)
        windows *= SMALL_WINDOWS;
    size_t n = windows * f->setup.context + 1; /* with the last target */
    st = qn_bench_draw_ids(&f->setup, n > f->setup.tokens ? n : f->setup.tokens, err);
    f->windows = f->setup.ids;
    f->windows.count = n;
    f->evaluated = windows * f->setup.context;
    f->batch = f->setup.tokens < QN_PASSES_BATCH ? f->setup.tokens : QN_PASSES_BATCH;
    f->decoded = f->setup.tokens / 2 < MAX_DECODED ? f->setup.tokens / 2 : MAX_DECODED;
    if (st == QINS_OK)
        st = qn_products_create(&f->products, m, f->batch, err);
    if (st == QINS_OK)
        st = create_lane(f, &f->lanes[0], 1, err);
    if (st == QINS_OK)
        st = create_lane(f, &f->lanes[1], f->setup.threads, err);
    return st;
}

static void forward_finish(struct forward *f)
{
    for (int i = 0; i < 2; i++) {
        qn_passes_finish(&f->lanes[i].passes);
        qn_pool_destroy(f->lanes[i].pool);
    }
    qn_products_destroy(f->products);
    qn_bench_setup_finish(&f->setup);
}

/* Each on one thread and then on all; those with one core busy come last. */
static const struct kind {
    const char *name;
    bool busy;
    enum qins_status (*run)(void *ctx, struct qins_error *err);
} kinds[] = {
    {"prefill", false, qn_run_prefill}, {"prefill products", false, run_prefill_products},
    {"decode", false, qn_run_decode},   {"decode products", false, run_decode_products},
    {"evaluate", false, run_evaluate},  {"prefill", true, qn_run_prefill},
    {"decode", true, qn_run_decode},    {"evaluate", true, run_evaluate},
};
enum {
    PREFILL,
    PREFILL_PRODUCTS,
    DECODE,
    DECODE_PRODUCTS,
    EVALUATE,
    BUSY_PREFILL,
    BUSY_DECODE,
    BUSY_EVALUATE,
    N_KINDS,
    N_CANDIDATES = 2 * N_KINDS,
};

/* Of one kind and lane against another. */
static const struct {
    unsigned char of, of_lane, to, to_lane;
    bool judged;
} comparisons[] = {
    {PREFILL, 0, PREFILL_PRODUCTS, 0, false}, {PREFILL, 1, PREFILL_PRODUCTS, 1, false},
    {DECODE, 0, DECODE_PRODUCTS, 0, false},   {DECODE, 1, DECODE_PRODUCTS, 1, false},
    {PREFILL, 1, PREFILL, 0, false},          {DECODE, 1, DECODE, 0, false},
    {EVALUATE, 1, EVALUATE, 0, false},        {BUSY_PREFILL, 1, BUSY_PREFILL, 0, true},
    {BUSY_DECODE, 1, BUSY_DECODE, 0, true},   {BUSY_EVALUATE, 1, BUSY_EVALUATE, 0, true},
};
enum { N_COMPARISONS = sizeof comparisons / sizeof *comparisons };

static bool is_pass(const struct kind *k)
{
    return k->run == qn_run_prefill || k->run == qn_run_decode;
}

static uint64_t tokens_of(const struct forward *f, const struct kind *k)
{
    if (k->run == run_evaluate)
        return f->evaluated;
    return k->run == qn_run_decode || k->run == run_decode_products ? f->decoded : f->setup.tokens;
}

enum qins_status qn_bench_forward(const struct qn_bench_options *options, json_t **report,
                                  struct qins_error *err)
{
    struct qn_bench_candidate candidates[N_CANDIDATES];
    struct qn_comparison compared[N_COMPARISONS];
    struct forward f = {0};
    *report = NULL;
    enum qins_status st = forward_init(&f, options, err);
    for (size_t i = 0; i < N_CANDIDATES; i++) {
        const struct kind *k = &kinds[i / 2];
        struct lane *l = &f.lanes[i % 2];
        candidates[i] = (struct qn_bench_candidate){.name = k->name,
                                                    .threads = l->threads,
                                                    .busy = k->busy,
                                                    .tokens = tokens_of(&f, k),
                                                    .run = k->run,
                                                    .ctx = is_pass(k) ? (void *)&l->run : l};
    }
    for (size_t i = 0; i < N_COMPARISONS; i++) {
        size_t of = comparisons[i].of, to = comparisons[i].to;
        compared[i] = (struct qn_comparison){.of = &candidates[2 * of + comparisons[i].of_lane],
                                             .to = &candidates[2 * to + comparisons[i].to_lane],
                                             .goal = comparisons[i].judged ? busy_goal : 0.0};
    }
    if (st == QINS_OK)
        st = qn_measure(&f.setup.harness, candidates, N_CANDIDATES, f.setup.min_seconds,
                        options->monitor, err);
    if (st == QINS_OK) {
        *report =
            qn_bench_report("forward", &f.setup, candidates, N_CANDIDATES, compared, N_COMPARISONS);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    forward_finish(&f);
    return st;
}
