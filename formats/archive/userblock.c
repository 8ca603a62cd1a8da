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

enum { BLOCK = 256 << 10 }; /* bytes read, and hashed while they are in the cache */

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

/* Blocks are read by several threads and hashed by one, which is faster than they. */
struct body_hash {
    const struct qn_file *file;
    const struct qn_monitor *monitor;
    struct qn_hasher *hasher;
    uint8_t *blocks; /* one a slot */
};

static uint64_t block_at(uint64_t item)
{
    return QN_USERBLOCK_SIZE + item * BLOCK;
}

static size_t block_size(const struct body_hash *b, uint64_t item)
{
    return (size_t)qn_min_u64(b->file->size - block_at(item), BLOCK);
}

static enum qins_status read_block(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    const struct body_hash *b = ctx;
    return qn_file_read(b->file, block_at(item), b->blocks + (size_t)slot * BLOCK,
                        block_size(b, item), err);
}

static enum qins_status hash_block(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    const struct body_hash *b = ctx;
    const size_t size = block_size(b, item);
    (void)err;
    qn_hasher_add(b->hasher, b->blocks + (size_t)slot * BLOCK, size);
    qn_progress(b->monitor, "hash the archive", block_at(item) + size, b->file->size);
    return QINS_OK;
}

enum qins_status qn_userblock_hash_body(const struct qn_file *f, unsigned threads,
                                        const struct qn_monitor *monitor, struct qn_digest *out,
                                        struct qins_error *err)
{
    struct qn_ordered job = {.work = read_block,
                             .emit = hash_block,
                             .threads = threads,
                             .slots = threads > 1 ? 2 * threads : 1,
                             .monitor = monitor};
    struct body_hash b = {f, monitor, qn_hasher_create(), malloc((size_t)job.slots * BLOCK)};
    enum qins_status st = b.hasher && b.blocks ? QINS_OK : qn_fail_memory(err);
    job.ctx = &b;
    if (f->size > QN_USERBLOCK_SIZE)
        job.end = qn_div_up(f->size - QN_USERBLOCK_SIZE, BLOCK);
    if (st == QINS_OK)
        st = qn_run_ordered(&job, err);
    if (st == QINS_OK)
        *out = qn_hasher_digest(b.hasher);
    qn_hasher_destroy(b.hasher);
    free(b.blocks);
    return st;
}
