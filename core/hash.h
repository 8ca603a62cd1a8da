/* XXH3 from libxxhash, as the archive uses it. */
#ifndef QINS_CORE_HASH_H
#define QINS_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* 128-bit digest in XXH128's canonical (big-endian) byte order. */
struct qn_digest {
    uint8_t bytes[16];
};

uint64_t qn_hash64(const void *data, size_t size);
struct qn_digest qn_hash128(const void *data, size_t size);

/* Streaming; create() returns NULL when out of memory, destroy() accepts NULL. */
struct qn_hasher;
struct qn_hasher *qn_hasher_create(void);
void qn_hasher_add(struct qn_hasher *h, const void *data, size_t size);
struct qn_digest qn_hasher_digest(const struct qn_hasher *h);
void qn_hasher_destroy(struct qn_hasher *h);

/* 32 hexadecimal digits and a NUL. */
void qn_digest_hex(const struct qn_digest *d, char out[33]);

#endif
