#include "analyze/child.h"

#include "core/clock.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

/* The one that runs, or 0. */
static atomic_int running;

static const struct timespec tick = {.tv_nsec = 10000000};

/* A group of its own, so that what it starts can be ended with it. What the caller ignores (closed
 * pipes, size limits) ends it. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    int failure = posix_spawnattr_setsigdefault(attributes, &defaults);
    if (failure == 0)
        failure = posix_spawnattr_setpgroup(attributes, 0);
    if (failure == 0)
        failure =
            posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    return failure;
}

/* Whether VARIABLE says where a user's settings and caches are. */
static bool is_of_home(const char *variable)
{
    static const char *const names[] = {
        "HOME=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "XDG_DATA_HOME="};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* The environment with HOME, itself "HOME=…", instead of the user's; the array is the caller's. */
static char **with_home(char *home)
{
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    char **made = calloc(n + 2, sizeof *made);
    for (size_t i = 0; made && i < n; i++)
        if (!is_of_home(environ[i]))
            made[kept++] = environ[i];
    if (made)
        made[kept] = home;
    return made;
}

static int spawn(pid_t *pid, const struct qn_child *child, char *const *environment)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int failure = posix_spawn_file_actions_init(&actions);
    if (failure != 0)
        return failure;
    failure = posix_spawnattr_init(&attributes);
    if (failure == 0) {
        failure = set_attributes(&attributes);
        for (int fd = 0; fd < 3 && failure == 0; fd++)
            failure = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null",
                                                       fd ? O_WRONLY : O_RDONLY, 0);
        if (failure == 0)
            failure = posix_spawn_file_actions_addchdir_np(&actions, child->folder);
        if (failure == 0) /* it takes, but does not change, what is not const */
            failure = posix_spawnp(pid, child->argv[0], &actions, &attributes,
                                   (char *const *)(uintptr_t)child->argv, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return failure;
}

static int start(pid_t *pid, const struct qn_child *child)
{
    if (!child->home)
        return spawn(pid, child, environ);
    char *home = qn_format(NULL, "HOME=%s", child->home);
    char **environment = home ? with_home(home) : NULL;
    const int failure = environment ? spawn(pid, child, environment) : ENOMEM;
    free(environment);
    free(home);
    return failure;
}

/* The group goes while its leader, dead or alive, still holds the number. False, and errno, where
 * it is not known how the leader ended. */
static bool end(pid_t pid, int *status)
{
    pid_t done;
    kill(-pid, SIGKILL);
    atomic_store(&running, 0); /* before its number is free for another */
    while ((done = waitpid(pid, status, 0)) < 0 && errno == EINTR)
        continue;
    return done == pid;
}

enum qins_status qn_child_run(const struct qn_child *child, const struct qn_monitor *monitor,
                              bool *ok, struct qins_error *err)
{
    const char *program = child->argv[0];
    const double limit = qn_seconds() + child->seconds;
    enum qins_status st = QINS_OK;
    bool ended = false;
    int status = 0;
    pid_t pid;
    *ok = false;
    int failure = start(&pid, child);
    if (failure == ENOENT || failure == EACCES)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "%s is not installed", program);
    if (failure != 0) {
        errno = failure;
        return qn_fail_errno(err, program, "start the program");
    }
    atomic_store(&running, (int)pid);
    while (st == QINS_OK && !ended && qn_seconds() <= limit) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
            ended = info.si_pid == pid;
        else if (errno != EINTR)
            st = qn_fail_errno(err, program, "wait for the program");
        if (st == QINS_OK)
            st = qn_check_stop(monitor, err);
        if (st == QINS_OK && !ended)
            nanosleep(&tick, NULL);
    }
    if (!end(pid, &status) && st == QINS_OK)
        st = qn_fail_errno(err, program, "wait for the program");
    *ok = st == QINS_OK && ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return st;
}

void qn_child_abandon(void)
{
    const int pid = atomic_exchange(&running, 0);
    if (pid > 0)
        kill(-pid, SIGKILL);
}
