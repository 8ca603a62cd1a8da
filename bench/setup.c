#include "bench/setup.h"

#include "core/clock.h"
#include "core/linalg.h"
#include "core/random.h"
#include "model/synthetic.h"

#include <math.h>
#include <stdlib.h>

enum { DEFAULT_TOKENS = 512, DEFAULT_CONTEXT = 256 };

/* Long enough for the clock and the scheduler's slices; less for runs that are made shorter than
 * the default, as tests do. */
static const double full_seconds = 0.2;

/* As small llamas of 2024 and later: grouped queries, an intermediate width of 2.75, and a
 * head of its own. */
static enum qins_status create_synthetic(struct qn_model **out, struct qins_error *err)
{
    struct qn_model_config config = {
        .arch = &qn_arch_llama,
        .hidden = 1024,
        .n_layers = 12,
        .n_heads = 16,
        .n_kv_heads = 8,
        .head_dim = 64,
        .intermediate = 2816,
        .vocab = 32000,
        .max_positions = 4096,
        .norm_eps = 1e-5,
        .activation = QN_ACT_SILU,
        .attention_scale = 0.125, /* 1 / sqrt(head_dim) */
        .rope = {.theta = 10000.0, .dims = 64},
        .bos = -1,
    };
    return qn_model_create_random(out, &config, QINS_F32, 1, err);
}

enum qins_status qn_bench_draw_ids(struct qn_bench_setup *s, size_t n, struct qins_error *err)
{
    uint64_t state = 1;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        uint32_t id = (uint32_t)(qn_random_u64(&state) % s->model->config.vocab);
        st = qn_ids_append(&s->ids, &id, 1, err);
    }
    return st;
}

static uint32_t choose(uint32_t given, uint32_t usual, uint32_t limit)
{
    if (given)
        return given;
    return usual < limit ? usual : limit;
}

enum qins_status qn_bench_setup_init(struct qn_bench_setup *s,
                                     const struct qn_bench_options *options, struct qins_error *err)
{
    *s = (struct qn_bench_setup){.threads = options->threads, .options = options};
    s->begun = qn_seconds();
    /* OpenBLAS reads the environment that this sets, and starts no threads. */
    enum qins_status st = qn_linalg_init(err);
    if (st == QINS_OK)
        st = qn_harness_init(&s->harness, s->threads, err);
    s->harness.rounds = options->rounds;
    if (st == QINS_OK && options->model)
        st = qn_model_open(&s->model, options->model, s->threads, options->monitor, err);
    else if (st == QINS_OK)
        st = create_synthetic(&s->model, err);
    if (st != QINS_OK)
        return st;
    uint32_t limit = s->model->config.max_positions;
    s->tokens = choose(options->tokens, DEFAULT_TOKENS, limit);
    s->context = choose(options->context, DEFAULT_CONTEXT, limit);
    if (s->tokens < 2 || s->context < 2)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "the model takes %u positions, a benchmark needs 2", limit);
    s->min_seconds = full_seconds * fmin(1.0, (double)s->tokens / DEFAULT_TOKENS);
    return QINS_OK;
}

void qn_bench_setup_finish(struct qn_bench_setup *s)
{
    qn_ids_finish(&s->ids);
    qn_model_destroy(s->model);
    qn_harness_finish(&s->harness);
}

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)(value < INT64_MAX ? value : INT64_MAX));
}

json_t *qn_bench_archive(const struct qn_archive *a)
{
    json_t *j = json_object();
    qn_json_put(&j, "path", qn_json_text(a->file.path));
    qn_json_put(&j, "archive_hash", qn_json_digest(&a->body_hash));
    qn_json_put(&j, "bits_per_weight", qn_json_real(qn_archive_bits_per_weight(a)));
    return j;
}

static json_t *model_report(const struct qn_bench_setup *s)
{
    const struct qn_model *m = s->model;
    json_t *j = json_object();
    const char *path = s->options->model;
    qn_json_put(&j, "path", path ? qn_json_text(path) : json_null());
    qn_json_put(&j, "fingerprint", path ? qn_json_digest(&m->fingerprint) : json_null());
    qn_json_put(&j, "model_type", json_string(m->config.arch->model_type));
    qn_json_put(&j, "parameters", integer(m->n_parameters));
    qn_json_put(&j, "weight_bytes", integer(m->weight_bytes));
    qn_json_put(&j, "hidden", integer(m->config.hidden));
    qn_json_put(&j, "layers", integer(m->config.n_layers));
    qn_json_put(&j, "vocabulary", integer(m->config.vocab));
    return j;
}

static json_t *seconds_report(const double *seconds, unsigned rounds)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < rounds; i++)
        qn_json_append(&list, qn_json_real(seconds[i]));
    return list;
}

