/* Calibrations of made-up models: passes, work in progress, sums, the file. What the figures must
 * be is tests/e2e/test_calibrate.py's to say. */
#include "tests/unit/testing.h"

#include "convert/calibrate.h"
#include "convert/gram.h"
#include "convert/windows.h"
#include "core/buf.h"
#include "core/file.h"
#include "core/linalg.h"
#include "model/synthetic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char llama[] =
    "{\"model_type\":\"llama\",\"hidden_size\":16,\"intermediate_size\":24,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"hidden_act\":\"silu\","
    "\"max_position_embeddings\":64,\"vocab_size\":61}";
static const char mixtral[] =
    "{\"model_type\":\"mixtral\",\"hidden_size\":16,\"intermediate_size\":24,"
    "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"num_local_experts\":4,\"num_experts_per_tok\":2,"
    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"hidden_act\":\"silu\","
    "\"max_position_embeddings\":64,\"vocab_size\":61}";

enum { TOKENS = 200, FIRST_TEXT = 80, CONTEXT = 24, WINDOWS = 4 + 5 };

/* Room for two to four points with their Gram matrices. */
enum { MEMORY = 25000 };

struct fixture {
    char dir[64];
    char *out, *part;
    struct qn_model *m;
    struct qn_corpus corpus;
    size_t begin[3];
    struct qn_calibrate_options o;
};

static int setup_model(void **state, const char *config_text)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct qn_model_config config;
    struct qins_error err;
    uint64_t random = 77;
    /* Memory, where there is such a folder: each copy of work in progress is synced. */
    snprintf(f->dir, sizeof f->dir, "%s/qins-calibration-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    f->out = qn_path_join(f->dir, "out.h5", NULL);
    f->part = qn_path_join(f->dir, "out.h5.part", NULL);
    if (qn_linalg_init(&err) != QINS_OK) {
        free(f->out);
        free(f->part);
        free(f);
        *state = NULL;
        return 0;
    }
    check_ok(qn_config_parse(config_text, strlen(config_text), &config, &e_));
    check_ok(qn_model_create_random(&f->m, &config, QINS_F32, 5, &e_));
    for (int i = 0; i < TOKENS; i++) {
        const uint32_t id = (uint32_t)(test_random(&random) % 61);
        check_ok(qn_ids_append(&f->corpus.ids, &id, 1, &e_));
    }
    f->begin[1] = FIRST_TEXT;
    f->begin[2] = TOKENS;
    f->corpus.begin = f->begin;
    f->corpus.n_parts = 2;
    f->o = (struct qn_calibrate_options){
        .sample = {.context = CONTEXT, .keep_rows = 60, .gram = true}, .threads = 2};
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_model(state, llama);
}

/* Not in brief runs; those with a NULL state skip. */
static int setup_experts(void **state)
{
    *state = NULL;
    return test_briefly() ? 0 : setup_model(state, mixtral);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (!f)
        return 0;
    char *command = qn_format(NULL, "rm -r %s", f->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a fixed command */
    free(command);
    qn_model_destroy(f->m);
    qn_ids_finish(&f->corpus.ids);
    free(f->out);
    free(f->part);
    free(f);
    return 0;
}

static void read_bytes(const char *path, struct qn_buf *out)
{
    *out = (struct qn_buf){0};
    check_ok(qn_read_whole(path, 1 << 30, out, &e_));
}

static void run(struct fixture *f, const struct qn_monitor *monitor, struct qn_buf *out)
{
    check_ok(qn_calibrate_corpus(f->m, &f->corpus, f->out, &f->o, monitor, NULL, &e_));
    read_bytes(f->out, out);
    assert_int_equal(unlink(f->out), 0);
    assert_false(qn_exists(f->part));
}

static void assert_same(struct qn_buf *a, const struct qn_buf *b)
{
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->data, b->data, b->size);
    qn_buf_finish(a);
}

