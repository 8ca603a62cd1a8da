/* A checkpoint that pretends to be a file which describes itself (formats/described.h): /meta, and
 * datasets whose contents are a few bytes over and over, or what bytes there are one dataset after
 * the other, and zeros behind them. */
#ifndef QINS_TESTS_DESCRIBED_FUZZING_H
#define QINS_TESTS_DESCRIBED_FUZZING_H

#include "formats/described.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void must(bool good)
{
    if (!good)
        abort();
}

struct pretender {
    struct qn_checkpoint base;
    const uint8_t *meta, *fill;
    size_t meta_size, fill_size;
    bool in_turn;
};

static enum qins_status read_range(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                   void *dst, size_t size, struct qins_error *err)
{
    const struct pretender *p = (const struct pretender *)ck;
    uint8_t *out = dst;
    uint64_t begin = 0;
    (void)err;
    for (size_t i = 1; i < tensor && p->in_turn; i++)
        begin += ck->tensors.items[i].n_bytes;
    for (size_t i = 0; i < size; i++) {
        const uint64_t at = begin + offset + i;
        out[i] = tensor == 0                                          ? p->meta[offset + i]
                 : p->fill_size && (!p->in_turn || at < p->fill_size) ? p->fill[at % p->fill_size]
                                                                      : 0;
    }
    return QINS_OK;
}

static void destroy(struct qn_checkpoint *ck)
{
    qn_tensor_list_finish(&ck->tensors);
    free(ck->path);
    free(ck);
}

/* The name of a file of SIZE bytes, by which the description's own size is bounded. */
static char *path_of(size_t size)
{
    static int fd = -1;
    char path[32];
    if (fd < 0)
        fd = memfd_create("input", MFD_CLOEXEC);
    must(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return qn_strdup(path, NULL);
}

/* One of the input, which is the text up to a NUL at META_SIZE and what fills the datasets behind
 * it, and of DATASETS beside /meta. Never NULL. */
static struct qn_checkpoint *pretend(const uint8_t *data, size_t meta_size, size_t size,
                                     const struct qn_tensor_list *datasets, bool in_turn)
{
    static const struct qn_checkpoint_ops ops = {
        .format = "pretended", .read = read_range, .destroy = destroy};
    const uint64_t extent = meta_size;
    struct pretender *p = calloc(1, sizeof *p);
    must(p != NULL);
    *p = (struct pretender){.base = {.ops = &ops, .path = path_of(size)},
                            .meta = data,
                            .meta_size = meta_size,
                            .fill = data + meta_size + 1,
                            .fill_size = size - meta_size - 1,
                            .in_turn = in_turn};
    must(qn_tensor_list_add(&p->base.tensors, QN_META, strlen(QN_META), QINS_U8, NULL, 1, &extent,
                            NULL, NULL) == QINS_OK);
    for (size_t i = 0; i < datasets->count; i++) {
        const struct qn_tensor *t = &datasets->items[i];
        must(qn_tensor_list_add(&p->base.tensors, t->name, strlen(t->name), t->dtype, NULL, t->rank,
                                t->shape, NULL, NULL) == QINS_OK);
    }
    return &p->base;
}

#endif
