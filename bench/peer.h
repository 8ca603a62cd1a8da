/* Coders of other projects, in shared objects: include/qins/bench_peer.h. */
#ifndef QINS_BENCH_PEER_FILES_H
#define QINS_BENCH_PEER_FILES_H

#include "core/error.h"
#include "qins/bench_peer.h"

enum { QN_BENCH_MAX_PEERS = 32 };

struct qn_bench_peers {
    struct qn_bench_peer_file {
        const char *file; /* as the caller has it */
        const struct qins_bench_peer *peer;
    } list[QN_BENCH_MAX_PEERS];
    size_t n;
    void *libraries[QN_BENCH_MAX_PEERS];
    size_t n_libraries;
};

/* Loads FILES and lists their peers of KINDS (bit 1 << enum qins_bench_kind each); a file without
 * any is refused. Finish it whatever the result: what the list points to is in the files. */
enum qins_status qn_bench_peers_load(struct qn_bench_peers *p, const char *const *files, size_t n,
                                     unsigned kinds, struct qins_error *err);
void qn_bench_peers_finish(struct qn_bench_peers *p); /* a zeroed one is accepted */

#endif
