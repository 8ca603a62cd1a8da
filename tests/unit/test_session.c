#include "tests/unit/testing.h"

#include "core/bytes.h"
#include "model/kernels.h"
#include "model/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Widths that are no multiple of a vector, and more tokens than a block of queries or keys. */
enum { HIDDEN = 48, LAYERS = 2, HEADS = 4, DIM = 12, INNER = 70, VOCAB = 53, TOKENS = 150 };
enum { LOGITS = TOKENS * VOCAB };
enum { LEARNED = TOKENS + 10, EXPERTS = 5, EXPERTS_PER_TOKEN = 2, MAX_WEIGHTS = 200 };

/* What one of the models has that others do not. */
struct shape {
    const char *name;
    struct qn_arch arch;
    uint32_t kv_heads, window, experts;
    unsigned rotated;
    bool parallel, biases, head_norms;
};

static const struct shape shapes[] = {
    {"grouped queries, a window in the second layer",
     {.norm = QN_NORM_RMS, .rope = QN_ROPE_HALVES, .gated = true},
     2,
     40,
     0,
     DIM,
     false,
     false,
     true},
    {"parallel residual, fused by head",
     {.norm = QN_NORM_LAYER, .rope = QN_ROPE_HALVES, .qkv_order = QN_QKV_BY_HEAD},
     HEADS,
     0,
     0,
     DIM / 3 * 2,
     true,
     true,
     false},
    {"learned positions, transposed",
     {.norm = QN_NORM_LAYER, .rope = QN_ROPE_NONE, .transposed = true, .qkv_order = QN_QKV_IN_TURN},
     HEADS,
     0,
     0,
     0,
     false,
     true,
     false},
    {"experts",
     {.norm = QN_NORM_RMS, .rope = QN_ROPE_PAIRS, .gated = true},
     1,
     0,
     EXPERTS,
     DIM,
     false,
     false,
     false},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

struct fixture {
    struct qn_model model;
    struct qn_layer layers[LAYERS];
    struct qn_mlp mlps[LAYERS][EXPERTS];
    float *weights[MAX_WEIGHTS];
    unsigned n_weights;
    uint64_t seed;
};

/* N floats around CENTRE. */
static float *random_floats(struct fixture *f, size_t n, float centre, float spread)
{
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64);
    assert_non_null(x);
    assert_true(f->n_weights < MAX_WEIGHTS);
    f->weights[f->n_weights++] = x;
    for (size_t i = 0; i < n; i++)
        x[i] = centre + spread * (float)((double)(test_random(&f->seed) >> 11) * 0x1p-52 - 1.0);
    return x;
}

static struct qn_matrix random_matrix(struct fixture *f, size_t out, size_t in, bool transposed,
                                      bool bias)
{
    return (struct qn_matrix){.name = "a.weight",
                              .data = random_floats(f, out * in, 0.0f, 2.0f / sqrtf((float)in)),
                              .dtype = QINS_F32,
                              .out = out,
                              .in = in,
                              .stride = transposed ? out : in,
                              .transposed = transposed,
                              .bias = bias ? random_floats(f, out, 0.0f, 0.3f) : NULL};
}

static struct qn_norm random_norm(struct fixture *f, const struct shape *shape, size_t n)
{
    return (struct qn_norm){
        .name = "n.weight",
        .weight = random_floats(f, n, 1.0f, 0.3f),
        .bias = shape->arch.norm == QN_NORM_LAYER ? random_floats(f, n, 0.0f, 0.3f) : NULL};
}

