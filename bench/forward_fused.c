/* A forward pass with weights as float32 and as they are coded, multiplied so or decoded first. */
#include "bench/forms.h"
#include "bench/passes.h"
#include "bench/setup.h"
#include "bench/turns.h"
#include "core/pool.h"
#include "model/fused.h"
#include "model/synthetic.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_DECODED = 8, FEW_DECODED = 2, ERROR_TOKENS = 16, LANES = 2 };

/* The hot path multiplies packed codes; what is kept for size only goes through tans. Curves as
 * they suit weights that are spread normally: docs/quantisation.md. */
static const struct qn_form forms[] = {
    {"8 bits", 127, 1.5F, QN_CODEC_BITPACK},
    {"6 bits", 31, 1.0F, QN_CODEC_BITPACK},
    {"tans", 127, 0.0F, QN_CODEC_TANS},
};
enum { FORMS = sizeof forms / sizeof *forms };

/* The project's goals: hot weights are no slower for being packed, and to multiply them so is worth
 * it (the seeds' Phase 4: 2 to 3 times). */
static const double packed_goal = 1.0, fused_goal = 2.0, error_goal = 0.001;

/* What is run: the model, each form, each decoded first, and each decoded in turn (turns.h). */
enum {
    MODEL,
    FUSED,
    SEPARATE = FUSED + FORMS,
    IN_TURN = SEPARATE + FORMS,
    SUBJECTS = IN_TURN + FORMS
};
enum { PREFILL, DECODE, KINDS };
enum { MAX_CANDIDATES = KINDS * SUBJECTS * LANES };

struct fused_bench;

/* Decodes a form before each pass. */
struct serving {
    struct fused_bench *b;
    const struct qn_formed *formed;
    struct qn_pool *pool;
};

/* Decodes a form's matrices one after the other, within the passes. */
struct in_turn {
    struct qn_turns turns;
    const struct qn_passes_run *run;
};

struct lane {
    unsigned threads;
    struct qn_pool *pool; /* NULL for one thread */
    struct qn_passes passes[SUBJECTS];
    struct serving servings[FORMS];
    struct in_turn in_turn[FORMS];
    struct qn_passes_run runs[SUBJECTS];
    size_t places[KINDS][SUBJECTS]; /* candidates */
};

struct fused_bench {
    struct qn_bench_setup setup;
    struct qn_formed formed[FORMS];
    double errors[FORMS];
    struct qn_model *second; /* as the model, to be decoded to */
    struct qn_twin twin;
    struct lane lanes[LANES];
    struct qn_bench_candidate candidates[MAX_CANDIDATES];
    size_t n_candidates;
    char names[KINDS][SUBJECTS][48];
};

static const struct qn_model *model_of(const struct fused_bench *b, int subject)
{
    if (subject == MODEL)
        return b->setup.model;
    return subject < SEPARATE ? b->formed[subject - FUSED].model : b->second;
}

static enum qins_status decode_first(void *ctx, struct qins_error *err)
{
    const struct serving *s = ctx;
    return qn_twin_decode(&s->b->twin, s->formed, false, s->pool, err);
}

/* Logits of the last of a few tokens. */
static enum qins_status last_logits(const struct fused_bench *b, const struct qn_model *m,
                                    float *out, struct qins_error *err)
{
    const size_t n = b->setup.tokens < ERROR_TOKENS ? b->setup.tokens : ERROR_TOKENS;
    const struct qn_session_options o = {.positions = n};
    struct qn_session *s;
    enum qins_status st = qn_session_create(&s, m, &o, err);
    if (st == QINS_OK)
        st = qn_session_forward(s, b->setup.ids.data, n, NULL, err);
    if (st == QINS_OK)
        qn_session_logits(s, n - 1, 1, out);
    qn_session_destroy(s);
    return st;
}

/* Length of the difference of logits over theirs, of weights that are multiplied as they are coded
 * and of the same ones decoded first. */
static enum qins_status measure_error(struct fused_bench *b, int form, struct qins_error *err)
{
    const size_t n = b->setup.model->config.vocab;
    float *logits = malloc(2 * n * sizeof *logits);
    double difference = 0, length = 0;
    if (!logits)
        return qn_fail_memory(err);
    enum qins_status st = last_logits(b, b->formed[form].model, logits, err);
    if (st == QINS_OK)
        st = qn_twin_decode(&b->twin, &b->formed[form], true, b->lanes[1].pool, err);
    if (st == QINS_OK)
        st = last_logits(b, b->second, logits + n, err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        const double x = (double)logits[i] - logits[n + i], y = logits[n + i];
        difference += x * x;
        length += y * y;
    }
    b->errors[form] = sqrt(difference / length);
    free(logits);
    return st;
}

