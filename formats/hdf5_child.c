#include "formats/hdf5_child.h"

#include "core/bytes.h"
#include "formats/hdf5_serve.h"
#include "formats/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { LIST_SECONDS = 60, READ_SECONDS = 60, MEMORY = 1 << 30 /* bytes */ };

const struct qn_hdf5_limits qn_hdf5_default_limits = {
    .list_seconds = LIST_SECONDS, .read_seconds = READ_SECONDS, .memory = MEMORY};

enum {
    CHILD_SOCKET = 3,   /* its descriptor in the child */
    READ_FILES = 64,    /* descriptors that filter plugins may use while reading */
    TICK_MS = 100,      /* how often a wait looks at the caller's wish to stop */
    REAP_MS = 1000,     /* for a process whose socket closed to become a corpse */
    EXIT_UNREADY = 113, /* it could not set its own limits */
};

static void set_limit(int resource, uint64_t soft)
{
    struct rlimit r;
    if (getrlimit(resource, &r) != 0)
        return;
    r.rlim_cur = soft < r.rlim_max ? soft : r.rlim_max;
    setrlimit(resource, &r);
}

/* Address space now, in bytes; 0 if the system does not say. */
static uint64_t address_space(void)
{
    char text[64] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    long page = sysconf(_SC_PAGESIZE);
    return n > 0 && page > 0 ? strtoull(text, NULL, 10) * (uint64_t)page : 0;
}

static void limit_memory(uint64_t more)
{
    static const uint64_t unknown = (uint64_t)16 << 30; /* bytes that a parent may have mapped */
    uint64_t now = address_space();
    if (!SANITIZED) /* sanitizers map terabytes of shadow as they go */
        set_limit(RLIMIT_AS, (now ? now : unknown) + more);
}

/* SECONDS more of processor time; a process that exceeds it dies of SIGXCPU. */
static void limit_processor(unsigned seconds)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) == 0)
        set_limit(RLIMIT_CPU,
                  (uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec + 1 + seconds);
}

/* The parent decides what an interrupt means; everything else acts as in a fresh process. */
static void reset_signals(void)
{
    struct sigaction act = {.sa_handler = SIG_DFL};
    sigset_t none;
    sigemptyset(&act.sa_mask);
    for (int s = 1; s < NSIG; s++)
        sigaction(s, &act, NULL);
    act.sa_handler = SIG_IGN;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGPIPE, &act, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Leaves the socket and nothing else: no terminal to write to, no file of the parent's. glibc
 * prints to descriptor 2 when it finds a broken heap; only sanitizers' reports may pass. */
static bool keep_only(int fd)
{
    if (fd != CHILD_SOCKET && dup2(fd, CHILD_SOCKET) < 0)
        return false;
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < (SANITIZED ? 2 : 3); i++) {
        if (null < 0)
            close(i);
        else if (null != i)
            dup2(null, i);
    }
    if (syscall(SYS_close_range, CHILD_SOCKET + 1, ~0u, 0) == 0)
        return true;
    long open_max = sysconf(_SC_OPEN_MAX);
    for (int i = CHILD_SOCKET + 1; i < open_max && i < 65536; i++)
        close(i);
    return true;
}

/* No further file can be opened while the listing runs: neither through an external link nor
 * through a driver that a file names. RLIMIT_NOFILE bounds the number of the next descriptor. */
static void before_listing(void *ctx)
{
    (void)ctx;
    if (!SANITIZED)
        set_limit(RLIMIT_NOFILE, 0);
}

static void before_request(void *ctx)
{
    const struct qn_hdf5_limits *limits = ctx;
    set_limit(RLIMIT_NOFILE, READ_FILES);
    limit_processor(limits->read_seconds);
}