static void test_passes_and_threads(void **state)
{
    struct fixture *f = *state;
    struct qn_buf want, got;
    if (!f) {
        skip();
        return;
    }
    run(f, NULL, &want);
    /* A point a pass, some, all. */
    static const uint64_t limits[] = {1, MEMORY, 1 << 20};
    for (unsigned i = test_briefly(); i < sizeof limits / sizeof *limits; i++) {
        f->o.threads = 3 - i;
        f->o.large_bytes = limits[i];
        run(f, NULL, &got);
        assert_same(&got, &want);
    }
    f->o.sample.gram = false;
    qn_buf_finish(&want);
    f->o.large_bytes = 0;
    run(f, NULL, &want);
    f->o.large_bytes = MEMORY;
    f->o.checkpoint_seconds = -1;
    run(f, NULL, &got);
    assert_same(&got, &want);
    qn_buf_finish(&want);
}

/* Asks to stop after some calls, or ends the process as a kill would. */
struct interruption {
    const char *what; /* is counted */
    int left;
    bool kill;
    atomic_bool stop;
};

static void count_down(void *ctx, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    struct interruption *i = ctx;
    (void)unit;
    assert_true(done <= total);
    if (strcmp(what, i->what) != 0 || --i->left > 0)
        return;
    if (i->kill)
        _exit(0);
    atomic_store(&i->stop, true);
}

/* One attempt of LEFT windows, or pieces of OUT; true when it got through. */
static bool attempt(struct fixture *f, const char *what, int left, bool by_kill)
{
    struct interruption i = {.what = what, .left = left, .kill = by_kill};
    const struct qn_monitor monitor = {.progress = count_down, .ctx = &i, .stop = &i.stop};
    struct qins_error err;
    if (!by_kill) {
        enum qins_status st =
            qn_calibrate_corpus(f->m, &f->corpus, f->out, &f->o, &monitor, NULL, &err);
        assert_true(st == QINS_OK || st == QINS_ERR_INTERRUPTED);
        if (st == QINS_OK)
            return true;
        assert_int_equal(qn_exists(f->part), strstr(err.message, "; go on") != NULL);
        assert_false(qn_exists(f->out));
        return false;
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        f->o.checkpoint_seconds = -1;
        _exit(qn_calibrate_corpus(f->m, &f->corpus, f->out, &f->o, &monitor, NULL, &err) == QINS_OK
                  ? 1
                  : 2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 1;
}

static void interrupt_all_the_time(struct fixture *f, uint64_t large, bool gram)
{
    struct qn_buf want, got;
    uint64_t random = 3 + large;
    const int least = test_briefly() ? 12 : 3;
    f->o.sample.gram = gram;
    f->o.large_bytes = large;
    f->o.resume = false;
    run(f, NULL, &want);
    f->o.resume = true;
    for (int by_kill = 0; by_kill < 2; by_kill++) {
        int attempts = 0;
        while (!attempt(f, "calibrate", least + (int)(test_random(&random) % 8), by_kill))
            assert_true(++attempts < 200);
        assert_true(attempts > 0);
        read_bytes(f->out, &got);
        assert_same(&got, &want);
        assert_false(qn_exists(f->part));
        assert_int_equal(unlink(f->out), 0);
    }
    assert_int_equal(rmdir(f->dir), 0); /* nothing is left of the work */
    assert_int_equal(mkdir(f->dir, 0700), 0);
    qn_buf_finish(&want);
}

static void test_interruptions(void **state)
{
    struct fixture *f = *state;
    if (!f) {
        skip();
        return;
    }
    f->o.threads = 1; /* children fork from a process without threads */
    interrupt_all_the_time(f, MEMORY, true);
    if (f->m->config.n_experts == 0 && !test_briefly())
        interrupt_all_the_time(f, MEMORY / 2, false);
}

/* OUT appears whole or not at all, and work in progress outlives the attempt. */
static void test_interrupted_writing(void **state)
{
    struct fixture *f = *state;
    struct qn_buf want, got;
    if (!f) {
        skip();
        return;
    }
    run(f, NULL, &want);
    f->o.threads = 1;
    f->o.resume = true;
    f->o.checkpoint_seconds = -1;
    for (int pieces = 1; pieces < 100; pieces *= test_briefly() ? 16 : 4) {
        assert_false(attempt(f, "write", pieces, false));
        assert_true(qn_exists(f->part));
        assert_false(attempt(f, "write", pieces, true));
        assert_true(qn_exists(f->part) && !qn_exists(f->out));
    }
    check_ok(qn_calibrate_corpus(f->m, &f->corpus, f->out, &f->o, NULL, NULL, &e_));
    read_bytes(f->out, &got);
    assert_same(&got, &want);
    qn_buf_finish(&want);
}

static void test_work_of_others_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct qn_buf before, after, whole, out;
    if (!f) {
        skip();
        return;
    }
    run(f, NULL, &whole);
    f->o.resume = true;
    while (attempt(f, "calibrate", 5, false))
        assert_int_equal(unlink(f->out), 0);
    read_bytes(f->part, &before);
    f->o.resume = false;
    f->o.large_bytes = MEMORY;
    f->o.checkpoint_seconds = -1;
    check_ok(qn_calibrate_corpus(f->m, &f->corpus, f->out, &f->o, NULL, NULL, &e_));
    read_bytes(f->out, &out);
    assert_same(&out, &whole);
    read_bytes(f->part, &after);
    assert_same(&after, &before);
    qn_buf_finish(&before);
    qn_buf_finish(&whole);
    assert_int_equal(unlink(f->part), 0);
    assert_int_equal(unlink(f->out), 0);
    assert_int_equal(rmdir(f->dir), 0);
    assert_int_equal(mkdir(f->dir, 0700), 0);
}

static void test_read_back(void **state)
{
    struct fixture *f = *state;
    struct qn_calibration_file file;
    float row[64];
    double gram[64];
    const struct qn_digest other = {{1}};
    struct qins_error err;
    if (!f) {
        skip();
        return;
    }
    check_ok(qn_calibrate_corpus(f->m, &f->corpus, f->out, &f->o, NULL, NULL, &e_));
    check_ok(qn_calibration_open(&file, f->out, QN_CALIBRATION_WHOLE, NULL, &e_));
    const struct qn_calibration *c = &file.c;
    assert_int_equal(c->tokens, TOKENS);
    assert_int_equal(c->windows, WINDOWS);
    assert_int_equal(c->n_kept, 60);
    for (size_t i = 0; i < c->n_points; i++) {
        const struct qn_calibration_point *p = &c->points[i];
        assert_ptr_equal(qn_calibration_find(c, p->name), p);
        check_ok(qn_calibration_read(&file, i, QN_LARGE_GRAM, 1, 1, gram, &e_));
        assert_true(fabs(gram[1] - qn_point_sum(p, QN_SUM_SQUARES)[1]) <= 1e-9 * gram[1]);
        for (uint32_t k = 0; k < p->n_kept; k++) {
            check_ok(qn_calibration_read(&file, i, QN_LARGE_ROWS, k, 1, row, &e_));
            for (uint32_t j = 0; j < p->channels; j++)
                assert_true(row[j] >= p->min[j] && row[j] <= p->max[j]);
        }
    }
    assert_string_equal(qn_calibration_find(c, "model.layers.1.self_attn.v_proj.weight")->name,
                        "model.layers.1.self_attn.q_proj.weight:input");
    assert_null(qn_calibration_find(c, "nonsense"));
    check_ok(qn_calibration_check_model(c, f->out, &f->m->fingerprint, "model", &e_));
    assert_int_equal(qn_calibration_check_model(c, f->out, &other, "other", &err),
                     QINS_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "other (01000000"));
    qn_calibration_close(&file);
}

