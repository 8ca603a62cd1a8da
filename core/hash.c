#include "core/hash.h"

#include "core/cpu.h"
#include "core/hash_functions.h"

#include <stdlib.h>

struct qn_hasher {
    const struct qn_hash_functions *functions;
    void *state;
};

static const struct qn_hash_functions *functions(void)
{
#if defined(__x86_64__)
    if (qn_cpu_level() >= QN_CPU_AVX2)
        return &qn_hash_avx2;
#endif
    return &qn_hash_c;
}

uint64_t qn_hash64(const void *data, size_t size)
{
    return functions()->hash64(data, size);
}

struct qn_digest qn_hash128(const void *data, size_t size)
{
    return functions()->hash128(data, size);
}

struct qn_hasher *qn_hasher_create(void)
{
    struct qn_hasher *h = malloc(sizeof *h);
    if (!h)
        return NULL;
    h->functions = functions();
    h->state = h->functions->create();
    if (h->state)
        return h;
    free(h);
    return NULL;
}

void qn_hasher_add(struct qn_hasher *h, const void *data, size_t size)
{
    h->functions->add(h->state, data, size);
}

struct qn_digest qn_hasher_digest(const struct qn_hasher *h)
{
    return h->functions->digest(h->state);
}

void qn_hasher_destroy(struct qn_hasher *h)
{
    if (!h)
        return;
    h->functions->destroy(h->state);
    free(h);
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
