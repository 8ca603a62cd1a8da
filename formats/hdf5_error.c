#include "formats/hdf5_error.h"

#include <stdio.h>

struct walked {
    char text[160];
};

static herr_t innermost(unsigned n, const H5E_error2_t *e, void *ctx)
{
    struct walked *w = ctx;
    (void)n;
    snprintf(w->text, sizeof w->text, "%s", e->desc ? e->desc : "");
    return 1;
}

enum qins_status qn_hdf5_fail(struct qins_error *err, enum qins_status status, const char *what)
{
    struct walked w = {""};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, &w);
    if (w.text[0] == '\0')
        return qn_fail(err, status, "%s", what);
    return qn_fail(err, status, "%s: libhdf5: %s", what, w.text);
}