static void fill_layer(struct fixture *f, const struct shape *shape, struct qn_layer *l)
{
    const bool t = shape->arch.transposed, b = shape->biases;
    const size_t q = (size_t)HEADS * DIM, kv = (size_t)shape->kv_heads * DIM;
    l->attn_norm = random_norm(f, shape, HIDDEN);
    l->mlp_norm = random_norm(f, shape, HIDDEN);
    if (shape->head_norms) {
        l->q_norm = random_norm(f, shape, DIM);
        l->k_norm = random_norm(f, shape, DIM);
    }
    if (shape->arch.qkv_order == QN_QKV_APART) {
        l->q = random_matrix(f, q, HIDDEN, t, b);
        l->k = random_matrix(f, kv, HIDDEN, t, b);
        l->v = random_matrix(f, kv, HIDDEN, t, b);
    } else {
        l->qkv = random_matrix(f, q + 2 * kv, HIDDEN, t, b);
    }
    l->o = random_matrix(f, HIDDEN, q, t, b);
    if (shape->experts > 0)
        l->router = random_matrix(f, EXPERTS, HIDDEN, false, false);
    for (uint32_t e = 0; e < (shape->experts ? shape->experts : 1); e++) {
        if (shape->arch.gated)
            l->mlp[e].gate = random_matrix(f, INNER, HIDDEN, t, b);
        l->mlp[e].up = random_matrix(f, INNER, HIDDEN, t, b);
        l->mlp[e].down = random_matrix(f, HIDDEN, INNER, t, b);
    }
}

static struct fixture *make_model(const struct shape *shape)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    struct qn_model *m = &f->model;
    f->seed = 2026;
    m->config =
        (struct qn_model_config){.arch = &shape->arch,
                                 .hidden = HIDDEN,
                                 .n_layers = LAYERS,
                                 .n_heads = HEADS,
                                 .n_kv_heads = shape->kv_heads,
                                 .head_dim = DIM,
                                 .intermediate = INNER,
                                 .vocab = VOCAB,
                                 .max_positions = LEARNED,
                                 .norm_eps = 1e-5,
                                 .activation = QN_ACT_SILU,
                                 .parallel_residual = shape->parallel,
                                 .attention_scale = 1.0 / sqrt(DIM),
                                 .rope = {.theta = 1e4, .dims = shape->rotated},
                                 .sliding_window = shape->window,
                                 .sliding_from = 1,
                                 .n_experts = shape->experts,
                                 .experts_per_token = shape->experts ? EXPERTS_PER_TOKEN : 0};
    m->layers = f->layers;
    m->embedding = random_matrix(f, VOCAB, HIDDEN, false, false);
    m->head = random_matrix(f, VOCAB, HIDDEN, false, false);
    m->final_norm = random_norm(f, shape, HIDDEN);
    if (shape->arch.rope == QN_ROPE_NONE)
        m->positions = random_matrix(f, LEARNED, HIDDEN, false, false);
    for (size_t i = 0; i < LAYERS; i++) {
        f->layers[i].mlp = f->mlps[i];
        fill_layer(f, shape, &f->layers[i]);
    }
    return f;
}

static void destroy_model(struct fixture *f)
{
    for (unsigned i = 0; i < f->n_weights; i++)
        free(f->weights[i]);
    free(f);
}

static void make_ids(uint32_t *ids, size_t n)
{
    uint64_t seed = 7;
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)(test_random(&seed) >> 33) % VOCAB;
}

static struct qn_session *make_session(const struct qn_model *m, struct qn_session_options o)
{
    struct qn_session *s;
    struct qins_error err;
    if (o.positions == 0)
        o.positions = TOKENS;
    if (qn_session_create(&s, m, &o, &err) != QINS_OK)
        fail_msg("%s", err.message);
    return s;
}

/* Runs N tokens, BATCH at a time, and writes their logits. */
static void run(struct qn_session *s, const uint32_t *ids, size_t n, size_t batch, float *out)
{
    struct qins_error err;
    for (size_t i = 0, count; i < n; i += count) {
        count = n - i < batch ? n - i : batch;
        if (qn_session_forward(s, ids + i, count, NULL, &err) != QINS_OK)
            fail_msg("%s", err.message);
        assert_int_equal(qn_session_last_batch(s), count);
        qn_session_logits(s, 0, count, out + i * VOCAB);
    }
}

static float largest_difference(const float *a, const float *b, size_t n)
{
    float largest = 0.0f;
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(a[i]) && isfinite(b[i]));
        largest = fmaxf(largest, fabsf(a[i] - b[i]));
    }
    return largest;
}

