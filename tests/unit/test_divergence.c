/* KL of logits, its figures, and sensitivities of made-up models: their order, interruption and
 * memory. What the figures must be is tests/e2e/test_validate.py's and test_sensitivity.py's to
 * say. */
#include "tests/unit/testing.h"

#include "analyze/divergence.h"
#include "analyze/estimate.h"
#include "analyze/scoring.h"
#include "convert/sensitivity.h"
#include "core/linalg.h"
#include "model/synthetic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDE = 1000 };

static void fill(float *x, size_t n, uint64_t *random, float spread)
{
    for (size_t i = 0; i < n; i++)
        x[i] = spread * ((float)(test_random(random) % 20001) - 10000.0F) / 10000.0F;
}

static void test_equal_logits(void **state)
{
    float x[WIDE];
    uint64_t random = 5;
    (void)state;
    for (int i = 0; i < 50; i++) {
        fill(x, WIDE, &random, 30.0F);
        assert_true(qn_kl_of_logits(x, qn_log_sum_exp(x, WIDE), x, WIDE) == 0.0);
    }
}

static void test_two_tokens(void **state)
{
    /* p = 1/4 and 3/4, q = 1/2 each */
    const float p[2] = {0.0F, logf(3.0F)}, q[2] = {7.0F, 7.0F};
    (void)state;
    const double want = 0.25 * log(0.5) + 0.75 * log(1.5);
    assert_true(fabs(qn_kl_of_logits(p, qn_log_sum_exp(p, 2), q, 2) - want) < 1e-7);
}

static void test_far_apart(void **state)
{
    /* Neither overflows nor loses what the candidate has and the model has not. */
    const float p[3] = {0.0F, 5000.0F, -5000.0F}, q[3] = {3000.0F, 0.0F, 4000.0F};
    (void)state;
    assert_true(qn_kl_of_logits(p, qn_log_sum_exp(p, 3), q, 3) == 4000.0);
    const float bad[3] = {NAN, 0.0F, 0.0F};
    assert_true(isnan(qn_kl_of_logits(p, qn_log_sum_exp(p, 3), bad, 3)));
}

static void test_spread(void **state)
{
    (void)state;
    for (uint64_t all = 1; all < 60; all++)
        for (uint64_t n = 1; n <= all; n++)
            for (uint64_t i = 0; i < n; i++)
                assert_int_equal(qn_spread_evenly(i, n, all), (2 * i + 1) * all / (2 * n));
    assert_int_equal(qn_spread_evenly(9, 10, UINT64_C(1) << 40), (UINT64_C(19) << 40) / 20);
}

static const char config_text[] =
    "{\"model_type\":\"llama\",\"hidden_size\":16,\"intermediate_size\":24,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"hidden_act\":\"silu\","
    "\"max_position_embeddings\":64,\"vocab_size\":61,\"tie_word_embeddings\":true}";

enum { TOKENS = 200, CONTEXT = 24, MATRICES = 1 + 2 * 7 };

struct fixture {
    struct qn_model *m;
    struct qn_corpus corpus;
    size_t begin[3];
};

static int setup(void **state)
{
    struct qn_model_config config;
    struct qins_error err;
    uint64_t random = 77;
    *state = NULL;
    if (qn_linalg_init(&err) != QINS_OK)
        return 0;
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    check_ok(qn_config_parse(config_text, strlen(config_text), &config, &e_));
    check_ok(qn_model_create_random(&f->m, &config, QINS_BF16, 5, &e_));
    for (int i = 0; i < TOKENS; i++) {
        const uint32_t id = (uint32_t)(test_random(&random) % 61);
        check_ok(qn_ids_append(&f->corpus.ids, &id, 1, &e_));
    }
    f->begin[1] = 80;
    f->begin[2] = TOKENS;
    f->corpus.begin = f->begin;
    f->corpus.n_parts = 2;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f) {
        qn_model_destroy(f->m);
        qn_ids_finish(&f->corpus.ids);
        free(f);
    }
    return 0;
}

static void assert_same(const struct qn_calibration *a, const struct qn_calibration *b)
{
    assert_int_equal(a->n_sensitivities, MATRICES);
    assert_int_equal(b->n_sensitivities, MATRICES);
    assert_int_equal(a->sensitivity_tokens, b->sensitivity_tokens);
    for (size_t i = 0; i < MATRICES; i++) {
        const struct qn_sensitivity *x = &a->sensitivities[i], *y = &b->sensitivities[i];
        assert_string_equal(x->tensor, y->tensor);
        assert_true(x->error == y->error && x->kl == y->kl && x->kl > 0.0);
        assert_true(x->standard_error == y->standard_error && x->levels == y->levels);
    }
    assert_int_equal(a->n_head_rows, 61);
    assert_memory_equal(a->head_variance, b->head_variance, 61 * sizeof *a->head_variance);
}

static enum qins_status stop_after(void *ctx, struct qins_error *err)
{
    int *left = ctx;
    return --*left > 0 ? QINS_OK : qn_fail(err, QINS_ERR_INTERRUPTED, "enough");
}

