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

/* A test as it is shown. */
struct cli_printed {
    const char *name, *title; /* its key; what it is called */
    cli_print_test *print;
};

/* A table of what the tests of RESULTS were judged by; nothing where *NONE was judged. */
enum qins_status cli_print_verdicts(const struct cli_printed *tests, size_t n,
                                    const json_t *results, bool *none, struct qins_error *err);
/* Whose bars a test's are, "" of a test that was not judged. */
const char *cli_bar_source(const json_t *test);

/* "98.50 +- 0.63": a share and its error in percent, or the share alone where ERROR is false; "-"
 * of what is not defined. A drift is a difference of shares and has a sign. */
void cli_share(struct cli_table *t, const json_t *j, const char *key, bool error);
void cli_drift(struct cli_table *t, const json_t *j);

/* A table of greedy continuations whose first column is headed WHAT, and its two rows for a group
 * of prompts: free-running and teacher-forced. */
void cli_stability_begin(struct cli_table *t, const char *what);
void cli_stability_rows(struct cli_table *t, const char *what, const json_t *group);

#endif
