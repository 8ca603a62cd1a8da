/* Times candidates against each other on a machine that may have other work to do: they take
 * turns in every round, figures are medians over the rounds, and ratios are taken within a
 * round, so that what slows the machine for a while slows both sides. */
#ifndef QINS_BENCH_MEASURE_H
#define QINS_BENCH_MEASURE_H

#include "core/thread.h"

#include <sched.h>
#include <sys/types.h>

enum { QN_BENCH_ROUNDS = 5, QN_BENCH_MAX_ROUNDS = 99, QN_BENCH_MAX_THREADS = 64 };

/* Holds the process on as many processors as it has threads, and owns a child process that can
 * keep the last of them busy. */
struct qn_harness {
    cpu_set_t before; /* where the calling thread might run */
    unsigned n_cpus;  /* 0 where the system would not say */
    int last_cpu;
    unsigned rounds; /* of qn_measure(), up to QN_BENCH_MAX_ROUNDS; 0: QN_BENCH_ROUNDS */
    pid_t hog;       /* 0: none */
    bool hog_runs;
};

/* Begin before large allocations and before threads: the child is forked here (stopped, without
 * use of the processor), and threads inherit the processors. Whatever happens, call
 * qn_harness_finish(). The child dies with the calling thread, whatever way that ends. */
enum qins_status qn_harness_init(struct qn_harness *h, unsigned threads, struct qins_error *err);
void qn_harness_finish(struct qn_harness *h); /* a zeroed one is accepted */

struct qn_bench_candidate {
    const char *name;
    unsigned threads;
    bool busy;       /* run with one processor kept busy by the child */
    uint64_t tokens; /* that one run computes */
    enum qins_status (*run)(void *ctx, struct qins_error *err);
    void *ctx;
    unsigned repeats;                    /* runs timed together */
    unsigned rounds;                     /* that qn_measure() made */
    double seconds[QN_BENCH_MAX_ROUNDS]; /* of one run */
    double cpu_seconds[QN_BENCH_MAX_ROUNDS];
};

/* Runs every candidate once to warm up, then all rounds, of which the first run is one where it is
 * slow. Short runs are repeated to last MIN_SECONDS together. */
enum qins_status qn_measure(struct qn_harness *h, struct qn_bench_candidate *candidates, size_t n,
                            double min_seconds, const struct qn_monitor *monitor,
                            struct qins_error *err);

/* Processor time counts that of all threads; other processes hardly show in it, waiting not at
 * all. */
enum qn_bench_clock { QN_CLOCK_WALL, QN_CLOCK_CPU };

struct qn_spread {
    double median, low, high;
};

/* Of tokens per second. */
struct qn_spread qn_speed(const struct qn_bench_candidate *c, enum qn_bench_clock clock);
/* Of A's speed over B's, round by round. */
struct qn_spread qn_speed_ratio(const struct qn_bench_candidate *a,
                                const struct qn_bench_candidate *b, enum qn_bench_clock clock);

#endif
