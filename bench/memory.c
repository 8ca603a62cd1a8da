/* What memory a model takes while it is served, as a checkpoint and as an archive. Each is run by a
 * process of its own, of which the system says how much it held at its most. */
#include "bench/setup.h"
#include "core/clock.h"
#include "core/linalg.h"
#include "core/random.h"
#include "model/fused.h"
#include "model/session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEFAULT_TOKENS = 512, BATCH = 128, TYPE_NAME = 32, LOOK_MS = 100 };

static const struct way {
    const char *name;
    bool archive, fused;
} ways[] = {{"checkpoint", false, false}, {"decoded", true, false}, {"fused", true, true}};
enum { WAYS = sizeof ways / sizeof *ways, FUSED = WAYS - 1 };

/* What a process says of the model that it ran. */
struct served {
    enum qins_status status;
    struct qins_error error;
    struct qn_digest fingerprint;
    uint64_t parameters, weight_bytes;
    struct qn_fused_figures fused;
    uint32_t hidden, layers, vocabulary, tokens;
    char model_type[TYPE_NAME];
    uint64_t peak_bytes; /* filled in by the parent */
};

static uint32_t tokens_for(const struct qn_model *m, uint32_t given)
{
    const uint32_t limit = m->config.max_positions;
    const uint32_t wanted = given ? given : DEFAULT_TOKENS;
    return wanted < limit ? wanted : limit;
}

/* A text of random tokens, in batches, and the logits of the last one. */
static enum qins_status run_model(const struct qn_model *m, uint32_t tokens, struct qins_error *err)
{
    const struct qn_session_options o = {.positions = tokens,
                                         .batch = tokens < BATCH ? tokens : BATCH};
    struct qn_session *s = NULL;
    uint64_t state = 1;
    float *logits = malloc(m->config.vocab * sizeof *logits);
    uint32_t *ids = malloc(tokens * sizeof *ids);
    enum qins_status st = logits && ids ? QINS_OK : qn_fail_memory(err);
    for (uint32_t i = 0; ids && i < tokens; i++)
        ids[i] = (uint32_t)(qn_random_u64(&state) % m->config.vocab);
    if (st == QINS_OK)
        st = qn_session_create(&s, m, &o, err);
    if (st == QINS_OK)
        st = qn_session_forward(s, ids, tokens, NULL, err);
    if (st == QINS_OK)
        qn_session_logits(s, qn_session_last_batch(s) - 1, 1, logits);
    qn_session_destroy(s);
    free(ids);
    free(logits);
    return st;
}

static enum qins_status serve(const struct qn_bench_options *o, const struct way *way,
                              struct served *out)
{
    struct qins_error *err = &out->error;
    struct qn_model *m = NULL;
    const char *path = way->archive ? o->archive : o->model;
    enum qins_status st =
        (way->fused ? qn_model_open_fused : qn_model_open_plain)(&m, path, 1, NULL, err);
    if (st != QINS_OK)
        return st;
    out->fingerprint = m->fingerprint;
    out->parameters = m->n_parameters;
    out->weight_bytes = m->weight_bytes;
    out->fused = m->fused;
    out->hidden = m->config.hidden;
    out->layers = m->config.n_layers;
    out->vocabulary = m->config.vocab;
    out->tokens = tokens_for(m, o->tokens);
    snprintf(out->model_type, sizeof out->model_type, "%s", m->config.arch->model_type);
    st = run_model(m, out->tokens, err);
    qn_model_destroy(m);
    return st;
}

static _Noreturn void be_server(const struct qn_bench_options *o, const struct way *way, int fd,
                                pid_t parent)
{
    struct served s = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    s.status = serve(o, way, &s);
    const char *at = (const char *)&s;
    for (size_t left = sizeof s; left > 0;) {
        const ssize_t n = write(fd, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(1);
        at += n;
        left -= (size_t)n;
    }
    _exit(0);
}

/* Reads until the end or until *S is full, but no longer than MONITOR lets it; whether it is. */
static bool receive(int fd, struct served *s, const struct qn_monitor *monitor)
{
    char *at = (char *)s;
    size_t left = sizeof *s;
    while (left > 0 && qn_check_stop(monitor, NULL) == QINS_OK) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, LOOK_MS) <= 0)
            continue;
        const ssize_t n = read(fd, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += n;
        left -= (size_t)n;
    }
    return left == 0;
}