static void test_interrupted(void **state)
{
    struct fixture *f = *state;
    if (!f) {
        skip();
        return;
    }
    struct qn_calibration whole = {0}, part = {0};
    struct qn_sensitivity_options o = {.threads = 2, .measured = stop_after};
    check_ok(qn_measure_sensitivity(f->m, &f->corpus, CONTEXT,
                                    &(struct qn_sensitivity_options){.threads = 1}, NULL, &whole,
                                    &e_));
    assert_int_equal(whole.sensitivity_tokens, (80 / CONTEXT + 120 / CONTEXT) * CONTEXT);
    for (size_t done = 0; done < MATRICES; done = part.n_sensitivities) {
        int left = 4;
        struct qins_error err;
        o.ctx = &left;
        enum qins_status st =
            qn_measure_sensitivity(f->m, &f->corpus, CONTEXT, &o, NULL, &part, &err);
        assert_true(st == QINS_OK || st == QINS_ERR_INTERRUPTED);
        assert_true(part.n_sensitivities > done);
    }
    assert_same(&whole, &part);
    /* Others' are not gone on with. */
    part.sensitivities[1].tensor[0]++;
    struct qins_error err;
    assert_int_equal(qn_measure_sensitivity(f->m, &f->corpus, CONTEXT, &o, NULL, &part, &err),
                     QINS_ERR_FORMAT);
    qn_calibration_finish(&whole);
    qn_calibration_finish(&part);
}

/* Whether logits are kept or made again, and whatever is asked for. */
static void test_little_memory(void **state)
{
    struct fixture *f = *state;
    if (!f) {
        skip();
        return;
    }
    struct qn_calibration kept = {0}, again = {0}, one = {0};
    struct qn_sensitivity_options o = {.threads = 2};
    check_ok(qn_measure_sensitivity(f->m, &f->corpus, CONTEXT, &o, NULL, &kept, &e_));
    o.logit_bytes = 1;
    check_ok(qn_measure_sensitivity(f->m, &f->corpus, CONTEXT, &o, NULL, &again, &e_));
    assert_same(&kept, &again);
    /* One short window, where no text has a whole one; and the fewest of whole ones. */
    o.max_tokens = 1;
    check_ok(qn_measure_sensitivity(f->m, &f->corpus, 500, &o, NULL, &one, &e_));
    assert_int_equal(one.sensitivity_tokens, 120);
    qn_calibration_finish(&one);
    check_ok(qn_measure_sensitivity(f->m, &f->corpus, CONTEXT, &o, NULL, &one, &e_));
    assert_int_equal(one.sensitivity_tokens, CONTEXT);
    qn_calibration_finish(&kept);
    qn_calibration_finish(&again);
    qn_calibration_finish(&one);
}

struct scored {
    double kl[TOKENS];
    uint64_t windows, vocab;
    size_t each;
};

/* NLL of both and the divergence, of each position. */
static void score(void *ctx, unsigned slot, uint64_t at, const float *const logits[QN_PREDICTORS],
                  uint32_t next, void *record)
{
    const struct scored *all = ctx;
    double *out = record;
    (void)slot;
    (void)at;
    for (int i = 0; i < QN_PREDICTORS; i++)
        out[i] = qn_log_sum_exp(logits[i], all->vocab) - (double)logits[i][next];
    out[2] =
        qn_kl_of_logits(logits[0], qn_log_sum_exp(logits[0], all->vocab), logits[1], all->vocab);
}

static enum qins_status keep(void *ctx, uint64_t window, const void *records,
                             struct qins_error *err)
{
    struct scored *all = ctx;
    const double *in = records;
    (void)err;
    for (size_t i = 0; i < all->each; i++)
        all->kl[window * all->each + i] = in[3 * i + 2];
    all->windows++;
    return QINS_OK;
}

static void compare(const struct fixture *f, const struct qn_model *candidate, unsigned threads,
                    uint64_t done, struct scored *out)
{
    struct qn_text_windows windows;
    check_ok(qn_text_windows_init(&windows, &f->corpus.ids, CONTEXT, QN_PPL_QINS, -1, &e_));
    memset(out, 0, sizeof *out);
    out->vocab = f->m->config.vocab;
    out->each = qn_text_windows_scored(&windows);
    struct qn_scoring s = {.windows = &windows,
                           .run = {.models = {f->m, candidate},
                                   .skip = done,
                                   .windows = windows.count,
                                   .threads = threads},
                           .score = score,
                           .record = 3 * sizeof(double),
                           .done = keep,
                           .ctx = out};
    check_ok(qn_score_windows(&s, &e_));
}

static void test_windows(void **state)
{
    struct fixture *f = *state;
    if (!f) {
        skip();
        return;
    }
    struct qn_model_config config = f->m->config;
    struct qn_model *other = NULL;
    static struct scored same, apart, again;
    const size_t tokens = (size_t)((TOKENS - 1) / CONTEXT) * CONTEXT;
    check_ok(qn_model_create_random(&other, &config, QINS_F32, 6, &e_));
    compare(f, f->m, 1, 0, &same);
    assert_int_equal(same.windows * same.each, tokens);
    compare(f, other, 1, 0, &apart);
    for (size_t i = 0; i < tokens; i++)
        assert_true(same.kl[i] == 0.0 && apart.kl[i] > 0.0);
    compare(f, other, 3, 0, &again);
    assert_memory_equal(&apart, &again, sizeof apart);
    compare(f, other, 3, 1, &again);
    assert_int_equal(again.windows, apart.windows - 1);
    assert_memory_equal(again.kl + again.each, apart.kl + apart.each,
                        (tokens - apart.each) * sizeof *apart.kl);
    qn_model_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_logits),
        cmocka_unit_test(test_two_tokens),
        cmocka_unit_test(test_far_apart),

        cmocka_unit_test(test_spread),
        cmocka_unit_test_setup_teardown(test_interrupted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_little_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_windows, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
