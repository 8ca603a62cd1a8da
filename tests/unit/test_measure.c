/* The harness of the benchmarks: turns, the process that keeps a core busy, figures. */
#include "tests/unit/testing.h"

#include "bench/measure.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RUNS = 64 };

/* What the candidates saw, in order. */
struct record {
    struct qn_harness harness;
    char letters[MAX_RUNS + 1];
    char hog_states[MAX_RUNS + 1];
    int cpus[MAX_RUNS];
    size_t n, fail_at;
};

struct subject {
    struct record *r;
    char letter;
    unsigned ms;
};

/* The letter that /proc shows for a process, 'R' for running and 'T' for stopped. */
static char process_state(pid_t pid)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = '?';
    fclose(f);
    return state;
}

static enum qins_status note(void *ctx, struct qins_error *err)
{
    struct subject *s = ctx;
    struct record *r = s->r;
    struct timespec t = {.tv_nsec = s->ms * 1000000L};
    cpu_set_t set;
    if (r->n == r->fail_at)
        return qn_fail(err, QINS_ERR_MEMORY, "as asked");
    assert_true(r->n < MAX_RUNS);
    r->letters[r->n] = s->letter;
    r->hog_states[r->n] = process_state(r->harness.hog);
    r->cpus[r->n] = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
    r->n++;
    nanosleep(&t, NULL);
    return QINS_OK;
}

static struct qn_bench_candidate candidate(struct subject *s, unsigned threads, bool busy)
{
    return (struct qn_bench_candidate){
        .name = "x", .threads = threads, .busy = busy, .tokens = 10, .run = note, .ctx = s};
}

static void assert_gone(pid_t pid)
{
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

static void test_turns(void **state)
{
    struct record r = {.fail_at = MAX_RUNS};
    struct subject a = {&r, 'a', 2}, b = {&r, 'b', 8};
    struct qn_bench_candidate list[] = {candidate(&a, 1, false), candidate(&b, 2, true)};
    cpu_set_t before, after;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(qn_harness_init(&r.harness, 2, NULL), QINS_OK);
    pid_t hog = r.harness.hog;
    assert_int_equal(process_state(hog), 'T');
    assert_int_equal(qn_measure(&r.harness, list, 2, 0.0, NULL, NULL), QINS_OK);
    assert_string_equal(r.letters, "abababababab");
    for (size_t i = 0; i < r.n; i++) {
        assert_int_equal(r.hog_states[i], i % 2 ? 'R' : 'T');
        assert_int_equal(r.cpus[i], r.harness.n_cpus);
    }
    qn_harness_finish(&r.harness);
    assert_gone(hog);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
    struct qn_spread speed = qn_speed(&list[0], QN_CLOCK_WALL),
                     ratio = qn_speed_ratio(&list[0], &list[1], QN_CLOCK_WALL);
    assert_true(speed.low <= speed.median && speed.median <= speed.high);
    assert_true(speed.high <= 10 / 0.002);
    assert_true(ratio.low <= ratio.median && ratio.median <= ratio.high && ratio.low > 0);
}

static void test_repeats(void **state)
{
    struct record r = {.fail_at = MAX_RUNS};
    struct subject a = {&r, 'a', 10};
    struct qn_bench_candidate list[] = {candidate(&a, 1, false)};
    (void)state;
    assert_int_equal(qn_harness_init(&r.harness, 1, NULL), QINS_OK);
    assert_int_equal(qn_measure(&r.harness, list, 1, 0.025, NULL, NULL), QINS_OK);
    qn_harness_finish(&r.harness);
    assert_in_range(list[0].repeats, 1, 3);
    assert_int_equal(r.n, 1 + list[0].repeats * QN_BENCH_ROUNDS);
    for (int i = 0; i < QN_BENCH_ROUNDS; i++)
        assert_true(list[0].seconds[i] >= 0.01);
}

/* As many rounds as are asked for, after one to warm up. */
static void test_rounds(void **state)
{
    struct record r = {.fail_at = MAX_RUNS};
    struct subject a = {&r, 'a', 1};
    struct qn_bench_candidate list[] = {candidate(&a, 1, false)};
    (void)state;
    assert_int_equal(qn_harness_init(&r.harness, 1, NULL), QINS_OK);
    r.harness.rounds = 7;
    assert_int_equal(qn_measure(&r.harness, list, 1, 0.0, NULL, NULL), QINS_OK);
    assert_int_equal(r.n, 1 + 7);
    assert_int_equal(list[0].rounds, 7);
    for (int i = 0; i < 7; i++)
        assert_true(list[0].seconds[i] > 0);
    qn_harness_finish(&r.harness);
}

static void test_failure_and_stop(void **state)
{
    struct record r = {.fail_at = 3};
    struct subject a = {&r, 'a', 0};
    struct qn_bench_candidate list[] = {candidate(&a, 2, true)};
    atomic_bool stop = true;
    struct qn_monitor monitor = {.stop = &stop};
    (void)state;
    assert_int_equal(qn_harness_init(&r.harness, 2, NULL), QINS_OK);
    pid_t hog = r.harness.hog;
    assert_int_equal(qn_measure(&r.harness, list, 1, 0.0, NULL, NULL), QINS_ERR_MEMORY);
    assert_false(r.harness.hog_runs);
    assert_int_equal(qn_measure(&r.harness, list, 1, 0.0, &monitor, NULL), QINS_ERR_INTERRUPTED);
    qn_harness_finish(&r.harness);
    qn_harness_finish(&r.harness);
    assert_gone(hog);
}

/* The child of a process that is killed ends, running or not. */
static void test_orphan(void **state)
{
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        int pipes[2];
        pid_t hog = 0;
        assert_int_equal(pipe(pipes), 0);
        pid_t parent = fork();
        if (parent == 0) {
            struct qn_harness h;
            if (qn_harness_init(&h, 1, NULL) != QINS_OK)
                _exit(1);
            if (busy)
                kill(h.hog, SIGCONT);
            if (write(pipes[1], &h.hog, sizeof h.hog) != sizeof h.hog)
                _exit(1);
            raise(SIGKILL);
        }
        assert_true(parent > 0);
        assert_int_equal(read(pipes[0], &hog, sizeof hog), sizeof hog);
        assert_int_equal(waitpid(parent, NULL, 0), parent);
        for (int i = 0; i < 500; i++) {
            char now = process_state(hog);
            if (now == 0 || now == 'Z' || now == 'X')
                break;
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
        char last = process_state(hog);
        assert_true(last == 0 || last == 'Z' || last == 'X');
        close(pipes[0]);
        close(pipes[1]);
    }
}

static void test_figures(void **state)
{
    struct qn_bench_candidate a = {
        .tokens = 6, .rounds = 5, .seconds = {1, 2, 3, 6, 12}, .cpu_seconds = {1, 2, 3, 6, 12}};
    struct qn_bench_candidate b = {.tokens = 12, .rounds = 5, .cpu_seconds = {2, 2, 2, 2, 2}};
    (void)state;
    struct qn_spread speed = qn_speed(&a, QN_CLOCK_WALL),
                     ratio = qn_speed_ratio(&b, &a, QN_CLOCK_CPU);
    assert_true(fabs(speed.low - 0.5) + fabs(speed.median - 2) + fabs(speed.high - 6) < 1e-12);
    assert_true(fabs(ratio.low - 1) + fabs(ratio.median - 3) + fabs(ratio.high - 12) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),  cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_rounds), cmocka_unit_test(test_failure_and_stop),
        cmocka_unit_test(test_orphan), cmocka_unit_test(test_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
