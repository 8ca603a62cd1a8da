/* A file through the process of its own. What happens there shows here as a status; a crash of
 * libhdf5 is no finding (docs/hdf5-upstream.md), a report of a sanitizer with our frames on top
 * is, from either process. */
#include "core/file.h"
#include "formats/hdf5_child.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct qn_hdf5_limits limits = {1, 1, 512u << 20};

static uint8_t dst[1 << 16];

static void read_one(struct qn_checkpoint *ck, size_t i, uint64_t most)
{
    const struct qn_tensor *t = &ck->tensors.items[i];
    const uint64_t n = t->n_bytes < most ? t->n_bytes : most;
    struct qins_error err;
    if (t->dtype != QINS_DTYPE_INVALID && n > 0)
        qn_hdf5_ops.read(ck, i, 0, dst, (size_t)n, &err);
}

/* Each, and then the one before it once more: two stay open there. */
static void read_all(struct qn_checkpoint *ck)
{
    for (size_t i = 0; i < ck->tensors.count && i < 16; i++) {
        read_one(ck, i, sizeof dst);
        if (i > 0)
            read_one(ck, i - 1, 64);
    }
}

/* libhdf5 resolves symbolic links, so an anonymous file under /proc does not do. */
static int create_file(char *path, size_t path_size)
{
    static const char *const folders[] = {"/dev/shm", "/tmp"};
    int fd = -1;
    for (size_t i = 0; i < 2 && fd < 0; i++) {
        snprintf(path, path_size, "%s/qins-fuzz-XXXXXX", folders[i]);
        fd = mkstemp(path);
    }
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_checkpoint *ck = NULL;
    struct qins_error err = {0};
    char path[64];
    int fd = create_file(path, sizeof path);
    if (fd < 0)
        return 0;
    const struct qn_probe p = {path, false, data, size < 4096 ? size : 4096, size};
    qn_hdf5_ops.probe(&p);
    if (write(fd, data, size) == (ssize_t)size &&
        qn_hdf5_open(&ck, path, &limits, NULL, &err) == QINS_OK) {
        read_all(ck);
        qn_hdf5_ops.destroy(ck);
    }
    close(fd);
    unlink(path);
    return 0;
}
