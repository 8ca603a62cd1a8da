/* Puts the hashes of a changed archive right again, as someone would who damages it on purpose;
 * and files that live in memory. */
#ifndef QINS_TESTS_ARCHIVE_RESEAL_H
#define QINS_TESTS_ARCHIVE_RESEAL_H

#include "core/bytes.h"
#include "core/hash.h"
#include "formats/archive/userblock.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* Which hashes to put right, from the outside inwards. */
enum test_seal {
    SEAL_OUTER, /* the user block and the hash of the body in it */
    SEAL_INDEX, /* and those of manifest and chunk table */
    SEAL_ALL,   /* and those of the payloads in the chunk table */
};

/* Recomputes the XXH3-64 at HASH for the run of COUNT units of UNIT bytes whose offset and count
 * stand at FIELD. Returns the run, or NULL if it is out of bounds. */
static inline uint8_t *test_reseal_run(uint8_t *image, size_t size, const uint8_t *field,
                                       uint64_t unit, uint8_t *hash)
{
    uint64_t offset = qn_load64(field), n;
    if (!qn_mul_u64(qn_load64(field + 8), unit, &n) || !qn_userblock_in_body(size, offset, n))
        return NULL;
    qn_store64(hash, qn_hash64(image + offset, (size_t)n));
    return image + offset;
}

/* Offsets within the user block and the table are those of docs/archive-format.md. */
static inline void test_reseal(uint8_t *image, size_t size, enum test_seal depth)
{
    if (size < QN_USERBLOCK_SIZE)
        return;
    uint64_t table_offset = qn_load64(image + 48), n_chunks = qn_load64(image + 56), table_size;
    if (depth >= SEAL_ALL && qn_mul_u64(n_chunks, QN_CHUNK_ENTRY_SIZE, &table_size) &&
        qn_userblock_in_body(size, table_offset, table_size))
        for (uint64_t i = 0; i < n_chunks; i++) {
            uint8_t *row = image + table_offset + i * QN_CHUNK_ENTRY_SIZE;
            test_reseal_run(image, size, row, 1, row + 16);
        }
    if (depth >= SEAL_INDEX) {
        test_reseal_run(image, size, image + 24, 1, image + 40);
        test_reseal_run(image, size, image + 48, QN_CHUNK_ENTRY_SIZE, image + 64);
    }
    struct qn_digest body = qn_hash128(image + QN_USERBLOCK_SIZE, size - QN_USERBLOCK_SIZE);
    memcpy(image + 72, body.bytes, sizeof body.bytes);
    qn_store64(image + 504, qn_hash64(image, 504));
}

/* An unlinked file in memory and a path that opens it. */
struct test_memory_file {
    int fd;
    char path[32];
};

static inline bool test_memory_file_open(struct test_memory_file *f)
{
    f->fd = memfd_create("qins-test", MFD_CLOEXEC);
    snprintf(f->path, sizeof f->path, "/proc/self/fd/%d", f->fd);
    return f->fd >= 0;
}

static inline bool test_memory_file_set(const struct test_memory_file *f, const void *data,
                                        size_t size)
{
    return pwrite(f->fd, data, size, 0) == (ssize_t)size && ftruncate(f->fd, (off_t)size) == 0;
}

#endif
