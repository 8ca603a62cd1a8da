#include "analyze/stage.h"

#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    TREE_FILES = 16,      /* open at once while a folder is removed */
    UNIQUE = 6,           /* characters that mkdtemp() chooses */
    LEAST_SPACE = 4 << 20 /* bytes; a browser's profile alone takes as many */
};
static const char infix[] = ".tmp-";
static const char marker[] = ".qins-stage"; /* tells a stage from a folder of that name */

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    if (where->level == 0 || (where->level == 1 && strcmp(path + where->base, marker) == 0))
        return 0;
    return remove(path);
}

/* The mark goes last, and comes again where a program that outlived its run writes there still, so
 * that the next run takes the folder for what it is. */
static void remove_tree(const char *path, int fd)
{
    const int flags = FTW_DEPTH | FTW_PHYS | FTW_MOUNT;
    /* once more where memory was short, or the folder could not be read, for a moment */
    if (nftw(path, remove_entry, TREE_FILES, flags) != 0)
        nftw(path, remove_entry, TREE_FILES, flags);
    (void)unlinkat(fd, marker, 0);
    if (rmdir(path) != 0) {
        const int mark = openat(fd, marker, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (mark >= 0)
            close(mark);
    }
}

static bool lock(int fd, int operation)
{
    int failure;
    while ((failure = flock(fd, operation)) != 0 && errno == EINTR)
        continue;
    return failure == 0;
}

/* Whether ENTRY is called as NAME's stages are. */
static bool is_stage(const char *entry, const char *name)
{
    const size_t n = strlen(name), head = n + strlen(infix);
    return strncmp(entry, name, n) == 0 && strncmp(entry + n, infix, strlen(infix)) == 0 &&
           strlen(entry) == head + UNIQUE && !strpbrk(entry + head, ".-");
}

/* Whether the folder FD was made by make() for this user. */
static bool is_marked(int fd)
{
    struct stat info;
    return fstatat(fd, marker, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
           info.st_uid == geteuid();
}

/* What a run left that was killed; one that is at work holds the lock. */
static void remove_left(const char *dir, const char *name)
{
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        char *path = is_stage(e->d_name, name) ? qn_path_join(dir, e->d_name, NULL) : NULL;
        if (!path)
            continue;
        const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && is_marked(fd) && lock(fd, LOCK_EX | LOCK_NB))
            remove_tree(path, fd);
        if (fd >= 0)
            close(fd);
        free(path);
    }
    if (d)
        closedir(d);
}

static enum qins_status mark(const struct qn_stage *s, struct qins_error *err)
{
    const int fd = openat(s->fd, marker, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return qn_fail_errno(err, s->path, "mark the folder");
    close(fd);
    return QINS_OK;
}

/* Locked before it is marked, so that no other run takes it for one that was left. */
static enum qins_status make(struct qn_stage *s, const char *base, const char *name,
                             struct qins_error *err)
{
    char *path = qn_format(err, "%s/%s%sXXXXXX", base, name, infix);
    if (!path)
        return QINS_ERR_MEMORY;
    if (!mkdtemp(path)) {
        const enum qins_status st = qn_fail_errno(err, path, "make a folder");
        free(path);
        return st;
    }
    s->path = path;
    s->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->fd < 0)
        return qn_fail_errno(err, path, "open the folder");
    (void)lock(s->fd, LOCK_EX); /* some file systems have no locks: nothing is removed there */
    return mark(s, err);
}

enum qins_status qn_stage_init(struct qn_stage *s, const char *dir, const char *name,
                               struct qins_error *err)
{
    *s = (struct qn_stage){.fd = -1};
    char *base = realpath(dir, NULL); /* programs that work in it may run elsewhere */
    enum qins_status st = base ? QINS_OK : qn_fail_errno(err, dir, "find the folder");
    if (base) {
        remove_left(base, name);
        st = make(s, base, name, err);
    }
    free(base);
    return st;
}

void qn_stage_finish(struct qn_stage *s)
{
    if (s->path)
        remove_tree(s->path, s->fd);
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    *s = (struct qn_stage){.fd = -1};
}

enum qins_status qn_stage_check_space(const struct qn_stage *s, const char *what,
                                      struct qins_error *err)
{
    struct statvfs space;
    if (statvfs(s->path, &space) != 0 ||
        (double)space.f_bavail * (double)space.f_frsize >= LEAST_SPACE)
        return QINS_OK;
    errno = ENOSPC;
    return qn_fail_errno(err, s->path, what);
}

enum qins_status qn_stage_move(const struct qn_stage *s, const char *dir, const char *name,
                               struct qins_error *err)
{
    char *from = qn_path_join(s->path, name, err), *to = from ? qn_path_join(dir, name, err) : NULL;
    enum qins_status st = to ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK && qn_is_directory(to))
        st = qn_fail_at(err, QINS_ERR_IO, to, NULL, QN_NO_OFFSET, "there is a folder of this name");
    if (st == QINS_OK && rename(from, to) != 0 && errno != ENOENT)
        st = qn_fail_errno(err, to, "move a file to");
    free(from);
    free(to);
    return st;
}
