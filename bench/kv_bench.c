/* Generation with V in coded pages beside a plain cache. */
#include "bench/passes.h"
#include "bench/setup.h"

enum { CACHES = 4, JUDGED = 2, CANDIDATES = 2 * CACHES, COMPARISONS = 2 * (CACHES - 1) };

/* The gate is judged at 6 bits: 8 and their scales are hardly less than half of float16. */
static const struct cache {
    unsigned bits;   /* 0: plain */
    uint32_t recent; /* as struct qn_kv_options */
    const char *generation, *prefill;
} caches[CACHES] = {
    {0, 0, "generation", "prefill"},
    {8, 0, "generation, V at 8 bits", "prefill, V at 8 bits"},
    [JUDGED] = {6, 0, "generation, V at 6 bits", "prefill, V at 6 bits"},
    {6, UINT32_MAX, "generation, V at 6 bits, no page old", "prefill, V at 6 bits, no page old"},
};

struct kv_bench {
    struct qn_bench_setup setup;
    struct qn_passes passes[CACHES];
    struct qn_passes_run runs[CACHES];
};

static enum qins_status bench_init(struct kv_bench *b, const struct qn_bench_options *options,
                                   struct qins_error *err)
{
    enum qins_status st = qn_bench_setup_init(&b->setup, options, err);
    b->setup.context = b->setup.tokens;
    if (st == QINS_OK)
        st = qn_bench_draw_ids(&b->setup, b->setup.tokens, err);
    for (int i = 0; i < CACHES && st == QINS_OK; i++) {
        const struct qn_kv_options kv = {.bits = caches[i].bits, .recent = caches[i].recent};
        /* From an empty cache on: pages are filled, coded, recoded and read as in real life. */
        const struct qn_passes_options o = {
            .tokens = b->setup.tokens, .decoded = b->setup.tokens, .kv = kv.bits ? &kv : NULL};
        b->runs[i] = (struct qn_passes_run){.passes = &b->passes[i]};
        st = qn_passes_init(&b->passes[i], b->setup.model, &b->setup.ids, &o, err);
    }
    return st;
}

static void bench_finish(struct kv_bench *b)
{
    for (int i = 0; i < CACHES; i++)
        qn_passes_finish(&b->passes[i]);
    qn_bench_setup_finish(&b->setup);
}

static json_t *cache_report(const struct cache *c, const struct qn_comparison pair[2])
{
    json_t *j = json_object();
    qn_json_put(&j, "bits", json_integer(c->bits));
    qn_json_put(&j, "generation", qn_bench_spread(qn_comparison_value(&pair[0])));
    qn_json_put(&j, "prefill", qn_bench_spread(qn_comparison_value(&pair[1])));
    return j;
}

static json_t *report_of(const struct kv_bench *b, const struct qn_bench_candidate *candidates)
{
    struct qn_comparison compared[COMPARISONS];
    json_t *list = json_array();
    for (int i = 0; i < COMPARISONS; i++)
        compared[i] = (struct qn_comparison){
            .of = &candidates[i + 2], .to = &candidates[i % 2], .overhead = true};
    json_t *j =
        qn_bench_report("kv-cache", &b->setup, candidates, CANDIDATES, compared, COMPARISONS);
    for (int i = 1; i < CACHES; i++) {
        json_t *cache = cache_report(&caches[i], &compared[2 * (size_t)(i - 1)]);
        if (caches[i].recent) {
            qn_json_put(&j, "no_page_old", cache);
        } else if (json_array_append_new(list, cache) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    qn_json_put(&j, "kv_cache", list);
    qn_json_put(&j, "bits", json_integer(caches[JUDGED].bits));
    qn_json_put(&j, "overhead_percent",
                qn_bench_spread(qn_comparison_value(&compared[2 * (size_t)(JUDGED - 1)])));
    return j;
}

enum qins_status qn_bench_kv_cache(const struct qn_bench_options *options, json_t **report,
                                   struct qins_error *err)
{
    struct qn_bench_candidate candidates[CANDIDATES];
    struct kv_bench b = {0};
    *report = NULL;
    enum qins_status st = bench_init(&b, options, err);
    for (int i = 0; i < CANDIDATES; i++) {
        const struct cache *c = &caches[i / 2];
        candidates[i] = (struct qn_bench_candidate){.name = i % 2 ? c->prefill : c->generation,
                                                    .threads = 1,
                                                    .tokens = b.setup.tokens,
                                                    .run = i % 2 ? qn_run_prefill : qn_run_decode,
                                                    .ctx = &b.runs[i / 2]};
    }
    if (st == QINS_OK)
        st = qn_measure(&b.setup.harness, candidates, CANDIDATES, b.setup.min_seconds,
                        options->monitor, err);
    if (st == QINS_OK) {
        *report = report_of(&b, candidates);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    bench_finish(&b);
    return st;
}