static enum qins_status measure(const struct qn_bench_options *o, const struct way *way,
                                struct served *s, struct qins_error *err)
{
    struct rusage usage = {0};
    const pid_t parent = getpid();
    int fds[2], status = 0;
    if (pipe(fds) != 0)
        return qn_fail_errno(err, NULL, "cannot make a pipe");
    const pid_t child = fork();
    if (child < 0) {
        close(fds[0]);
        close(fds[1]);
        return qn_fail_errno(err, NULL, "cannot start a process");
    }
    if (child == 0)
        be_server(o, way, fds[1], parent);
    close(fds[1]);
    const bool whole = receive(fds[0], s, o->monitor);
    close(fds[0]);
    if (!whole)
        kill(child, SIGKILL);
    while (wait4(child, &status, 0, &usage) < 0 && errno == EINTR)
        ;
    if (qn_check_stop(o->monitor, err) != QINS_OK)
        return QINS_ERR_INTERRUPTED;
    if (!whole || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return qn_fail(err, QINS_ERR_MEMORY, "%s: the process that ran it did not come to an end",
                       way->name);
    s->peak_bytes = (uint64_t)usage.ru_maxrss << 10; /* which Linux counts in KiB */
    if (s->status != QINS_OK && err)
        *err = s->error;
    return s->status;
}

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *describe_model(const struct qn_bench_options *o, const struct served *s)
{
    json_t *j = json_object();
    qn_json_put(&j, "path", qn_json_text(o->model));
    qn_json_put(&j, "fingerprint", qn_json_digest(&s->fingerprint));
    qn_json_put(&j, "model_type", json_string(s->model_type));
    qn_json_put(&j, "parameters", integer(s->parameters));
    qn_json_put(&j, "weight_bytes", integer(s->weight_bytes));
    qn_json_put(&j, "hidden", integer(s->hidden));
    qn_json_put(&j, "layers", integer(s->layers));
    qn_json_put(&j, "vocabulary", integer(s->vocabulary));
    return j;
}

static json_t *describe_way(const struct way *way, const struct served *s)
{
    const struct qn_model m = {.weight_bytes = s->weight_bytes, .fused = s->fused};
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(way->name));
    qn_json_put(&j, "peak_bytes", integer(s->peak_bytes));
    qn_fused_report(&j, &m);
    return j;
}

static json_t *report_of(const struct qn_bench_options *o, const struct qn_archive *a,
                         const struct qn_harness *h, const struct served served[WAYS],
                         double seconds)
{
    json_t *j = qn_report_begin("qins/bench/1"), *list = json_array();
    for (int i = 0; i < WAYS; i++)
        qn_json_append(&list, describe_way(&ways[i], &served[i]));
    qn_json_put(&j, "benchmark", json_string("memory"));
    qn_json_put(&j, "machine", qn_bench_machine(h));
    qn_json_put(&j, "model", describe_model(o, &served[0]));
    qn_json_put(&j, "archive", qn_bench_archive(a));
    qn_json_put(&j, "tokens", integer(served[0].tokens));
    qn_json_put(&j, "rounds", integer(1));
    qn_json_put(&j, "peak_bytes", integer(served[FUSED].peak_bytes));
    qn_json_put(&j, "served", list);
    qn_json_put(&j, "seconds", qn_json_real(seconds));
    return j;
}

enum qins_status qn_bench_memory(const struct qn_bench_options *options, json_t **report,
                                 struct qins_error *err)
{
    const double begun = qn_seconds();
    struct qn_harness none = {0};
    struct served served[WAYS] = {{0}};
    struct qn_archive *a = NULL;
    *report = NULL;
    /* OpenBLAS reads the environment that this sets, and starts no threads. */
    enum qins_status st = qn_linalg_init(err);
    for (int i = 0; i < WAYS && st == QINS_OK; i++) {
        st = qn_check_stop(options->monitor, err);
        if (st == QINS_OK)
            st = measure(options, &ways[i], &served[i], err);
    }
    if (st == QINS_OK && memcmp(&served[0].fingerprint, &served[FUSED].fingerprint,
                                sizeof served[0].fingerprint) != 0)
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, options->archive, NULL, QN_NO_OFFSET,
                        "it is the archive of another model");
    if (st == QINS_OK)
        st = qn_archive_open(&a, options->archive, err);
    if (st == QINS_OK) {
        *report = report_of(options, a, &none, served, qn_seconds() - begun);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    qn_archive_destroy(a);
    return st;
}
