#include "core/bytes.h"
#include "core/file.h"
#include "formats/checkpoint.h"
#include "formats/limits.h"
#include "formats/strided.h"
#include "formats/torch_walk.h"

#include <inttypes.h>
#include <stdlib.h>

struct torch_checkpoint {
    struct qn_checkpoint base; /* where[0]: number of the view */
    struct qn_zip *zip;
    struct qn_torch_view_list views;
    bool swap; /* the file is big-endian */
};

/* torch before 1.6 wrote a run of pickles: torch/serialization.py, MAGIC_NUMBER
 * 0x1950a86a20f9469cfc6c as a pickle of protocol 2. */
static const uint8_t legacy_magic[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                       0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};
static const char pickle_suffix[] = "/data.pkl";

/* Bytes of pickle for one of it packed, and of memory for its objects for one of the file: what
 * any stored pickle needs. The floors are always allowed. */
enum { PICKLE_RATIO = 64, PICKLE_FLOOR = 1 << 20, MEMORY_RATIO = 64, MEMORY_FLOOR = 16 << 20 };

static bool is_legacy(const uint8_t *head, size_t size)
{
    return size >= sizeof legacy_magic && memcmp(head, legacy_magic, sizeof legacy_magic) == 0;
}

/* Entry "ROOT/data.pkl" with ROOT a single component, or SIZE_MAX. */
static size_t find_pickle(const struct qn_zip *zip)
{
    for (size_t i = 0; i < qn_zip_count(zip); i++) {
        const char *name = qn_zip_name(zip, i), *slash = strchr(name, '/');
        if (slash && slash != name && strcmp(slash, pickle_suffix) == 0)
            return i;
    }
    return SIZE_MAX;
}

static bool probe(const struct qn_probe *p)
{
    struct qn_zip *zip;
    struct qins_error err;
    if (p->is_directory || is_legacy(p->head, p->head_size))
        return !p->is_directory;
    if (!qn_zip_has_magic(p->head, p->head_size))
        return false;
    const enum qins_status st = qn_zip_open(&zip, p->path, &err);
    if (st == QINS_ERR_IO || st == QINS_ERR_MEMORY)
        *p->err = err;
    if (st != QINS_OK)
        return false;
    bool found = find_pickle(zip) != SIZE_MAX;
    qn_zip_close(zip);
    return found;
}

static void destroy(struct qn_checkpoint *ck)
{
    struct torch_checkpoint *t = (struct torch_checkpoint *)ck;
    qn_zip_close(t->zip);
    qn_torch_view_list_finish(&t->views);
    qn_checkpoint_base_finish(ck);
    free(t);
}

static enum qins_status refuse_legacy(const char *path, struct qins_error *err)
{
    uint8_t head[sizeof legacy_magic];
    struct qn_file f;
    enum qins_status st = qn_file_open(&f, path, err);
    if (st != QINS_OK)
        return st;
    size_t size = (size_t)qn_min_u64(f.size, sizeof head);
    st = qn_file_read(&f, 0, head, size, err);
    if (st == QINS_OK && is_legacy(head, size))
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, path, NULL, QN_NO_OFFSET,
                        "a torch file of the layout before torch 1.6; load it and save it again "
                        "with a later torch");
    qn_file_close(&f);
    return st;
}

static enum qins_status read_byte_order(struct torch_checkpoint *t, const char *root,
                                        struct qins_error *err)
{
    struct qn_buf text = {0};
    char *name = qn_format(err, "%s/byteorder", root);
    if (!name)
        return QINS_ERR_MEMORY;
    enum qins_status st = QINS_OK;
    size_t entry = qn_zip_find(t->zip, name);
    if (entry != SIZE_MAX)
        st = qn_zip_head(t->zip, entry, 16, &text, err);
    if (st == QINS_OK && entry != SIZE_MAX) {
        t->swap = text.size == 3 && memcmp(text.data, "big", 3) == 0;
        if (!t->swap && (text.size != 6 || memcmp(text.data, "little", 6) != 0))
            st = qn_fail(err, QINS_ERR_FORMAT, "the entry 'byteorder' says neither little nor big");
    }
    qn_buf_finish(&text);
    free(name);
    return st;
}

/* Errors of the pickle carry its own offsets, so the entry is named with the file. */
static enum qins_status name_entry(struct qins_error *err, enum qins_status st, const char *path,
                                   const char *entry)
{
    if (st == QINS_OK || !err || err->file[0])
        return st;
    char *place = qn_format(NULL, "%s:%s", path, entry);
    qn_error_in_file(err, st, place ? place : path);
    free(place);
    return st;
}

/* torch stores its pickle; other writers may compress it, by less than this. */
static enum qins_status check_ratio(const struct qn_zip *zip, size_t entry, struct qins_error *err)
{
    uint64_t packed = qn_zip_packed_size(zip, entry); /* at most the file's size */
    if (qn_zip_size(zip, entry) > PICKLE_RATIO * packed + PICKLE_FLOOR)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "the pickle unpacks to more than qins allows of its packed size");
    return QINS_OK;
}

