#include "bench/peer.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LISTED = 256 /* of all kinds */, KIND_BITS = 32 };

static enum qins_status check(const struct qins_bench_peer *p, struct qins_error *err)
{
    if (p->abi != QINS_BENCH_PEER_ABI)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "a peer is made for interface %u, this program has %d", p->abi,
                       QINS_BENCH_PEER_ABI);
    if (!p->name || !p->name[0] || !p->version || !p->bound || !p->encode || !p->decode)
        return qn_fail(err, QINS_ERR_FORMAT, "a peer lacks a name or a function");
    return QINS_OK;
}

static enum qins_status list(struct qn_bench_peers *p, const char *file,
                             qins_bench_peer_function peer_at, unsigned kinds,
                             struct qins_error *err)
{
    const size_t before = p->n;
    const struct qins_bench_peer *peer;
    for (unsigned i = 0; (peer = peer_at(i)) != NULL; i++) {
        if (i == MOST_LISTED)
            return qn_fail(err, QINS_ERR_FORMAT, "its list of peers has no end");
        enum qins_status st = check(peer, err);
        if (st != QINS_OK)
            return st;
        if (peer->kind >= KIND_BITS || !(kinds >> peer->kind & 1U))
            continue;
        if (p->n == QN_BENCH_MAX_PEERS)
            return qn_fail(err, QINS_ERR_UNSUPPORTED, "more than %d peers", QN_BENCH_MAX_PEERS);
        p->list[p->n++] = (struct qn_bench_peer_file){.file = file, .peer = peer};
    }
    if (p->n == before)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "no peer in it codes what is measured");
    return QINS_OK;
}

/* The loader's own words, without the path in front: callers name the file. */
static enum qins_status refused(const char *path, struct qins_error *err)
{
    const char *why = dlerror();
    const size_t n = strlen(path);
    if (why && strncmp(why, path, n) == 0 && strncmp(why + n, ": ", 2) == 0)
        why += n + 2;
    return qn_fail(err, QINS_ERR_FORMAT, "it cannot be loaded: %s", why ? why : "unknown reason");
}

static enum qins_status load(struct qn_bench_peers *p, const char *file, unsigned kinds,
                             struct qins_error *err)
{
    qins_bench_peer_function peer_at;
    if (p->n_libraries == QN_BENCH_MAX_PEERS)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "more than %d files of peers",
                       QN_BENCH_MAX_PEERS);
    if (access(file, R_OK) != 0)
        return qn_fail_errno(err, file, "read a peer");
    /* Without a slash the loader would look among the system's libraries. */
    char *path = realpath(file, NULL);
    if (!path)
        return qn_fail_errno(err, file, "read a peer");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    enum qins_status st = library ? QINS_OK : refused(path, err);
    free(path);
    if (st != QINS_OK)
        return st;
    p->libraries[p->n_libraries++] = library;
    void *symbol = dlsym(library, "qins_bench_peer_at");
    if (!symbol)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "it has no function qins_bench_peer_at()");
    memcpy(&peer_at, &symbol, sizeof peer_at); /* ISO C has no cast from one to the other */
    return list(p, file, peer_at, kinds, err);
}

enum qins_status qn_bench_peers_load(struct qn_bench_peers *p, const char *const *files, size_t n,
                                     unsigned kinds, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    *p = (struct qn_bench_peers){0};
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        st = qn_error_in_file(err, load(p, files[i], kinds, err), files[i]);
    return st;
}

void qn_bench_peers_finish(struct qn_bench_peers *p)
{
    for (size_t i = 0; i < p->n_libraries; i++)
        dlclose(p->libraries[i]);
    *p = (struct qn_bench_peers){0};
}
