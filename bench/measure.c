#include "bench/measure.h"

#include "core/clock.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REPEATS = 100000 };

/* A first round that takes this long is not for warming up alone: it counts. */
static const double slow_round = 10.0;

/* How long the scheduler gets to see that a processor is busy: 20 ms. */
static const struct timespec hog_settles = {.tv_nsec = 20000000};

/* The first processors that this thread may use, and all of them as before. */
static void hold_processors(struct qn_harness *h, unsigned threads)
{
    cpu_set_t held;
    if (sched_getaffinity(0, sizeof h->before, &h->before) != 0)
        return;
    CPU_ZERO(&held);
    for (int cpu = 0; cpu < CPU_SETSIZE && h->n_cpus < threads; cpu++)
        if (CPU_ISSET(cpu, &h->before)) {
            CPU_SET(cpu, &held);
            h->last_cpu = cpu;
            h->n_cpus++;
        }
    if (sched_setaffinity(0, sizeof held, &held) != 0)
        h->n_cpus = 0;
}

/* The child: stops itself, and uses its processor whenever it is continued. */
static _Noreturn void be_hog(const struct qn_harness *h, pid_t parent)
{
    volatile uint64_t spins = 0;
    cpu_set_t last;
    setpgid(0, 0); /* what a terminal sends is for the parent */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    if (h->n_cpus > 0) {
        CPU_ZERO(&last);
        CPU_SET(h->last_cpu, &last);
        (void)sched_setaffinity(0, sizeof last, &last);
    }
    raise(SIGSTOP);
    for (;;)
        spins = spins + 1;
}

enum qins_status qn_harness_init(struct qn_harness *h, unsigned threads, struct qins_error *err)
{
    pid_t parent = getpid();
    *h = (struct qn_harness){0};
    hold_processors(h, threads < QN_BENCH_MAX_THREADS ? threads : QN_BENCH_MAX_THREADS);
    pid_t child = fork();
    if (child < 0)
        return qn_fail_errno(err, NULL, "cannot start a process");
    if (child == 0)
        be_hog(h, parent);
    h->hog = child;
    while (waitpid(child, NULL, WUNTRACED) < 0 && errno == EINTR)
        ;
    return QINS_OK;
}

void qn_harness_finish(struct qn_harness *h)
{
    if (h->hog > 0) {
        kill(h->hog, SIGKILL);
        while (waitpid(h->hog, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (h->n_cpus > 0)
        (void)sched_setaffinity(0, sizeof h->before, &h->before);
    *h = (struct qn_harness){0};
}

static void set_busy(struct qn_harness *h, bool busy)
{
    if (h->hog <= 0 || h->hog_runs == busy)
        return;
    kill(h->hog, busy ? SIGCONT : SIGSTOP);
    /* A process stops when it is scheduled next, which a busy machine may put off. */
    while (waitpid(h->hog, NULL, busy ? WCONTINUED : WUNTRACED) < 0 && errno == EINTR)
        ;
    h->hog_runs = busy;
    nanosleep(&hog_settles, NULL);
}

static enum qins_status take_turn(struct qn_harness *h, struct qn_bench_candidate *c,
                                  unsigned round, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    set_busy(h, c->busy);
    double begin = qn_seconds(), cpu_begin = qn_cpu_seconds();
    for (unsigned i = 0; i < c->repeats && st == QINS_OK; i++)
        st = c->run(c->ctx, err);
    c->seconds[round] = (qn_seconds() - begin) / c->repeats;
    c->cpu_seconds[round] = (qn_cpu_seconds() - cpu_begin) / c->repeats;
    return st;
}

static enum qins_status run_round(struct qn_harness *h, struct qn_bench_candidate *candidates,
                                  size_t n, unsigned round, const struct qn_monitor *monitor,
                                  struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        qn_progress_of(monitor, "measuring", "runs", (uint64_t)round * n + i,
                       candidates[i].rounds * (uint64_t)n);
        st = qn_check_stop(monitor, err);
        if (st == QINS_OK)
            st = take_turn(h, &candidates[i], round, err);
    }
    return st;
}

enum qins_status qn_measure(struct qn_harness *h, struct qn_bench_candidate *candidates, size_t n,
                            double min_seconds, const struct qn_monitor *monitor,
                            struct qins_error *err)
{
    const unsigned rounds = h->rounds ? h->rounds : QN_BENCH_ROUNDS;
    double begin = qn_seconds();
    for (size_t i = 0; i < n; i++) {
        candidates[i].repeats = 1;
        candidates[i].rounds = rounds;
    }
    enum qins_status st = run_round(h, candidates, n, 0, monitor, err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        double seconds = fmax(candidates[i].seconds[0], 1e-9);
        if (seconds < min_seconds)
            candidates[i].repeats = (unsigned)fmin(ceil(min_seconds / seconds), MAX_REPEATS);
    }
    bool counts = qn_seconds() - begin > slow_round;
    for (unsigned round = counts ? 1 : 0; round < rounds && st == QINS_OK; round++)
        st = run_round(h, candidates, n, round, monitor, err);
    set_busy(h, false);
    return st;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct qn_spread spread(double *values, unsigned n)
{
    qsort(values, n, sizeof *values, compare);
    return (struct qn_spread){
        .median = (values[(n - 1) / 2] + values[n / 2]) / 2,
        .low = values[0],
        .high = values[n - 1],
    };
}

static const double *seconds_of(const struct qn_bench_candidate *c, enum qn_bench_clock clock)
{
    return clock == QN_CLOCK_WALL ? c->seconds : c->cpu_seconds;
}

struct qn_spread qn_speed(const struct qn_bench_candidate *c, enum qn_bench_clock clock)
{
    double values[QN_BENCH_MAX_ROUNDS];
    for (unsigned i = 0; i < c->rounds; i++)
        values[i] = (double)c->tokens / seconds_of(c, clock)[i];
    return spread(values, c->rounds);
}

struct qn_spread qn_speed_ratio(const struct qn_bench_candidate *a,
                                const struct qn_bench_candidate *b, enum qn_bench_clock clock)
{
    double values[QN_BENCH_MAX_ROUNDS];
    for (unsigned i = 0; i < a->rounds; i++)
        values[i] = (double)a->tokens / seconds_of(a, clock)[i] /
                    ((double)b->tokens / seconds_of(b, clock)[i]);
    return spread(values, a->rounds);
}
