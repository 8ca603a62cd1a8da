#include "core/hash.h"

#include <string.h>
#include <xxhash.h>

uint64_t qn_hash64(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

static struct qn_digest canonical(XXH128_hash_t h)
{
    struct qn_digest d;
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, h);
    memcpy(d.bytes, c.digest, sizeof d.bytes);
    return d;
}

struct qn_digest qn_hash128(const void *data, size_t size)
{
    return canonical(XXH3_128bits(data, size));
}

static XXH3_state_t *state_of(struct qn_hasher *h)
{
    return (XXH3_state_t *)(void *)h;
}

struct qn_hasher *qn_hasher_create(void)
{
    XXH3_state_t *s = XXH3_createState();
    if (s)
        XXH3_128bits_reset(s);
    return (struct qn_hasher *)(void *)s;
}

void qn_hasher_add(struct qn_hasher *h, const void *data, size_t size)
{
    XXH3_128bits_update(state_of(h), data, size);
}

struct qn_digest qn_hasher_digest(const struct qn_hasher *h)
{
    return canonical(XXH3_128bits_digest((const XXH3_state_t *)(const void *)h));
}

void qn_hasher_destroy(struct qn_hasher *h)
{
    XXH3_freeState(state_of(h));
}

void qn_digest_hex(const struct qn_digest *d, char out[33])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 16; i++) {
        out[2 * i] = digits[d->bytes[i] >> 4];
        out[2 * i + 1] = digits[d->bytes[i] & 15];
    }
    out[32] = '\0';
}