/* Sums in another order and other portions differ by less than their last digit. */
static void test_sums(void **state)
{
    double sum = 0, low = 0, halves[2][2] = {{0}};
    uint64_t random = 9;
    (void)state;
    for (int i = 0; i < 100000; i++) {
        double x =
            ldexp((double)(int64_t)test_random(&random), (int)(test_random(&random) % 80) - 100);
        qn_sum_add(&sum, &low, x, 0.0);
        qn_sum_add(&halves[i % 2][0], &halves[i % 2][1], x, 0.0);
    }
    qn_sum_add(&halves[1][0], &halves[1][1], halves[0][0], halves[0][1]);
    assert_true(halves[1][0] == sum);
    assert_true(fabs(low) <= 0.5 * (nextafter(fabs(sum), INFINITY) - fabs(sum)));
}

static void check_gram(uint32_t n, size_t rows, struct qn_pool *pool)
{
    struct qn_gram g;
    struct qn_gram_scratch s;
    uint64_t random = n;
    float *x = calloc(rows * n, sizeof *x), *low = calloc(n, sizeof *low);
    double *row = calloc(n, sizeof *row);
    for (size_t i = 0; i < rows * n; i++)
        x[i] = (float)((double)(test_random(&random) >> 40) / (1 << 23) - 1.0);
    check_ok(qn_gram_init(&g, n, &e_));
    check_ok(qn_gram_scratch_init(&s, qn_pool_threads(pool), &e_));
    assert_true(qn_gram_add(&g, pool, &s, x, rows / 2, n));
    assert_true(qn_gram_add(&g, pool, &s, x + rows / 2 * n, rows - rows / 2, n));
    for (uint32_t i = 0; i < n; i += 1 + n / 7) {
        qn_gram_read(&g, QN_LARGE_GRAM, i, 1, row);
        qn_gram_read(&g, QN_LARGE_GRAM_LOW, i, 1, low);
        for (uint32_t j = 0; j < n; j++) {
            double want = 0;
            for (size_t r = 0; r < rows; r++)
                want += (double)x[r * n + i] * (double)x[r * n + j];
            assert_true(fabs(row[j] - want) <= 1e-13 * (double)rows);
        }
    }
    qn_gram_finish(&g);
    qn_gram_scratch_finish(&s);
    free(x);
    free(row);
    free(low);
}

