#include "shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): libc's name. */
int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*end)(void), void *stack);
/* NOLINTEND(bugprone-reserved-identifier) */

struct shim_plan shim_plan;
_Thread_local bool shim_busy;

static struct shim_shared *shared;
static bool armed;
static int control = -1;
static int (*program)(int, char **, char **);

enum { MAX_MODULES = 128, HANG = -1 };

struct module {
    uintptr_t begin, end;
    enum shim_target owner;
};
static struct module modules[MAX_MODULES];
static atomic_int n_modules;

static enum shim_target owner_of(const char *name, bool first)
{
    static const struct {
        const char *part;
        enum shim_target owner;
    } known[] = {
        {"libhdf5", SHIM_HDF5},        {"libsz", SHIM_HDF5},        {"libaec", SHIM_HDF5},
        {"libopenblas", SHIM_BLAS},    {"libgfortran", SHIM_BLAS},  {"libgomp", SHIM_BLAS},
        {"libquadmath", SHIM_BLAS},    {"ld-linux", SHIM_LOADER},   {"libjansson", SHIM_LIBRARY},
        {"libzstd", SHIM_LIBRARY},     {"libzip", SHIM_LIBRARY},    {"libpcre2", SHIM_LIBRARY},
        {"libutf8proc", SHIM_LIBRARY}, {"libxxhash", SHIM_LIBRARY},
    };
    if (first)
        return SHIM_OWN;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(name, known[i].part))
            return known[i].owner;
    return SHIM_TARGETS;
}

/* The executable comes first. */
static int list_module(struct dl_phdr_info *info, size_t size, void *count)
{
    int *n = count;
    struct module m = {UINTPTR_MAX, 0, owner_of(info->dlpi_name, *n == 0)};
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const uintptr_t at = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        m.begin = at < m.begin ? at : m.begin;
        m.end = at + info->dlpi_phdr[i].p_memsz > m.end ? at + info->dlpi_phdr[i].p_memsz : m.end;
    }
    if (*n < MAX_MODULES)
        modules[(*n)++] = m;
    return 0;
}

static void list_modules(void)
{
    int n = 0;
    dl_iterate_phdr(list_module, &n);
    atomic_store(&n_modules, n);
}

static const struct module *module_at(uintptr_t address)
{
    const int n = atomic_load(&n_modules);
    for (int i = 0; i < n; i++)
        if (address >= modules[i].begin && address < modules[i].end)
            return &modules[i];
    return NULL;
}

enum shim_target shim_owner(const void *address, uintptr_t *place)
{
    const uintptr_t at = (uintptr_t)address;
    const struct module *m = module_at(at);
    if (!m) { /* OpenBLAS is loaded late */
        list_modules();
        m = module_at(at);
    }
    *place = m ? at - m->begin : 0;
    return m ? m->owner : SHIM_TARGETS;
}

bool shim_due(enum shim_target target, enum shim_kind kind, uintptr_t place)
{
    if (!armed || shim_busy)
        return false;
    const int64_t n = atomic_fetch_add(&shared->counts[target], 1) + 1;
    const int64_t t = atomic_fetch_add(&shared->traced, 1);
    if (t < SHIM_TRACE) {
        shared->trace[t].target = (uint16_t)target;
        shared->trace[t].kind = (uint16_t)kind;
        shared->trace[t].place = (uint32_t)place;
    }
    const bool among = shim_plan.kinds == 0 || (shim_plan.kinds >> kind & 1) != 0;
    if (shim_plan.index == 0 || (int64_t)target != shim_plan.target || n < shim_plan.index ||
        n > shim_plan.last || !among)
        return false;
    atomic_fetch_add(&shared->fired, 1);
    return true;
}

static void map_shared(void)
{
    const char *path = getenv("QINS_FAULT_SHARED");
    const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || shared == MAP_FAILED)
        _exit(125);
    close(fd);
}

/* Its wait status, or HANG for one that had to be killed with all that it started. */
static int64_t wait_for(pid_t child, int64_t timeout_ms)
{
    int status = 0;
    const int fd = (int)syscall(SYS_pidfd_open, child, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    const bool ended = poll(&p, 1, (int)timeout_ms) == 1;
    if (!ended)
        kill(-child, SIGKILL);
    waitpid(child, &status, 0);
    close(fd);
    return ended ? status : HANG;
}

static int serve(int argc, char **argv, char **environment)
{
    list_modules();
    for (;;) {
        if (recv(control, &shim_plan, sizeof shim_plan, 0) != (ssize_t)sizeof shim_plan)
            _exit(0);
        memset(shared, 0, offsetof(struct shim_shared, trace));
        const pid_t child = fork();
        if (child == 0) {
            setpgid(0, 0);
            close(control);
            armed = true;
            exit(program(argc, argv, environment));
        }
        armed = false;
        const int64_t status = wait_for(child, shim_plan.timeout_ms);
        atomic_store(&shared->status, status);
        if (send(control, &status, sizeof status, 0) != (ssize_t)sizeof status)
            _exit(0);
    }
}

/* NOLINTNEXTLINE(bugprone-reserved-identifier) */
int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*end)(void), void *stack)
{
    int (*next)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void),
                void (*)(void), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "__libc_start_main");
    const char *fd = getenv("QINS_FAULT_FD");
    if (fd) {
        control = atoi(fd);
        program = main;
        map_shared();
        unsetenv("LD_PRELOAD"); /* of gnuplot nothing is counted */
        main = serve;
    }
    return next(main, argc, argv, init, fini, end, stack);
}

void shim_find(void *function, const char *name)
{
    if (*(void **)function)
        return;
    const bool busy = shim_busy;
    shim_busy = true;
    *(void **)function = dlsym(RTLD_NEXT, name);
    shim_busy = busy;
}
