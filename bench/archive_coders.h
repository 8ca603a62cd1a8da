/* The part of qn_bench_coders() that looks at an archive. */
#ifndef QINS_BENCH_ARCHIVE_CODERS_H
#define QINS_BENCH_ARCHIVE_CODERS_H

#include "bench/bench.h"

enum qins_status qn_bench_archive_coders(const struct qn_bench_options *options, json_t **report,
                                         struct qins_error *err);

#endif
