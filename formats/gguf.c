/* Reader of GGUF files. */
#include "formats/gguf.h"

#include "core/file.h"
#include "formats/limits.h"

#include <stdio.h>
#include <stdlib.h>

/* The part before the data is read in steps, each twice the one before, until it parses; larger
 * than the second figure no vocabulary comes near. */
enum { FIRST_READ = 1 << 20, MAX_DESCRIPTION = 1 << 29 };

struct gguf {
    struct qn_checkpoint base;
    struct qn_file file;
    uint32_t version;
    uint64_t n_tensors, n_keys;
};

static void destroy(struct qn_checkpoint *ck)
{
    struct gguf *g = (struct gguf *)ck;
    qn_file_close(&g->file);
    qn_checkpoint_base_finish(&g->base);
    free(g);
}

static enum qins_status read_tensor(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                    void *dst, size_t size, struct qins_error *err)
{
    const struct gguf *g = (const struct gguf *)ck;
    return qn_file_read(&g->file, ck->tensors.items[tensor].where[1] + offset, dst, size, err);
}

static enum qins_status read_header(struct gguf *g, struct qins_error *err)
{
    /* The smallest key: a name of one byte, a value of one byte; the smallest tensor info: a
     * name of one byte and no extents. */
    enum { MIN_KEY = 8 + 1 + 4 + 1, MIN_INFO = 8 + 1 + 4 + 4 + 8 };
    uint8_t head[QN_GGUF_HEADER_SIZE];
    enum qins_status st = qn_file_read(&g->file, 0, head, sizeof head, err);
    if (st != QINS_OK)
        return st;
    g->version = qn_load32(head + 4);
    g->n_tensors = qn_load64(head + 8);
    g->n_keys = qn_load64(head + 16);
    if (memcmp(head, "GGUF", 4) != 0)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL, 0, "not a GGUF file");
    if (g->version == 2u << 24 || g->version == 3u << 24)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, NULL, 4,
                          "the GGUF file is big-endian; only little-endian ones are read");
    if (g->version != 2 && g->version != 3)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, NULL, 4,
                          "GGUF version %u is not read, only 2 and 3", g->version);
    if (g->n_keys > g->file.size / MIN_KEY || g->n_tensors > g->file.size / MIN_INFO)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL, 8,
                          "the file is too short for the tensors and keys it announces");
    return QINS_OK;
}

static enum qins_status fail_tensor(struct qins_error *err, const char *what)
{
    return qn_fail(err, QINS_ERR_FORMAT, "%s", what);
}

/* Bytes of a tensor of a quantised type. */
static enum qins_status measure_blocks(struct qn_tensor *t, const struct qn_ggml_type *type,
                                       struct qins_error *err)
{
    uint64_t row = t->rank ? t->shape[t->rank - 1] : 1;
    if (row % type->block != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "its rows of %llu are no multiple of %s's block, %u",
                       (unsigned long long)row, type->name, type->block);
    if (!qn_mul_u64(t->n_elements / type->block, type->block_bytes, &t->n_bytes))
        return fail_tensor(err, "the tensor's byte size overflows");
    return QINS_OK;
}

/* Infos carry offsets into the data section, whose place is known only after the last of them:
 * until then where[1] holds the offset. */
static enum qins_status parse_info(struct gguf *g, struct qn_cursor *c, uint32_t alignment,
                                   struct qins_error *err)
{
    uint64_t shape[QN_GGUF_MAX_RANK];
    char name_of_unknown[24];
    struct qn_tensor *t;
    uint64_t name_size = qn_cursor_u64(c);
    const uint8_t *name = qn_cursor_take(c, name_size);
    uint32_t rank = qn_cursor_u32(c);
    if (!c->bad && rank > QN_GGUF_MAX_RANK)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "a tensor of rank %u; GGUF has at most %d", rank,
                       QN_GGUF_MAX_RANK);
    for (uint32_t i = 0; i < rank && !c->bad; i++)
        shape[rank - 1 - i] = qn_cursor_u64(c);
    uint32_t id = qn_cursor_u32(c);
    uint64_t offset = qn_cursor_u64(c);
    if (c->bad)
        return fail_tensor(err, "the tensor descriptions are truncated");

    const struct qn_ggml_type *type = qn_ggml_type_by_id(id);
    snprintf(name_of_unknown, sizeof name_of_unknown, "ggml-type-%u", id);
    enum qins_status st =
        qn_tensor_list_add(&g->base.tensors, (const char *)name, (size_t)name_size,
                           type ? type->dtype : QINS_DTYPE_INVALID,
                           type ? type->name : name_of_unknown, rank, shape, &t, err);
    if (st == QINS_OK && type && t->dtype == QINS_DTYPE_INVALID)
        st = measure_blocks(t, type, err);
    if (st == QINS_OK && offset % alignment != 0)
        st = fail_tensor(err, "its data is not aligned");
    if (st == QINS_OK)
        t->where[1] = offset;
    return st;
}

