/* The body of a file that defines one struct qn_hash_functions, QN_HASH_FUNCTIONS, from the
 * xxhash.h that it has included before. */
#include "core/hash_functions.h"

#include <string.h>

static struct qn_digest canonical(XXH128_hash_t h)
{
    struct qn_digest d;
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, h);
    memcpy(d.bytes, c.digest, sizeof d.bytes);
    return d;
}

static uint64_t hash64(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

static struct qn_digest hash128(const void *data, size_t size)
{
    return canonical(XXH3_128bits(data, size));
}

static void *create(void)
{
    XXH3_state_t *s = XXH3_createState();
    if (s)
        XXH3_128bits_reset(s);
    return s;
}

static void add(void *state, const void *data, size_t size)
{
    XXH3_128bits_update(state, data, size);
}

static struct qn_digest digest(const void *state)
{
    return canonical(XXH3_128bits_digest(state));
}

static void destroy(void *state)
{
    XXH3_freeState(state);
}

const struct qn_hash_functions QN_HASH_FUNCTIONS = {
    hash64, hash128, create, add, digest, destroy,
};
