/* The machine that a benchmark runs on. */
#ifndef QINS_BENCH_MACHINE_H
#define QINS_BENCH_MACHINE_H

#include "bench/measure.h"
#include "core/json.h"

/* Bytes of the last cache that the first processor shares; 0 where the system does not say. */
uint64_t qn_bench_last_cache(void);

/* As reports have it; NULL without memory. */
json_t *qn_bench_machine(const struct qn_harness *h);

#endif