static enum qins_status list_tensors(struct torch_checkpoint *t, size_t entry, const char *root,
                                     const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_buf data = {0};
    struct qn_pickle pickle = {0};
    uint64_t skipped = 0, memory = MEMORY_FLOOR + MEMORY_RATIO * qn_zip_file_size(t->zip);
    enum qins_status st = check_ratio(t->zip, entry, err);
    if (st == QINS_OK)
        st = qn_zip_head(t->zip, entry, (size_t)QN_PICKLE_MAX + 1, &data, err);
    if (st == QINS_OK)
        st = qn_pickle_parse(&pickle, data.data, data.size, &qn_torch_globals, memory, err);
    st = name_entry(err, st, t->base.path, qn_zip_name(t->zip, entry));
    if (st == QINS_OK)
        st = qn_torch_walk(&pickle, t->zip, root, &t->base.tensors, &t->views, &skipped, err);
    if (st == QINS_OK && skipped > 0)
        qn_notice(monitor, "%s: %" PRIu64 " values that are no tensors are left out", t->base.path,
                  skipped);
    for (size_t i = 0; i < t->base.tensors.count; i++)
        t->base.tensors.items[i].where[0] = i;
    qn_pickle_finish(&pickle);
    qn_buf_finish(&data);
    return st;
}

static enum qins_status load(struct torch_checkpoint *t, const struct qn_monitor *monitor,
                             struct qins_error *err)
{
    enum qins_status st = qn_zip_open(&t->zip, t->base.path, err);
    if (st != QINS_OK)
        return st;
    size_t entry = find_pickle(t->zip);
    if (entry == SIZE_MAX)
        return qn_fail(err, QINS_ERR_FORMAT, "the archive has no entry 'data.pkl'");
    const char *name = qn_zip_name(t->zip, entry);
    char *root = qn_strndup(name, strlen(name) - strlen(pickle_suffix), err);
    char *dir = qn_path_dir(t->base.path, err);
    st = root && dir ? read_byte_order(t, root, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = list_tensors(t, entry, root, monitor, err);
    if (st == QINS_OK)
        st = qn_attach_model_files(&t->base.attachments, dir, err);
    free(dir);
    free(root);
    return st;
}

static enum qins_status open_torch(struct qn_checkpoint **out, const char *path,
                                   const struct qn_monitor *monitor, struct qins_error *err)
{
    enum qins_status st = refuse_legacy(path, err);
    if (st != QINS_OK)
        return st;
    struct torch_checkpoint *t = calloc(1, sizeof *t);
    if (!t)
        return qn_fail_memory(err);
    st = qn_checkpoint_base_init(&t->base, &qn_torch_ops, path, err);
    if (st == QINS_OK)
        st = load(t, monitor, err);
    if (st != QINS_OK) {
        destroy(&t->base);
        return qn_error_in_file(err, st, path);
    }
    *out = &t->base;
    return QINS_OK;
}

struct storage {
    struct qn_zip *zip;
    size_t entry;
};

static enum qins_status fetch(void *ctx, uint64_t offset, void *dst, size_t size,
                              struct qins_error *err)
{
    const struct storage *s = ctx;
    return qn_zip_read(s->zip, s->entry, offset, dst, size, err);
}

/* The sign is the top bit of every float that qins reads. */
static void flip_signs(uint8_t *p, size_t size, size_t element)
{
    for (size_t i = element - 1; i < size; i += element)
        p[i] ^= 0x80;
}

static enum qins_status read_torch(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                   void *dst, size_t size, struct qins_error *err)
{
    struct torch_checkpoint *t = (struct torch_checkpoint *)ck;
    const struct qn_tensor *info = &ck->tensors.items[tensor];
    const struct qn_torch_view *view = &t->views.items[info->where[0]];
    struct storage s = {t->zip, view->entry};
    struct qn_strided v = {info->rank, info->shape, view->stride, view->base,
                           qins_dtype_size(info->dtype)};
    enum qins_status st = qn_strided_read(&v, fetch, &s, offset, dst, size, err);
    if (st == QINS_OK && t->swap)
        qn_swap_elements(dst, size, v.element_size);
    if (st == QINS_OK && view->negate)
        flip_signs(dst, size, v.element_size);
    return st;
}

const struct qn_checkpoint_ops qn_torch_ops = {"torch", probe, open_torch, read_torch, destroy};

const struct qn_limit qn_torch_limits[] = {
    {"torch", "pickle_per_byte", PICKLE_RATIO, "bytes",
     "bombs: pickle that a packed byte may unfold to"},
    {"torch", "pickle_always", PICKLE_FLOOR, "bytes", "the same, in a small file"},
    {"torch", "objects_per_byte", MEMORY_RATIO, "bytes",
     "memory for objects of the pickle, for a byte of file"},
    {"torch", "objects_always", MEMORY_FLOOR, "bytes", "the same, of a small file"},
    {0},
};
