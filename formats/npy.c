#include "core/bytes.h"
#include "core/file.h"
#include "formats/checkpoint.h"
#include "formats/npy_header.h"

#include <stdlib.h>

struct npy_checkpoint {
    struct qn_checkpoint base;
    struct qn_file file;
    struct qn_npy_header header;
};

static bool probe(const struct qn_probe *p)
{
    return !p->is_directory && qn_npy_has_magic(p->head, p->head_size);
}

static void destroy(struct qn_checkpoint *ck)
{
    struct npy_checkpoint *n = (struct npy_checkpoint *)ck;
    qn_file_close(&n->file);
    qn_checkpoint_base_finish(ck);
    free(n);
}

static enum qins_status load(struct npy_checkpoint *n, struct qins_error *err)
{
    uint8_t head[QN_NPY_PREFIX];
    struct qn_buf header = {0};
    struct qn_tensor *t = NULL;
    size_t size, head_size;
    enum qins_status st = qn_file_open(&n->file, n->base.path, err);
    if (st != QINS_OK)
        return st;
    head_size = (size_t)qn_min_u64(n->file.size, sizeof head);
    st = qn_file_read(&n->file, 0, head, head_size, err);
    if (st == QINS_OK)
        st = qn_npy_header_size(head, head_size, &size, err);
    if (st == QINS_OK)
        st = qn_buf_append_zeros(&header, size, err);
    if (st == QINS_OK)
        st = qn_file_read(&n->file, 0, header.data, size, err);
    if (st == QINS_OK)
        st = qn_npy_header_parse(&n->header, header.data, size, err);
    if (st == QINS_OK) {
        const char *name = qn_path_base(n->base.path);
        size_t name_size = strlen(name);
        if (qn_has_suffix(name, ".npy") && name_size > 4)
            name_size -= 4;
        st =
            qn_npy_add(&n->base.tensors, &n->header, name, name_size, n->file.size - size, &t, err);
    }
    qn_buf_finish(&header);
    return st;
}

static enum qins_status open_npy(struct qn_checkpoint **out, const char *path,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    (void)monitor;
    struct npy_checkpoint *n = calloc(1, sizeof *n);
    if (!n)
        return qn_fail_memory(err);
    n->file.fd = -1;
    enum qins_status st = qn_checkpoint_base_init(&n->base, &qn_npy_ops, path, err);
    if (st == QINS_OK)
        st = load(n, err);
    if (st != QINS_OK) {
        destroy(&n->base);
        return qn_error_in_file(err, st, path);
    }
    *out = &n->base;
    return QINS_OK;
}

static enum qins_status fetch(void *ctx, uint64_t offset, void *dst, size_t size,
                              struct qins_error *err)
{
    const struct npy_checkpoint *n = ctx;
    return qn_file_read(&n->file, n->header.size + offset, dst, size, err);
}

static enum qins_status read_npy(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                 void *dst, size_t size, struct qins_error *err)
{
    struct npy_checkpoint *n = (struct npy_checkpoint *)ck;
    return qn_npy_read(&n->header, &ck->tensors.items[tensor], fetch, n, offset, dst, size, err);
}

const struct qn_checkpoint_ops qn_npy_ops = {"npy", probe, open_npy, read_npy, destroy};
