#include "cli/print_rows.h"

#include <string.h>

enum { MOST_COLUMNS = 12 }; /* of a table: cli/output.c */

const json_t *cli_at(const json_t *row, const char *path)
{
    while (row) {
        const size_t n = strcspn(path, ".");
        char key[64];
        if (n >= sizeof key)
            return NULL;
        memcpy(key, path, n);
        key[n] = '\0';
        row = json_object_get(row, key);
        if (!path[n])
            break;
        path += n + 1;
    }
    return row;
}

static void print_cell(struct cli_table *t, const struct cli_column *c, const json_t *row)
{
    if (c->cell) {
        c->cell(t, row);
        return;
    }
    const json_t *value = cli_at(row, c->path);
    if (json_is_string(value))
        cli_cell(t, "%s", json_string_value(value));
    else if (json_is_number(value))
        cli_cell(t, "%.*f", c->digits, json_number_value(value));
    else
        cli_cell(t, "-");
}

enum qins_status cli_print_rows(const json_t *rows, const struct cli_column *columns, size_t n,
                                struct qins_error *err)
{
    char align[MOST_COLUMNS + 1] = "";
    const char *heads[MOST_COLUMNS];
    struct cli_table t;
    const json_t *row;
    size_t i;
    if (n > MOST_COLUMNS)
        return qn_fail(err, QINS_ERR_USAGE, "a table of %zu columns", n);
    for (i = 0; i < n; i++) {
        align[i] = columns[i].align;
        heads[i] = columns[i].head;
    }
    cli_table_begin(&t, align, heads);
    json_array_foreach(rows, i, row)
    {
        for (size_t k = 0; k < n; k++)
            print_cell(&t, &columns[k], row);
    }
    return cli_table_print(&t, err);
}