static json_t *measurement_report(const struct qn_bench_candidate *c)
{
    struct qn_spread speed = qn_speed(c, QN_CLOCK_WALL);
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(c->name));
    qn_json_put(&j, "threads", integer(c->threads));
    qn_json_put(&j, "one_core_busy", json_boolean(c->busy));
    qn_json_put(&j, "tokens", integer(c->tokens));
    qn_json_put(&j, "repeats", integer(c->repeats));
    qn_json_put(&j, "tokens_per_s", qn_json_real(speed.median));
    qn_json_put(&j, "tokens_per_s_low", qn_json_real(speed.low));
    qn_json_put(&j, "tokens_per_s_high", qn_json_real(speed.high));
    qn_json_put(&j, "tokens_per_cpu_s", qn_json_real(qn_speed(c, QN_CLOCK_CPU).median));
    qn_json_put(&j, "seconds", seconds_report(c->seconds, c->rounds));
    qn_json_put(&j, "cpu_seconds", seconds_report(c->cpu_seconds, c->rounds));
    return j;
}

static json_t *side(const struct qn_bench_candidate *c)
{
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(c->name));
    qn_json_put(&j, "threads", integer(c->threads));
    qn_json_put(&j, "one_core_busy", json_boolean(c->busy));
    return j;
}

/* Of single threads, the clock that does not see other processes. */
static bool is_single(const struct qn_comparison *c)
{
    return c->of->threads == 1 && c->to->threads == 1;
}

struct qn_spread qn_comparison_value(const struct qn_comparison *c)
{
    struct qn_spread v = qn_speed_ratio(c->overhead ? c->to : c->of, c->overhead ? c->of : c->to,
                                        is_single(c) ? QN_CLOCK_CPU : QN_CLOCK_WALL);
    if (c->overhead)
        v = (struct qn_spread){100 * (v.median - 1), 100 * (v.low - 1), 100 * (v.high - 1)};
    return v;
}

json_t *qn_bench_spread(struct qn_spread s)
{
    json_t *j = json_object();
    qn_json_put(&j, "value", qn_json_real(s.median));
    qn_json_put(&j, "low", qn_json_real(s.low));
    qn_json_put(&j, "high", qn_json_real(s.high));
    return j;
}

json_t *qn_bench_comparison(const struct qn_comparison *c,
                            json_t *(*describe)(const struct qn_bench_candidate *c))
{
    json_t *j = json_object();
    const bool single = is_single(c);
    const struct qn_spread v = qn_comparison_value(c);
    bool met = c->overhead ? v.median <= c->goal : v.median >= c->goal;
    const bool goal = c->goal > 0.0, judged = goal && !c->unjudged;
    qn_json_put(&j, "of", describe(c->of));
    qn_json_put(&j, "to", describe(c->to));
    qn_json_put(&j, "clock", json_string(single ? "processor" : "wall"));
    qn_json_put(&j, "unit", json_string(c->overhead ? "percent more time" : "times the speed"));
    qn_json_put(&j, "value", qn_json_real(v.median));
    qn_json_put(&j, "low", qn_json_real(v.low));
    qn_json_put(&j, "high", qn_json_real(v.high));
    qn_json_put(&j, "goal", goal ? json_real(c->goal) : json_null());
    qn_json_put(&j, "met", judged ? json_boolean(met) : json_null());
    return j;
}

json_t *qn_bench_report(const char *name, const struct qn_bench_setup *s,
                        const struct qn_bench_candidate *candidates, size_t n_candidates,
                        const struct qn_comparison *comparisons, size_t n_comparisons)
{
    json_t *j = qn_report_begin("qins/bench/1");
    json_t *measurements = json_array(), *compared = json_array();
    for (size_t i = 0; i < n_candidates; i++)
        qn_json_append(&measurements, measurement_report(&candidates[i]));
    for (size_t i = 0; i < n_comparisons; i++)
        qn_json_append(&compared, qn_bench_comparison(&comparisons[i], side));
    qn_json_put(&j, "benchmark", json_string(name));
    qn_json_put(&j, "machine", qn_bench_machine(&s->harness));
    qn_json_put(&j, "model", model_report(s));
    qn_json_put(&j, "threads", integer(s->threads));
    qn_json_put(&j, "tokens", integer(s->tokens));
    qn_json_put(&j, "context", integer(s->context));
    qn_json_put(&j, "rounds", integer(candidates[0].rounds));
    qn_json_put(&j, "measurements", measurements);
    qn_json_put(&j, "comparisons", compared);
    qn_json_put(&j, "seconds", qn_json_real(qn_seconds() - s->begun));
    return j;
}
