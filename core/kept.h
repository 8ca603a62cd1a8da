/* Outputs that belong together: what they replace keeps a second name until all of them have
 * theirs, and gets its own back where one of them cannot. */
#ifndef QINS_CORE_KEPT_H
#define QINS_CORE_KEPT_H

#include "core/file.h"

/* Zero-initialised is nothing. */
struct qn_kept {
    char *path; /* of a file that an output is about to replace; NULL: there was none */
    char
        *copy; /* its second name, "PATH.old.tmp-XXXXXX"; NULL where the file system has no links */
};

/* To be called when O is sealed. QINS_ERR_IO where what stands under its final name cannot be kept;
 * *k is to be restored or dropped either way. */
enum qins_status qn_keep(const struct qn_output *o, struct qn_kept *k, struct qins_error *err);
/* The same, but nothing stands under the final name until O gets it. Needs no links. */
enum qins_status qn_keep_away(const struct qn_output *o, struct qn_kept *k, struct qins_error *err);
/* Puts the old file back, whatever stands there now. Where that fails, it stays under its second
 * name. */
void qn_kept_restore(struct qn_kept *k);
/* The new one stays. */
void qn_kept_drop(struct qn_kept *k);

#endif
