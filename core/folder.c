#include "core/folder.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

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

enum qins_status qn_folder_lock(const char *path, const struct qn_monitor *monitor, int *fd,
                                struct qins_error *err)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    char *dir = qn_path_dir(path, err);
    enum qins_status st = dir ? QINS_OK : QINS_ERR_MEMORY;
    *fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    while (*fd >= 0 && st == QINS_OK && flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            nanosleep(&pause, NULL);
            st = qn_check_stop(monitor, err);
        } else if (errno != EINTR) {
            close(*fd);
            *fd = -1;
        }
    }
    free(dir);
    return st;
}
