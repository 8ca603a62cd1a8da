#include "core/kept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has_no_links(int error)
{
    return error == EPERM || error == EOPNOTSUPP || error == ENOSYS || error == EMLINK;
}

static void finish(struct qn_kept *k)
{
    free(k->path);
    free(k->copy);
    *k = (struct qn_kept){0};
}

enum qins_status qn_keep(const struct qn_output *o, struct qn_kept *k, struct qins_error *err)
{
    *k = (struct qn_kept){.path = qn_strdup(o->final_path, err)};
    /* No other output has this temporary name, and so no other this second one. */
    k->copy = k->path ? qn_format(err, "%s.old%s", k->path, o->temp_path + strlen(k->path)) : NULL;
    if (!k->copy)
        return QINS_ERR_MEMORY;
    if (link(k->path, k->copy) == 0)
        return QINS_OK;
    const int error = errno;
    unlink(k->copy); /* NFS may have made it all the same */
    free(k->copy);
    k->copy = NULL;
    if (has_no_links(error))
        return QINS_OK;
    errno = error;
    enum qins_status st =
        error == ENOENT ? QINS_OK : qn_fail_errno(err, k->path, "cannot keep what it replaces");
    free(k->path);
    k->path = NULL;
    return st;
}

void qn_kept_restore(struct qn_kept *k)
{
    /* Two names of one file are both left by rename(). */
    const bool back = k->copy && rename(k->copy, k->path) == 0;
    if (back)
        unlink(k->copy);
    finish(k);
}

void qn_kept_drop(struct qn_kept *k)
{
    if (k->copy)
        unlink(k->copy);
    finish(k);
}
