/* What the benchmarks of `qins bench` show. */
#ifndef QINS_CLI_PRINT_BENCH_H
#define QINS_CLI_PRINT_BENCH_H

#include "cli/cli.h"

/* A row's goal and whether it is met, or "-". */
void cli_bench_goal_cell(struct cli_table *t, const json_t *row);
/* Whether it is met. */
void cli_bench_met_cell(struct cli_table *t, const json_t *row);

/* Of a model: measurements and comparisons. */
enum qins_status cli_print_bench_model(const json_t *report, struct qins_error *err);
/* The same, and what each form of the weights holds. */
enum qins_status cli_print_bench_forms(const json_t *report, struct qins_error *err);
enum qins_status cli_print_bench_memory(const json_t *report, struct qins_error *err);
/* Of coders: on streams of symbols or of weights, of costs, or on an archive. */
enum qins_status cli_print_bench_coders(const json_t *report, struct qins_error *err);
/* Of convert: what each step reaches. */
enum qins_status cli_print_bench_convert(const json_t *report, struct qins_error *err);

/* Of products with packed weights. */
enum qins_status cli_print_bench_gemv(const json_t *report, struct qins_error *err);

#endif