static void run_child(int fd, const char *path, uint64_t file_size,
                      const struct qn_hdf5_limits *limits)
{
    struct qn_hdf5_stages stages = {before_listing, before_request, (void *)(uintptr_t)limits};
    reset_signals();
    if (!keep_only(fd))
        _exit(EXIT_UNREADY);
    limit_memory(limits->memory);
    limit_processor(limits->list_seconds);
    set_limit(RLIMIT_CORE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!SANITIZED) { /* whose reports may go to a file and look into the process */
        set_limit(RLIMIT_FSIZE, 0);
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
    qn_hdf5_serve(CHILD_SOCKET, path, file_size, &stages);
    _exit(0);
}

enum qins_status qn_hdf5_child_start(struct qn_hdf5_child *c, const char *path, uint64_t file_size,
                                     const struct qn_hdf5_limits *limits, struct qins_error *err)
{
    int ends[2];
    *c = (struct qn_hdf5_child){.fd = -1, .limits = *limits};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return qn_fail_errno(err, path, "cannot start a process to read it");
    pid_t pid = fork();
    if (pid == 0)
        run_child(ends[1], path, file_size, limits);
    close(ends[1]);
    if (pid < 0) {
        enum qins_status st = qn_fail_errno(err, path, "cannot start a process to read it");
        close(ends[0]);
        return st;
    }
    c->pid = pid;
    c->fd = ends[0];
    return QINS_OK;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Its wait status; the process gets PATIENCE_MS to end by itself. -1 if it is not ours to ask. */
static int reap(struct qn_hdf5_child *c, int patience_ms)
{
    int status = 0;
    pid_t pid = c->pid, got = 0;
    int64_t deadline = now_ms() + patience_ms;
    c->pid = 0;
    if (pid <= 0)
        return -1;
    while (got == 0 && now_ms() < deadline) {
        got = waitpid(pid, &status, WNOHANG);
        if (got == 0)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    if (got == 0)
        kill(pid, SIGKILL);
    while (got == 0 || (got < 0 && errno == EINTR))
        got = waitpid(pid, &status, 0);
    return got == pid ? status : -1;
}

void qn_hdf5_child_end(struct qn_hdf5_child *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    reap(c, 0);
}

/* Everything after this fails the same way. */
static enum qins_status give_up(struct qn_hdf5_child *c, enum qins_status st,
                                struct qins_error *err)
{
    c->failure = *err;
    c->failure.status = st;
    qn_hdf5_child_end(c);
    return st;
}

/* The socket closed before an answer was complete. */
static enum qins_status explain_end(struct qn_hdf5_child *c, unsigned seconds,
                                    struct qins_error *err)
{
    int status = reap(c, REAP_MS);
    enum qins_status st = QINS_ERR_FORMAT;
    if (status >= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        qn_fail(err, st, "libhdf5 took longer than %u s on this file", seconds);
    else if (status >= 0 && WIFSIGNALED(status))
        qn_fail(err, st, "libhdf5 crashed (signal %d) while reading this file", WTERMSIG(status));
    else if (status >= 0 && WEXITSTATUS(status) != 0)
        qn_fail(err, st, "libhdf5 ended its process (status %d) while reading this file",
                WEXITSTATUS(status));
    else
        qn_fail(err, st, "the process that reads this file ended early");
    return give_up(c, st, err);
}

struct wait {
    int64_t deadline; /* as now_ms() */
    unsigned seconds;
    const struct qn_monitor *monitor;
};

/* Waits until data can be received. */
static enum qins_status await(struct qn_hdf5_child *c, const struct wait *w, struct qins_error *err)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    for (;;) {
        int64_t left = w->deadline - now_ms();
        enum qins_status st = qn_check_stop(w->monitor, err);
        if (st != QINS_OK)
            return give_up(c, st, err);
        if (left <= 0) {
            qn_fail(err, QINS_ERR_FORMAT, "libhdf5 took longer than %u s on this file", w->seconds);
            return give_up(c, QINS_ERR_FORMAT, err);
        }
        int n = poll(&p, 1, left < TICK_MS ? (int)left : TICK_MS);
        if (n > 0)
            return QINS_OK;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return give_up(c, qn_fail_errno(err, NULL, "poll"), err);
    }
}

static enum qins_status receive(struct qn_hdf5_child *c, const struct wait *w, uint8_t *p,
                                size_t size, struct qins_error *err)
{
    while (size > 0) {
        ssize_t n = recv(c->fd, p, size, MSG_DONTWAIT);
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
            enum qins_status st = await(c, w, err);
            if (st != QINS_OK)
                return st;
        } else {
            return explain_end(c, w->seconds, err);
        }
    }
    return QINS_OK;
}

static enum qins_status receive_header(struct qn_hdf5_child *c, const struct wait *w,
                                       uint32_t *kind, uint32_t *size, struct qins_error *err)
{
    uint8_t header[QN_HDF5_HEADER_SIZE];
    enum qins_status st = receive(c, w, header, sizeof header, err);
    *kind = st == QINS_OK ? qn_load32(header) : 0;
    *size = st == QINS_OK ? qn_load32(header + 4) : 0;
    return st;
}

static enum qins_status receive_payload(struct qn_hdf5_child *c, const struct wait *w,
                                        struct qn_buf *payload, uint32_t size,
                                        struct qins_error *err)
{
    payload->size = 0;
    enum qins_status st = qn_buf_reserve(payload, size ? size : 1, err);
    if (st == QINS_OK)
        st = receive(c, w, payload->data, size, err);
    if (st == QINS_OK)
        payload->size = size;
    return st;
}

static struct wait wait_for(unsigned seconds, const struct qn_monitor *monitor)
{
    return (struct wait){now_ms() + (int64_t)seconds * 1000, seconds, monitor};
}

enum qins_status qn_hdf5_child_list(struct qn_hdf5_child *c, struct qn_hdf5_listing *listing,
                                    struct qins_error *err)
{
    struct qins_error detail = {0};
    struct qn_buf payload = {0};
    struct wait w = wait_for(c->limits.list_seconds, listing->monitor);
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && !listing->complete) {
        uint32_t kind = 0, size = 0;
        st = receive_header(c, &w, &kind, &size, &detail);
        if (st == QINS_OK)
            st = qn_hdf5_listing_admit(listing, kind, size, &detail);
        if (st == QINS_OK)
            st = receive_payload(c, &w, &payload, size, &detail);
        if (st == QINS_OK)
            st = qn_hdf5_listing_take(listing, kind, payload.data, payload.size, &detail);
    }
    if (st != QINS_OK && c->failure.status == QINS_OK)
        give_up(c, st, &detail);
    if (st != QINS_OK && err)
        *err = detail;
    qn_buf_finish(&payload);
    return st;
}

static enum qins_status send_request(struct qn_hdf5_child *c, const struct wait *w, size_t tensor,
                                     uint64_t offset, size_t size, struct qins_error *err)
{
    uint8_t request[QN_HDF5_REQUEST_SIZE];
    const uint8_t *p = request;
    size_t left = sizeof request;
    qn_store32(request, (uint32_t)tensor);
    qn_store32(request + 4, (uint32_t)size);
    qn_store64(request + 8, offset);
    while (left > 0) {
        ssize_t n = send(c->fd, p, left, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return explain_end(c, w->seconds, err);
        p += n;
        left -= (size_t)n;
    }
    return QINS_OK;
}

/* One request; a FAIL in answer leaves the process usable. */
static enum qins_status exchange(struct qn_hdf5_child *c, size_t tensor, uint64_t offset,
                                 uint8_t *dst, size_t size, struct qins_error *err)
{
    struct wait w = wait_for(c->limits.read_seconds, NULL);
    struct qn_buf payload = {0};
    uint32_t kind = 0, answered = 0;
    enum qins_status st = send_request(c, &w, tensor, offset, size, err);
    if (st == QINS_OK)
        st = receive_header(c, &w, &kind, &answered, err);
    if (st == QINS_OK && kind == QN_HDF5_DATA && answered == size)
        return receive(c, &w, dst, size, err);
    if (st == QINS_OK && kind == QN_HDF5_FAIL && answered <= QN_HDF5_MAX_RECORD) {
        st = receive_payload(c, &w, &payload, answered, err);
        if (st == QINS_OK)
            st = qn_hdf5_received_fail(payload.data, payload.size, err);
    } else if (st == QINS_OK) {
        st = qn_fail(err, QINS_ERR_FORMAT, "the process that reads this file answered nonsense");
        give_up(c, st, err);
    }
    qn_buf_finish(&payload);
    return st;
}

enum qins_status qn_hdf5_child_read(struct qn_hdf5_child *c, size_t tensor, uint64_t offset,
                                    void *dst, size_t size, struct qins_error *err)
{
    struct qins_error detail = {0};
    uint8_t *p = dst;
    enum qins_status st = c->failure.status;
    if (st != QINS_OK)
        detail = c->failure;
    while (size > 0 && st == QINS_OK) {
        size_t n = size < QN_HDF5_MAX_READ ? size : QN_HDF5_MAX_READ;
        st = exchange(c, tensor, offset, p, n, &detail);
        p += n;
        offset += n;
        size -= n;
    }
    if (st != QINS_OK && err)
        *err = detail;
    return st;
}

const struct qn_limit qn_hdf5_child_limits[] = {
    {"hdf5", "child_memory", MEMORY, "bytes", "memory that libhdf5 takes, in a child"},
    {"hdf5", "list_time", LIST_SECONDS, "seconds", "time that libhdf5 takes to list a file"},
    {"hdf5", "read_time", READ_SECONDS, "seconds", "time that libhdf5 takes for one read"},
    {0},
};