static enum qins_status place_tensors(struct gguf *g, uint64_t data_begin, struct qins_error *err)
{
    uint64_t data_size = g->file.size > data_begin ? g->file.size - data_begin : 0;
    for (size_t i = 0; i < g->base.tensors.count; i++) {
        struct qn_tensor *t = &g->base.tensors.items[i];
        if (t->n_bytes && (t->where[1] > data_size || t->n_bytes > data_size - t->where[1]))
            return qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->name, QN_NO_OFFSET,
                              "its data lies outside the file");
        /* Nothing is read of empty tensors, nor of types of unknown size; a common place keeps
         * them out of the overlap check. */
        t->where[1] = t->n_bytes ? t->where[1] + data_begin : 0;
    }
    return qn_tensor_list_check_overlap(&g->base.tensors, err);
}

static enum qins_status attach_keys(struct gguf *g, const uint8_t *keys, size_t size,
                                    struct qins_error *err)
{
    struct qn_buf b = {0};
    uint8_t head[QN_GGUF_METADATA_HEADER];
    qn_store32(head, QN_GGUF_METADATA_LAYOUT);
    qn_store32(head + 4, g->version);
    qn_store64(head + 8, g->n_keys);
    enum qins_status st = qn_buf_append(&b, head, sizeof head, err);
    if (st == QINS_OK)
        st = qn_buf_append(&b, keys, size, err);
    if (st == QINS_OK)
        st = qn_attachment_add(&g->base.attachments, QN_GGUF_METADATA, b.data, b.size, err);
    qn_buf_finish(&b);
    return st;
}

/* C spans what follows the header. */
static enum qins_status parse(struct gguf *g, struct qn_cursor *c, const struct qn_monitor *monitor,
                              struct qins_error *err)
{
    struct qn_gguf_keys keys;
    enum qins_status st = qn_gguf_scan_keys(c, g->n_keys, &keys, err);
    if (st != QINS_OK)
        return st;
    size_t keys_size = qn_cursor_offset(c);
    for (uint64_t i = 0; i < g->n_tensors && st == QINS_OK; i++) {
        int64_t at = QN_GGUF_HEADER_SIZE + (int64_t)qn_cursor_offset(c);
        size_t known = g->base.tensors.count;
        st = parse_info(g, c, keys.alignment, err);
        if (st != QINS_OK && err && err->offset < 0)
            err->offset = at;
        if (st != QINS_OK && g->base.tensors.count > known)
            qn_error_in_tensor(err, st, g->base.tensors.items[known].name);
    }
    if (st == QINS_OK) {
        uint64_t end = QN_GGUF_HEADER_SIZE + qn_cursor_offset(c);
        st = place_tensors(g, qn_div_up(end, keys.alignment) * keys.alignment, err);
    }
    if (st == QINS_OK)
        st = attach_keys(g, c->begin, keys_size, err);
    if (st == QINS_OK && keys.split_count > 1)
        qn_notice(monitor, "%s is one of %u parts of a split model: only its own tensors are read",
                  g->base.path, keys.split_count);
    return st;
}

static enum qins_status load(struct gguf *g, const struct qn_monitor *monitor,
                             struct qins_error *err)
{
    const uint64_t whole = g->file.size - QN_GGUF_HEADER_SIZE;
    struct qn_buf b = {0};
    enum qins_status st = QINS_OK;
    for (uint64_t want = FIRST_READ; st == QINS_OK; want *= 2) {
        size_t size = (size_t)qn_min_u64(want, whole);
        st = qn_buf_reserve(&b, size + 1, err);
        if (st == QINS_OK)
            st = qn_file_read(&g->file, QN_GGUF_HEADER_SIZE + b.size, b.data + b.size,
                              size - b.size, err);
        if (st != QINS_OK)
            break;
        b.size = size;
        struct qn_cursor c = qn_cursor_init(b.data, b.size);
        st = parse(g, &c, monitor, err);
        if (st == QINS_OK || !c.bad || b.size == whole)
            break;
        if (want >= MAX_DESCRIPTION) {
            st = qn_fail(err, QINS_ERR_UNSUPPORTED,
                         "keys and tensor descriptions take more than 512 MiB");
            break;
        }
        qn_tensor_list_finish(&g->base.tensors);
        st = QINS_OK;
    }
    qn_buf_finish(&b);
    return st;
}

static enum qins_status open_file(struct qn_checkpoint **out, const char *path,
                                  const struct qn_monitor *monitor, struct qins_error *err)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g)
        return qn_fail_memory(err);
    g->file.fd = -1;
    enum qins_status st = qn_checkpoint_base_init(&g->base, &qn_gguf_ops, path, err);
    if (st == QINS_OK)
        st = qn_file_open(&g->file, path, err);
    if (st == QINS_OK)
        st = read_header(g, err);
    if (st == QINS_OK)
        st = load(g, monitor, err);
    if (st != QINS_OK) {
        destroy(&g->base);
        return qn_error_in_file(err, st, path);
    }
    *out = &g->base;
    return QINS_OK;
}

static bool probe(const struct qn_probe *p)
{
    return !p->is_directory && p->head_size >= 4 && memcmp(p->head, "GGUF", 4) == 0;
}

const struct qn_checkpoint_ops qn_gguf_ops = {
    .format = "gguf",
    .probe = probe,
    .open = open_file,
    .read = read_tensor,
    .destroy = destroy,
};

const struct qn_limit qn_gguf_limits[] = {
    {"gguf", "description", MAX_DESCRIPTION, "bytes", "memory: keys and tensors are held whole"},
    {"gguf", "rank", QN_GGUF_MAX_RANK, "axes", "arrays of extents"},
    {0},
};
