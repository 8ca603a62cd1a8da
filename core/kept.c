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

/* No other output has O's temporary name, and so no other this second one. */
static enum qins_status give_names(const struct qn_output *o, struct qn_kept *k,
                                   struct qins_error *err)
{
    *k = (struct qn_kept){.path = qn_strdup(o->final_path, err)};
    k->copy = k->path ? qn_format(err, "%s.old%s", k->path, o->temp_path + strlen(k->path)) : NULL;
    return k->copy ? QINS_OK : QINS_ERR_MEMORY;
}

enum qins_status qn_keep(const struct qn_output *o, struct qn_kept *k, struct qins_error *err)
{
    if (give_names(o, k, err) != QINS_OK)
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

enum qins_status qn_keep_away(const struct qn_output *o, struct qn_kept *k, struct qins_error *err)
{
    if (give_names(o, k, err) != QINS_OK)
        return QINS_ERR_MEMORY;
    if (rename(k->path, k->copy) == 0)
        return QINS_OK;
    if (errno != ENOENT) /* NFS may have done it all the same: both names stay, to be restored */
        return qn_fail_errno(err, k->path, "cannot keep what it replaces");
    finish(k);
    return QINS_OK;
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
