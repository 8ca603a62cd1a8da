/* How parts of a validation's report are shown; a test's printer is cli/print_<test>.c. */
#ifndef QINS_CLI_PRINT_VALIDATE_H
#define QINS_CLI_PRINT_VALIDATE_H

#include "cli/cli.h"

/* Keys of the two models. */
enum { CLI_VALIDATED = 2 };
extern const char *const cli_validated[CLI_VALIDATED];

/* REPORT is the whole, TEST the test's part of it, which was not skipped. */
typedef enum qins_status cli_print_test(const json_t *report, const json_t *test,
                                        struct qins_error *err);
cli_print_test print_consistency, print_sampling, print_perplexity, print_autoregressive,
    print_long_context;

/* A line for each of a test's thresholds, "NAME: 0.03 <= 0.1: yes", and whether it passed. */
void cli_print_thresholds(const json_t *test);
/* Figures of greedy continuations, free-running and teacher-forced. */
void cli_print_stability(const json_t *group);

#endif
