#include "core/folder.h"

#include <errno.h>

enum qins_status qn_folder_next(DIR *dir, const char *path, const char **name,
                                struct qins_error *err)
{
    errno = 0; /* readdir() leaves it as it is at the end of the folder */
    const struct dirent *e = readdir(dir);
    *name = e ? e->d_name : NULL;
    return e || errno == 0 ? QINS_OK : qn_fail_errno(err, path, "cannot read the folder");
}

static enum qins_status look(const char *path, bool follow, struct stat *info, bool *there,
                             struct qins_error *err)
{
    *there = (follow ? stat(path, info) : lstat(path, info)) == 0;
    return *there || errno == ENOENT || errno == ENOTDIR
               ? QINS_OK
               : qn_fail_errno(err, path, "cannot look at");
}

enum qins_status qn_look_at(const char *path, struct stat *info, bool *there,
                            struct qins_error *err)
{
    return look(path, true, info, there, err);
}

enum qins_status qn_find(const char *path, bool follow, enum qn_entry *what, struct qins_error *err)
{
    struct stat info;
    bool there;
    const enum qins_status st = look(path, follow, &info, &there, err);
    *what = !there                  ? QN_ENTRY_NONE
            : S_ISREG(info.st_mode) ? QN_ENTRY_REGULAR
            : S_ISDIR(info.st_mode) ? QN_ENTRY_FOLDER
            : S_ISLNK(info.st_mode) ? QN_ENTRY_LINK
                                    : QN_ENTRY_OTHER;
    return st;
}

enum qins_status qn_find_regular(const char *path, bool *there, struct qins_error *err)
{
    enum qn_entry what;
    const enum qins_status st = qn_find(path, true, &what, err);
    *there = what == QN_ENTRY_REGULAR;
    return st;
}