static bool same_bits(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (qn_float_bits(a[i]) != qn_float_bits(b[i]))
            return false;
    return true;
}

/* Logits are about 1 to 5 in size. */
static const float TOLERANCE = 2e-5f;

static void test_batches_and_threads(void **state)
{
    static const size_t batches[] = {1, 7, 33, 64, 149};
    static uint32_t ids[TOKENS];
    static float whole[LOGITS], other[LOGITS];
    (void)state;
    make_ids(ids, TOKENS);
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct fixture *f = make_model(&shapes[i]);
        struct qn_session *s = make_session(&f->model, (struct qn_session_options){0});
        run(s, ids, TOKENS, TOKENS, whole);
        for (size_t k = test_briefly(); k < sizeof batches / sizeof *batches;
             k += test_briefly() ? 4 : 1) {
            qn_session_reset(s);
            run(s, ids, TOKENS, batches[k], other);
            float difference = largest_difference(whole, other, LOGITS);
            if (difference > TOLERANCE)
                fail_msg("%s: batches of %zu differ by %g", shapes[i].name, batches[k],
                         (double)difference);
        }
        qn_session_destroy(s);
        for (unsigned threads = 2; threads <= (test_briefly() ? 2 : 3); threads++) {
            struct qn_pool *pool;
            struct qins_error err;
            assert_int_equal(qn_pool_create(&pool, threads, &err), QINS_OK);
            s = make_session(&f->model, (struct qn_session_options){.pool = pool});
            run(s, ids, TOKENS, TOKENS, other);
            if (!same_bits(whole, other, LOGITS))
                fail_msg("%s: %u threads give other bits", shapes[i].name, threads);
            qn_session_destroy(s);
            qn_pool_destroy(pool);
        }
        destroy_model(f);
    }
}

static void test_truncation(void **state)
{
    static uint32_t ids[TOKENS], others[TOKENS];
    static float whole[LOGITS], again[LOGITS];
    (void)state;
    make_ids(ids, TOKENS);
    for (size_t i = 0; i < TOKENS; i++)
        others[i] = (ids[i] + 1) % VOCAB;
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct fixture *f = make_model(&shapes[i]);
        struct qn_session *s = make_session(&f->model, (struct qn_session_options){0});
        run(s, ids, TOKENS, TOKENS, whole);
        for (size_t keep = 0; keep < TOKENS; keep += test_briefly() ? 100 : 37) {
            qn_session_reset(s);
            run(s, ids, keep, TOKENS, again);
            run(s, others + keep, TOKENS - keep, 50, again);
            qn_session_truncate(s, keep);
            assert_int_equal(qn_session_position(s), keep);
            qn_session_truncate(s, keep + 1); /* is no way to get tokens back */
            assert_int_equal(qn_session_position(s), keep);
            run(s, ids + keep, TOKENS - keep, 50, again + keep * VOCAB);
            assert_true(largest_difference(whole + keep * VOCAB, again + keep * VOCAB,
                                           (TOKENS - keep) * VOCAB) <= TOLERANCE);
        }
        qn_session_destroy(s);
        destroy_model(f);
    }
}

