/* How parts of a validation's report are shown; a test's printer is cli/print_<test>.c. Lines are
 * made for 100 columns, but for paths. */
#ifndef QINS_CLI_PRINT_VALIDATE_H
#define QINS_CLI_PRINT_VALIDATE_H

#include "cli/cli.h"

/* Keys of the two models. */
enum { CLI_MODEL, CLI_CANDIDATE, CLI_VALIDATED };
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

/* A table of all tests of REPORT and what they were judged by. */
enum qins_status cli_print_verdicts(const struct cli_printed *tests, size_t n, const json_t *report,
                                    struct qins_error *err);
/* What gates (analyze/gates.json) judge otherwise than REPORT's tests do, and what comes of it. */
void cli_print_gates(const json_t *report);
/* Whose bars a test's are, "" of a test that was not judged. */
const char *cli_bar_source(const json_t *test);

/* How a number and its error are written. */
struct cli_style {
    const char *value, *error; /* printf's, for a double each */
    double scale;              /* both are multiplied by it */
    const char *none;          /* in place of null */
};
extern const struct cli_style cli_percent, cli_points, cli_nats, cli_cosine, cli_error;
enum { CLI_FIGURE = 64 };

/* "98.50 +- 0.63": the number under KEY and its error under ERROR_KEY, which may be NULL; the error
 * is left out where it is null. Returns TEXT. */
char *cli_figure(char text[CLI_FIGURE], const struct cli_style *style, const json_t *j,
                 const char *key, const char *error_key);
void cli_figure_cell(struct cli_table *t, const struct cli_style *style, const json_t *j,
                     const char *key, const char *error_key);

/* A table whose first column is headed WHAT, and a row of it: a distribution over positions, its
 * mean with its error as STYLE has it, quantiles and the largest as TAIL. */
void cli_distribution_begin(struct cli_table *t, const char *what);
void cli_distribution_row(struct cli_table *t, const char *label, const struct cli_style *style,
                          const struct cli_style *tail, const json_t *j);

/* A table of greedy continuations whose first column is headed WHAT, and its two rows for a group
 * of prompts: free-running and teacher-forced. */
void cli_stability_begin(struct cli_table *t, const char *what);
void cli_stability_rows(struct cli_table *t, const char *what, const json_t *group);

#endif
