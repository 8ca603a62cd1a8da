/* HDF5 checkpoints, Keras' among them. libhdf5 runs in a process of its own (hdf5_child.h). */
#include "core/bytes.h"
#include "core/file.h"
#include "formats/archive/userblock.h"
#include "formats/hdf5_child.h"

#include <pthread.h>
#include <stdlib.h>

struct hdf5 {
    struct qn_checkpoint base;
    struct qn_hdf5_child child;
    pthread_mutex_t lock; /* one request at a time */
};

static const uint8_t signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

/* The superblock may stand at 0, 512, 1024 and so on, doubling (HDF5 file format, II.A). The
 * head that a probe gets covers the first four. */
static bool probe(const struct qn_probe *p)
{
    if (p->is_directory || qn_userblock_has_magic(p->head, p->head_size))
        return false;
    for (size_t at = 0; at + sizeof signature <= p->head_size; at = at ? at * 2 : 512)
        if (memcmp(p->head + at, signature, sizeof signature) == 0)
            return true;
    return false;
}

static enum qins_status check_signature(const char *path, uint64_t *file_size,
                                        struct qins_error *err)
{
    struct qn_file f;
    uint8_t head[sizeof signature];
    bool found = false;
    enum qins_status st = qn_file_open(&f, path, err);
    if (st != QINS_OK)
        return st;
    *file_size = f.size;
    for (uint64_t at = 0;
         st == QINS_OK && !found && f.size >= sizeof head && at <= f.size - sizeof head;
         at = at ? at * 2 : 512) {
        st = qn_file_read(&f, at, head, sizeof head, err);
        found = st == QINS_OK && memcmp(head, signature, sizeof head) == 0;
    }
    if (st == QINS_OK && !found)
        st = qn_fail(err, QINS_ERR_FORMAT, "it has no HDF5 signature");
    qn_file_close(&f);
    return st;
}

static void destroy(struct qn_checkpoint *ck)
{
    struct hdf5 *h = (struct hdf5 *)ck;
    if (!h)
        return;
    qn_hdf5_child_end(&h->child);
    pthread_mutex_destroy(&h->lock);
    qn_checkpoint_base_finish(&h->base);
    free(h);
}

static enum qins_status list(struct hdf5 *h, uint64_t file_size, const struct qn_monitor *monitor,
                             struct qins_error *err)
{
    struct qn_hdf5_listing listing;
    enum qins_status st = qn_hdf5_listing_init(&listing, &h->base, file_size, monitor, err);
    if (st == QINS_OK)
        st = qn_hdf5_child_list(&h->child, &listing, err);
    qn_hdf5_listing_finish(&listing);
    return st;
}

enum qins_status qn_hdf5_open(struct qn_checkpoint **out, const char *path,
                              const struct qn_hdf5_limits *limits, const struct qn_monitor *monitor,
                              struct qins_error *err)
{
    struct hdf5 *h = calloc(1, sizeof *h);
    uint64_t file_size = 0;
    if (!h || pthread_mutex_init(&h->lock, NULL) != 0) {
        free(h);
        return qn_fail_memory(err);
    }
    h->child.fd = -1;
    enum qins_status st = qn_checkpoint_base_init(&h->base, &qn_hdf5_ops, path, err);
    if (st == QINS_OK)
        st = check_signature(path, &file_size, err);
    if (st == QINS_OK)
        st = qn_hdf5_child_start(&h->child, path, file_size, limits, err);
    if (st == QINS_OK)
        st = list(h, file_size, monitor, err);
    if (st != QINS_OK) {
        destroy(&h->base);
        return qn_error_in_file(err, st, path);
    }
    *out = &h->base;
    return QINS_OK;
}

static enum qins_status open_default(struct qn_checkpoint **out, const char *path,
                                     const struct qn_monitor *monitor, struct qins_error *err)
{
    return qn_hdf5_open(out, path, &qn_hdf5_default_limits, monitor, err);
}

struct qn_hdf5_child *qn_hdf5_child_of(struct qn_checkpoint *ck)
{
    return &((struct hdf5 *)ck)->child;
}

static enum qins_status read_range(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                   void *dst, size_t size, struct qins_error *err)
{
    struct hdf5 *h = (struct hdf5 *)ck;
    pthread_mutex_lock(&h->lock);
    enum qins_status st = qn_hdf5_child_read(&h->child, tensor, offset, dst, size, err);
    pthread_mutex_unlock(&h->lock);
    return st;
}

const struct qn_checkpoint_ops qn_hdf5_ops = {
    .format = "hdf5",
    .probe = probe,
    .open = open_default,
    .read = read_range,
    .destroy = destroy,
};