/* 48 values a token: 85 tokens a page of 16 KiB. */
static void test_coded_values(void **state)
{
    enum { PAGE = 85 };
    static uint32_t ids[TOKENS];
    static float plain[LOGITS], whole[LOGITS], other[LOGITS];
    const struct qn_kv_options kv = {.bits = 6};
    struct fixture *f = make_model(&shapes[1]);
    struct qn_kv_counts c;
    (void)state;
    make_ids(ids, TOKENS);
    struct qn_session *s = make_session(&f->model, (struct qn_session_options){0});
    run(s, ids, TOKENS, TOKENS, plain);
    qn_session_kv_counts(s, &c);
    assert_true(c.tokens == 0 && c.encoded == 0);
    qn_session_destroy(s);

    s = make_session(&f->model, (struct qn_session_options){.kv = &kv});
    run(s, ids, TOKENS, TOKENS, whole);
    assert_true(same_bits(plain, whole, (size_t)PAGE * VOCAB));
    const float noise = largest_difference(plain, whole, LOGITS);
    assert_true(noise > 1e-4F && noise < 0.3F);
    qn_session_kv_counts(s, &c);
    assert_int_equal(c.tokens, TOKENS);
    assert_int_equal(c.packed_pages, LAYERS);

    qn_session_truncate(s, PAGE);
    run(s, ids + PAGE, TOKENS - PAGE, TOKENS, other + (size_t)PAGE * VOCAB);
    assert_true(largest_difference(whole + (size_t)PAGE * VOCAB, other + (size_t)PAGE * VOCAB,
                                   (size_t)(TOKENS - PAGE) * VOCAB) <= TOLERANCE);
    for (size_t batch = 1; batch < 60; batch += 19) {
        qn_session_reset(s);
        run(s, ids, TOKENS, batch, other);
        /* A value that rounds to another code for the sake of its last bit is seen, but hardly. */
        assert_true(largest_difference(whole, other, LOGITS) <= noise / 4);
    }
    qn_session_truncate(s, PAGE / 2); /* its own page's tokens were coded */
    run(s, ids + PAGE / 2, 1, 1, other);
    assert_true(largest_difference(plain + (size_t)(PAGE / 2) * VOCAB, other, VOCAB) > TOLERANCE);

    qn_session_destroy(s);
    destroy_model(f);
}

static void test_values_that_are_not_finite(void **state)
{
    static uint32_t ids[TOKENS];
    const struct qn_kv_options kv = {.bits = 8}, bad = {.bits = 5};
    struct fixture *f = make_model(&shapes[1]);
    struct qn_session *s = make_session(&f->model, (struct qn_session_options){.kv = &kv});
    struct qins_error err;
    (void)state;
    make_ids(ids, TOKENS);
    ((float *)(uintptr_t)f->layers[1].qkv.bias)[3 * DIM - 1] = INFINITY; /* head 0, V */
    assert_int_equal(qn_session_forward(s, ids, TOKENS, NULL, &err), QINS_ERR_FORMAT);
    assert_non_null(strstr(err.message, "V of head 0"));
    assert_int_equal(qn_session_position(s), 0);
    qn_session_destroy(s);
    assert_int_equal(qn_session_create(&s, &f->model,
                                       &(struct qn_session_options){.positions = 8, .kv = &bad},
                                       &err),
                     QINS_ERR_USAGE);
    destroy_model(f);
}

/* With the window in a single layer, a token further back than it has no influence. */
static void test_window(void **state)
{
    struct shape shape = shapes[0];
    static uint32_t ids[TOKENS];
    static float before[LOGITS], after[LOGITS];
    (void)state;
    make_ids(ids, TOKENS);
    struct fixture *f = make_model(&shape);
    f->model.config.n_layers = 1;
    f->model.config.sliding_from = 0;
    struct qn_session *s = make_session(&f->model, (struct qn_session_options){0});
    run(s, ids, TOKENS, TOKENS, before);
    ids[10] = (ids[10] + 1) % VOCAB;
    qn_session_reset(s);
    run(s, ids, TOKENS, TOKENS, after);
    for (size_t p = 0; p < TOKENS; p++) {
        float d = largest_difference(before + p * VOCAB, after + p * VOCAB, VOCAB);
        const bool sees = p >= 10 && p < 10 + shape.window;
        assert_true(sees ? d > 1e-5f : d <= 1e-6f);
    }
    qn_session_destroy(s);
    destroy_model(f);
}

/* What a listener saw. */
struct record {
    size_t points[256], rows[256], n, chosen_rows;
    uint64_t expert_tokens[EXPERTS];
    uint32_t first_choice[EXPERTS_PER_TOKEN];
    float last[DIM]; /* beginning of the last row */
};

static void record_rows(void *ctx, size_t point, const float *x, size_t rows, size_t stride)
{
    struct record *r = ctx;
    assert_true(r->n < 256 && stride >= DIM);
    memcpy(r->last, x + (rows - 1) * stride, DIM * sizeof *x);
    r->points[r->n] = point;
    r->rows[r->n++] = rows;
}

