#include "formats/archive/userblock.h"

#include "core/bytes.h"

#include <stdlib.h>

/* Byte offsets of the fields; the rest up to SELF_HASH is zero. */
enum {
    VERSION = 8,
    FLAGS = 12,
    FILE_SIZE = 16,
    MANIFEST = 24,
    CHUNKS = 48,
    BODY_HASH = 72,
    RESERVED = 88,
    SELF_HASH = 504,
};

enum { BLOCK = 1 << 20 }; /* bytes hashed at a time */

static const char magic[8] = "QINSARC";

void qn_userblock_pack(const struct qn_userblock *u, uint8_t out[QN_USERBLOCK_SIZE])
{
    memset(out, 0, QN_USERBLOCK_SIZE);
    memcpy(out, magic, sizeof magic);
    qn_store32(out + VERSION, QN_ARCHIVE_VERSION);
    qn_store64(out + FILE_SIZE, u->file_size);
    qn_store64(out + MANIFEST, u->manifest_offset);
    qn_store64(out + MANIFEST + 8, u->manifest_size);
    qn_store64(out + MANIFEST + 16, u->manifest_hash);
    qn_store64(out + CHUNKS, u->chunks_offset);
    qn_store64(out + CHUNKS + 8, u->n_chunks);
    qn_store64(out + CHUNKS + 16, u->chunks_hash);
    memcpy(out + BODY_HASH, u->body_hash.bytes, sizeof u->body_hash.bytes);
    qn_store64(out + SELF_HASH, qn_hash64(out, SELF_HASH));
}

bool qn_userblock_has_magic(const void *data, size_t size)
{
    return size >= sizeof magic && memcmp(data, magic, sizeof magic) == 0;
}

bool qn_userblock_in_body(uint64_t file_size, uint64_t offset, uint64_t size)
{
    return offset >= QN_USERBLOCK_SIZE && offset <= file_size && size <= file_size - offset;
}

static enum qins_status check_head(const uint8_t *p, size_t size, struct qins_error *err)
{
    if (!qn_userblock_has_magic(p, size))
        return qn_fail(err, QINS_ERR_FORMAT, "is not a qins archive");
    if (size < QN_USERBLOCK_SIZE)
        return qn_fail(err, QINS_ERR_FORMAT, "the archive is cut short in its user block");
    if (qn_load64(p + SELF_HASH) != qn_hash64(p, SELF_HASH))
        return qn_fail(err, QINS_ERR_FORMAT, "the archive's user block is damaged");
    uint32_t version = qn_load32(p + VERSION);
    if (version != QN_ARCHIVE_VERSION || qn_load32(p + FLAGS) != 0)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "archive format version %u, flags %u: this qins reads version %d",
                       (unsigned)version, (unsigned)qn_load32(p + FLAGS), QN_ARCHIVE_VERSION);
    for (size_t i = RESERVED; i < SELF_HASH; i++)
        if (p[i] != 0)
            return qn_fail(err, QINS_ERR_FORMAT, "reserved byte %zu of the user block is not zero",
                           i);
    return QINS_OK;
}

enum qins_status qn_userblock_unpack(const void *data, size_t size, uint64_t file_size,
                                     struct qn_userblock *out, struct qins_error *err)
{
    const uint8_t *p = data;
    uint64_t table_size;
    enum qins_status st = check_head(p, size, err);
    if (st != QINS_OK)
        return st;
    out->file_size = qn_load64(p + FILE_SIZE);
    out->manifest_offset = qn_load64(p + MANIFEST);
    out->manifest_size = qn_load64(p + MANIFEST + 8);
    out->manifest_hash = qn_load64(p + MANIFEST + 16);
    out->chunks_offset = qn_load64(p + CHUNKS);
    out->n_chunks = qn_load64(p + CHUNKS + 8);
    out->chunks_hash = qn_load64(p + CHUNKS + 16);
    memcpy(out->body_hash.bytes, p + BODY_HASH, sizeof out->body_hash.bytes);
    if (out->file_size != file_size)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the file is %llu bytes long where its user block says %llu: cut short, or "
                       "rewritten by another program (h5repack, an editor)",
                       (unsigned long long)file_size, (unsigned long long)out->file_size);
    if (!qn_userblock_in_body(file_size, out->manifest_offset, out->manifest_size))
        return qn_fail(err, QINS_ERR_FORMAT, "the manifest lies outside the file");
    if (!qn_mul_u64(out->n_chunks, QN_CHUNK_ENTRY_SIZE, &table_size) ||
        !qn_userblock_in_body(file_size, out->chunks_offset, table_size))
        return qn_fail(err, QINS_ERR_FORMAT, "the chunk table lies outside the file");
    return QINS_OK;
}

enum qins_status qn_userblock_hash_body(const struct qn_file *f, const struct qn_monitor *monitor,
                                        struct qn_digest *out, struct qins_error *err)
{
    uint8_t *block = malloc(BLOCK);
    struct qn_hasher *hasher = qn_hasher_create();
    enum qins_status st = block && hasher ? QINS_OK : qn_fail_memory(err);
    uint64_t at = QN_USERBLOCK_SIZE;
    while (st == QINS_OK && at < f->size) {
        size_t n = (size_t)qn_min_u64(f->size - at, BLOCK);
        st = qn_check_stop(monitor, err);
        if (st == QINS_OK)
            st = qn_file_read(f, at, block, n, err);
        if (st == QINS_OK)
            qn_hasher_add(hasher, block, n);
        at += n;
        qn_progress(monitor, "hash the archive", at, f->size);
    }
    if (st == QINS_OK)
        *out = qn_hasher_digest(hasher);
    qn_hasher_destroy(hasher);
    free(block);
    return st;
}
