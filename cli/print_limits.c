#include "cli/cli.h"
#include "cli/print_rows.h"

#include "convert/limits.h"

enum qins_status cli_show_limits(bool as_json, struct qins_error *err)
{
    static const struct cli_column columns[] = {
        {"of", "area", NULL, 0, 'l'},           {"limit", "name", NULL, 0, 'l'},
        {"at most", "value", NULL, 0, 'r'},     {"unit", "unit", NULL, 0, 'l'},
        {"protects", "protects", NULL, 0, 'l'},
    };
    json_t *report = qn_limits_report(err);
    enum qins_status st = report ? QINS_OK : QINS_ERR_MEMORY;
    if (report && as_json)
        cli_print_json(report);
    else if (report)
        st = cli_print_rows(json_object_get(report, "limits"), columns,
                            sizeof columns / sizeof *columns, err);
    json_decref(report);
    return st;
}
