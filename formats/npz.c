#include "core/bytes.h"
#include "core/file.h"
#include "formats/checkpoint.h"
#include "formats/npy_header.h"
#include "formats/zip.h"

#include <inttypes.h>
#include <stdlib.h>

struct npz_checkpoint {
    struct qn_checkpoint base; /* where[0]: entry of the archive */
    struct qn_zip *zip;
    struct qn_npy_header *headers; /* one a tensor */
};

/* The torch reader, which comes first, takes the archives that hold a pickle. */
static bool probe(const struct qn_probe *p)
{
    return !p->is_directory && qn_zip_has_magic(p->head, p->head_size);
}

static void destroy(struct qn_checkpoint *ck)
{
    struct npz_checkpoint *n = (struct npz_checkpoint *)ck;
    qn_zip_close(n->zip);
    free(n->headers);
    qn_checkpoint_base_finish(ck);
    free(n);
}

static enum qins_status add_array(struct npz_checkpoint *n, size_t entry, struct qins_error *err)
{
    const char *name = qn_zip_name(n->zip, entry);
    struct qn_npy_header *h = &n->headers[n->base.tensors.count];
    struct qn_buf data = {0};
    struct qn_tensor *t = NULL;
    size_t size;
    enum qins_status st = qn_zip_head(n->zip, entry, QN_NPY_PREFIX, &data, err);
    if (st == QINS_OK)
        st = qn_npy_header_size(data.data, data.size, &size, err);
    if (st == QINS_OK) {
        data.size = 0;
        st = qn_zip_head(n->zip, entry, size, &data, err);
    }
    if (st == QINS_OK)
        st = qn_npy_header_parse(h, data.data, data.size, err);
    if (st == QINS_OK)
        st = qn_npy_add(&n->base.tensors, h, name, strlen(name) - strlen(".npy"),
                        qn_zip_size(n->zip, entry) - h->size, &t, err);
    if (st == QINS_OK)
        t->where[0] = entry;
    qn_buf_finish(&data);
    return qn_error_in_tensor(err, st, name);
}

static enum qins_status load(struct npz_checkpoint *n, const struct qn_monitor *monitor,
                             struct qins_error *err)
{
    size_t others = 0;
    enum qins_status st = qn_zip_open(&n->zip, n->base.path, err);
    if (st != QINS_OK)
        return st;
    n->headers = calloc(qn_zip_count(n->zip) + 1, sizeof *n->headers);
    if (!n->headers)
        return qn_fail_memory(err);
    for (size_t i = 0; i < qn_zip_count(n->zip) && st == QINS_OK; i++) {
        const char *name = qn_zip_name(n->zip, i);
        if (qn_has_suffix(name, ".npy") && strlen(name) > strlen(".npy"))
            st = add_array(n, i, err);
        else
            others++;
    }
    if (st == QINS_OK && n->base.tensors.count == 0)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED, "a ZIP archive without torch or NumPy data");
    if (st == QINS_OK && others > 0)
        qn_notice(monitor, "%s: %zu entries that are no NumPy arrays are left out", n->base.path,
                  others);
    return st;
}

static enum qins_status open_npz(struct qn_checkpoint **out, const char *path,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    struct npz_checkpoint *n = calloc(1, sizeof *n);
    if (!n)
        return qn_fail_memory(err);
    enum qins_status st = qn_checkpoint_base_init(&n->base, &qn_npz_ops, path, err);
    if (st == QINS_OK)
        st = load(n, monitor, err);
    if (st != QINS_OK) {
        destroy(&n->base);
        return qn_error_in_file(err, st, path);
    }
    *out = &n->base;
    return QINS_OK;
}

struct array {
    struct qn_zip *zip;
    size_t entry, header_size;
};

static enum qins_status fetch(void *ctx, uint64_t offset, void *dst, size_t size,
                              struct qins_error *err)
{
    const struct array *a = ctx;
    return qn_zip_read(a->zip, a->entry, a->header_size + offset, dst, size, err);
}

static enum qins_status read_npz(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                 void *dst, size_t size, struct qins_error *err)
{
    struct npz_checkpoint *n = (struct npz_checkpoint *)ck;
    const struct qn_tensor *t = &ck->tensors.items[tensor];
    struct array a = {n->zip, (size_t)t->where[0], n->headers[tensor].size};
    return qn_npy_read(&n->headers[tensor], t, fetch, &a, offset, dst, size, err);
}

const struct qn_checkpoint_ops qn_npz_ops = {"npz", probe, open_npz, read_npz, destroy};
