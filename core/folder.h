/* Looking into folders. What cannot be looked at is a failure, not the same as absent: a file that
 * is left out of an archive because its disk has an error would be missed only later. */
#ifndef QINS_CORE_FOLDER_H
#define QINS_CORE_FOLDER_H

#include "core/error.h"
#include "core/thread.h"

#include <dirent.h>
#include <sys/stat.h>

/* *NAME: of the next entry of DIR, which is open on PATH, valid until the next call; NULL at the
 * end. */
enum qins_status qn_folder_next(DIR *dir, const char *path, const char **name,
                                struct qins_error *err);

enum qn_entry { QN_ENTRY_NONE, QN_ENTRY_REGULAR, QN_ENTRY_FOLDER, QN_ENTRY_LINK, QN_ENTRY_OTHER };
/* *WHAT is at PATH; FOLLOW: where it is a link, behind it, which may be nothing. */
enum qins_status qn_find(const char *path, bool follow, enum qn_entry *what,
                         struct qins_error *err);

/* *THERE: something is at PATH, behind links, and *INFO is what stat() says of it. */
enum qins_status qn_look_at(const char *path, struct stat *info, bool *there,
                            struct qins_error *err);

/* *THERE: PATH is a regular file; links are followed. */
enum qins_status qn_find_regular(const char *path, bool *there, struct qins_error *err);

/* Waits for an exclusive lock (flock) of the folder that PATH is in, until *FD is closed; unless
 * -1, where the folder cannot be opened or its file system has no such lock. QINS_ERR_INTERRUPTED.
 */
enum qins_status qn_folder_lock(const char *path, const struct qn_monitor *monitor, int *fd,
                                struct qins_error *err);

#endif
