/* Tables of what a report's arrays hold. */
#ifndef QINS_CLI_PRINT_ROWS_H
#define QINS_CLI_PRINT_ROWS_H

#include "cli/cli.h"

struct cli_column {
    const char *head;
    const char
        *path; /* of a string or a number within a row, with dots; what is not there is "-" */
    void (*cell)(struct cli_table *t, const json_t *row); /* or NULL: as PATH has it */
    int digits;                                           /* of a number, behind the point */
    char align;                                           /* 'l' or 'r' */
};

/* NULL where ROW has no such. */
const json_t *cli_at(const json_t *row, const char *path);

/* A row for each element of ROWS. */
enum qins_status cli_print_rows(const json_t *rows, const struct cli_column *columns, size_t n,
                                struct qins_error *err);

#endif
