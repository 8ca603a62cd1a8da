/* The 512 bytes in front of an archive's HDF5 part: where qins finds what it needs without
 * libhdf5, and the hash of everything behind. Layout: docs/archive-format.md. */
#ifndef QINS_FORMATS_ARCHIVE_USERBLOCK_H
#define QINS_FORMATS_ARCHIVE_USERBLOCK_H

#include "core/file.h"
#include "core/hash.h"
#include "core/thread.h"

enum {
    QN_USERBLOCK_SIZE = 512,  /* bytes */
    QN_ARCHIVE_VERSION = 1,   /* of the whole format: user block, manifest, payloads */
    QN_CHUNK_ENTRY_SIZE = 24, /* bytes of a row of the chunk table */
};

struct qn_userblock {
    uint64_t file_size;
    uint64_t manifest_offset, manifest_size, manifest_hash; /* XXH3-64 of the compressed bytes */
    uint64_t chunks_offset, n_chunks, chunks_hash;          /* XXH3-64 of the table's bytes */
    struct qn_digest body_hash; /* XXH3-128 of the bytes from QN_USERBLOCK_SIZE to the end */
};

void qn_userblock_pack(const struct qn_userblock *u, uint8_t out[QN_USERBLOCK_SIZE]);

/* Checks magic, version, own hash, reserved bytes, and that every range lies between the user
 * block and FILE_SIZE, the real size of the file. SIZE bytes are at DATA, at least those of the
 * user block in a whole file. Errors: QINS_ERR_FORMAT, QINS_ERR_UNSUPPORTED (later version). */
enum qins_status qn_userblock_unpack(const void *data, size_t size, uint64_t file_size,
                                     struct qn_userblock *out, struct qins_error *err);

/* True if [offset, offset + size) lies behind the user block and inside the file. */
bool qn_userblock_in_body(uint64_t file_size, uint64_t offset, uint64_t size);

/* Hashes the bytes of F behind the user block, read by THREADS. MONITOR may be NULL. */
enum qins_status qn_userblock_hash_body(const struct qn_file *f, unsigned threads,
                                        const struct qn_monitor *monitor, struct qn_digest *out,
                                        struct qins_error *err);

/* True if DATA begins with the magic. */
bool qn_userblock_has_magic(const void *data, size_t size);

#endif
