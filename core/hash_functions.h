/* XXH3 as compiled for one CPU level. xxhash.h chooses its vectors when it is compiled, and
 * libxxhash itself is compiled for any x86-64: SSE2. */
#ifndef QINS_CORE_HASH_FUNCTIONS_H
#define QINS_CORE_HASH_FUNCTIONS_H

#include "core/hash.h"

/* A STATE belongs to the functions that made it. */
struct qn_hash_functions {
    uint64_t (*hash64)(const void *data, size_t size);
    struct qn_digest (*hash128)(const void *data, size_t size);
    void *(*create)(void); /* NULL when out of memory */
    void (*add)(void *state, const void *data, size_t size);
    struct qn_digest (*digest)(const void *state);
    void (*destroy)(void *state); /* accepts NULL */
};

extern const struct qn_hash_functions qn_hash_c;
#if defined(__x86_64__)
extern const struct qn_hash_functions qn_hash_avx2;
#endif

#endif