static enum qins_status run_in_turn(void *ctx, struct qins_error *err)
{
    struct in_turn *t = ctx;
    qn_turns_begin(&t->turns);
    const enum qins_status st = qn_run_decode((void *)(uintptr_t)t->run, err);
    const enum qins_status ended = qn_turns_end(&t->turns, st == QINS_OK ? err : NULL);
    return st == QINS_OK ? ended : st;
}

static enum qins_status create_subject(struct fused_bench *b, struct lane *l, int i,
                                       struct qins_error *err)
{
    const size_t most = i < SEPARATE ? MAX_DECODED : FEW_DECODED;
    struct qn_passes_options o = {.tokens = b->setup.tokens,
                                  .decoded =
                                      b->setup.tokens / 2 < most ? b->setup.tokens / 2 : most,
                                  .pool = l->pool};
    const struct qn_formed *formed = i == MODEL ? NULL : &b->formed[(i - FUSED) % FORMS];
    enum qins_status st = QINS_OK;
    l->runs[i] = (struct qn_passes_run){.passes = &l->passes[i]};
    if (i >= IN_TURN) {
        struct in_turn *t = &l->in_turn[i - IN_TURN];
        st = qn_turns_init(&t->turns, &b->twin, formed, l->pool, err);
        t->run = &l->runs[i];
        o.listener = &t->turns.listener;
    } else if (i >= SEPARATE) {
        l->servings[i - SEPARATE] = (struct serving){b, formed, l->pool};
        l->runs[i].before = decode_first;
        l->runs[i].ctx = &l->servings[i - SEPARATE];
    }
    return st == QINS_OK ? qn_passes_init(&l->passes[i], model_of(b, i), &b->setup.ids, &o, err)
                         : st;
}

static enum qins_status create_lane(struct fused_bench *b, struct lane *l, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (int i = 0; i < SUBJECTS && st == QINS_OK; i++)
        st = create_subject(b, l, i, err);
    return st;
}

static enum qins_status open_second(struct fused_bench *b, struct qins_error *err)
{
    const struct qn_bench_options *o = b->setup.options;
    enum qins_status st =
        o->model ? qn_model_open_plain(&b->second, o->model, o->threads, o->monitor, err)
                 : qn_model_create_random(&b->second, &b->setup.model->config, QINS_F32, 1, err);
    return st == QINS_OK ? qn_twin_init(&b->twin, b->second, b->setup.threads, err) : st;
}

static enum qins_status bench_init(struct fused_bench *b, const struct qn_bench_options *options,
                                   struct qins_error *err)
{
    enum qins_status st = qn_bench_setup_init(&b->setup, options, err);
    if (st == QINS_OK && b->setup.model->native)
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, options->model, NULL, QN_NO_OFFSET,
                        "it carries a transport: its layers run natively, not fused");
    if (st != QINS_OK)
        return st;
    b->setup.context = b->setup.tokens;
    st = qn_bench_draw_ids(&b->setup, b->setup.tokens, err);
    for (int i = 0; i < LANES && st == QINS_OK; i++) {
        struct lane *l = &b->lanes[i];
        l->threads = i == 0 ? 1 : b->setup.threads;
        if (l->threads > 1)
            st = qn_pool_create(&l->pool, l->threads, err);
    }
    for (int i = 0; i < FORMS && st == QINS_OK; i++)
        st = qn_formed_init(&b->formed[i], &forms[i], b->setup.model, b->setup.threads,
                            options->monitor, err);
    if (st == QINS_OK)
        st = open_second(b, err);
    for (int i = 0; i < FORMS && st == QINS_OK; i++)
        st = measure_error(b, i, err);
    for (int i = 0; i < LANES && st == QINS_OK; i++)
        st = create_lane(b, &b->lanes[i], err);
    return st;
}

/* What is compared takes its turns one after the other. Decoding all weights hardly shows beside a
 * prefill, whose tokens share it: it is measured for single tokens. */
static void make_candidates(struct fused_bench *b)
{
    static const char *const kinds[KINDS] = {"prefill", "decode"};
    for (int k = 0; k < KINDS; k++)
        for (int lane = 0; lane < LANES; lane++)
            for (int i = 0; i < (k == PREFILL ? SEPARATE : SUBJECTS); i++) {
                struct lane *l = &b->lanes[lane];
                const int form = i == MODEL ? -1 : (i - FUSED) % FORMS;
                const bool in_turn = i >= IN_TURN;
                snprintf(b->names[k][i], sizeof b->names[k][i], "%s, %s%s", kinds[k],
                         form < 0 ? "as it is" : forms[form].name,
                         in_turn         ? ", decoded in turn"
                         : i >= SEPARATE ? ", decoded first"
                                         : "");
                l->places[k][i] = b->n_candidates;
                b->candidates[b->n_candidates++] = (struct qn_bench_candidate){
                    .name = b->names[k][i],
                    .threads = l->threads,
                    .tokens = k == PREFILL ? b->setup.tokens : l->passes[i].options.decoded,
                    .run = in_turn        ? run_in_turn
                           : k == PREFILL ? qn_run_prefill
                                          : qn_run_decode,
                    .ctx = in_turn ? (void *)&l->in_turn[i - IN_TURN] : &l->runs[i]};
            }
}