static void record_experts(void *ctx, uint32_t layer, const uint32_t *chosen, size_t rows)
{
    struct record *r = ctx;
    assert_true(layer < LAYERS);
    memcpy(r->first_choice, chosen, sizeof r->first_choice);
    for (size_t i = 0; i < rows * EXPERTS_PER_TOKEN; i++) {
        assert_true(chosen[i] < EXPERTS);
        r->expert_tokens[chosen[i]]++;
    }
    r->chosen_rows += rows;
}

static void test_listener(void **state)
{
    static uint32_t ids[TOKENS];
    static float alone[LOGITS], heard[LOGITS];
    (void)state;
    make_ids(ids, TOKENS);
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct fixture *f = make_model(&shapes[i]);
        struct record r = {.n = 0};
        struct qn_listener listener = {&r, record_rows, record_experts, UINT32_MAX};
        struct qn_tap_list taps;
        struct qins_error err;
        const size_t experts = shapes[i].experts;
        assert_int_equal(qn_taps_init(&taps, &f->model, &err), QINS_OK);
        struct qn_session *s = make_session(&f->model, (struct qn_session_options){0});
        run(s, ids, TOKENS, TOKENS, alone);
        qn_session_destroy(s);
        s = make_session(&f->model, (struct qn_session_options){.listener = &listener});
        run(s, ids, TOKENS, TOKENS, heard);
        assert_memory_equal(alone, heard, sizeof alone);
        assert_int_equal(r.points[r.n - 1], taps.n - 1);
        uint64_t expert_rows = 0, told = 0;
        for (size_t k = 0; k < r.n; k++) {
            const enum qn_tap_kind kind = taps.points[r.points[k]].kind;
            assert_true(k == 0 || r.points[k] > r.points[k - 1]);
            if (experts && (kind == QN_TAP_MLP || kind == QN_TAP_DOWN))
                expert_rows += kind == QN_TAP_MLP ? r.rows[k] : 0;
            else
                assert_int_equal(r.rows[k], TOKENS);
        }
        for (size_t e = 0; e < EXPERTS; e++)
            told += r.expert_tokens[e];
        assert_int_equal(expert_rows, experts ? LAYERS * TOKENS * EXPERTS_PER_TOKEN : 0);
        assert_int_equal(told, expert_rows);
        assert_int_equal(r.chosen_rows, experts ? LAYERS * TOKENS : 0);
        qn_session_destroy(s);

        r = (struct record){.n = 0};
        listener.last_layer = 0;
        s = make_session(&f->model, (struct qn_session_options){.listener = &listener});
        assert_int_equal(qn_session_forward(s, ids, TOKENS, NULL, &err), QINS_OK);
        assert_int_equal(taps.points[r.points[r.n - 1]].layer, 0);
        assert_int_equal(taps.points[r.points[r.n - 1]].kind, QN_TAP_DOWN);
        assert_int_equal(qn_session_last_batch(s), 0);
        assert_int_equal(qn_session_position(s), TOKENS);
        qn_session_destroy(s);
        qn_taps_finish(&taps);
        destroy_model(f);
    }
}

static void test_tied_experts(void **state)
{
    static uint32_t ids[TOKENS];
    static float logits[LOGITS];
    struct record r = {.n = 0};
    struct qn_listener listener = {&r, NULL, record_experts, UINT32_MAX};
    struct fixture *f = make_model(&shapes[3]);
    (void)state;
    make_ids(ids, TOKENS);
    for (size_t i = 0; i < LAYERS; i++)
        memset((void *)(uintptr_t)f->layers[i].router.data, 0, sizeof(float[EXPERTS][HIDDEN]));
    struct qn_session *s =
        make_session(&f->model, (struct qn_session_options){.listener = &listener});
    run(s, ids, TOKENS, TOKENS, logits);
    assert_int_equal(r.first_choice[0], 0);
    assert_int_equal(r.first_choice[1], 1);
    assert_int_equal(r.expert_tokens[0], LAYERS * TOKENS);
    assert_int_equal(r.expert_tokens[1], LAYERS * TOKENS);
    qn_session_destroy(s);
    destroy_model(f);
}