static void test_gram_limit(void **state)
{
    struct qins_error err;
    (void)state;
    check_ok(qn_gram_check("p", 37700, &e_));
    assert_int_equal(qn_gram_check("the point", 40000, &err), QINS_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.tensor, "the point"));
    assert_non_null(strstr(err.message, "9661366272"));
}

static void test_gram(void **state)
{
    struct qn_pool *pool = NULL;
    struct qins_error err;
    (void)state;
    if (qn_linalg_init(&err) != QINS_OK) {
        skip();
        return;
    }
    check_ok(qn_pool_create(&pool, 2, &e_));
    const uint32_t sizes[] = {1, 7, 257, 255, 256, 512, 600};
    const size_t n = test_briefly() ? 3 : sizeof sizes / sizeof *sizes;
    for (size_t i = 0; i < n; i++) {
        check_gram(sizes[i], 40, NULL);
        check_gram(sizes[i], 40, pool);
    }
    qn_pool_destroy(pool);
}

static void test_windows(void **state)
{
    enum { N = 1000 };
    uint32_t ids[N];
    const size_t begin[] = {0, 0, 1, 500, N};
    const struct qn_window_source source = {.ids = ids, .begin = begin, .n_parts = 4};
    const struct qn_calibration_options o = {.context = 64, .keep_rows = 200, .seed = 3};
    struct qn_windows w;
    (void)state;
    for (uint32_t i = 0; i < N; i++)
        ids[i] = i * i % 997;
    check_ok(qn_windows_init(&w, &source, &o, &e_));
    assert_int_equal(w.n, 0 + 1 + 8 + 8);
    assert_int_equal(w.items[1].first, 1);
    assert_int_equal(w.items[8].n, 499 - 7 * 64);
    assert_int_equal(w.n_kept, 200);
    assert_int_equal(w.first[w.n], 200);
    for (size_t i = 0; i < w.n; i++)
        for (size_t k = w.first[i]; k < w.first[i + 1]; k++) {
            const struct qn_kept_row *row = &w.kept[w.order[k]];
            assert_int_equal(w.kept_window[w.order[k]], i);
            assert_true(row->position < w.items[i].n);
            assert_int_equal(row->token, ids[w.items[i].first + row->position]);
            assert_true(k == w.first[i] || row->position > w.kept[w.order[k - 1]].position);
        }
    for (uint32_t k = 1; k < w.n_kept; k++)
        assert_true(w.kept[k].priority >= w.kept[k - 1].priority);
    qn_windows_finish(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_gram),
        cmocka_unit_test(test_gram_limit),
        cmocka_unit_test(test_windows),
        cmocka_unit_test_setup_teardown(test_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_passes_and_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_passes_and_threads, setup_experts, teardown),
        cmocka_unit_test_setup_teardown(test_interruptions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interruptions, setup_experts, teardown),
        cmocka_unit_test_setup_teardown(test_interrupted_writing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_work_of_others_is_left_alone, setup, teardown),
    };
    test_only_under_tsan("test_passes_and_threads");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
