#include "analyze/plot.h"

#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static const struct timespec tick = {.tv_nsec = 10000000};

/* In FOLDER, without the user's own settings (-d), its standard streams /dev/null: what it has to
 * say is in its exit status. */
static int start(pid_t *pid, const char *folder, const char *script)
{
    char program[] = "gnuplot", options[] = "-d", *argv[] = {program, options, NULL, NULL};
    char *copy = strdup(script);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    if (!copy)
        return ENOMEM;
    argv[2] = copy;
    int failure = posix_spawn_file_actions_init(&actions);
    if (failure == 0) {
        failure = posix_spawnattr_init(&attributes);
        if (failure == 0) {
            /* What the caller ignores (closed pipes, size limits) ends gnuplot. */
            sigemptyset(&defaults);
            sigaddset(&defaults, SIGPIPE);
            sigaddset(&defaults, SIGXFSZ);
            posix_spawnattr_setsigdefault(&attributes, &defaults);
            posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
            for (int fd = 0; fd < 3 && failure == 0; fd++)
                failure = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null",
                                                           fd ? O_WRONLY : O_RDONLY, 0);
            if (failure == 0)
                failure = posix_spawn_file_actions_addchdir_np(&actions, folder);
            if (failure == 0)
                failure = posix_spawnp(pid, program, &actions, &attributes, argv, environ);
            posix_spawnattr_destroy(&attributes);
        }
        posix_spawn_file_actions_destroy(&actions);
    }
    free(copy);
    return failure;
}

static void end(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
}

enum qins_status qn_run_gnuplot(const char *folder, const char *script, unsigned seconds,
                                const struct qn_monitor *monitor, bool *ok, struct qins_error *err)
{
    const double limit = qn_seconds() + seconds;
    pid_t pid;
    int status = 0;
    *ok = false;
    int failure = start(&pid, folder, script);
    if (failure == ENOENT || failure == EACCES)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "gnuplot is not installed");
    if (failure != 0) {
        errno = failure;
        return qn_fail_errno(err, NULL, "start gnuplot");
    }
    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid)
            break;
        if (got < 0 && errno != EINTR)
            return qn_fail_errno(err, NULL, "wait for gnuplot");
        enum qins_status st = qn_check_stop(monitor, err);
        if (st != QINS_OK || qn_seconds() > limit) {
            end(pid);
            return st;
        }
        nanosleep(&tick, NULL);
    }
    *ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return QINS_OK;
}
