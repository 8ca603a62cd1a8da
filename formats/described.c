#include "formats/described.h"
#include "formats/limits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum qins_status qn_described_add(struct qn_tensor_list *list, json_t *paths, const char *path,
                                  enum qins_dtype dtype, unsigned rank, const uint64_t *shape,
                                  struct qins_error *err)
{
    char *name = qn_strdup(path + 1, err);
    if (!name)
        return QINS_ERR_MEMORY;
    for (char *p = name; *p; p++)
        if (*p == '/')
            *p = '.';
    enum qins_status st =
        qn_tensor_list_add(list, name, strlen(name), dtype, NULL, rank, shape, NULL, err);
    if (st == QINS_OK && json_object_set_new(paths, name, json_string(path)) != 0)
        st = qn_fail_memory(err);
    free(name);
    return st;
}

enum qins_status qn_described_open(struct qn_checkpoint **out, const char *path, const char *what,
                                   const struct qn_monitor *monitor, struct qins_error *err)
{
    *out = NULL;
    enum qins_status st = qn_checkpoint_open(out, path, monitor, err);
    if (st == QINS_OK && (*out)->ops != &qn_hdf5_ops) {
        qn_checkpoint_destroy(*out);
        *out = NULL;
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, path, NULL, QN_NO_OFFSET,
                        "it is no %s, which is an HDF5 file", what);
    }
    return st;
}

static int compare_names(const void *a, const void *b, void *ctx)
{
    const struct qn_tensor *items = ctx;
    return strcmp(items[*(const size_t *)a].name, items[*(const size_t *)b].name);
}

void qn_described_finish(struct qn_described *d)
{
    free(d->by_name);
    qn_buf_finish(&d->meta);
    *d = (struct qn_described){0};
}

static const struct qn_tensor *find(const struct qn_described *d, const char *name)
{
    const struct qn_tensor_list *list = &d->ck->tensors;
    size_t begin = 0, end = list->count;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        const struct qn_tensor *t = &list->items[d->by_name[middle]];
        int order = strcmp(name, t->name);
        if (order == 0)
            return t;
        if (order < 0)
            end = middle;
        else
            begin = middle + 1;
    }
    return NULL;
}

uint64_t qn_described_bytes(const struct qn_described *d)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < d->ck->tensors.count; i++)
        sum += d->ck->tensors.items[i].n_bytes;
    return sum;
}

static enum qins_status file_bytes(const char *path, uint64_t *bytes, struct qins_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return qn_fail_errno(err, path, "cannot look at");
    *bytes = (uint64_t)info.st_size;
    return QINS_OK;
}

static enum qins_status read_meta(struct qn_described *d, struct qins_error *err)
{
    const struct qn_tensor *t = find(d, QN_META);
    if (!t || t->dtype != QINS_U8 || t->rank != 1 || t->n_bytes > QN_MAX_META)
        return qn_fail(err, QINS_ERR_FORMAT, "it is no %s: there is no /%s", d->what, QN_META);
    const size_t size = (size_t)t->n_bytes;
    uint64_t packed = 0;
    enum qins_status st = qn_buf_reserve(&d->meta, size + 1, err);
    if (st == QINS_OK)
        st = qn_checkpoint_read(d->ck, (size_t)(t - d->ck->tensors.items), 0, d->meta.data, size,
                                err);
    if (st == QINS_OK)
        st = file_bytes(d->ck->path, &packed, err);
    if (st == QINS_OK && !qn_json_fits(d->meta.data, size, packed))
        st = qn_fail(err, QINS_ERR_FORMAT, "its /%s would take too much memory", QN_META);
    if (st == QINS_OK)
        d->meta.size = size;
    return st;
}

enum qins_status qn_described_init(struct qn_described *d, struct qn_checkpoint *ck,
                                   const char *what, struct qins_error *err)
{
    const struct qn_tensor_list *list = &ck->tensors;
    *d = (struct qn_described){ck, what, calloc(list->count + 1, sizeof *d->by_name), {0}};
    if (!d->by_name)
        return qn_fail_memory(err);
    for (size_t i = 0; i < list->count; i++)
        d->by_name[i] = i;
    qsort_r(d->by_name, list->count, sizeof *d->by_name, compare_names, list->items);
    return read_meta(d, err);
}

enum qins_status qn_described_match(const struct qn_described *d, const struct qn_tensor *want,
                                    size_t *tensor, struct qins_error *err)
{
    const struct qn_tensor *t = find(d, want->name);
    if (!t)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, want->name, QN_NO_OFFSET, "it is missing");
    if (t->dtype != want->dtype || t->rank != want->rank ||
        memcmp(t->shape, want->shape, want->rank * sizeof *t->shape) != 0)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, want->name, QN_NO_OFFSET,
                          "its type or shape is not the one described");
    *tensor = (size_t)(t - d->ck->tensors.items);
    return QINS_OK;
}

const struct qn_limit qn_described_limits[] = {
    {"hdf5_of_qins", "meta", QN_MAX_META, "bytes",
     "memory that a calibration's or transport's JSON takes"},
    {0},
};