/* Of weights that a cache holds, goals are not judged. */
static bool in_cache(const struct fused_bench *b, int form)
{
    return b->formed[form].model->weight_bytes <= qn_bench_last_cache();
}

/* Forms with the model, and with themselves decoded first and in turn. */
static size_t make_comparisons(const struct fused_bench *b, struct qn_comparison *compared)
{
    size_t n = 0;
    for (int k = KINDS; k-- > 0;)
        for (int form = 0; form < FORMS; form++)
            for (int lane = 0; lane < LANES; lane++) {
                const size_t *places = b->lanes[lane].places[k];
                const bool hot = forms[form].codec == QN_CODEC_BITPACK;
                const struct {
                    int subject;
                    double goal;
                } to[] = {{MODEL, k == DECODE && hot ? packed_goal : 0.0},
                          {SEPARATE + form, fused_goal},
                          {IN_TURN + form, 0.0}};
                for (size_t i = 0; i < (k == DECODE ? sizeof to / sizeof *to : 1); i++)
                    compared[n++] =
                        (struct qn_comparison){.of = &b->candidates[places[FUSED + form]],
                                               .to = &b->candidates[places[to[i].subject]],
                                               .goal = to[i].goal,
                                               .unjudged = in_cache(b, form)};
            }
    return n;
}

static json_t *describe_form(const struct fused_bench *b, int form)
{
    const struct qn_formed *f = &b->formed[form];
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(forms[form].name));
    qn_json_put(&j, "coder", json_string(qn_codec_name(forms[form].codec)));
    qn_json_put(&j, "levels", json_integer(forms[form].levels));
    qn_json_put(&j, "kappa", qn_json_real((double)forms[form].kappa));
    qn_json_put(&j, "bits_per_weight",
                qn_json_real(8.0 * (double)f->payload_bytes / (double)f->weights));
    qn_json_put(&j, "other_coder_weights", json_integer((json_int_t)f->fell_back));
    qn_fused_report(&j, f->model);
    qn_json_put(
        &j, "weight_bytes_ratio",
        qn_json_real((double)b->setup.model->weight_bytes / (double)f->model->weight_bytes));
    qn_json_put(&j, "relative_error", qn_json_real(b->errors[form]));
    qn_json_put(&j, "relative_error_goal", qn_json_real(error_goal));
    return j;
}

static void bench_finish(struct fused_bench *b)
{
    for (int i = 0; i < LANES; i++) {
        for (int k = 0; k < SUBJECTS; k++)
            qn_passes_finish(&b->lanes[i].passes[k]);
        for (int k = 0; k < FORMS; k++)
            qn_turns_finish(&b->lanes[i].in_turn[k].turns);
        qn_pool_destroy(b->lanes[i].pool);
    }
    qn_twin_finish(&b->twin);
    qn_model_destroy(b->second);
    for (int i = 0; i < FORMS; i++)
        qn_formed_finish(&b->formed[i]);
    qn_bench_setup_finish(&b->setup);
}

static json_t *report_of(const struct fused_bench *b)
{
    struct qn_comparison compared[(1 + 3) * FORMS * LANES];
    const size_t n = make_comparisons(b, compared);
    json_t *list = json_array();
    json_t *j =
        qn_bench_report("forward-fused", &b->setup, b->candidates, b->n_candidates, compared, n);
    for (int i = 0; i < FORMS; i++)
        qn_json_append(&list, describe_form(b, i));
    qn_json_put(&j, "forms", list);
    return j;
}

enum qins_status qn_bench_forward_fused(const struct qn_bench_options *options, json_t **report,
                                        struct qins_error *err)
{
    struct fused_bench *b = calloc(1, sizeof *b);
    *report = NULL;
    if (!b)
        return qn_fail_memory(err);
    enum qins_status st = bench_init(b, options, err);
    if (st == QINS_OK) {
        make_candidates(b);
        st = qn_measure(&b->setup.harness, b->candidates, b->n_candidates, b->setup.min_seconds,
                        options->monitor, err);
    }
    if (st == QINS_OK) {
        *report = report_of(b);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    bench_finish(b);
    free(b);
    return st;
}