static void test_not_a_number(void **state)
{
    static uint32_t ids[TOKENS];
    static float logits[LOGITS];
    (void)state;
    make_ids(ids, TOKENS);
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct fixture *f = make_model(&shapes[i]);
        struct qn_session *s = make_session(&f->model, (struct qn_session_options){0});
        for (unsigned k = 0; k < f->n_weights; k++)
            f->weights[k][3] = k % 3 == 0 ? NAN : k % 3 == 1 ? INFINITY : 3e38f;
        run(s, ids, TOKENS, 60, logits);
        assert_true(isnan(logits[LOGITS - VOCAB]));
        qn_session_destroy(s);
        destroy_model(f);
    }
}

static void expect_refusal(const struct qn_model *m, struct qn_session_options o,
                           enum qins_status status, const char *words)
{
    struct qn_session *s;
    struct qins_error err;
    assert_int_equal(qn_session_create(&s, m, &o, &err), status);
    assert_null(s);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

static void test_refusals(void **state)
{
    struct fixture *f = make_model(&shapes[2]), *llama = make_model(&shapes[0]);
    struct qins_error err;
    uint32_t ids[TOKENS];
    (void)state;
    make_ids(ids, TOKENS);
    expect_refusal(&f->model, (struct qn_session_options){.positions = LEARNED + 1},
                   QINS_ERR_UNSUPPORTED, "learned");
    expect_refusal(&llama->model, (struct qn_session_options){.positions = SIZE_MAX},
                   QINS_ERR_MEMORY, "memory");
    expect_refusal(&llama->model, (struct qn_session_options){.positions = SIZE_MAX / 4096},
                   QINS_ERR_MEMORY, "memory");
    expect_refusal(&llama->model, (struct qn_session_options){0}, QINS_ERR_USAGE, "0 positions");
    expect_refusal(&llama->model, (struct qn_session_options){.positions = 4, .batch = 5},
                   QINS_ERR_USAGE, "batches of 5");

    struct qn_session *s = make_session(&f->model, (struct qn_session_options){.positions = 100});
    assert_int_equal(qn_session_forward(s, ids, 101, NULL, &err), QINS_ERR_USAGE);
    assert_int_equal(qn_session_forward(s, ids, 60, NULL, &err), QINS_OK);
    assert_int_equal(qn_session_forward(s, ids, 41, NULL, &err), QINS_ERR_USAGE);
    assert_non_null(strstr(err.message, "41 tokens"));
    ids[17] = VOCAB;
    assert_int_equal(qn_session_forward(s, ids, 20, NULL, &err), QINS_ERR_FORMAT);
    assert_non_null(strstr(err.message, "token 17 has the id 53"));
    assert_int_equal(qn_session_position(s), 60);
    qn_session_destroy(s);
    destroy_model(f);
    destroy_model(llama);
}

static void stop_after(void *ctx, size_t point, const float *x, size_t rows, size_t stride)
{
    (void)point;
    (void)x;
    (void)rows;
    (void)stride;
    atomic_store((atomic_bool *)ctx, true);
}

static void test_interruption(void **state)
{
    struct fixture *f = make_model(&shapes[0]);
    struct qins_error err;
    atomic_bool stop = false;
    const struct qn_monitor monitor = {.stop = &stop};
    const struct qn_listener listener = {&stop, stop_after, NULL, UINT32_MAX};
    uint32_t ids[TOKENS];
    (void)state;
    make_ids(ids, TOKENS);
    struct qn_session *s =
        make_session(&f->model, (struct qn_session_options){.batch = 40, .listener = &listener});
    assert_int_equal(qn_session_forward(s, ids, TOKENS, &monitor, &err), QINS_ERR_INTERRUPTED);
    assert_int_equal(qn_session_position(s), 40);
    qn_session_destroy(s);
    destroy_model(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_and_threads),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_coded_values),
        cmocka_unit_test(test_values_that_are_not_finite),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_listener),
        cmocka_unit_test(test_tied_experts),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_interruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
