/* The part of qn_bench_coders() that looks at symbol streams. */
#ifndef QINS_BENCH_STREAMS_BENCH_H
#define QINS_BENCH_STREAMS_BENCH_H

#include "bench/bench.h"

enum qins_status qn_bench_streams(const struct qn_bench_options *options, json_t **report,
                                  struct qins_error *err);

/* Draws DIR/plots/bench-coders.svg and .png from such a report. */
enum qins_status qn_bench_plot_streams(const json_t *report, const char *dir,
                                       const struct qn_monitor *monitor, struct qins_error *err);

#endif
