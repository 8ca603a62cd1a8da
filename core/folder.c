#include "core/folder.h"

#include <errno.h>
#include <sys/stat.h>

enum qins_status qn_folder_next(DIR *dir, const char *path, const char **name,
                                struct qins_error *err)
{
    errno = 0; /* readdir() leaves it as it is at the end of the folder */
    const struct dirent *e = readdir(dir);
    *name = e ? e->d_name : NULL;
    return e || errno == 0 ? QINS_OK : qn_fail_errno(err, path, "cannot read the folder");
}

enum qins_status qn_find_regular(const char *path, bool *there, struct qins_error *err)
{
    struct stat info;
    *there = false;
    if (stat(path, &info) == 0)
        *there = S_ISREG(info.st_mode);
    else if (errno != ENOENT && errno != ENOTDIR)
        return qn_fail_errno(err, path, "cannot look at");
    return QINS_OK;
}
